"""Any agent that SB3 saved is read in full, and an agent like it can be built from what its zip tells."""

import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from agents import ENVS, STEPS, Images, encoder_of, make_agent, weights
from sb3_contrib import ARS, TQC
from stable_baselines3 import DQN, PPO, SAC
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecNormalize

from rltransfer import Encoder, Frozen, Full, apply_plan, load_encoder, plan_transfer
from rltransfer.anatomy import agent_tensors, anatomy_of_agent
from rltransfer.artifact import policy_kwargs_of
from rltransfer.errors import IncompatibleError, SourceError

FIXTURES = Path(__file__).parents[3] / "shared" / "fixtures" / "rl-zoo-agents"
SOFT = [{"net_arch": {"pi": [6], "qf": [8, 5]}, "n_critics": 3}, {"net_arch": [7, 7], "activation_fn": torch.nn.Tanh}]
LAYERS = [{"net_arch": [6]}, {"net_arch": [8, 5, 4], "activation_fn": torch.nn.ELU}]
BRANCHED = [{"net_arch": {"pi": [6], "vf": [8, 5]}}, *LAYERS]
ARCHITECTURES: dict[str, list[dict[str, Any]]] = {
    **dict.fromkeys(("ppo", "a2c", "trpo", "maskable_ppo"), BRANCHED),
    "ppo_lstm": [
        {"net_arch": [6], "lstm_hidden_size": 5, "n_lstm_layers": 2},
        {"net_arch": {"pi": [6], "vf": [4]}, "lstm_hidden_size": 5, "shared_lstm": True, "enable_critic_lstm": False},
        {"net_arch": [6], "lstm_hidden_size": 5, "enable_critic_lstm": False},
    ],
    "dqn": LAYERS,
    "qrdqn": [{"net_arch": [6], "n_quantiles": 7}, *LAYERS],
    **dict.fromkeys(("sac", "td3", "ddpg"), SOFT),
    "tqc": [*SOFT, {"net_arch": [6], "n_quantiles": 7, "n_critics": 4}],
    "crossq": [*SOFT, {"net_arch": [6], "batch_norm": False}],
    "ars": [{"net_arch": [6, 4]}, {"net_arch": [5], "with_bias": False}],
}
for _algo in STEPS:
    ARCHITECTURES.setdefault(_algo, LAYERS)


def shapes(agent: BaseAlgorithm) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in agent_tensors(agent).items()}


def like(encoder: Encoder, env: Any, policy: str = "MlpPolicy", **settings: Any) -> BaseAlgorithm:
    """Returns an agent with the source's architecture."""
    return make_agent(encoder.algo, env, policy=policy, policy_kwargs=policy_kwargs_of(encoder), **settings)


@pytest.mark.parametrize(("algo", "number"), [(algo, n) for algo in STEPS for n in range(len(ARCHITECTURES[algo]))])
def test_an_agent_is_read_in_full_and_built_again(algo: str, number: int, tmp_path: Path) -> None:
    agent = make_agent(algo, seed=7, policy_kwargs=dict(ARCHITECTURES[algo][number]))
    encoder = encoder_of(agent, tmp_path)
    assert encoder.algo == algo
    assert encoder.observation_space == agent.observation_space
    assert encoder.action_space == agent.action_space
    anatomy = anatomy_of_agent(agent)
    assert encoder.anatomy.layers == anatomy.online
    assert encoder.anatomy.activation == anatomy.activation or algo == "ars"
    live = agent_tensors(agent)
    assert set(encoder.tensors) == {name for layer in anatomy.online for name in layer.tensors}
    assert all(torch.equal(tensor, live[name]) for name, tensor in encoder.tensors.items())
    assert shapes(like(encoder, None)) == shapes(agent)


@pytest.mark.parametrize("algo", ["ppo", "dqn", "sac"])
@pytest.mark.parametrize("shared", [True, False])
def test_the_architecture_of_a_network_for_images_is_told(algo: str, shared: bool, tmp_path: Path) -> None:
    class Steered(Images):
        def __init__(self) -> None:
            super().__init__()
            self.action_space = gym.spaces.Box(-1.0, 1.0, (1,), np.float32)

    env = Steered() if algo == "sac" else Images()
    kwargs: dict[str, Any] = {"features_extractor_kwargs": {"features_dim": 12}, "net_arch": [5]}
    kwargs |= {} if algo == "dqn" else {"share_features_extractor": shared}
    agent = make_agent(algo, env, policy="CnnPolicy", policy_kwargs=kwargs)
    assert shapes(like(encoder_of(agent, tmp_path), env, "CnnPolicy")) == shapes(agent)


def test_a_linear_agent_has_an_empty_encoder_and_says_so(tmp_path: Path) -> None:
    ARS("LinearPolicy", "CartPole-v1", n_delta=2, seed=0).save(tmp_path / "agent.zip")
    encoder = load_encoder(tmp_path / "agent.zip")
    assert [layer.role for layer in encoder.anatomy.layers] == ["head"]
    with pytest.raises(IncompatibleError, match="linear agent of ars: it has no feature layers"):
        plan_transfer(encoder, make_agent("ppo"), Frozen())


def test_the_layers_of_ars_go_into_another_agent(tmp_path: Path) -> None:
    source = make_agent("ars", seed=7, policy_kwargs={"net_arch": [8, 8]})
    target = make_agent("ppo", policy_kwargs={"net_arch": [8, 8], "activation_fn": torch.nn.ReLU})
    apply_plan(plan_transfer(encoder_of(source, tmp_path), target, Frozen()), target)
    assert torch.equal(weights(target)["mlp_extractor.value_net.2.weight"], weights(source)["action_net.2.weight"])


class Blank(gym.Env[Any, Any]):
    """An environment that has spaces and does nothing."""

    def __init__(self, observation_space: Any, action_space: Any) -> None:
        self.observation_space, self.action_space = observation_space, action_space

    def reset(self, **_: Any) -> Any:
        return gym.vector.utils.create_empty_array(self.observation_space, n=None, fn=np.zeros), {}

    def step(self, action: Any) -> Any:
        return self.reset()[0], 0.0, True, False, {}


def by_key(function: Any, first: Any, *others: Any) -> Any:
    """Returns what a function makes of values; of dictionaries, key by key."""
    if not isinstance(first, dict | gym.spaces.Dict):
        return function(first, *others)
    return {key: function(value, *(other[key] for other in others)) for key, value in first.items()}


def _normalised(observations: np.ndarray, statistics: Any) -> np.ndarray:
    return np.clip((observations - statistics.mean) / np.sqrt(statistics.var + 1e-8), -10.0, 10.0).astype(np.float32)


def assert_full_equals_the_stock_load(path: Path, stock: Mapping[str, type[BaseAlgorithm]]) -> Encoder:
    """Checks 1,000 observations; what was normalised sees them through its own statistics on both sides."""
    encoder = load_encoder(path)
    env: VecEnv = DummyVecEnv([lambda: Blank(encoder.observation_space, encoder.action_space)])
    if encoder.normaliser is not None:
        env = VecNormalize(env)
    policy = "MultiInputPolicy" if isinstance(encoder.observation_space, gym.spaces.Dict) else "MlpPolicy"
    explores_by_state = {"use_sde": True} if encoder.hyperparams.get("use_sde") else {}
    agent = like(encoder, env, policy, **explores_by_state)
    before = weights(agent)
    assert apply_plan(plan_transfer(encoder, agent, Full()), agent).checks()[0].passed
    assert all(not torch.equal(before[name], tensor) for name, tensor in weights(agent).items() if "weight" in name)
    spaces = {"observation_space": encoder.observation_space, "action_space": encoder.action_space}
    zip_path = path if path.is_file() else next(path.glob("*.zip"))
    schedules = dict.fromkeys(("learning_rate", "lr_schedule", "clip_range", "exploration_schedule"), lambda _: 0.0)
    # HER's buffer wants an environment, and none is needed to act.
    buffers = {"replay_buffer_class": None, "replay_buffer_kwargs": {}, "buffer_size": 1}
    loaded = stock[encoder.algo].load(zip_path, device="cpu", custom_objects={**spaces, **schedules, **buffers})
    rng = np.random.default_rng(0)
    observations = by_key(
        lambda space: rng.normal(size=(1000, *space.shape)).astype(np.float32), encoder.observation_space
    )
    seen = expected = observations
    if isinstance(env, VecNormalize):
        expected = by_key(_normalised, observations, encoder.normaliser.observation)
        seen = env.normalize_obs(observations)
        assert by_key(
            lambda running, statistics: np.array_equal(running.mean, statistics.mean),
            env.obs_rms,
            encoder.normaliser.observation,
        )
    assert np.array_equal(agent.predict(seen, deterministic=True)[0], loaded.predict(expected, deterministic=True)[0])
    return encoder


STOCK: dict[str, type[BaseAlgorithm]] = {"ppo": PPO, "dqn": DQN, "sac": SAC, "tqc": TQC}


# SB3's own words about DQN agents of before 2.4, whose optimizer it cuts.
@pytest.mark.filterwarnings("ignore:You are probably loading a DQN model saved with SB3 < 2.4.0:UserWarning")
@pytest.mark.skipif(not FIXTURES.is_dir(), reason=f"no public agents at {FIXTURES.name}")
@pytest.mark.parametrize(
    "name", sorted(path.name for path in FIXTURES.glob("*.zip")) if FIXTURES.is_dir() else ["none"]
)
def test_a_public_agent_acts_as_it_does_in_stock_sb3(name: str, tmp_path: Path) -> None:
    algo, run, file = name.split("__")
    folder = tmp_path / algo / run
    env = file.removesuffix(".zip")
    (folder / env).mkdir(parents=True)
    shutil.copyfile(FIXTURES / name, folder / file)
    statistics = [
        *FIXTURES.glob(f"{algo}_{run}_*vecnormalize.pkl"),
        *FIXTURES.glob(f"{algo}__{run}__*vecnormalize.pkl"),
    ]
    for path in statistics:
        shutil.copyfile(path, folder / env / "vecnormalize.pkl")
    encoder = assert_full_equals_the_stock_load(folder, STOCK)
    assert (encoder.normaliser is not None) == bool(statistics)
    assert encoder.source.env_steps


ZOO_CONFIG = """!!python/object/apply:collections.OrderedDict
- - - normalize
    - true
  - - policy
    - MlpPolicy
  - - policy_kwargs
    - dict(net_arch=[8, 8])
"""
ZOO_ARGUMENTS = """!!python/object/apply:collections.OrderedDict
- - - algo
    - ppo
  - - env
    - MountainCar-v0
  - - env_kwargs
    - goal_velocity: 0.01
  - - seed
    - 3
"""


@pytest.fixture
def zoo(tmp_path: Path) -> Path:
    """A run folder as RL Zoo leaves it: one agent, its statistics, its settings."""
    env = VecNormalize(DummyVecEnv([lambda: gym.make("MountainCar-v0")]))
    agent = PPO("MlpPolicy", env, seed=7, n_steps=64, policy_kwargs={"net_arch": [8, 8]}, device="cpu").learn(64)
    folder = tmp_path / "ppo" / "MountainCar-v0_1"
    (folder / "MountainCar-v0").mkdir(parents=True)
    agent.save(folder / "MountainCar-v0.zip")
    env.save(str(folder / "MountainCar-v0" / "vecnormalize.pkl"))
    (folder / "MountainCar-v0" / "config.yml").write_text(ZOO_CONFIG)
    (folder / "MountainCar-v0" / "args.yml").write_text(ZOO_ARGUMENTS)
    return folder


def test_a_run_folder_of_rl_zoo_is_a_source_with_all_that_lies_in_it(zoo: Path) -> None:
    encoder = assert_full_equals_the_stock_load(zoo, STOCK)
    assert encoder.source.which == "last"
    assert encoder.source.task is not None
    assert (encoder.source.task.env, encoder.source.task.kwargs) == ("MountainCar-v0", {"goal_velocity": 0.01})
    assert encoder.hyperparams["normalize"] is True
    assert encoder.hyperparams["policy_kwargs"] == "dict(net_arch=[8, 8])"
    alone = load_encoder(zoo / "MountainCar-v0.zip")
    assert alone.normaliser is not None
    assert alone.source.task == encoder.source.task


def test_the_best_agent_is_preferred_and_two_others_are_a_question(zoo: Path) -> None:
    shutil.copyfile(zoo / "MountainCar-v0.zip", zoo / "best_model.zip")
    assert load_encoder(zoo).source.which == "best"
    (zoo / "best_model.zip").rename(zoo / "one.zip")
    (zoo / "MountainCar-v0.zip").rename(zoo / "two.zip")
    with pytest.raises(SourceError, match=r"has no best_model\.zip.*It holds: one\.zip, two\.zip"):
        load_encoder(zoo)


def test_the_earliest_format_of_sb3_is_read(tmp_path: Path) -> None:
    agent = make_agent("sac", seed=7)
    agent.save(tmp_path / "new.zip")
    with zipfile.ZipFile(tmp_path / "new.zip") as new, zipfile.ZipFile(tmp_path / "old.zip", "w") as old:
        for name in new.namelist():
            if name in ("data", "policy.pth", "pytorch_variables.pth"):
                old.writestr(name.replace("pytorch_variables", "tensors"), new.read(name))
    encoder = load_encoder(tmp_path / "old.zip")
    assert torch.equal(encoder.tensors["log_ent_coef"], agent.log_ent_coef)
    assert encoder.tensors.keys() == load_encoder(tmp_path / "new.zip").tensors.keys()
    target = make_agent("sac")
    apply_plan(plan_transfer(encoder, target, Full()), target)
    seen = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
    assert np.array_equal(target.predict(seen, deterministic=True)[0], agent.predict(seen, deterministic=True)[0])


@pytest.mark.parametrize("missing", ["data", "policy.pth", "pytorch_variables.pth", "_stable_baselines3_version"])
def test_a_zip_that_lost_a_member_is_not_taken_for_an_old_one(missing: str, tmp_path: Path) -> None:
    make_agent("sac").save(tmp_path / "new.zip")
    with zipfile.ZipFile(tmp_path / "new.zip") as new, zipfile.ZipFile(tmp_path / "cut.zip", "w") as cut:
        for name in new.namelist():
            if name != missing:
                cut.writestr(name, new.read(name))
    with pytest.raises(SourceError, match=f"lacks {missing}: is it an SB3 agent"):
        load_encoder(tmp_path / "cut.zip")


def test_env_names_are_those_of_the_table() -> None:
    assert set(ENVS) == set(ARCHITECTURES)
