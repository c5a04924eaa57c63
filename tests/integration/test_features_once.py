"""Agents that learn on features: each image is encoded once, and nothing else is different."""

import contextlib
import pickle
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from agents import make_agent
from pretrained import ARCH, write_weights
from resuming import assert_alike, every, interrupted
from runs import SMALL, run_config
from stable_baselines3 import DQN, PPO
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize, VecTransposeImage

from rltransfer import apply_plan, load_encoder, plan_transfer
from rltransfer.anatomy import agent_tensors
from rltransfer.artifact import Encoder, network_kwargs
from rltransfer.cli import main
from rltransfer.errors import IncompatibleError, Stopped
from rltransfer.extractors import NetworkExtractor
from rltransfer.training import run, train_run
from rltransfer.training.prepare import prepare
from rltransfer.training.resume.agent_state import agent_state_dict, load_agent_state_dict
from rltransfer.transfer.feature_encoder import FeatureEncoder
from rltransfer.transfer.features_once import features_once, features_words, saved_raw

SIZE = (36, 36)
AUGMENT = {"kind": "augment", "shift": 4}


class Pictures(gym.Env[np.ndarray, Any]):
    """Pictures of a set, or all new; the reward of a picture is in its first pixel."""

    def __init__(self, count: int | None = None, channels: int = 3, *, continuous: bool = False, seed: int = 0) -> None:
        self.observation_space = gym.spaces.Box(0, 255, (*SIZE, channels), np.uint8)
        self.action_space: Any = gym.spaces.Box(-1.0, 1.0, (1,)) if continuous else gym.spaces.Discrete(2)
        self._count = count
        self._set = np.random.default_rng(0).integers(0, 256, (count or 0, *SIZE, channels), dtype=np.uint8)
        self._fresh = np.random.default_rng(1)
        self.seen: list[bytes] = []

    def _picture(self) -> np.ndarray:
        if self._count is None:
            picture = self._fresh.integers(0, 256, self.observation_space.shape, dtype=np.uint8)
        else:
            picture = self._set[self.np_random.integers(self._count)]
        self.seen.append(picture.tobytes())
        return picture

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        return self._picture(), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        picture = self._picture()
        ends, cut = self.np_random.random(2) < 0.05
        return picture, float(picture[0, 0, 0]) * float(np.sum(action)) / 255, bool(ends), bool(cut), {}


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    path = write_weights(tmp_path_factory.mktemp("weights") / "weights.pth")
    return load_encoder(path, arch=ARCH, size=32)


def convolutions(algo: str, folder: Path) -> Encoder:
    """Returns an agent of an algorithm with a NatureCNN as a source."""
    agent_of(algo, None, seed=1).save(folder / "source.zip")
    return load_encoder(folder / "source.zip")


def agent_of(algo: str, encoder: Encoder | None, env: Any = None, **settings: Any) -> Any:
    """Returns an agent of pictures: with the network of a source, or with a small NatureCNN."""
    env = Pictures(continuous=algo in ("sac", "td3", "ddpg", "tqc", "crossq")) if env is None else env
    is_network = encoder is not None and encoder.source.network is not None
    kwargs: dict[str, Any] = {"features_extractor_kwargs": {"features_dim": 32}}
    if encoder is not None and is_network:
        kwargs = network_kwargs(encoder)
    policy = "MultiInputPolicy" if isinstance(env.observation_space, gym.spaces.Dict) else "CnnPolicy"
    return make_agent(algo, env, policy=policy, policy_kwargs={**kwargs, "net_arch": [8]}, **settings)


def trained(
    algo: str, encoder: Encoder, strategy: Any, steps: int, *, once: bool
) -> tuple[dict[str, torch.Tensor], Any]:
    """Returns an agent's tensors after training, and the agent."""
    torch.manual_seed(0)
    agent = agent_of(algo, encoder)
    plan = plan_transfer(encoder, agent, strategy)
    transfer = apply_plan(plan, agent)
    if once:
        with features_once(plan, agent):
            agent.learn(steps, callback=transfer.callbacks)
    else:
        agent.learn(steps, callback=transfer.callbacks)
    assert all(check.passed for check in transfer.checks())
    return {name: tensor.detach().clone() for name, tensor in agent_tensors(agent).items()}, agent


@pytest.mark.parametrize(
    ("algo", "strategy"),
    [
        ("ppo", "frozen"),
        ("sac", "frozen"),
        ("dqn", {"kind": "shuffled", "of": "frozen"}),
        pytest.param("td3", "random_frozen", marks=pytest.mark.long),
        pytest.param("a2c", ["frozen", {"kind": "l2_init", "alpha": 0.1}], marks=pytest.mark.long),
        pytest.param("qrdqn", "frozen", marks=pytest.mark.long),
        pytest.param("trpo", "frozen", marks=pytest.mark.long),
        pytest.param("ddpg", "frozen", marks=pytest.mark.long),
        pytest.param("tqc", "frozen", marks=pytest.mark.long),
    ],
)
def test_an_agent_learns_on_features_what_it_learns_on_images(algo: str, strategy: Any, tmp_path: Path) -> None:
    source = convolutions(algo, tmp_path)
    images, _ = trained(algo, source, strategy, 24, once=False)
    features, agent = trained(algo, source, strategy, 24, once=True)
    start = agent_tensors(agent_of(algo, source))
    assert any(not torch.equal(start[name], value) for name, value in features.items() if "extractor" not in name)
    for name, value in images.items():
        torch.testing.assert_close(features[name], value, rtol=1e-3, atol=1e-4, msg=name)
    assert agent.observation_space.shape == (3, *SIZE)


def test_units_start_again_on_features_as_on_images(network: Encoder) -> None:
    strategy = ["frozen", {"kind": "redo", "every": 1, "threshold": 0.5}]
    images, _ = trained("ppo", network, strategy, 64, once=False)
    features, _ = trained("ppo", network, strategy, 64, once=True)
    for name, value in images.items():
        torch.testing.assert_close(features[name], value, rtol=1e-3, atol=1e-4, msg=name)


@pytest.mark.parametrize("algo", ["ppo", "dqn", "sac"])
def test_actions_and_losses_of_the_first_update_are_those_on_images(algo: str, network: Encoder) -> None:
    settings = {"ppo": {"n_steps": 32, "batch_size": 32, "n_epochs": 1}}.get(algo, {"learning_starts": 8})
    losses, actions = [], []
    for once in (False, True):
        agent = agent_of(algo, network, **settings)
        plan = plan_transfer(network, agent, "frozen")
        transfer = apply_plan(plan, agent)
        with features_once(plan, agent) if once else contextlib.nullcontext():
            agent.learn(32 if algo == "ppo" else 9, callback=transfer.callbacks)
            buffer = agent.rollout_buffer if algo == "ppo" else agent.replay_buffer
            actions.append(buffer.actions.copy())
            losses.append({name: float(value) for name, value in agent.logger.name_to_value.items() if "loss" in name})
        assert agent._n_updates == 1
    assert np.array_equal(*actions)
    assert losses[0]
    assert losses[1] == pytest.approx(losses[0], rel=1e-6, abs=1e-6)


def test_each_observation_is_encoded_once_whatever_the_number_of_epochs(network: Encoder) -> None:
    env = Pictures()
    agent = agent_of("ppo", network, env, n_epochs=7)
    plan = plan_transfer(network, agent, "frozen")
    transfer = apply_plan(plan, agent)
    env.seen.clear()
    calls: list[int] = []
    with features_once(plan, agent) as once:
        compute = once.encoder._compute
        once.encoder._compute = lambda part, images: (calls.append(len(images)), compute(part, images))[1]  # type: ignore[method-assign]
        agent.policy.features_extractor.network.register_forward_hook(lambda *_: calls.append(1000))
        agent.learn(64, callback=transfer.callbacks)
        assert once.encoder.encoded == sum(calls) == len(env.seen)


def test_a_finite_set_of_images_is_encoded_once_in_a_run(network: Encoder) -> None:
    agent = agent_of("dqn", network, Pictures(count=9))
    plan = plan_transfer(network, agent, "frozen")
    transfer = apply_plan(plan, agent)
    with features_once(plan, agent) as once:
        agent.learn(200, callback=transfer.callbacks)
        assert once.encoder.encoded == 9


def test_the_cache_is_bounded_and_forgets_what_was_not_used_for_longest(network: Encoder) -> None:
    agent = agent_of("ppo", network)
    agent.policy.set_training_mode(False)
    extractor = agent.policy.features_extractor
    images = np.random.default_rng(0).integers(0, 256, (300, 3, *SIZE), dtype=np.uint8)
    settings: dict[str, Any] = {"normalize_images": True, "device": torch.device("cpu")}
    small = FeatureEncoder([extractor], agent.observation_space, cache_mb=1, **settings)
    features = small(images)
    # A row of 1,024 numbers takes 4,096 bytes: 256 of them fit.
    small(images[-256:])
    assert small.encoded == 300
    assert np.array_equal(small(images[:1]), features[:1])
    assert small.encoded == 301


def test_features_depend_on_nothing_but_their_image(network: Encoder, tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (12, 3, *SIZE), dtype=np.uint8)
    for source in (network, convolutions("ppo", tmp_path)):
        agent = agent_of("ppo", source)
        apply_plan(plan_transfer(source, agent, "frozen"), agent)
        settings: dict[str, Any] = {"normalize_images": True, "device": torch.device("cpu")}

        def encoder(mb: int = 8, agent: Any = agent, settings: Any = settings) -> FeatureEncoder:
            return FeatureEncoder([agent.policy.features_extractor], agent.observation_space, cache_mb=mb, **settings)

        whole = encoder()(images)
        one_by_one = np.concatenate([encoder(0)(image[None]) for image in images])
        order = np.random.default_rng(1).permutation(12)
        assert np.array_equal(whole, one_by_one)
        assert np.array_equal(encoder(0)(images[order]), whole[order])
        padded = encoder()
        padded._at_once = 8
        others = encoder()
        others._at_once = 8
        assert np.array_equal(padded(images)[9], others(images[9:10])[0])
        with torch.no_grad():
            expected = agent.policy.extract_features(agent.policy.obs_to_tensor(images)[0])
        np.testing.assert_allclose(whole, expected, rtol=1e-4, atol=1e-5)


class Twice(torch.nn.Module):
    """One convolution that is used twice, with a normalisation behind one use."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = torch.nn.Conv2d(3, 3, 3, padding=1)
        self.normalisation = torch.nn.BatchNorm2d(3)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.normalisation(self.convolution(images)) + self.convolution(images + 1)


def test_a_convolution_that_is_used_twice_keeps_its_weights() -> None:
    network = torch.fx.symbolic_trace(Twice())
    with torch.no_grad():
        network.normalisation.running_mean.copy_(torch.tensor([1.0, 2.0, 3.0]))
    space = gym.spaces.Box(0, 255, (3, 8, 8), np.uint8)
    extractor = NetworkExtractor(
        space,
        network=network,
        features_dim=3,
        size=(8, 8),
        resize=None,
        interpolation="bilinear",
        antialias=True,
        mean=(0.0,) * 3,
        std=(1.0,) * 3,
        pool=1,
        blocks={"convolution": ("convolution", "normalisation")},
    )
    encoder = FeatureEncoder([extractor], space, normalize_images=True, device=torch.device("cpu"))
    images = np.random.default_rng(0).integers(0, 256, (2, 3, 8, 8), dtype=np.uint8)
    with torch.no_grad():
        expected = extractor(torch.from_numpy(images) / 255.0)
    np.testing.assert_allclose(encoder(images), expected, rtol=1e-4, atol=1e-5)


class Cameras(Pictures):
    """Pictures and a vector under keys."""

    def __init__(self) -> None:
        super().__init__()
        self.observation_space = gym.spaces.Dict(
            image=gym.spaces.Box(0, 255, (*SIZE, 3), np.uint8),
            place=gym.spaces.Discrete(3),
            speed=gym.spaces.Box(-1, 1, (2,), np.float32),
        )

    def _picture(self) -> Any:
        return {key: space.sample() for key, space in self.observation_space.spaces.items()}

    def step(self, action: Any) -> Any:
        return self._picture(), float(action), False, bool(self.np_random.random() < 0.1), {}


@pytest.mark.parametrize("algo", ["ppo", "dqn"])
def test_under_keys_images_are_encoded_and_the_rest_is_passed_on(algo: str, network: Encoder) -> None:
    agent = agent_of(algo, network, Cameras())
    plan = plan_transfer(network, agent, "frozen")
    transfer = apply_plan(plan, agent)
    seen = {key: np.stack([space.sample() for _ in range(5)]) for key, space in agent.observation_space.spaces.items()}
    policy: Any = agent.policy if algo == "ppo" else agent.policy.q_net
    with torch.no_grad():
        expected = policy.extract_features(policy.obs_to_tensor(seen)[0], policy.features_extractor)
    with features_once(plan, agent) as once:
        np.testing.assert_allclose(once.encoder(seen), expected, rtol=1e-4, atol=1e-5)
        agent.learn(64, callback=transfer.callbacks)
    assert all(check.passed for check in transfer.checks())


def test_an_agent_of_a_keyed_source_is_encoded_by_key(tmp_path: Path) -> None:
    source, agent = (
        make_agent("ppo", Cameras(), policy="MultiInputPolicy", policy_kwargs={"net_arch": [8]}, seed=seed)
        for seed in (1, 0)
    )
    source.save(tmp_path / "source.zip")
    encoder = load_encoder(tmp_path / "source.zip")
    plan = plan_transfer(encoder, agent, "frozen")
    transfer = apply_plan(plan, agent)
    seen = {key: np.stack([space.sample() for _ in range(5)]) for key, space in agent.observation_space.spaces.items()}
    with torch.no_grad():
        expected = agent.policy.extract_features(agent.policy.obs_to_tensor(seen)[0])
    with features_once(plan, agent) as once:
        np.testing.assert_allclose(once.encoder(seen), expected, rtol=1e-4, atol=1e-5)
        agent.learn(64, callback=transfer.callbacks)


@pytest.mark.long
def test_what_is_saved_meanwhile_takes_raw_observations_and_goes_on_learning(network: Encoder, tmp_path: Path) -> None:
    agent = agent_of("ppo", network)
    plan = plan_transfer(network, agent, "frozen")
    transfer = apply_plan(plan, agent)
    images = np.random.default_rng(0).integers(0, 256, (1000, 3, *SIZE), dtype=np.uint8)

    def probabilities(other: Any, seen: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            distribution = other.policy.get_distribution(other.policy.obs_to_tensor(seen)[0])
        numbers: np.ndarray = distribution.distribution.probs.numpy()
        return numbers

    with features_once(plan, agent) as once:
        agent.learn(64, callback=transfer.callbacks)
        acted = probabilities(agent, once.encoder(images))
        with saved_raw(agent):
            agent.save(tmp_path / "agent.zip")
        agent.learn(32, callback=transfer.callbacks, reset_num_timesteps=False)
    agent.learn(32, callback=transfer.callbacks, reset_num_timesteps=False)
    loaded = PPO.load(tmp_path / "agent.zip")
    assert loaded.observation_space.shape == (3, *SIZE)
    np.testing.assert_allclose(probabilities(loaded, images), acted, atol=1e-6)
    moments = loaded.policy.optimizer.state_dict()["state"]
    assert moments
    # It can be trained on by stock SB3.
    loaded.set_env(VecTransposeImage(DummyVecEnv([Pictures])))
    loaded.learn(32)


def memory_of(buffer: Any) -> int:
    return sum(value.nbytes for value in vars(buffer).values() if hasattr(value, "nbytes"))


def test_memory_of_a_replay_buffer_is_that_of_each_feature_once(tmp_path: Path) -> None:
    source = convolutions("sac", tmp_path)
    agent = agent_of("sac", source, buffer_size=100, learning_starts=1000)
    plan = plan_transfer(source, agent, "frozen")
    apply_plan(plan, agent)
    raw = memory_of(agent.replay_buffer)
    assert "buffers hold up to 64 numbers in place of 3x36x36" in features_words(agent)
    with features_once(plan, agent):
        # The source's actor and critic have encoders of their own.
        assert agent.replay_buffer.observations.shape[-1] == 64
        agent.learn(110)
        ends = int(agent.replay_buffer.dones.sum())
        assert ends > 0
        assert agent.replay_buffer.full
        assert agent.replay_buffer.next_observations.nbytes <= (ends + 1) * 64 * 4
        assert memory_of(agent.replay_buffer) * 20 < raw
    assert memory_of(agent.replay_buffer) == raw


@pytest.mark.parametrize(
    "settings",
    [{"n_steps": 2}, {"optimize_memory_usage": True, "replay_buffer_kwargs": {"handle_timeout_termination": False}}],
)
def test_other_replay_buffers_stay_those_of_sb3(settings: Any, tmp_path: Path) -> None:
    source = convolutions("dqn", tmp_path)
    agent = agent_of("dqn", source, **settings)
    kind = type(agent.replay_buffer)
    plan = plan_transfer(source, agent, "frozen")
    transfer = apply_plan(plan, agent)
    with features_once(plan, agent):
        agent.learn(24, callback=transfer.callbacks)
        buffer = agent.replay_buffer
        assert type(buffer) is kind
        assert buffer.observations.dtype == np.float32
        assert buffer.optimize_memory_usage or type(buffer.next_observations) is np.ndarray


def test_a_replay_buffer_goes_on_in_the_middle_of_an_episode(tmp_path: Path) -> None:
    source = convolutions("sac", tmp_path)
    states: list[Any] = []

    def learned(steps: int, state: Any = None) -> Any:
        agent = agent_of("sac", source, buffer_size=40)
        plan = plan_transfer(source, agent, "frozen")
        transfer = apply_plan(plan, agent)
        with features_once(plan, agent):
            agent.learn(0)
            if state is not None:
                load_agent_state_dict(agent, state)
                # Where the environment's state cannot be put back, new episodes begin.
                agent._last_obs = None
            agent.learn(steps, callback=transfer.callbacks, reset_num_timesteps=False)
            states.append(pickle.loads(pickle.dumps(agent_state_dict(agent))))
            return agent.replay_buffer

    def drawn(buffer: Any) -> Any:
        np.random.seed(0)
        return buffer.sample(64)

    first = learned(50)
    assert not first.dones[first.pos - 1].any()
    assert first.dones.any()
    assert all(torch.equal(*pair) for pair in zip(drawn(learned(0, states[0]))[:5], drawn(first)[:5], strict=True))
    # The new episode is not taken for what followed.
    longer = learned(7, states[0])
    rows = np.arange(longer.pos, 40 - 7 + longer.pos) % 40
    places = rows, np.zeros_like(rows), slice(None)
    assert np.array_equal(longer.next_observations[places], first.next_observations[places])


@pytest.mark.parametrize(
    ("strategy", "words"),
    [
        ("finetune", "the agent's are not"),
        ({"kind": "frozen", "layers": 1}, "the agent's are not"),
        (["frozen", AUGMENT], "'augment' needs the observations themselves"),
        (["frozen", "kickstart"], "'kickstart' needs the observations themselves"),
    ],
)
def test_what_needs_images_is_refused_by_name(strategy: Any, words: str, tmp_path: Path) -> None:
    source = convolutions("ppo", tmp_path)
    agent = agent_of("ppo", source)
    plan = plan_transfer(source, agent, strategy)
    with pytest.raises(IncompatibleError, match=words), features_once(plan, agent):
        pass


def test_an_off_policy_agent_under_vecnormalize_is_refused(tmp_path: Path) -> None:
    source = convolutions("dqn", tmp_path)
    env = VecNormalize(VecTransposeImage(DummyVecEnv([Pictures])), norm_obs=False)
    agent = agent_of("dqn", source, env)
    plan = plan_transfer(source, agent, "frozen")
    with pytest.raises(IncompatibleError, match="VecNormalize"), features_once(plan, agent):
        pass


MINIGRID = {"env": "rltransfer_envs:rltransfer/MiniGrid-Empty-v0", "kwargs": {"view": "rgb", "max_steps": 8}}


def minigrid(encoder: Encoder, tmp_path: Path, algo: str = "ppo", **settings: Any) -> Any:
    encoder.save(tmp_path / "network")
    source = str(tmp_path / "network")
    features = settings.pop("features", None)
    config = run_config(
        algo, **MINIGRID, **{"strategy": "frozen", "source": source, "n_timesteps": 64, "episodes": 1, **settings}
    )
    return config.model_copy(update={"features": features})


@pytest.mark.parametrize(
    ("strategy", "features", "once", "words"),
    [
        ("frozen", None, True, "computed once per observation"),
        ("frozen", "recompute", False, "as asked for (features recompute)"),
        (["frozen", AUGMENT], None, False, "'augment' needs the observations themselves"),
        (["finetune"], "once", False, "no encoder of images that is frozen from start to end"),
    ],
)
def test_the_plan_decides_and_says_why(
    strategy: Any, features: Any, once: bool, words: str, network: Encoder, tmp_path: Path
) -> None:
    config = minigrid(network, tmp_path, strategy=strategy, features=features)
    with prepare(config, monitor_folder=None) as prepared:
        assert prepared.learns_on_features == once
        assert prepared.plan is not None
        assert words in " ".join(finding.words for finding in prepared.plan.findings)


def test_once_beside_augmentation_is_refused_by_name(network: Encoder, tmp_path: Path) -> None:
    config = minigrid(network, tmp_path, strategy=["frozen", AUGMENT], features="once")
    with pytest.raises(IncompatibleError, match="'augment' needs"), prepare(config, monitor_folder=None):
        pass


@pytest.mark.parametrize(
    ("algo", "agent_settings"),
    [
        pytest.param("ppo", {}, marks=pytest.mark.long),
        pytest.param("dqn", {}, marks=pytest.mark.long),
        # Of two environments, and full.
        pytest.param("dqn", {"buffer_size": 26}, marks=pytest.mark.long),
    ],
)
def test_a_run_on_features_that_was_interrupted_ends_as_if_it_had_not_been(
    algo: str, agent_settings: Any, network: Encoder, tmp_path: Path
) -> None:
    more = {"policy": "CnnPolicy", "agent": {**SMALL[algo], **agent_settings}}
    n_envs = 2 if "buffer_size" in agent_settings else 1
    config = minigrid(network, tmp_path, algo, hyperparams={**more, "n_envs": n_envs})
    whole = train_run(config, tmp_path / "whole")
    parted, times = interrupted(config, tmp_path / "parted", every(11))
    assert times >= 2
    assert whole.resume_level == parted.resume_level == "exact"
    assert_alike(config, tmp_path / "whole", tmp_path / "parted")
    for name in ("best_model.zip", "rltransfer-MiniGrid-Empty-v0.zip"):
        agent: Any = (PPO if algo == "ppo" else DQN).load(tmp_path / "whole" / name)
        assert agent.observation_space.shape == (3, 56, 56)
        agent.predict(agent.observation_space.sample())


@pytest.mark.long
def test_a_run_that_was_begun_on_images_goes_on_with_them(
    network: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = minigrid(network, tmp_path, "dqn").model_copy(update={"verbose": 1})
    with monkeypatch.context() as earlier:
        earlier.setattr(run, "_features_once", lambda *_: contextlib.nullcontext())
        whole = train_run(config, tmp_path / "whole")
        with pytest.raises(Stopped):
            train_run(config, tmp_path / "parted", stop=every(20))
    capsys.readouterr()
    parted = train_run(config, tmp_path / "parted")
    assert "goes on as it was begun" in capsys.readouterr().out
    assert parted.final == whole.final
    assert_alike(config, tmp_path / "whole", tmp_path / "parted")


def test_the_command_turns_it_off(
    network: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    network.save("network")
    line = "plan --from network --algo ppo --strategy frozen --env rltransfer_envs:rltransfer/MiniGrid-Empty-v0"
    for flags, words in (("", "are computed once per observation"), ("--features recompute", "in every pass")):
        assert main(f"{line} --env-kwargs view:rgb {flags}".split()) in (0, None)
        assert words in " ".join(capsys.readouterr().out.split())
