"""Sources whose observations or actions differ from the target's: what the maps of inputs and actions keep."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from agents import ENVS, STEPS, encoder_of, make_agent, weights
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import DummyVecEnv, VecFrameStack, VecNormalize

from rltransfer import Finetune, Frozen, Full, Shuffled, apply_plan, load_encoder, plan_transfer
from rltransfer.errors import ConfigError, IncompatibleError

TARGETS = [algo for algo in STEPS if algo != "ars"]
CONTINUOUS = ("sac", "tqc", "crossq", "td3", "ddpg")


class Rearranged(gym.Wrapper[Any, Any, Any, Any]):
    """Shows the inputs at ``places`` of a vector, among noise; its actions are reordered, with idle ones added."""

    def __init__(
        self, env: gym.Env[Any, Any], places: list[int | None], actions: list[int | None] | None = None
    ) -> None:
        super().__init__(env)
        self.places = places
        self.actions = actions
        space = env.observation_space
        assert isinstance(space, gym.spaces.Box)
        low, high = (
            np.array([bound if place is None else limits[place] for place in places], dtype=space.dtype)
            for bound, limits in ((-5.0, space.low), (5.0, space.high))
        )
        self.observation_space = gym.spaces.Box(low, high)
        if actions is not None and isinstance(env.action_space, gym.spaces.Discrete):
            self.action_space = gym.spaces.Discrete(len(actions))
        elif actions is not None:
            self.action_space = gym.spaces.Box(-2.0, 2.0, (len(actions),))

    def reset(self, **settings: Any) -> Any:
        observation, info = self.env.reset(**settings)
        return self.shown(observation), info

    def step(self, action: Any) -> Any:
        if self.actions is not None and isinstance(self.action_space, gym.spaces.Discrete):
            action = self.actions[int(action)] or 0
        elif self.actions is not None:
            action = np.array([action[self.actions.index(0)]])
        observation, *rest = self.env.step(action)
        return self.shown(observation), *rest

    def shown(self, observation: np.ndarray) -> np.ndarray:
        noise = np.random.default_rng(0).normal(size=len(self.places))
        values = [noise[n] if place is None else observation[place] for n, place in enumerate(self.places)]
        return np.array(values, dtype=np.float32)


def rearranged(algo: str, places: list[int | None], actions: list[int | None] | None = None) -> gym.Env[Any, Any]:
    return Rearranged(gym.make(ENVS[algo]), places, actions)


def source_of(algo: str) -> BaseAlgorithm:
    agent = make_agent(algo, seed=7)
    masking = {"use_masking": False} if algo == "maskable_ppo" else {}
    return agent.learn(STEPS[algo], **masking)


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[BaseAlgorithm, Any]]:
    made: dict[str, tuple[BaseAlgorithm, Any]] = {}

    def source(algo: str) -> tuple[BaseAlgorithm, Any]:
        if algo not in made:
            agent = source_of(algo)
            made[algo] = (agent, encoder_of(agent, tmp_path_factory.mktemp(algo)))
        return made[algo]

    return source


def actions_of(agent: BaseAlgorithm, observations: np.ndarray) -> np.ndarray:
    """Returns deterministic actions, with an LSTM's state carried along."""
    state: Any = None
    actions = []
    for number, observation in enumerate(observations):
        start = np.array([number == 0])
        action, state = agent.predict(observation, state=state, episode_start=start, deterministic=True)
        actions.append(action)
    return np.array(actions)


def places_for(algo: str) -> list[int | None]:
    return [1, None, 0, 2, None] if algo in CONTINUOUS else [3, None, 0, 2, 1, None]


@pytest.mark.parametrize("algo", TARGETS)
def test_zero_new_inputs_and_kept_heads_keep_the_function(
    algo: str, sources: Callable[[str], tuple[BaseAlgorithm, Any]]
) -> None:
    source, encoder = sources(algo)
    places = places_for(algo)
    target = make_agent(algo, rearranged(algo, places))
    transfer = apply_plan(plan_transfer(encoder, target, Full(), inputs=places), target)
    assert transfer.checks()[0].passed
    rng = np.random.default_rng(1)
    seen = rng.normal(size=(300, len(places))).astype(np.float32)
    original = np.zeros((300, source.observation_space.shape[0]), dtype=np.float32)
    for place, index in enumerate(places):
        if index is not None:
            original[:, index] = seen[:, place]
    expected, result = actions_of(source, original), actions_of(target, seen)
    if algo in CONTINUOUS:
        np.testing.assert_allclose(result, expected, atol=1e-5)
        assert np.ptp(expected) > 1e-3
    else:
        assert np.array_equal(result, expected)
    assert_q_is_kept(algo, source, target, original, seen)


def assert_q_is_kept(
    algo: str, source: BaseAlgorithm, target: BaseAlgorithm, original: np.ndarray, seen: np.ndarray
) -> None:
    """Checks the critics too: V(s) or Q(s, a) of the same situations."""
    with torch.no_grad():
        if algo in CONTINUOUS:
            actions = torch.full((len(seen), 1), 0.3)
            for policy in (source.policy, target.policy):
                policy.set_training_mode(False)
            expected = source.critic(torch.as_tensor(original), actions)
            actual = target.critic(torch.as_tensor(seen), actions)
        elif algo in ("ppo", "a2c", "trpo", "maskable_ppo"):
            expected = source.policy.predict_values(torch.as_tensor(original))
            actual = target.policy.predict_values(torch.as_tensor(seen))
        elif algo in ("dqn", "qrdqn"):
            expected, actual = (
                getattr(agent, "q_net" if algo == "dqn" else "quantile_net")(torch.as_tensor(situations))
                for agent, situations in ((source, original), (target, seen))
            )
        else:
            return
    for item, other in zip(expected, actual, strict=True):
        torch.testing.assert_close(item, other, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("algo", ["ppo", "a2c", "dqn", "qrdqn", "sac", "td3", "crossq", "ppo_lstm"])
def test_agents_without_hidden_layers_keep_the_function_too(algo: str, tmp_path: Path) -> None:
    kwargs: dict[str, Any] = {"net_arch": []} | ({"lstm_hidden_size": 4} if algo == "ppo_lstm" else {})
    source = make_agent(algo, seed=7, policy_kwargs=dict(kwargs)).learn(STEPS[algo])
    places = places_for(algo)
    target = make_agent(algo, rearranged(algo, places), policy_kwargs=dict(kwargs))
    apply_plan(plan_transfer(encoder_of(source, tmp_path), target, Full(), inputs=places), target)
    assert_alike(source, target, places)


@pytest.mark.parametrize("algo", ["ppo", "sac"])
def test_state_dependent_exploration_is_mapped(algo: str, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"use_sde": True}
    source = make_agent(algo, "Pendulum-v1", seed=7, **settings).learn(32)
    wide = Rearranged(gym.make("Pendulum-v1"), [2, None, 0, 1], [None, 0])
    target = make_agent(algo, wide, **settings)
    name = "log_std" if algo == "ppo" else "actor.log_std"
    fresh = weights(target)[name]
    plan = plan_transfer(encoder_of(source, tmp_path), target, Full(), inputs=[2, None, 0, 1], actions=[None, 0])
    apply_plan(plan, target)
    now = weights(target)[name]
    assert torch.equal(now[:, 1], weights(source)[name][:, 0])
    assert torch.equal(now[:, 0], fresh[:, 0])


class States(gym.Env[Any, Any]):
    """Walks over numbered states at random."""

    def __init__(self, states: int, actions: int = 2) -> None:
        self.observation_space = gym.spaces.Discrete(states)
        self.action_space = gym.spaces.Discrete(actions)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed, options=options)
        self._steps = 0
        return int(self.np_random.integers(self.observation_space.n)), {}

    def step(self, action: Any) -> Any:
        self._steps += 1
        return int(self.np_random.integers(self.observation_space.n)), 1.0, self._steps == 10, False, {}


@pytest.mark.parametrize("algo", ["ppo", "dqn"])
def test_numbered_states_are_mapped(algo: str, tmp_path: Path) -> None:
    source = make_agent(algo, States(4), seed=7).learn(STEPS[algo])
    encoder, places = encoder_of(source, tmp_path), [3, None, 0, 1, 2]
    target = make_agent(algo, States(5))
    with pytest.raises(IncompatibleError, match="Discrete 4, the target has Discrete 5"):
        plan_transfer(encoder, target, Full())
    apply_plan(plan_transfer(encoder, target, Full(), inputs=places), target)
    for place, state in enumerate(places):
        if state is not None:
            actual, expected = (agent.predict(np.array([n]))[0] for agent, n in ((target, place), (source, state)))
            assert actual.shape == expected.shape
            assert torch.allclose(*(logits(agent, n) for agent, n in ((target, place), (source, state))), atol=1e-6)


def logits(agent: BaseAlgorithm, state: int) -> torch.Tensor:
    observation, _ = agent.policy.obs_to_tensor(np.array([state]))
    with torch.no_grad():
        if hasattr(agent, "q_net"):
            return agent.q_net(observation)
        return agent.policy.get_distribution(observation).distribution.logits


def assert_alike(source: BaseAlgorithm, target: BaseAlgorithm, places: list[int | None]) -> None:
    """Checks that two agents act alike on what both see."""
    seen = np.random.default_rng(1).normal(size=(100, len(places))).astype(np.float32)
    original = np.zeros((100, source.observation_space.shape[0]), dtype=np.float32)
    for place, index in enumerate(places):
        if index is not None:
            original[:, index] = seen[:, place]
    np.testing.assert_allclose(actions_of(target, seen), actions_of(source, original), atol=1e-5)


@pytest.mark.parametrize("algo", ["ppo", "sac", "td3", "tqc", "dqn"])
def test_vectors_by_key_keep_the_function(algo: str, tmp_path: Path) -> None:
    def agent(seed: int = 0, **shapes: tuple[int, ...]) -> BaseAlgorithm:
        env = Readings(**shapes)
        if algo in CONTINUOUS:
            env.action_space = gym.spaces.Box(-1.0, 1.0, (2,))
        return make_agent(algo, env, policy="MultiInputPolicy", seed=seed, policy_kwargs={"net_arch": [8]})

    source = agent(7, joints=(3,), wheels=(2,)).learn(STEPS[algo])
    target = agent(arm=(1,), joints=(5,), wheels=(2,))
    plan = plan_transfer(
        encoder_of(source, tmp_path), target, Full(), inputs={"map": {"joints": [None, 2, 0, None, 1]}}
    )
    apply_plan(plan, target)
    for _ in range(30):
        seen = target.observation_space.sample()
        source_observation = {"joints": seen["joints"][[2, 4, 1]], "wheels": seen["wheels"]}
        actual, expected = (
            agent.predict(item, deterministic=True)[0] for agent, item in ((target, seen), (source, source_observation))
        )
        np.testing.assert_allclose(actual, expected, atol=1e-5)


@pytest.mark.parametrize("algo", TARGETS)
def test_actions_are_mapped_with_the_heads(algo: str, sources: Callable[[str], tuple[BaseAlgorithm, Any]]) -> None:
    source, encoder = sources(algo)
    actions: list[int | None] = [None, 0] if algo in CONTINUOUS else [1, None, 0]
    places = list(range(source.observation_space.shape[0]))
    target = make_agent(algo, rearranged(algo, places, actions))
    plan = plan_transfer(encoder, target, Full(), actions={"map": actions})
    fresh = weights(target)
    assert apply_plan(plan, target).checks()[0].passed
    observations = np.random.default_rng(1).normal(size=(100, len(places))).astype(np.float32)
    expected, result = actions_of(source, observations), actions_of(target, observations)
    if algo in CONTINUOUS:
        np.testing.assert_allclose(result[:, 1], expected[:, 0], atol=1e-5)
    else:
        kept = result != 1
        assert kept.any()
        assert np.array_equal(np.array(actions)[result[kept]], expected[kept])
    head = next(entry for entry in plan.entries if entry.rows is not None)
    new = head.rows.index(None)
    assert torch.equal(weights(target)[head.tensor][new], fresh[head.tensor][new])


def test_swapped_actions_are_repaired_by_name(sources: Any) -> None:
    source, encoder = sources("ppo")
    target = make_agent("ppo", rearranged("ppo", [0, 1, 2, 3], [1, 0]))
    maps = {"source": "left,right", "target": "right,left"}
    apply_plan(plan_transfer(encoder, target, Full(), actions=maps), target)
    observations = np.random.default_rng(1).normal(size=(100, 4)).astype(np.float32)
    assert np.array_equal(actions_of(target, observations), 1 - actions_of(source, observations))


def test_names_and_indexes_say_the_same(sources: Any) -> None:
    _, encoder = sources("ppo")
    target = make_agent("ppo", rearranged("ppo", [3, None, 0, 2, 1]))
    names = {"source": ["x", "v", "angle", "spin"], "target": ["spin", "wind", "x", "angle", "v"]}
    by_name = plan_transfer(encoder, target, Finetune(), inputs=names)
    assert by_name.entries == plan_transfer(encoder, target, Finetune(), inputs=[3, None, 0, 2, 1]).entries


def test_a_target_that_only_adds_inputs_needs_no_map(sources: Any) -> None:
    _, encoder = sources("ppo")
    added = make_agent("ppo", rearranged("ppo", [0, 1, 2, 3, None]))
    plan = plan_transfer(encoder, added, Frozen())
    assert {entry.columns for entry in plan.entries if entry.origin == "mapped"} == {(0, 1, 2, 3, "zero")}
    with pytest.raises(IncompatibleError, match=r"The observation spaces do not fit.*--inputs map"):
        plan_transfer(encoder, make_agent("ppo", rearranged("ppo", [3, 1, 2, 0, None])), Frozen())


def test_a_frozen_layer_stays_frozen_with_zero_inputs_and_trains_with_random_ones(sources: Any) -> None:
    _, encoder = sources("ppo")
    for new, frozen in (("zero", True), ("random", False)):
        target = make_agent("ppo", rearranged("ppo", [0, 1, 2, 3, None]))
        fresh = weights(target)
        inputs = {"map": [0, 1, 2, 3, None], "new": new}
        transfer = apply_plan(plan_transfer(encoder, target, Frozen(), inputs=inputs), target)
        name = "mlp_extractor.policy_net.0.weight"
        start = weights(target)[name]
        assert torch.equal(start[:, :4], encoder.tensors[name])
        assert torch.equal(start[:, 4], torch.zeros(8) if frozen else fresh[name][:, 4] * 0.1)
        target.learn(64, callback=transfer.callbacks)
        assert all(check.passed for check in transfer.checks())
        assert torch.equal(weights(target)[name], start) == frozen
        second = "mlp_extractor.policy_net.2.weight"
        assert torch.equal(weights(target)[second], encoder.tensors[second])


def test_the_shuffled_control_permutes_what_arrives(sources: Any) -> None:
    _, encoder = sources("sac")
    target = make_agent("sac", rearranged("sac", [2, None, 0]))
    plan = plan_transfer(encoder, target, Shuffled(of=Finetune()), inputs=[2, None, 0])
    transfer = apply_plan(plan, target)
    assert transfer.checks()[0].passed
    now, source = weights(target)["actor.latent_pi.0.weight"], encoder.tensors["actor.latent_pi.0.weight"]
    moved, expected = now[:, [0, 2]].reshape(-1), source[:, [2, 0]].reshape(-1)
    assert torch.equal(moved.sort().values, expected.sort().values)
    assert not torch.equal(moved, expected)
    assert not now[:, 1].any()


def test_statistics_go_with_the_inputs(tmp_path: Path) -> None:
    env = VecNormalize(DummyVecEnv([lambda: gym.make("CartPole-v1")]))
    source = make_agent("ppo", env, seed=7).learn(64)
    encoder = encoder_of(source, tmp_path)
    places = [2, None, 0]
    wrapped = VecNormalize(DummyVecEnv([lambda: rearranged("ppo", places)]))
    target = make_agent("ppo", wrapped)
    plan = plan_transfer(encoder, target, Frozen(), inputs=places)
    assert "mapped from the source, held" in str(plan)
    apply_plan(plan, target)
    expected, actual = env.obs_rms, wrapped.obs_rms
    assert actual.mean.tolist() == [expected.mean[2], 0.0, expected.mean[0]]
    assert actual.var.tolist() == [expected.var[2], 1.0, expected.var[0]]
    assert actual.count == expected.count


def stacked(places: list[int | None], frames: int) -> tuple[VecNormalize, VecFrameStack]:
    normaliser = VecNormalize(DummyVecEnv([lambda: rearranged("ppo", places)]))
    return normaliser, VecFrameStack(normaliser, frames)


def test_each_of_stacked_frames_is_mapped_and_their_statistics_once(tmp_path: Path) -> None:
    expected, env = stacked([0, 1, 2, 3], 2)
    source = make_agent("ppo", env, seed=7).learn(64)
    source.save(tmp_path / "best_model.zip")
    expected.save(str(tmp_path / "best_model_vecnormalize.pkl"))
    encoder = load_encoder(tmp_path / "best_model.zip")
    actual, env = stacked([2, None, 0], 2)
    target = make_agent("ppo", env)
    with pytest.raises(IncompatibleError, match="observation spaces do not fit"):
        plan_transfer(encoder, target, Full())
    with pytest.raises(IncompatibleError, match="entry 2 means other inputs of the source from frame to frame"):
        plan_transfer(encoder, target, Full(), inputs=[2, None, 0, 6, None, 5])
    apply_plan(plan_transfer(encoder, target, Full(), inputs=[2, None, 0, 6, None, 4]), target)
    assert actual.obs_rms.mean.tolist() == [expected.obs_rms.mean[2], 0.0, expected.obs_rms.mean[0]]
    assert_alike(source, target, [2, None, 0, 6, None, 4])


def test_frames_that_grow_are_not_taken_for_inputs_behind_the_others(tmp_path: Path) -> None:
    class Endless(gym.ObservationWrapper[Any, Any, Any]):
        def __init__(self, size: int) -> None:
            super().__init__(gym.make("CartPole-v1"))
            self.observation_space = gym.spaces.Box(-np.inf, np.inf, (size,))

        def observation(self, observation: np.ndarray) -> np.ndarray:
            return np.resize(observation, self.observation_space.shape).astype(np.float32)

    source = make_agent("ppo", VecFrameStack(DummyVecEnv([lambda: Endless(4)]), 2), seed=7).learn(32)
    target = make_agent("ppo", VecFrameStack(DummyVecEnv([lambda: Endless(5)]), 2))
    with pytest.raises(IncompatibleError, match="observation spaces do not fit"):
        plan_transfer(encoder_of(source, tmp_path), target, Frozen())


def test_a_key_is_not_taken_for_another_that_begins_alike(tmp_path: Path) -> None:
    source = dictionary_agent(seed=7, cam=(1, 36, 36)).learn(32)
    target = dictionary_agent(cam=(1, 36, 36), camera=(1, 36, 36))
    fresh = weights(target)
    plan = plan_transfer(encoder_of(source, tmp_path), target, Frozen())
    apply_plan(plan, target)
    now = weights(target)
    for name, tensor in now.items():
        if ".cam." in name:
            assert torch.equal(tensor, weights(source)[name])
        elif ".camera." in name:
            assert torch.equal(tensor, fresh[name])


@pytest.mark.parametrize("strategy", [Full(), Finetune()])
def test_a_map_of_actions_is_checked_whatever_moves(strategy: Any, sources: Any) -> None:
    _, encoder = sources("sac")
    target = make_agent("sac", rearranged("sac", [0, 1, 2], [None, 0]))
    with pytest.raises(IncompatibleError, match="actions: the map has 3 entries, and the target has 2"):
        plan_transfer(encoder, target, strategy, actions=[None, 0, None])
    plan = plan_transfer(encoder, target, strategy, actions=[None, 0])
    columns = {entry.columns for entry in plan.entries if entry.tensor == "critic.qf0.0.weight"}
    assert columns == {(0, 1, 2, "fresh", 3)}
    hidden = dataclasses.replace(encoder, action_space=None)
    with pytest.raises(IncompatibleError, match="does not tell its actions"):
        plan_transfer(hidden, target, strategy, actions=[None, 0])


def test_a_source_that_hides_its_observations_is_mapped_by_its_shapes(sources: Any) -> None:
    _, encoder = sources("ppo")
    hidden = dataclasses.replace(encoder, observation_space=None)
    target = make_agent("ppo", rearranged("ppo", [3, None, 0]))
    plan = plan_transfer(hidden, target, Frozen(), inputs=[3, None, 0])
    assert {entry.columns for entry in plan.entries if entry.origin == "mapped"} == {(3, "zero", 0)}
    with pytest.raises(IncompatibleError, match="names entry 4 of the source, which has 4"):
        plan_transfer(hidden, target, Frozen(), inputs=[4, None, 0])


class Readings(gym.Env[Any, Any]):
    """Random readings by name: vectors, and images of 36 x 36."""

    action_space = gym.spaces.Discrete(2)

    def __init__(self, **shapes: tuple[int, ...]) -> None:
        self.observation_space = gym.spaces.Dict(
            {
                name: gym.spaces.Box(0, 255, shape, np.uint8) if len(shape) == 3 else gym.spaces.Box(-1.0, 1.0, shape)
                for name, shape in shapes.items()
            }
        )

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed, options=options)
        self.observation_space.seed(seed)
        self._steps = 0
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> Any:
        self._steps += 1
        return self.observation_space.sample(), 1.0, self._steps == 10, False, {}


def dictionary_agent(algo: str = "ppo", seed: int = 0, **shapes: tuple[int, ...]) -> BaseAlgorithm:
    kwargs = {"net_arch": [8], "features_extractor_kwargs": {"cnn_output_dim": 16}}
    return make_agent(algo, Readings(**shapes), policy="MultiInputPolicy", seed=seed, policy_kwargs=kwargs)


@pytest.mark.parametrize("algo", ["ppo", "dqn"])
def test_keys_meet_by_name_and_new_ones_change_nothing(algo: str, tmp_path: Path) -> None:
    source = dictionary_agent(algo, seed=7, camera=(1, 36, 36), joints=(3,)).learn(STEPS[algo])
    encoder = encoder_of(source, tmp_path)
    target = dictionary_agent(algo, aerial=(1, 36, 36), camera=(1, 36, 36), joints=(3,), wheels=(2,))
    plan = plan_transfer(encoder, target, Full())
    assert "the source has no observation 'aerial'" in str(plan)
    apply_plan(plan, target)
    observations = [target.observation_space.sample() for _ in range(20)]
    for observation in observations:
        source_observation = {key: observation[key] for key in ("camera", "joints")}
        expected, _ = source.predict(source_observation, deterministic=True)
        assert target.predict(observation, deterministic=True)[0] == expected


def test_keys_can_have_other_names_and_their_own_maps(tmp_path: Path) -> None:
    source = dictionary_agent(seed=7, camera=(1, 36, 36), joints=(3,)).learn(32)
    encoder = encoder_of(source, tmp_path)
    target = dictionary_agent(eye=(1, 36, 36), arm=(4,))
    inputs = {"keys": {"eye": "camera", "arm": "joints"}, "map": {"arm": [2, 1, None, 0]}}
    apply_plan(plan_transfer(encoder, target, Full(), inputs=inputs), target)
    for _ in range(20):
        observation = target.observation_space.sample()
        source_observation = {"camera": observation["eye"], "joints": observation["arm"][[3, 1, 0]]}
        value = target.policy.predict_values(target.policy.obs_to_tensor(observation)[0])
        expected = source.policy.predict_values(source.policy.obs_to_tensor(source_observation)[0])
        torch.testing.assert_close(value, expected, atol=1e-5, rtol=1e-5)
    with pytest.raises(IncompatibleError, match="'camera', 'joints', which the target's lacks"):
        plan_transfer(encoder, target, Full())


class Pictures(Readings):
    """Random images."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.observation_space = gym.spaces.Box(0, 255, (channels, 36, 36), np.uint8)


def image_agent(channels: int, algo: str = "ppo", seed: int = 0) -> BaseAlgorithm:
    kwargs = {"net_arch": [8], "features_extractor_kwargs": {"features_dim": 16}}
    return make_agent(algo, Pictures(channels), policy="CnnPolicy", seed=seed, policy_kwargs=kwargs)


@pytest.mark.parametrize("algo", ["ppo", "dqn"])
@pytest.mark.parametrize(
    ("source_channels", "target_channels", "way"), [(1, 3, "repeat"), (1, 4, "mean"), (3, 1, "mean"), (3, 12, "repeat")]
)
def test_equal_channels_give_what_they_gave(
    algo: str, source_channels: int, target_channels: int, way: str, tmp_path: Path
) -> None:
    source, target = image_agent(source_channels, algo, seed=7).learn(STEPS[algo]), image_agent(target_channels, algo)
    transfer = apply_plan(plan_transfer(encoder_of(source, tmp_path), target, Full(), inputs={"channels": way}), target)
    assert transfer.checks()[0].passed
    grey = np.random.default_rng(0).integers(0, 256, (8, 1, 36, 36), dtype=np.uint8)
    features = []
    for agent, channels in ((source, source_channels), (target, target_channels)):
        extractor = agent.policy.features_extractor if algo == "ppo" else agent.q_net.features_extractor
        seen = torch.as_tensor(grey.repeat(channels, axis=1)).float() / 255
        features.append(extractor(seen).detach())
    torch.testing.assert_close(features[1], features[0], atol=1e-5, rtol=1e-4)


def test_channels_are_mapped_by_index(tmp_path: Path) -> None:
    source, target = image_agent(1, seed=7).learn(32), image_agent(4)
    apply_plan(plan_transfer(encoder_of(source, tmp_path), target, Frozen(), inputs=[None, None, None, 0]), target)
    frames = np.random.default_rng(0).integers(0, 256, (8, 4, 36, 36), dtype=np.uint8)
    actual = target.policy.features_extractor(torch.as_tensor(frames).float() / 255)
    expected = source.policy.features_extractor(torch.as_tensor(frames[:, 3:]).float() / 255)
    torch.testing.assert_close(actual, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ([0, 1, None], "the map has 3 entries, and the target has 5"),
        ([0, 1, 2, 4, None], r"names entry 4 of the source, which has 4 \(0 to 3\)"),
        ([None] * 5, "no entry of the source matches"),
    ],
)
def test_a_wrong_map_is_refused(inputs: Any, message: str, sources: Any) -> None:
    _, encoder = sources("ppo")
    target = make_agent("ppo", rearranged("ppo", [0, 1, 2, 3, None]))
    with pytest.raises(IncompatibleError, match=message):
        plan_transfer(encoder, target, Finetune(), inputs=inputs)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"mapp": [0]}, "unknown key 'mapp'. Did you mean 'map'?"),
        ([0, 0, 1], "an index is listed twice"),
        ({"map": [0], "adapter": 4}, "give one of map, source with target, channels, adapter; found map and adapter"),
        ({"source": "a,b"}, "give both or neither"),
        ({"map": [-1]}, "key 'map'"),
    ],
)
def test_a_map_that_makes_no_sense_is_refused(inputs: Any, message: str, sources: Any) -> None:
    _, encoder = sources("ppo")
    with pytest.raises(ConfigError) as error_info:
        plan_transfer(encoder, make_agent("ppo"), Finetune(), inputs=inputs)
    assert message in str(error_info.value)


def test_other_images_say_what_to_type(tmp_path: Path) -> None:
    encoder = encoder_of(image_agent(1, seed=7), tmp_path)
    with pytest.raises(IncompatibleError, match=r"1 channels, the target's 3.*--inputs channels:repeat"):
        plan_transfer(encoder, image_agent(3), Frozen())

    class Larger(Pictures):
        def __init__(self) -> None:
            super().__init__(1)
            self.observation_space = gym.spaces.Box(0, 255, (1, 40, 48), np.uint8)

    with pytest.raises(IncompatibleError, match=r"36x36, the target's 48x40.*ResizeObservation.*\[36, 36\]"):
        plan_transfer(encoder, make_agent("ppo", Larger(), policy="CnnPolicy"), Frozen())


def test_components_of_multidiscrete_actions_are_mapped(tmp_path: Path) -> None:
    class Buttons(Readings):
        def __init__(self, sizes: list[int]) -> None:
            super().__init__()
            self.observation_space = gym.spaces.Box(-1.0, 1.0, (3,))
            self.action_space = gym.spaces.MultiDiscrete(sizes)

    source = make_agent("ppo", Buttons([2, 3]), seed=7).learn(32)
    encoder = encoder_of(source, tmp_path)
    target = make_agent("ppo", Buttons([3, 4, 2]))
    apply_plan(plan_transfer(encoder, target, Full(), actions=[1, None, 0]), target)
    observations = np.random.default_rng(0).uniform(-1, 1, (50, 3)).astype(np.float32)
    expected, _ = source.predict(observations, deterministic=True)
    actions, _ = target.predict(observations, deterministic=True)
    assert np.array_equal(actions[:, [2, 0]], expected)
    with pytest.raises(IncompatibleError, match="component 0 of the target has 3 values"):
        plan_transfer(encoder, target, Full(), actions=[0, None, 1])
