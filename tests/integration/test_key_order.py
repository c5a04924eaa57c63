"""The order of the keys of Dict observations: SB3 concatenates in the space's own, and Gymnasium's ``==`` ignores it.

A transferred agent has to act as the source on the same observation, whatever the two orders are.
"""

from collections import OrderedDict
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from agents import Images, make_agent
from gymnasium import spaces
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from rltransfer import (
    Finetune,
    Frozen,
    Full,
    Inputs,
    JumpStart,
    Kickstart,
    Replay,
    Residual,
    Scratch,
    apply_plan,
    load_encoder,
    plan_transfer,
)
from rltransfer.artifact import average_encoders
from rltransfer.errors import IncompatibleError
from rltransfer.spaces import same_space
from rltransfer.transfer.source_policy import source_policy_of

ALGORITHMS = ("ppo", "sac", "td3", "dqn")


def box(size: int) -> spaces.Box:
    return spaces.Box(-1.0, 1.0, (size,), np.float32)


SPACES = {
    "sorted": lambda: spaces.Dict({"z": box(3), "a": box(2), "k": spaces.Discrete(4)}),
    "keywords": lambda: spaces.Dict(z=box(3), a=box(2), k=spaces.Discrete(4)),
    "ordered": lambda: spaces.Dict(OrderedDict(k=spaces.Discrete(4), z=box(3), a=box(2))),
    "pairs": lambda: spaces.Dict([("z", box(3)), ("k", spaces.Discrete(4)), ("a", box(2))]),
    "unsorted": lambda: spaces.Dict({"z": box(3), "k": spaces.Discrete(4), "a": box(2)}, sort_keys=False),
    "sorted and keywords": lambda: spaces.Dict({"k": spaces.Discrete(4), "a": box(2)}, z=box(3)),
}


class Keyed(gym.Env[Any, Any]):
    """Samples its observations; keeps what it was given."""

    def __init__(self, space: spaces.Dict, *, continuous: bool) -> None:
        self.observation_space = space
        self.action_space = box(2) if continuous else spaces.Discrete(3)
        self.received: list[tuple[Any, Any]] = []
        self._observation: Any = None
        self._steps = 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self._steps = 0
        self._observation = self.observation_space.sample()
        return self._observation, {}

    def step(self, action: Any) -> Any:
        self.received.append((self._observation, np.copy(action)))
        self._observation = self.observation_space.sample()
        self._steps += 1
        return self._observation, float(np.sum(self._observation["z"])), False, self._steps >= 8, {}


def agent_on(algo: str, space: spaces.Dict, seed: int, **settings: Any) -> Any:
    env = Keyed(space, continuous=algo != "dqn")
    return make_agent(algo, env, policy="MultiInputPolicy", seed=seed, policy_kwargs={"net_arch": [8]}, **settings)


def encoder_from(agent: Any, folder: Path, form: str) -> Any:
    agent.save(folder / "agent.zip")
    encoder = load_encoder(folder / "agent.zip")
    return load_encoder(encoder.save(folder / "artifact")) if form == "artifact" else encoder


def outputs(agent: Any, observations: Any) -> dict[str, np.ndarray]:
    """Returns what an agent's networks give: actions, or values of actions, and the critic's."""
    tensors, _ = agent.policy.obs_to_tensor(observations)
    with torch.no_grad():
        actions = agent.policy._predict(tensors, deterministic=True)
        given = {"actions": actions}
        if hasattr(agent, "q_net"):
            given["values"] = agent.q_net(tensors)
        elif hasattr(agent, "critic"):
            given |= {str(number): value for number, value in enumerate(agent.critic(tensors, actions.float()))}
        else:
            given["values"] = agent.policy.predict_values(tensors)
    return {name: value.numpy() for name, value in given.items()}


def samples(space: spaces.Dict, amount: int = 32) -> dict[str, np.ndarray]:
    space.seed(3)
    drawn = [space.sample() for _ in range(amount)]
    return {key: np.stack([item[key] for item in drawn]) for key in space.spaces}


@pytest.mark.parametrize("target", SPACES)
@pytest.mark.parametrize("source", SPACES)
def test_the_agent_acts_as_the_source_whatever_the_orders(source: str, target: str, tmp_path: Path) -> None:
    # Each space comes from a zip and from an artifact, in turn.
    form = ("zip", "artifact")[(list(SPACES).index(source) + list(SPACES).index(target)) % 2]
    for algo in ALGORITHMS:
        source_agent = agent_on(algo, SPACES[source](), seed=0)
        agent = agent_on(algo, SPACES[target](), seed=1)
        plan = plan_transfer(encoder_from(source_agent, tmp_path, form), agent, Full())
        apply_plan(plan, agent)
        observations = samples(SPACES[target]())
        expected, given = outputs(source_agent, observations), outputs(agent, observations)
        for name in expected:
            np.testing.assert_allclose(given[name], expected[name], atol=1e-5, err_msg=f"{algo} {name}")
        names = [list(SPACES[which]().spaces) for which in (source, target)]
        said = [finding for finding in plan.findings if finding.kind == "key_order"]
        assert bool(said) == (names[0] != names[1])


@pytest.mark.parametrize("algo", ALGORITHMS)
@pytest.mark.parametrize("strategy", [Finetune(), Frozen()], ids=["finetune", "frozen"])
def test_the_encoder_gives_the_sources_features(algo: str, strategy: Any, tmp_path: Path) -> None:
    source_agent = agent_on(algo, SPACES["pairs"](), seed=0)
    agent = agent_on(algo, SPACES["ordered"](), seed=1)
    apply_plan(plan_transfer(encoder_from(source_agent, tmp_path, "zip"), agent, strategy), agent)
    observations = samples(SPACES["pairs"]())
    first = {"ppo": "mlp_extractor.policy_net", "sac": "actor.latent_pi", "td3": "actor.mu", "dqn": "q_net.q_net"}[algo]
    extractor = {"ppo": "features_extractor", "dqn": "q_net.features_extractor"}.get(algo, "actor.features_extractor")
    features = []
    for item in (source_agent, agent):
        tensors, _ = item.policy.obs_to_tensor(observations)
        with torch.no_grad():
            read = item.policy.get_submodule(extractor)(preprocessed(item, tensors))
            features.append(item.policy.get_submodule(first)[:2](read).numpy())
    np.testing.assert_allclose(features[0], features[1], atol=1e-5)


def preprocessed(agent: Any, tensors: Any) -> Any:
    from stable_baselines3.common.preprocessing import preprocess_obs

    return preprocess_obs(tensors, agent.observation_space)


@pytest.mark.parametrize("algo", ALGORITHMS)
def test_a_longer_and_a_new_key_leave_what_the_source_does(algo: str, tmp_path: Path) -> None:
    source_agent = agent_on(algo, spaces.Dict(z=box(3), a=box(2)), seed=0)
    target = spaces.Dict(m=box(1), z=box(5), a=box(2))
    agent = agent_on(algo, target, seed=1)
    apply_plan(plan_transfer(encoder_from(source_agent, tmp_path, "artifact"), agent, Full()), agent)
    observations = samples(target)
    seen = {"z": observations["z"][:, :3], "a": observations["a"]}
    for name, expected in outputs(source_agent, seen).items():
        np.testing.assert_allclose(outputs(agent, observations)[name], expected, atol=1e-5, err_msg=name)


def test_renamed_keys_are_followed(tmp_path: Path) -> None:
    source_agent = agent_on("ppo", spaces.Dict(z=box(3), a=box(2)), seed=0)
    target = spaces.Dict(first=box(2), second=box(3))
    agent = agent_on("ppo", target, seed=1)
    inputs = Inputs(keys={"first": "a", "second": "z"})
    apply_plan(plan_transfer(encoder_from(source_agent, tmp_path, "zip"), agent, Full(), inputs=inputs), agent)
    observations = samples(target)
    seen = {"a": observations["first"], "z": observations["second"]}
    np.testing.assert_allclose(
        outputs(agent, observations)["actions"], outputs(source_agent, seen)["actions"], atol=1e-5
    )


class Pictures(Images):
    """Images beside a vector, the vector's key first."""

    observation_space = spaces.Dict(vector=box(3), image=Images.observation_space)

    def _observe(self) -> Any:
        return {"vector": self.np_random.random(3, dtype=np.float32), "image": super()._observe()}


class PicturesFirst(Pictures):
    observation_space = spaces.Dict(image=Images.observation_space, vector=box(3))


def test_features_of_images_are_followed_too(tmp_path: Path) -> None:
    settings = {
        "policy": "MultiInputPolicy",
        "policy_kwargs": {"net_arch": [8], "features_extractor_kwargs": {"cnn_output_dim": 5}},
    }
    source_agent = make_agent("ppo", Pictures(), seed=0, **settings)
    agent = make_agent("ppo", PicturesFirst(), seed=1, **settings)
    apply_plan(plan_transfer(encoder_from(source_agent, tmp_path, "artifact"), agent, Full()), agent)
    observations = samples(Pictures.observation_space, 4)
    np.testing.assert_allclose(
        outputs(agent, observations)["values"], outputs(source_agent, observations)["values"], atol=1e-5
    )


@pytest.mark.parametrize("target", ["sorted", "pairs"])
@pytest.mark.parametrize("source", SPACES)
def test_a_residual_agent_acts_on_top_of_what_the_source_does(source: str, target: str, tmp_path: Path) -> None:
    source_agent = agent_on("sac", SPACES[source](), seed=0)
    agent = agent_on("sac", SPACES[target](), seed=1)
    encoder = encoder_from(source_agent, tmp_path, "zip")
    transfer = apply_plan(plan_transfer(encoder, agent, (Scratch(), Residual())), agent)
    env = Keyed(SPACES[target](), continuous=True)
    venv = transfer.equip(DummyVecEnv([lambda: env]))
    venv.reset()
    for _ in range(6):
        venv.step(np.zeros((1, 2), np.float32))
    for observation, action in env.received:
        np.testing.assert_allclose(source_agent.predict(observation, deterministic=True)[0], action, atol=1e-5)


@pytest.mark.parametrize(("source", "target"), [("keywords", "sorted"), ("sorted", "ordered"), ("pairs", "pairs")])
def test_a_source_that_begins_episodes_acts_as_itself(source: str, target: str, tmp_path: Path) -> None:
    source_agent = agent_on("dqn", SPACES[source](), seed=0)
    env = Keyed(SPACES[target](), continuous=False)
    agent = make_agent("dqn", env, policy="MultiInputPolicy", seed=1, policy_kwargs={"net_arch": [8]})
    encoder = encoder_from(source_agent, tmp_path, "artifact")
    transfer = apply_plan(plan_transfer(encoder, agent, (Scratch(), JumpStart(until=10_000, horizon=8))), agent)
    env.received.clear()
    agent.learn(8, callback=transfer.callbacks)
    for observation, action in env.received[:8]:
        assert source_agent.predict(observation, deterministic=True)[0] == action


@pytest.mark.parametrize(("source", "target"), [("keywords", "sorted"), ("sorted", "ordered"), ("pairs", "pairs")])
def test_a_source_whose_policy_acts_says_what_it_would_do(source: str, target: str, tmp_path: Path) -> None:
    source_agent = agent_on("ppo", SPACES[source](), seed=0)
    agent = agent_on("ppo", SPACES[target](), seed=1)
    plan = plan_transfer(encoder_from(source_agent, tmp_path, "zip"), agent, (Scratch(), Kickstart()))
    observations = samples(SPACES[target](), 5)
    advice = source_policy_of(plan, agent).see(observations, np.arange(5), np.ones(5, dtype=bool))
    with torch.no_grad():
        expected = source_agent.policy.get_distribution(
            source_agent.policy.obs_to_tensor(observations)[0]
        ).distribution.mean
    np.testing.assert_allclose(advice.centre, expected.numpy(), atol=1e-5)


@pytest.mark.parametrize("algo", ["sac", "td3", "dqn"])
@pytest.mark.parametrize(("source", "target"), [("keywords", "sorted"), ("sorted", "ordered"), ("pairs", "pairs")])
def test_what_a_source_remembers_is_replayed_by_key(source: str, target: str, algo: str, tmp_path: Path) -> None:
    source_agent = agent_on(algo, SPACES[source](), seed=0).learn(20)
    source_agent.save_replay_buffer(tmp_path / "replay_buffer.pkl")
    agent = agent_on(algo, SPACES[target](), seed=1)
    plan = plan_transfer(encoder_from(source_agent, tmp_path, "zip"), agent, (Full(), Replay(ratio=1.0)))
    apply_plan(plan, agent)
    drawn = agent.replay_buffer.sample(16)
    remembered = source_agent.replay_buffer.observations
    for row in range(16):
        seen = {key: drawn.observations[key][row].numpy() for key in ("z", "a", "k")}
        assert any(all(np.allclose(seen[key], remembered[key][step, 0]) for key in seen) for step in range(20)), seen


def test_statistics_are_matched_by_key(tmp_path: Path) -> None:
    def normalised(space: spaces.Dict) -> VecNormalize:
        return VecNormalize(DummyVecEnv([lambda: Keyed(space, continuous=True)]), norm_obs_keys=["z", "a"])

    wrapped = normalised(spaces.Dict(z=box(3), a=box(2)))
    settings = {"policy": "MultiInputPolicy", "policy_kwargs": {"net_arch": [8]}}
    source_agent = make_agent("ppo", wrapped, seed=0, **settings).learn(64)
    source_agent.save(tmp_path / "best_model.zip")
    wrapped.save(str(tmp_path / "best_model_vecnormalize.pkl"))
    env = normalised(spaces.Dict(a=box(2), z=box(3)))
    agent = make_agent("ppo", env, seed=1, **settings)
    apply_plan(plan_transfer(load_encoder(tmp_path / "best_model.zip"), agent, Full()), agent)
    for key in ("z", "a"):
        np.testing.assert_array_equal(env.obs_rms[key].mean, wrapped.obs_rms[key].mean)


def test_agents_with_keys_in_other_orders_are_not_averaged(tmp_path: Path) -> None:
    encoders = []
    for order in ("za", "az"):
        agent = agent_on("ppo", spaces.Dict([(key, box(2)) for key in order]), seed=0)
        agent.save(tmp_path / f"{order}.zip")
        encoders.append(load_encoder(tmp_path / f"{order}.zip"))
    with pytest.raises(IncompatibleError, match=r"their observations differ: Dict\('z'.*Dict\('a'"):
        average_encoders(encoders)


@pytest.mark.parametrize("name", SPACES)
def test_a_file_keeps_the_order(name: str, tmp_path: Path) -> None:
    encoder = encoder_from(agent_on("dqn", SPACES[name](), seed=0), tmp_path, "artifact")
    assert same_space(encoder.observation_space, SPACES[name]())
