"""Every strategy on every kind of agent: planned, applied, trained, and found as planned."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from agents import ENVS, STEPS, Images, NormedCnn, encoder_of, make_agent
from families import RELATIVES
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.save_util import load_from_zip_file

from rltransfer import (
    L2SP,
    Discriminative,
    Encoder,
    Finetune,
    Frozen,
    Full,
    GradualUnfreeze,
    LoRA,
    RandomFrozen,
    Rescaled,
    Scratch,
    ShrinkPerturb,
    Shuffled,
    apply_plan,
    plan_transfer,
)
from rltransfer.anatomy import agent_tensors
from rltransfer.errors import IncompatibleError

STRATEGIES: dict[str, Any] = {
    "scratch": Scratch(),
    "full": Full(),
    "finetune": Finetune(),
    "finetune-half-rate": Finetune(lr_scale=0.5),
    "frozen": Frozen(),
    "frozen-first": Frozen(layers=1),
    "random_frozen": RandomFrozen(),
    "rescaled": Rescaled(),
    "shuffled-full": Shuffled(of=Full()),
    "shuffled-frozen": Shuffled(of=Frozen()),
    "mixed": ShrinkPerturb(),
    "slowed-held-pulled": [Discriminative(), GradualUnfreeze(at=(18, 20)), L2SP(), ShrinkPerturb()],
    "low-rank": LoRA(rank=2),
}
NOT_FOR_TRPO = {"finetune-half-rate", "slowed-held-pulled", "low-rank"}
FREEZE_ALL = {"frozen", "random_frozen", "shuffled-frozen"}
# The last layer of each network of 2 hidden layers (MLP), of 1 (images), or of none (NatureCNN's policies).
HEADS = re.compile(
    r"(action_net|value_net|log_std|actor\.mu(?!\.\d)|actor\.log_std|log_ent_coef)(\.|$)"
    r"|(q_net\.q_net|quantile_net\.quantile_net|critic\.qf\d|actor\.mu)\.(?P<last>\d)\."
)


class SteeredImages(Images):
    """The random images with actions in a Box."""

    def __init__(self) -> None:
        super().__init__()
        self.action_space = gym.spaces.Box(-1.0, 1.0, (1,), np.float32)


class Robot(gym.Env[Any, Any]):
    """A camera and joints: a dictionary of observations."""

    def __init__(self, images: Images) -> None:
        self._images = images
        self.action_space = images.action_space
        joints = gym.spaces.Box(-1.0, 1.0, (3,), np.float32)
        self.observation_space = gym.spaces.Dict(camera=images.observation_space, joints=joints)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        image, info = self._images.reset(seed=seed)
        return self._with_joints(image), info

    def step(self, action: Any) -> Any:
        image, *rest = self._images.step(action)
        return self._with_joints(image), *rest

    def _with_joints(self, image: np.ndarray) -> dict[str, np.ndarray]:
        return {"camera": image, "joints": self._images.np_random.uniform(-1, 1, 3).astype(np.float32)}


TRAINED = [algo for algo in STEPS if algo != "ars"]
NATURE: dict[str, Any] = {"features_extractor_kwargs": {"features_dim": 16}, "net_arch": [8]}
NORMED: dict[str, Any] = {"features_extractor_class": NormedCnn, "normalize_images": False, "net_arch": [8]}
BY_KEY: dict[str, Any] = {"features_extractor_kwargs": {"cnn_output_dim": 16}, "net_arch": [8]}
# CrossQ's only policy is the one for vectors.
SEEING = [algo for algo in TRAINED if algo != "crossq"]


def seeing(algo: str, policy: str, kwargs: dict[str, Any]) -> tuple[str, Callable[[], Any], str, dict[str, Any], int]:
    """Returns a row of the table for an agent that sees images, alone or among other observations."""
    images = SteeredImages if ENVS[algo] == "Pendulum-v1" else Images
    env = images if policy == "Cnn" else lambda: Robot(images())
    if algo == "ppo_lstm":
        return algo, env, f"{policy}LstmPolicy", {**kwargs, "lstm_hidden_size": 8}, 2
    return algo, env, f"{policy}Policy", kwargs, 2


AGENTS: dict[str, tuple[str, Callable[[], Any], str, dict[str, Any] | None, int]] = {
    **{f"{algo}-mlp": (algo, lambda: None, "MlpPolicy", None, 7 if algo == "crossq" else 4) for algo in TRAINED},
    **{f"{algo}-images": seeing(algo, "Cnn", NATURE) for algo in SEEING},
    **{f"{algo}-dictionary": seeing(algo, "MultiInput", BY_KEY) for algo in SEEING},
    "ppo-batchnorm": ("ppo", Images, "CnnPolicy", NORMED, 2),
    "dqn-batchnorm": ("dqn", Images, "CnnPolicy", NORMED, 2),
    "sac-shared": ("sac", SteeredImages, "CnnPolicy", {**NATURE, "share_features_extractor": True}, 2),
    "sac-separate": ("sac", SteeredImages, "CnnPolicy", {**NATURE, "share_features_extractor": False}, 2),
}


def make(name: str, seed: int) -> BaseAlgorithm:
    algo, env, policy, kwargs, _ = AGENTS[name]
    settings = {} if kwargs is None else {"policy_kwargs": dict(kwargs)}
    return make_agent(algo, env(), policy=policy, seed=seed, **settings)


def train(agent: BaseAlgorithm, name: str, more: int = 0, **settings: Any) -> None:
    algo = AGENTS[name][0]
    agent.learn(STEPS[algo] + more, **({"use_masking": False} if algo == "maskable_ppo" else {}), **settings)


@pytest.fixture(scope="module")
def encoders(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Encoder]:
    made: dict[str, Encoder] = {}

    def encoder(name: str) -> Encoder:
        if name not in made:
            source = make(name, seed=7)
            train(source, name)
            made[name] = encoder_of(source, tmp_path_factory.mktemp(name))
        return made[name]

    return encoder


def is_head(tensor: str, last: int) -> bool:
    match = HEADS.match(tensor)
    return match is not None and match["last"] in (None, str(last))


def state(agent: BaseAlgorithm) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().clone() for name, tensor in agent_tensors(agent).items()}


def changed(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> set[str]:
    return {name for name, tensor in before.items() if not torch.equal(after[name], tensor)}


def rows() -> Iterator[Any]:
    """Yields every strategy on every agent.

    All strategies are quick on the agents of two algorithms and on most vectors; of the others, some are on each agent.
    """
    algorithms = list(dict.fromkeys(algo for algo, *_ in AGENTS.values()))
    for number, name in enumerate(AGENTS):
        algo, _, kind = name.partition("-")
        for place, strategy in enumerate(STRATEGIES):
            is_chosen = (place + number + algorithms.index(algo)) % 8 == 0
            is_quick = is_chosen or algo in ("ppo", "dqn") or (kind == "mlp" and algo not in RELATIVES)
            yield pytest.param(name, strategy, marks=[] if is_quick else pytest.mark.long, id=f"{name}-{strategy}")


@pytest.mark.parametrize(("name", "strategy"), list(rows()))
def test_a_strategy_does_what_its_plan_says(
    name: str, strategy: str, encoders: Callable[[str], Encoder], tmp_path: Path
) -> None:
    agent = make(name, seed=0)
    if name.startswith("trpo") and strategy in NOT_FOR_TRPO:
        with pytest.raises(IncompatibleError, match="has no effect"):
            plan_transfer(encoders(name), agent, STRATEGIES[strategy])
        return
    plan = plan_transfer(encoders(name), agent, STRATEGIES[strategy])
    transfer = apply_plan(plan, agent)
    start = state(agent)
    assert all(torch.equal(start[entry.tensor], start[entry.twin]) for entry in plan.entries if entry.twin)
    # Steps before training are in the budget.
    train(agent, name, more=plan.statistics_steps, callback=transfer.callbacks)
    moved = changed(start, state(agent))

    assert all(check.passed for check in transfer.checks()), transfer.checks()
    frozen = {entry.tensor for entry in plan.entries if entry.frozen and entry.twin is None}
    assert frozen == expected_frozen(name, strategy, {entry.tensor for entry in plan.entries})
    assert moved.isdisjoint(frozen)
    trained = {entry.tensor for entry in plan.entries if entry.trains}
    assert moved & trained
    assert {tensor for tensor in trained if is_head(tensor, AGENTS[name][4])} & moved
    if strategy not in FREEZE_ALL | {"frozen-first"}:
        assert any(not is_head(tensor, AGENTS[name][4]) for tensor in moved & trained)
    assert_targets_equal_their_twins(plan, agent, tmp_path)


def expected_frozen(name: str, strategy: str, tensors: set[str]) -> set[str]:
    """Returns what must be frozen, buffers included, worked out from the names alone."""
    online = {tensor for tensor in tensors if "_target." not in tensor}
    encoder = {tensor for tensor in online if not is_head(tensor, AGENTS[name][4])}
    if strategy in FREEZE_ALL:
        assert ("batchnorm" in name) == any("running_mean" in tensor for tensor in encoder)
        return encoder
    if strategy == "low-rank":
        # Vectors that are no statistics: biases, and the weights of what normalises.
        return {tensor for tensor in encoder if re.search(r"\.bias(_\w+)?$|\.scale$|\.body\.1\.weight$", tensor)}
    if strategy != "frozen-first":
        return set()
    if "batchnorm" in name:
        return {tensor for tensor in encoder if ".body." in tensor}
    if name == "ppo_lstm-mlp":
        return {tensor for tensor in encoder if tensor.startswith("lstm_")}
    if "crossq" in name:
        # The first matrix with the BatchRenorm on both its sides.
        return {tensor for tensor in encoder if re.search(r"\.[013]\.", tensor)}
    return {tensor for tensor in encoder if (".0." if "mlp" in name else ".cnn.0.") in tensor}


def assert_targets_equal_their_twins(plan: Any, agent: BaseAlgorithm, folder: Path) -> None:
    agent.save(folder / "agent.zip")
    _, saved, _ = load_from_zip_file(folder / "agent.zip", load_data=False)
    policy = saved["policy"]
    held = [entry for entry in plan.entries if entry.twin is not None and entry.frozen]
    has_targets = any(entry.twin is not None for entry in plan.entries)
    online = any(entry.frozen and entry.branch in ("critic", "shared") for entry in plan.entries)
    assert bool(held) == (has_targets and online)
    for entry in held:
        assert torch.equal(policy[entry.tensor], policy[str(entry.twin)]), entry.tensor
