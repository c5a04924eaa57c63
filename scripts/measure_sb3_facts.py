"""Measures what `docs/sb3_facts.md` says of stock SB3, Gymnasium and torch: ``python scripts/measure_sb3_facts.py``.

Prints a line for each section of that page. Nothing of rltransfer is used.
"""

import contextlib
import copy
import io
import multiprocessing
import os
import pickle
import random
import signal
import tempfile
import time
import warnings
import zipfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from stable_baselines3 import DQN, PPO, SAC, TD3
from stable_baselines3.common.callbacks import EvalCallback
from stable_baselines3.common.save_util import load_from_zip_file
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.utils import polyak_update
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecNormalize

ATTEMPTS = 60


class LoadedExtractor(BaseFeaturesExtractor):
    """An extractor that gives itself weights of 0.5, as one would that loads a source in its constructor."""

    def __init__(self, space: gym.spaces.Box) -> None:
        super().__init__(space, 4)
        self.layer = torch.nn.Linear(space.shape[0], 4)
        torch.nn.init.constant_(self.layer.weight, 0.5)

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        """Returns the layer's output."""
        return torch.as_tensor(self.layer(observations))


class NormalisedExtractor(BaseFeaturesExtractor):
    """An extractor that ends in a batch normalisation and a dropout."""

    def __init__(self, space: gym.spaces.Box) -> None:
        super().__init__(space, 4)
        self.net = torch.nn.Sequential(
            torch.nn.Linear(space.shape[0], 4), torch.nn.BatchNorm1d(4), torch.nn.Dropout(0.5)
        )

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        """Returns the net's output."""
        return torch.as_tensor(self.net(observations))


class Broken(gym.Wrapper[Any, Any, Any, Any]):
    """An environment that gives NaN observations or rewards, or raises, after some steps."""

    def __init__(self, env_id: str, what: str) -> None:
        super().__init__(gym.make(env_id))
        self._what = what
        self._steps = 0

    def step(self, action: Any) -> Any:
        """Steps; breaks at the 20th."""
        observation, reward, terminated, truncated, info = super().step(action)
        self._steps += 1
        if self._steps == 20:
            if self._what == "error":
                raise RuntimeError("broken")
            if self._what == "observation":
                observation = np.full_like(observation, np.nan)
            else:
                reward = float("nan")
        return observation, reward, terminated, truncated, info


def extractor_weights() -> str:
    """Weights that an extractor loads in its constructor."""
    kept = {}
    for kind in (PPO, DQN):
        agent: Any = kind("MlpPolicy", "CartPole-v1", policy_kwargs={"features_extractor_class": LoadedExtractor})
        extractor = agent.policy.features_extractor if kind is PPO else agent.q_net.features_extractor
        kept[kind.__name__] = bool((extractor.layer.weight == 0.5).all())
    return ", ".join(f"{name}: {'kept' if value else 're-initialised'}" for name, value in kept.items())


def layer_rates() -> str:
    """Rates of parameter groups."""
    agent = PPO("MlpPolicy", "CartPole-v1", n_steps=32, batch_size=32, learning_rate=1e-3)
    optimizer = agent.policy.optimizer
    parameters = optimizer.param_groups[0]["params"]
    optimizer.param_groups[0]["params"] = parameters[:2]
    optimizer.add_param_group({"params": parameters[2:], "lr": 1e-5})
    agent.learn(32)
    rates = [group["lr"] for group in optimizer.param_groups]
    agent.save("agent.zip")
    try:
        PPO.load("agent.zip")
        loads = "loads"
    except ValueError as error:
        loads = f"PPO.load raises {type(error).__name__}"
    return f"rates 1e-3 and 1e-5 are {rates} after an update; the zip with two groups: {loads}"


def training_mode() -> str:
    """Statistics of an encoder without gradients."""
    settings: dict[str, Any] = {"features_extractor_class": NormalisedExtractor}
    agent = PPO("MlpPolicy", "CartPole-v1", n_steps=64, batch_size=32, policy_kwargs=settings)
    agent.policy.features_extractor.requires_grad_(False)
    before = copy.deepcopy(agent.policy.features_extractor.state_dict())
    agent.learn(64)
    after = agent.policy.features_extractor.state_dict()
    moved = [name for name in after if not torch.equal(before[name], after[name])]
    return f"moved with requires_grad=False: {', '.join(moved)}"


def requires_grad_is_not_saved() -> str:
    """``requires_grad`` in a zip."""
    agent = PPO("MlpPolicy", "CartPole-v1", n_steps=32, batch_size=32)
    agent.policy.mlp_extractor.requires_grad_(False)
    agent.save("agent.zip")
    loaded = PPO.load("agent.zip")
    trains = all(parameter.requires_grad for parameter in loaded.policy.mlp_extractor.parameters())
    return f"after save and load, frozen layers {'train again' if trains else 'stay frozen'}"


def replaced_parameter() -> str:
    """A parameter that is put in the place of another one."""
    agent = PPO("MlpPolicy", "CartPole-v1", n_steps=32, batch_size=32)
    fresh = torch.nn.Parameter(torch.zeros_like(agent.policy.action_net.weight))
    agent.policy.action_net.weight = fresh
    agent.learn(128)
    return f"moved by {float(fresh.detach().abs().max()):g} in 4 updates"


def target_networks() -> str:
    """Polyak averaging of equal tensors."""
    torch.manual_seed(0)
    values = torch.randn(100_000)
    target = values.clone()
    polyak_update([values], [target], 0.005)
    moved = (values - target).abs()
    share = float((moved > 0).float().mean())
    agent = PPO("MlpPolicy", "CartPole-v1")
    shared = agent.policy.features_extractor is agent.policy.pi_features_extractor
    return f"{share:.1%} of equal entries move, by at most {float(moved.max()):.1e}; PPO's extractors are one: {shared}"


def exploration_after_load() -> str:
    """The exploration of a loaded agent."""
    settings: dict[str, Any] = {"learning_starts": 50, "buffer_size": 1000}
    dqn = DQN("MlpPolicy", "CartPole-v1", exploration_final_eps=0.05, **settings).learn(300)
    dqn.save("dqn.zip")
    loaded = DQN.load("dqn.zip", env=gym.make("CartPole-v1"))
    rates: list[float] = []

    def note(local: dict[str, Any], _: dict[str, Any]) -> bool:
        rates.append(local["self"].exploration_rate)
        return True

    loaded.learn(300, callback=note)
    SAC("MlpPolicy", "Pendulum-v1", **settings).learn(100).save("sac.zip")
    sac = SAC.load("sac.zip", env=gym.make("Pendulum-v1"))
    drawn, sample = [], sac.action_space.sample
    sac.action_space.sample = lambda: drawn.append(1) or sample()  # type: ignore[method-assign, func-returns-value]
    sac.learn(100)
    return (
        f"DQN's epsilon {dqn.exploration_rate:.2f} when saved, {rates[1]:.2f} after a step of the loaded agent; "
        f"SAC draws {len(drawn)} of 100 actions at random with learning_starts=50"
    )


def statistics_in_a_zip() -> str:
    """What a zip holds of VecNormalize."""
    env = VecNormalize(DummyVecEnv([lambda: gym.make("CartPole-v1")]))
    PPO("MlpPolicy", env, n_steps=32, batch_size=32).learn(32).save("agent.zip")
    data, params, variables = load_from_zip_file("agent.zip")
    names = [*(data or {}), *params, *(variables or {})]
    held = [name for name in names if "rms" in name or "_vec_normalize" in name]
    return f"entries of the zip that hold statistics: {held}"


def normaliser_pickle() -> str:
    """What the pickle of VecNormalize drops."""
    env = VecNormalize(DummyVecEnv([lambda: gym.make("CartPole-v1")]))
    env.reset()
    env.step([0])
    env.save("vecnormalize.pkl")
    loaded = VecNormalize.load("vecnormalize.pkl", DummyVecEnv([lambda: gym.make("CartPole-v1")]))
    return f"returns {env.returns.tolist()} before, {loaded.returns.tolist()} after"


def evaluation_callback() -> str:
    """Where ``EvalCallback`` evaluates, and what VecNormalize can hold."""
    env = DummyVecEnv([lambda: gym.make("CartPole-v1")] * 4)
    callback = EvalCallback(gym.make("CartPole-v1"), eval_freq=8, n_eval_episodes=1, verbose=0, log_path=".")
    PPO("MlpPolicy", env, n_steps=16, batch_size=32).learn(128, callback=callback)
    flags = [name for name in vars(VecNormalize(env)) if name.startswith("training")]
    return f"eval_freq=8 with 4 environments: at {callback.evaluations_timesteps}; VecNormalize's flags: {flags}"


def pickles_in_a_zip() -> str:
    """Where pickles are in a zip."""
    PPO("MlpPolicy", "CartPole-v1").save("agent.zip")
    with zipfile.ZipFile("agent.zip") as archive:
        serialized = [name for name in archive.namelist() if b":serialized:" in archive.read(name)]
        for name in archive.namelist():
            if name.endswith(".pth"):
                torch.load(io.BytesIO(archive.read(name)), weights_only=True)
    load_from_zip_file("agent.zip", load_data=False)
    return f"pickles in: {', '.join(serialized)}; every .pth member loads with weights_only=True"


class _Payload:
    def __reduce__(self) -> Any:
        return Path.touch, (Path("ran"),)


def unpickling() -> str:
    """What a pickle in the place of statistics does."""
    Path("vecnormalize.pkl").write_bytes(pickle.dumps(_Payload()))
    with contextlib.suppress(Exception):
        VecNormalize.load("vecnormalize.pkl", DummyVecEnv([lambda: gym.make("CartPole-v1")]))
    return f"VecNormalize.load ran the code in the file: {Path('ran').exists()}"


def damaged_zips() -> str:
    """Truncated zips."""
    PPO("MlpPolicy", "CartPole-v1").save("agent.zip")
    content = Path("agent.zip").read_bytes()
    rng = random.Random(0)
    outcomes: dict[str, int] = {}
    for _ in range(ATTEMPTS):
        Path("cut.zip").write_bytes(content[: rng.randrange(len(content))])
        try:
            data, params, variables = load_from_zip_file("cut.zip")
            outcome = "empty, no error" if not (data or params or variables) else "read"
        except Exception as error:
            outcome = type(error).__name__
        outcomes[outcome] = outcomes.get(outcome, 0) + 1
    return f"of {ATTEMPTS} truncated zips: {outcomes}"


def _save_for_ever() -> None:
    agent = PPO("MlpPolicy", "CartPole-v1", policy_kwargs={"net_arch": [2048, 2048]})
    while True:
        agent.save("kept.zip")


def killed_save() -> str:
    """A process that is killed while SB3 saves over a file."""
    destroyed = 0
    for delay in (0.2, 0.35, 0.5, 0.65, 0.8, 0.95):
        Path("kept.zip").unlink(missing_ok=True)
        process = multiprocessing.get_context("fork").Process(target=_save_for_ever)
        process.start()
        while not Path("kept.zip").exists():
            time.sleep(0.01)
        time.sleep(delay)
        os.kill(int(process.pid or 0), signal.SIGKILL)
        process.join()
        try:
            destroyed += not load_from_zip_file("kept.zip")[1]
        except Exception:
            destroyed += 1
    return f"{destroyed} of 6 files were lost"


def not_a_number() -> str:
    """NaN rewards and observations."""
    outcomes = []
    small: dict[str, Any] = {"learning_starts": 10, "buffer_size": 200}
    for kind, env_id, settings in (
        (PPO, "CartPole-v1", {"n_steps": 32, "batch_size": 32}),
        (DQN, "CartPole-v1", small),
        (SAC, "Pendulum-v1", small),
        (TD3, "Pendulum-v1", small),
    ):
        agent: Any = kind("MlpPolicy", Broken(env_id, "reward"), **settings)
        try:
            agent.learn(200)
            bad = any(not torch.isfinite(value).all() for value in agent.policy.state_dict().values())
            outcomes.append(f"{kind.__name__} finishes with {'NaN' if bad else 'finite'} weights")
        except ValueError:
            outcomes.append(f"{kind.__name__} raises ValueError")
    env = VecNormalize(DummyVecEnv([lambda: Broken("CartPole-v1", "observation")]))
    env.reset()
    for _ in range(100):
        env.step([0])
    poisoned = bool(np.isnan(env.obs_rms.mean).any())
    return f"NaN reward: {', '.join(outcomes)}; after one NaN observation VecNormalize's mean stays NaN: {poisoned}"


def raising_worker() -> str:
    """An environment that raises in a process of its own."""
    env = SubprocVecEnv([lambda: Broken("CartPole-v1", "error")] * 2, start_method="fork")
    env.reset()
    error = "nothing"
    try:
        for _ in range(30):
            env.step([0, 0])
    except Exception as raised:
        error = f"{type(raised).__name__}({raised})"
    for process in env.processes:
        process.join(1)
    return f"raises {error}"


MEASURED: dict[str, Callable[[], str]] = {
    "Initialisation": extractor_weights,
    "Learning rates": layer_rates,
    "Training mode": training_mode,
    "Freezing": requires_grad_is_not_saved,
    "Replaced parameters": replaced_parameter,
    "Target networks": target_networks,
    "Exploration": exploration_after_load,
    "Observation statistics": statistics_in_a_zip,
    "Returns": normaliser_pickle,
    "Evaluation": evaluation_callback,
    "Pickles": pickles_in_a_zip,
    "Unpickling": unpickling,
    "Damaged zips": damaged_zips,
    "Saving": killed_save,
    "NaN": not_a_number,
    "Workers": raising_worker,
}


def main() -> None:
    """Prints what was measured."""
    packages = ("stable-baselines3", "gymnasium", "torch", "numpy")
    print(", ".join(f"{name} {version(name)}" for name in packages))
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    for title, measure in MEASURED.items():
        with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
            print(f"{title}: {measure()}")


if __name__ == "__main__":
    main()
