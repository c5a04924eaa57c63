"""Every algorithm trains as a run, and is a source for another run of it."""

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from runs import SMALL, pretrained, run_config

from rltransfer import load_encoder
from rltransfer.errors import IncompatibleError, MissingExtraError
from rltransfer.training import agents, train_run


class OnlyOneIsValid(gym.Env[np.ndarray, Any]):
    """Ends with reward -1 at an action that is not the valid one, which it tells; rewards the valid one with 1."""

    observation_space = gym.spaces.Box(0.0, 1.0, (2,), np.float32)
    action_space = gym.spaces.Discrete(5)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed, options=options)
        self._steps = 0
        return self._next(), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self._steps += 1
        if action != self._valid:
            return self._next(), -1.0, True, False, {}
        return self._next(), 1.0, self._steps == 8, False, {}

    def action_masks(self) -> np.ndarray:
        return np.arange(5) == self._valid

    def _next(self) -> np.ndarray:
        self._valid = int(self.np_random.integers(5))
        return self.np_random.random(2, dtype=np.float32)


if "OnlyOneIsValid-v0" not in gym.registry:
    gym.register("OnlyOneIsValid-v0", entry_point=OnlyOneIsValid)


@pytest.mark.parametrize(
    "algo",
    [pytest.param(algo, marks=[pytest.mark.long] * (algo in ("ddpg", "td3", "tqc", "crossq"))) for algo in SMALL],
)
def test_the_same_settings_twice_give_the_same_curve(algo: str, tmp_path: Path) -> None:
    records = [pretrained(tmp_path / name, algo, n_timesteps=64) for name in "ab"]
    contents = [(tmp_path / name / "evaluations.npz").read_bytes() for name in "ab"]
    assert contents[0] == contents[1]
    assert records[0].final == records[1].final


@pytest.mark.parametrize("algo", [algo for algo in SMALL if algo != "ars"])
def test_an_agent_of_each_algorithm_is_a_source_for_another(algo: str, tmp_path: Path) -> None:
    pretrained(tmp_path / "source", algo, n_timesteps=64)
    config = run_config(algo, strategy="frozen", source=str(tmp_path / "source"), n_timesteps=64)
    record = train_run(config, tmp_path / "target")
    assert record.status == "done"
    assert all(check.passed for check in record.checks)
    source, target = load_encoder(tmp_path / "source"), load_encoder(tmp_path / "target", "last")
    frozen = [name for layer in source.anatomy.layers if layer.role == "encoder" for name in layer.tensors]
    assert frozen
    assert all(np.array_equal(source.tensors[name], target.tensors[name]) for name in frozen)


def test_an_agent_without_a_gradient_is_no_target(tmp_path: Path) -> None:
    with pytest.raises(IncompatibleError, match="ARS changes its weights without a gradient"):
        train_run(run_config("ars"), tmp_path)


def test_masks_hold_in_training_and_in_every_evaluation(tmp_path: Path) -> None:
    config = run_config("maskable_ppo", env="OnlyOneIsValid-v0")
    record = train_run(config, tmp_path)
    for episodes in (record.random, record.initial, record.final, record.best):
        assert episodes is not None
        assert set(episodes.episode_returns) == {8.0}
    rewards = [line.split(",")[0] for line in (tmp_path / "0.monitor.csv").read_text().splitlines()[2:]]
    assert set(rewards) == {"8.0"}


def test_without_sb3_contrib_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "sb3_contrib", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'rltransfer\[contrib\]'"):
        agents.agent_class("tqc")
    assert agents.agent_class("td3").__name__ == "TD3"
