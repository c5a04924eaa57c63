"""After a plan is applied, an agent that does not hold what the plan says is refused before it trains."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from agents import Images, NormedCnn, make_agent, normalised, source_encoder

from rltransfer import (
    Encoder,
    Finetune,
    Frozen,
    Full,
    Inputs,
    NormaliserOnly,
    RandomFrozen,
    Rescaled,
    Residual,
    Scratch,
    ShrinkPerturb,
    Shuffled,
    apply_plan,
    plan_transfer,
)
from rltransfer.anatomy import agent_tensors
from rltransfer.errors import TransferError
from rltransfer.transfer import apply

FIRST = "mlp_extractor.policy_net.0.weight"


@pytest.fixture
def tamper(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[Any], None]], None]:
    """Returns what lets a function change the agent between the writing of a plan and its check."""

    def install(change: Callable[[Any], None]) -> None:
        hold = apply.hold_plan

        def changed(plan: Any, agent: Any, *arguments: Any, **settings: Any) -> Any:
            transfer = hold(plan, agent, *arguments, **settings)
            with torch.no_grad():
                change(agent)
            return transfer

        monkeypatch.setattr(apply, "hold_plan", changed)

    return install


def nudge(name: str, amount: float = 1e-3) -> Callable[[Any], None]:
    """Returns what changes the last value of a tensor."""
    return lambda agent: agent_tensors(agent)[name].view(-1)[-1].add_(amount)


# Of each: the algorithm, the strategy, the map of inputs, and a tensor of which one value is changed.
NUDGED: dict[str, tuple[str, Any, Any, str]] = {
    "copied": ("ppo", Full(), None, FIRST),
    "copied bias": ("ppo", Finetune(), None, "mlp_extractor.value_net.2.bias"),
    "initialised head": ("ppo", Frozen(), None, "action_net.weight"),
    "scratch": ("ppo", Scratch(), None, FIRST),
    "mapped": ("ppo", Full(), Inputs(map=[3, 2, 1, 0]), FIRST),
    "zero of a new input": ("ppo", Full(), Inputs(map=[0, 1, 2, None]), FIRST),
    "shuffled": ("ppo", Shuffled(of=Full()), None, FIRST),
    "rescaled": ("ppo", Rescaled(), None, FIRST),
    "mixed": ("ppo", (Full(), ShrinkPerturb()), None, FIRST),
    "shuffled and mixed": ("ppo", Shuffled(of=(Full(), ShrinkPerturb())), None, FIRST),
    "target network": ("dqn", Full(), None, "q_net_target.q_net.0.weight"),
    "critic of two": ("td3", Full(), None, "critic.qf1.0.weight"),
    "entropy coefficient": ("sac", Full(), None, "log_ent_coef"),
    "silent head": ("sac", (Scratch(), Residual()), None, "actor.mu.bias"),
}


@pytest.mark.parametrize("name", NUDGED)
def test_one_value_that_is_not_the_plans_is_found(name: str, tamper: Any, tmp_path: Path) -> None:
    algo, strategy, inputs, tensor = NUDGED[name]
    encoder = source_encoder(algo, tmp_path)
    apply_plan(plan_transfer(encoder, agent := make_agent(algo), strategy, inputs=inputs), agent)
    tamper(nudge(tensor))
    agent = make_agent(algo)
    plan = plan_transfer(encoder, agent, strategy, inputs=inputs)
    with pytest.raises(TransferError, match=f"nothing was trained:\n  {tensor}: "):
        apply_plan(plan, agent)


@pytest.mark.parametrize(
    ("tensor", "words"),
    [("action_net.bias", "is frozen, and should be trained"), (FIRST, "is trained, and should be frozen")],
)
def test_what_trains_and_what_is_frozen_is_checked(tensor: str, words: str, tamper: Any, tmp_path: Path) -> None:
    encoder = source_encoder("ppo", tmp_path)
    tamper(lambda agent: agent_tensors(agent)[tensor].requires_grad_(tensor == FIRST))
    agent = make_agent("ppo")
    with pytest.raises(TransferError, match=f"{tensor}: {words}"):
        apply_plan(plan_transfer(encoder, agent, Frozen()), agent)


def test_statistics_that_are_recomputed_are_finite(tamper: Any) -> None:
    settings = {"policy": "CnnPolicy", "policy_kwargs": {"features_extractor_class": NormedCnn, "net_arch": [8]}}
    tamper(nudge("features_extractor.body.1.running_var", float("nan")))
    agent = make_agent("ppo", Images(), **settings)
    with pytest.raises(TransferError, match="running_var: is not finite"):
        apply_plan(plan_transfer(None, agent, RandomFrozen()), agent)


@pytest.mark.parametrize("strategy", [Finetune(), Frozen(), NormaliserOnly()])
@pytest.mark.parametrize("inputs", [None, Inputs(map=[1, 0, 2, None])], ids=["alike", "mapped"])
def test_observation_statistics_are_checked(strategy: Any, inputs: Any, tamper: Any, tmp_path: Path) -> None:
    encoder = source_encoder("ppo", tmp_path, normalised("CartPole-v1"))

    def shift(agent: Any) -> None:
        agent.get_vec_normalize_env().obs_rms.mean[1] += 1.0

    tamper(shift)
    agent = make_agent("ppo", normalised("CartPole-v1"))
    plan = plan_transfer(encoder, agent, strategy, inputs=inputs)
    with pytest.raises(TransferError, match="statistics of the observation '': the mean of entry 1"):
        apply_plan(plan, agent)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize(
    "strategy",
    [
        Full(),
        Shuffled(of=(Finetune(), ShrinkPerturb(shrink=0.001, perturb=1.0))),
        (Full(), ShrinkPerturb(shrink=0.3, perturb=0.7)),
        Rescaled(),
    ],
)
def test_rounding_is_no_difference(strategy: Any, scale: float, tmp_path: Path) -> None:
    encoder: Encoder = source_encoder("ppo", tmp_path)
    for tensor in encoder.tensors.values():
        tensor.mul_(scale)
    agent = make_agent("ppo")
    apply_plan(plan_transfer(encoder, agent, strategy), agent)


def test_a_mean_of_large_kernels_is_no_difference(tmp_path: Path) -> None:
    settings = {"policy": "CnnPolicy"}
    encoder = source_encoder("ppo", tmp_path, Images(), **settings)
    encoder.tensors["features_extractor.cnn.0.weight"].mul_(1e5)

    class Colours(Images):
        observation_space = type(Images.observation_space)(0, 255, (3, 36, 36), Images.observation_space.dtype)

        def _observe(self) -> Any:
            return super()._observe().repeat(3, axis=0)

    agent = make_agent("ppo", Colours(), **settings)
    apply_plan(plan_transfer(encoder, agent, Finetune(), inputs=Inputs(channels="mean")), agent)
