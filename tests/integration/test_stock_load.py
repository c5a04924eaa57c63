"""What runs leave loads in stock SB3 where rltransfer is not installed: one fresh process for all of it."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from agents import encoder_of, make_agent
from runs import pretrained, run_config
from stable_baselines3 import PPO

from rltransfer import (
    EWC,
    Finetune,
    Frozen,
    Full,
    JumpStart,
    Kickstart,
    L2Init,
    LoRA,
    RandomFrozen,
    ReDo,
    Rescaled,
    Scratch,
    Shuffled,
    apply_plan,
    plan_transfer,
    progressive_kwargs,
)
from rltransfer.extractors import SmallCNN
from rltransfer.strategies import strategy_label
from rltransfer.training import train_run

STRATEGIES = [
    Scratch(),
    Full(),
    Finetune(lr_scale=0.5),
    Frozen(),
    RandomFrozen(),
    Rescaled(),
    Shuffled(of=Frozen()),
    [Full(), EWC(states="target", steps=8)],
    [Finetune(), L2Init(), ReDo(threshold=0.5)],
    [JumpStart(horizon=3, episodes=1), Kickstart(episodes=1)],
    LoRA(),
]
READER = """
import json, sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("rltransfer", "rltransfer_envs", "agents", "runs"):
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Absent())
try:
    import rltransfer
except ModuleNotFoundError:
    pass
else:
    sys.exit("rltransfer is there")

import gymnasium as gym
import stable_baselines3
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

told = {}
for path, kind, observation in json.loads(sys.stdin.read()):
    if kind == "normaliser":
        env = VecNormalize.load(path, DummyVecEnv([lambda: gym.make("CartPole-v1")]))
        env.reset()
        env.step([0])
        told[path] = env.obs_rms.mean.tolist()
        continue
    agent = getattr(stable_baselines3, kind).load(path, device="cpu")
    space = agent.observation_space
    action, _ = agent.predict(space.sample() * 0 + observation, deterministic=True)
    told[path] = action.tolist()
    if path.endswith("columns.zip") and len(space.shape) == 1:
        # The class of the columns comes out of the zip: it trains on here, and the sources' layers stay.
        agent.set_env(gym.make("Pendulum-v1" if agent.action_space.shape else "CartPole-v1"))
        before = {name: one.clone() for name, one in agent.policy.state_dict().items()}
        agent.learn(40)
        now = agent.policy.state_dict()
        columns = [name for name in now if ".columns." in name and "_target" not in name]
        assert columns and all((now[name] == before[name]).all() for name in columns)
        assert not all((now[name] == before[name]).all() for name in now if ".laterals." in name)
print(json.dumps(told))
"""


class Symbols(gym.Env[np.ndarray, Any]):
    """Random symbols on a 7x7 board, as MiniGrid's view."""

    observation_space = gym.spaces.Box(0, 10, (3, 7, 7), np.uint8)
    action_space = gym.spaces.Discrete(3)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed, options=options)
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        return self.observation_space.sample(), 1.0, bool(self.np_random.random() < 0.1), False, {}


def trained_with_each_strategy(algo: str, folder: Path, **settings: Any) -> list[tuple[Path, Any]]:
    """Returns zips of agents that each strategy has trained, with the agents."""
    folder.mkdir()
    encoder = encoder_of(make_agent(algo, seed=7, **settings).learn(32), folder)
    made = []
    for strategy in STRATEGIES:
        agent = make_agent(algo, **settings)
        transfer = apply_plan(plan_transfer(encoder, agent, strategy), agent)
        agent.learn(32, callback=transfer.callbacks)
        path = folder / f"{strategy_label(transfer.plan.strategy)}.zip"
        agent.save(path)
        made.append((path, agent))
    return made


def trained_with_columns(algo: str, folder: Path, **settings: Any) -> tuple[Path, Any]:
    """Returns the zip of an agent with progressive columns, with the agent."""
    kwargs = settings.pop("policy_kwargs", {"net_arch": [8, 8]})
    encoder = encoder_of(make_agent(algo, seed=7, policy_kwargs=dict(kwargs), **settings).learn(32), folder)
    agent = make_agent(algo, policy_kwargs=progressive_kwargs(encoder, algo, kwargs), **settings)
    transfer = apply_plan(plan_transfer(encoder, agent, "progressive"), agent)
    agent.learn(32, callback=transfer.callbacks)
    agent.save(folder / "columns.zip")
    return folder / "columns.zip", agent


def run_with_every_file(folder: Path) -> list[Path]:
    """Trains a frozen arm on normalised observations, with checkpoints."""
    normalised = {"normalize": True}
    pretrained(folder / "source", hyperparams=normalised)
    config = run_config(strategy="frozen", source=str(folder / "source"), hyperparams=normalised, save_freq=48)
    train_run(config, folder / "frozen")
    return sorted(path for path in (folder / "frozen").rglob("*") if path.suffix in (".zip", ".pkl"))


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What stock SB3 says to each file, what was expected, and the files of the run."""
    root = tmp_path_factory.mktemp("stock")
    board = {
        "env": Symbols(),
        "policy": "CnnPolicy",
        "policy_kwargs": {"features_extractor_class": SmallCNN, "normalize_images": False, "net_arch": [8]},
    }
    made = [(path, algo.upper(), agent) for algo in ("ppo", "sac", "dqn")
            for path, agent in trained_with_each_strategy(algo, root / algo)]  # fmt: skip
    made += [(path, "PPO", agent) for path, agent in trained_with_each_strategy("ppo", root / "board", **board)]
    made += [(path, algo.upper(), agent) for algo in ("ppo", "sac", "dqn")
             for path, agent in [trained_with_columns(algo, root / algo)]]  # fmt: skip
    made += [(path, "PPO", agent) for path, agent in [trained_with_columns("ppo", root / "board", **board)]]
    files = run_with_every_file(root)
    jobs: list[tuple[str, str, int]] = [(str(path), kind, 1) for path, kind, _ in made]
    jobs += [(str(path), "PPO" if path.suffix == ".zip" else "normaliser", 1) for path in files]
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", READER],
        input=json.dumps(jobs), capture_output=True, text=True, cwd=root, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    expected = {}
    for path, _, agent in made:
        observation = np.ones(agent.observation_space.shape, agent.observation_space.dtype)
        expected[str(path)] = agent.predict(observation, deterministic=True)[0].tolist()
    return json.loads(done.stdout), expected, files


def test_each_strategy_of_each_algorithm_loads_and_acts_as_before(told: Any) -> None:
    answers, expected, _ = told
    assert len(expected) == 4 * (len(STRATEGIES) + 1)
    for path, action in expected.items():
        assert answers[path] == pytest.approx(action, abs=1e-6), path


def test_every_agent_and_normaliser_of_a_run_loads(told: Any) -> None:
    answers, _, files = told
    assert {path.name for path in files} == {
        "CartPole-v1.zip",
        "best_model.zip",
        "best_model_vecnormalize.pkl",
        "rl_model_48_steps.zip",
        "rl_model_96_steps.zip",
        "rl_model_vecnormalize_48_steps.pkl",
        "rl_model_vecnormalize_96_steps.pkl",
        "vecnormalize.pkl",
    }
    statistics = [answers[str(path)] for path in files if path.suffix == ".pkl"]
    assert all(len(mean) == 4 and any(mean) for mean in statistics)


def test_what_is_loaded_trains_on_in_stock_sb3(told: Any) -> None:
    _, _, files = told
    (path,) = [path for path in files if path.name == "best_model.zip"]
    agent = PPO.load(path, env=gym.make("CartPole-v1"), device="cpu")
    before = agent.policy.mlp_extractor.policy_net[0].weight.detach().clone()
    agent.learn(16)
    assert not bool((agent.policy.mlp_extractor.policy_net[0].weight == before).all())
