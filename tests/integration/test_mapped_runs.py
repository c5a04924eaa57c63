"""Runs and studies whose target has other observations or actions than the source, from the settings to the zip."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from runs import pretrained, run_config
from stable_baselines3 import PPO
from undrawn import no_figures  # noqa: F401

from rltransfer import load_encoder, run_study
from rltransfer.config import read_study
from rltransfer.errors import ConfigError, IncompatibleError
from rltransfer.extractors import LinearAdapter
from rltransfer.hyperparams import Hyperparameters
from rltransfer.records import read_record
from rltransfer.training import train_run
from rltransfer.transfer import read_plan

CARTPOLE = "rltransfer_envs:rltransfer/CartPole-v0"


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("source")
    pretrained(folder, n_timesteps=64)
    return folder


def test_a_run_follows_its_maps(source: Path, tmp_path: Path) -> None:
    config = run_config(
        env=CARTPOLE,
        kwargs={"distractors": 1, "swap_actions": True},
        strategy={"kind": "full", "critic_warmup_steps": 32},
        source=str(source),
        inputs={"map": [0, 1, 2, 3, None]},
        actions=[1, 0],
    )
    record = train_run(config, tmp_path)
    assert all(check.passed for check in record.checks)
    plan = read_plan(tmp_path / "rltransfer" / "plan.json")
    assert {entry.rows for entry in plan.entries if entry.layer == "action_net"} == {(1, 0)}
    assert plan.critic_warmup_steps == 32
    assert record.initial is not None
    # The maps keep the function: sampled actions of the first evaluation score as the source's do.
    assert load_encoder(tmp_path, "last").observation_space.shape == (5,)


@pytest.mark.parametrize("strategy", ["frozen", "finetune"])
def test_an_adapter_is_learned_in_front_of_the_sources_encoder(strategy: str, source: Path, tmp_path: Path) -> None:
    config = run_config(
        env="ShortPendulum-v0", strategy=strategy, source=str(source), inputs={"adapter": 4}, episodes=1, n_timesteps=64
    )
    record = train_run(config, tmp_path / "run")
    assert all(check.passed for check in record.checks)
    source_encoder, target_encoder = load_encoder(source), load_encoder(tmp_path / "run", "last")
    layer = "mlp_extractor.policy_net.2.weight"
    assert torch.equal(target_encoder.tensors[layer], source_encoder.tensors[layer]) == (strategy == "frozen")
    adapter = next(layer for layer in target_encoder.anatomy.layers if layer.role == "adapter")
    assert [tuple(target_encoder.tensors[name].shape) for name in adapter.tensors] == [(4, 3), (4,)]
    plan = read_plan(tmp_path / "run" / "rltransfer" / "plan.json")
    entries = {entry.tensor: entry for entry in plan.entries}
    weight = entries[adapter.tensors[0]]
    assert (weight.origin, weight.trains, weight.frozen) == ("initialised", True, False)


def test_scratch_has_the_adapter_too(tmp_path: Path) -> None:
    config = run_config(env="ShortPendulum-v0", inputs={"adapter": 4}, episodes=1, n_timesteps=32)
    train_run(config, tmp_path)
    agent = PPO.load(tmp_path / "ShortPendulum-v0.zip", device="cpu")
    # The class in the zip is a copy of ours, pickled by value.
    assert type(agent.policy.features_extractor).__name__ == LinearAdapter.__name__


def test_an_adapted_agent_loads_where_rltransfer_is_not(source: Path, tmp_path: Path) -> None:
    config = run_config(
        env="ShortPendulum-v0", strategy="frozen", source=str(source), inputs={"adapter": 4}, episodes=1, n_timesteps=32
    )
    train_run(config, tmp_path)
    reader = (
        "import sys\n"
        "class Absent:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] == 'rltransfer': raise ModuleNotFoundError(name)\n"
        "sys.meta_path.insert(0, Absent())\n"
        "import numpy as np\n"
        "from stable_baselines3 import PPO\n"
        "agent = PPO.load(sys.argv[1], device='cpu')\n"
        "print(agent.predict(np.zeros(3, dtype=np.float32), deterministic=True)[0])\n"
    )
    path = tmp_path / "ShortPendulum-v0.zip"
    completed = subprocess.run([sys.executable, "-c", reader, str(path)], capture_output=True, text=True, check=True)
    target_encoder, _ = PPO.load(path, device="cpu").predict(np.zeros(3, dtype=np.float32), deterministic=True)
    assert completed.stdout.strip() == str(target_encoder)


STUDY = """
algo: ppo
seeds: 2
source: {env: CartPole-v1, n_timesteps: 32, which: last}
tasks:
  wider:
    env: rltransfer_envs:rltransfer/CartPole-v0
    kwargs: {distractors: 1, swap_actions: true}
    n_timesteps: 32
    inputs: {source: [x, v, angle, spin], target: [x, v, angle, spin, noise]}
    actions: [1, 0]
arms:
  scratch: scratch
  full: {kind: full, critic: reset}
evaluation: {episodes: 1, eval_freq: 16}
hyperparams: {n_steps: 8, batch_size: 8, n_envs: 1, n_epochs: 1, policy_kwargs: {net_arch: [8]}}
"""


def test_a_study_says_how_the_spaces_of_a_task_meet(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(STUDY)
    run_study(path, tmp_path / "out", say=lambda _: None)
    folder = tmp_path / "out" / "wider" / "full" / "seed_1"
    assert read_record(folder).status == "done"
    plan = read_plan(folder / "rltransfer" / "plan.json")
    assert plan.inputs[""].entries == (0, 1, 2, 3, None)
    assert {entry.origin for entry in plan.entries if entry.branch == "critic"} == {"initialised"}
    run_study(path, tmp_path / "out", say=lambda line: pytest.fail(line) if "done in" in line else None)


def test_the_source_of_a_study_can_be_an_agent_of_another_algorithm(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(
        """
algo: ppo
seeds: 1
source:
  env: CartPole-v1
  algo: dqn
  n_timesteps: 32
  hyperparams: {learning_starts: 8, buffer_size: 100, batch_size: 4, train_freq: 4, gradient_steps: 1,
                policy_kwargs: {net_arch: [8]}}
tasks: {target: {env: CartPole-v1, n_timesteps: 16}}
arms: {scratch: scratch, frozen: frozen}
evaluation: {episodes: 1, eval_freq: -1}
hyperparams: {n_steps: 8, batch_size: 8, n_envs: 1, n_epochs: 1,
              policy_kwargs: {net_arch: [8], activation_fn: nn.ReLU}}
"""
    )
    run_study(path, tmp_path / "out", say=lambda _: None)
    source = read_record(tmp_path / "out" / "target" / "frozen" / "seed_0").source
    assert source is not None
    assert source.algo == "dqn"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("actions: [1, 0]", "actions: [1, 1]", "tasks.wider.actions"),
        ("target: [x, v, angle, spin, noise]", "targets: [x]", "tasks.wider.inputs"),
    ],
)
def test_a_wrong_map_in_a_study_is_named(old: str, new: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(STUDY.replace(old, new))
    with pytest.raises(ConfigError, match=message):
        read_study(path)


class Photographs(gym.Env[np.ndarray, Any]):
    """Random colour images of a chosen size."""

    metadata = {"render_modes": []}  # noqa: RUF012
    action_space = gym.spaces.Discrete(2)

    def __init__(self, size: int = 40) -> None:
        self.observation_space = gym.spaces.Box(0, 255, (size, size, 3), np.uint8)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed, options=options)
        self._steps = 0
        return self._next(), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self._steps += 1
        return self._next(), 1.0, self._steps == 3, False, {}

    def _next(self) -> np.ndarray:
        return self.np_random.integers(0, 256, self.observation_space.shape, dtype=np.uint8)


if "Photographs-v0" not in gym.registry:
    gym.register("Photographs-v0", entry_point=Photographs)


def test_images_are_resized_by_a_wrapper(tmp_path: Path) -> None:
    small = {"n_steps": 8, "batch_size": 8, "policy_kwargs": {"features_extractor_kwargs": {"features_dim": 8}}}
    plain = Hyperparameters(policy="CnnPolicy", agent=small)
    resized = plain.model_copy(update={"env_wrapper": ({"gymnasium.wrappers.ResizeObservation": {"shape": [40, 40]}},)})
    usual: dict[str, Any] = {"env": "Photographs-v0", "n_timesteps": 8, "episodes": 1, "eval_freq": 8}
    source = run_config(**usual, role="source", arm="pretrain").model_copy(update={"hyperparams": plain})
    train_run(source, tmp_path / "source")
    target = run_config(**usual, kwargs={"size": 64}, strategy="frozen", source=str(tmp_path / "source"))
    with pytest.raises(IncompatibleError, match=r"40x40, the target's 64x64 pixels.*ResizeObservation"):
        train_run(target.model_copy(update={"hyperparams": plain}), tmp_path / "refused")
    record = train_run(target.model_copy(update={"hyperparams": resized}), tmp_path / "target")
    assert record.status == "done"
