from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from agents import encoder_of, make_agent

from rltransfer import (
    Finetune,
    Frozen,
    Full,
    JumpStart,
    Kickstart,
    Residual,
    Scratch,
    Shuffled,
    plan_transfer,
)
from rltransfer.errors import IncompatibleError
from rltransfer.transfer.distillation import _Student
from rltransfer.transfer.matching.action_bounds import other_bounds
from rltransfer.transfer.source_policy import source_policy_of

KIND = "action_bounds"


class Reach(gym.Env[np.ndarray, Any]):
    """A point that moves by its actions, which lie between any bounds."""

    observation_space = gym.spaces.Box(-1.0, 1.0, (3,), np.float32)

    def __init__(self, low: Any = -2.0, high: Any = 2.0, n_actions: int = 2) -> None:
        bounds = (np.broadcast_to(np.asarray(bound, np.float32), (n_actions,)) for bound in (low, high))
        self.action_space = gym.spaces.Box(*bounds, dtype=np.float32)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed, options=options)
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        return self.observation_space.sample(), float(np.sum(action)), False, True, {}


def planned(algo: str, folder: Path, strategy: Any, target: Any, source: Any = None, **settings: Any) -> Any:
    encoder = encoder_of(make_agent(algo, Reach() if source is None else source, seed=7), folder)
    return plan_transfer(encoder, make_agent(algo, target), strategy, **settings)


def said(plan: Any, kind: str = KIND) -> list[str]:
    return [str(finding) for finding in plan.findings if finding.kind == kind]


@pytest.mark.parametrize("algo", ["sac", "tqc", "crossq", "td3", "ddpg"])
def test_heads_whose_output_is_scaled_to_other_bounds_give_other_actions(algo: str, tmp_path: Path) -> None:
    assert said(planned(algo, tmp_path, Full(), Reach(0.0, 5.0))) == [
        "warning: the bounds of the actions differ, [-2, 2] in the source, [0, 5] here: what the heads give is scaled "
        "to them, so that the same output is another action"
    ]


@pytest.mark.parametrize("algo", ["ppo", "a2c", "trpo", "ppo_lstm"])
def test_heads_that_give_actions_as_they_are_are_clipped_to_other_bounds(algo: str, tmp_path: Path) -> None:
    assert said(planned(algo, tmp_path, Full(critic="reset"), Reach(0.0, 5.0))) == [
        "warning: the bounds of the actions differ, [-2, 2] in the source, [0, 5] here: the heads give actions in the "
        "source's units, which are clipped to the bounds here"
    ]


def test_an_on_policy_agent_that_squashes_its_actions_scales_them(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"use_sde": True, "policy_kwargs": {"net_arch": [8, 8], "squash_output": True}}
    encoder = encoder_of(make_agent("ppo", Reach(), seed=7, **settings), tmp_path)
    (words,) = said(plan_transfer(encoder, make_agent("ppo", Reach(0.0, 5.0), **settings), Full()))
    assert "the same output is another action" in words


@pytest.mark.parametrize("strategy", [Finetune(), Frozen(), Scratch(), Full()])
def test_equal_bounds_and_new_heads_get_no_warning(strategy: Any, tmp_path: Path) -> None:
    assert not said(planned("ppo", tmp_path, strategy, Reach()))
    if not isinstance(strategy, Full):
        assert not said(planned("ppo", tmp_path, strategy, Reach(0.0, 5.0)))


def test_a_control_of_full_is_warned_of_as_full_is(tmp_path: Path) -> None:
    assert said(planned("td3", tmp_path, Shuffled(of=Full()), Reach(-1.0, 2.0)))


def test_bounds_without_an_end_are_those_that_the_old_gym_wrote_as_the_largest_float() -> None:
    largest = float(np.finfo(np.float32).max)
    endless, old, doubled = (
        gym.spaces.Box(-bound, bound, (2,), dtype)
        for bound, dtype in ((np.inf, np.float32), (largest, np.float32), (largest, np.float64))
    )
    for source, target in ((old, endless), (endless, old), (doubled, old)):
        assert not other_bounds(source, target, None)
    assert not other_bounds(gym.spaces.Box(-0.1, 0.1, (1,)), gym.spaces.Box(-0.1, 0.1, (1,), np.float64), None)
    assert [other_bound.clips for other_bound in other_bounds(endless, Reach().action_space, None)] == [True, True]
    assert [other_bound.clips for other_bound in other_bounds(Reach().action_space, endless, None)] == [False, False]
    assert not other_bounds(gym.spaces.Discrete(2), gym.spaces.Discrete(3), None)


def test_each_action_is_compared_with_the_one_that_it_is_in_the_source(tmp_path: Path) -> None:
    source = Reach([-1.0, -2.0], [1.0, 2.0])
    swapped = Reach([-2.0, -1.0], [2.0, 1.0])
    assert not said(planned("sac", tmp_path, Full(), swapped, source=source, actions=[1, 0]))
    (words,) = said(planned("sac", tmp_path, Full(), swapped, source=source))
    assert "[-1, 1] in the source, [-2, 2] here (action 0); [-2, 2] in the source, [-1, 1] here (action 1)" in words
    added = Reach([-1.0, 0.0, -2.0], [1.0, 9.0, 2.0], n_actions=3)
    assert not said(planned("sac", tmp_path, Full(), added, source=source, actions=[0, None, 1]))
    other = Reach([-1.0, 0.0, -3.0], [1.0, 9.0, 2.0], n_actions=3)
    (words,) = said(planned("sac", tmp_path, Full(), other, source=source, actions=[0, None, 1]))
    assert "[-2, 2] in the source, [-3, 2] here (action 2)" in words


def test_what_reads_actions_in_a_moved_encoder_is_noted(tmp_path: Path) -> None:
    (words,) = said(planned("sac", tmp_path, Frozen(), Reach(0.0, 5.0)))
    assert words.startswith("note: ")
    assert "first layers of Q(s, a) read actions that are scaled to them" in words
    assert not said(planned("sac", tmp_path, Frozen(critic="none"), Reach(0.0, 5.0)))
    encoder = encoder_of(make_agent("ppo", Reach(), seed=7, policy_kwargs=RELU), tmp_path)
    assert not said(plan_transfer(encoder, make_agent("sac", Reach(0.0, 5.0)), Frozen()))


RELU = {"net_arch": [8, 8], "activation_fn": torch.nn.ReLU}


@pytest.mark.parametrize("strategy", [JumpStart(), Kickstart(), Residual()], ids=lambda part: part.kind)
def test_a_source_that_acts_between_narrower_bounds_is_clipped_and_the_plan_says_so(
    strategy: Any, tmp_path: Path
) -> None:
    assert said(planned("sac", tmp_path, strategy, Reach(0.0, 5.0)), "actions_clipped") == [
        "warning: what the source does is clipped to the bounds of the target's actions: [-2, 2] in the source, [0, 5] "
        "here"
    ]
    assert not said(planned("sac", tmp_path, strategy, Reach(-3.0, 5.0)), "actions_clipped")


def test_kickstart_between_other_bounds_compares_actions_and_not_what_is_scaled_to_them(tmp_path: Path) -> None:
    source = make_agent("sac", Reach(), seed=7)
    encoder = encoder_of(source, tmp_path)
    states = np.random.default_rng(0).uniform(-1, 1, (32, 3)).astype(np.float32)
    distances = []
    for env in (Reach(), Reach(-4.0, 4.0)):
        target = make_agent("sac", env)
        target.policy.load_state_dict(source.policy.state_dict())
        source_policy = source_policy_of(plan_transfer(encoder, target, Kickstart()), target)
        advice = source_policy.see(states, np.zeros(len(states), dtype=int), np.ones(len(states), dtype=bool))
        distances.append(float(_Student(target, source_policy).distance(states, advice, 1.0).detach()))
    assert distances[0] == pytest.approx(0.0, abs=1e-6)
    # The same outputs are twice the actions there.
    assert distances[1] > 1e-4


def test_actions_of_other_kinds_are_still_refused(tmp_path: Path) -> None:
    encoder = encoder_of(make_agent("ppo", seed=7), tmp_path)
    with pytest.raises(IncompatibleError):
        plan_transfer(encoder, make_agent("ppo", Reach()), Full())
