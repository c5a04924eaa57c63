"""What a plan says of each tensor is what the agent holds, and of each source tensor, what became of it.

Every value of the source is a number of its own, so that it is recognised wherever it went.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from agents import OwnVector, make_agent
from gymnasium import spaces
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rltransfer import (
    Actions,
    Encoder,
    Finetune,
    Frozen,
    Full,
    Inputs,
    L2Init,
    LoRA,
    RandomFrozen,
    Rescaled,
    Scratch,
    Shuffled,
    apply_plan,
    load_encoder,
    plan_transfer,
)
from rltransfer.anatomy import agent_tensors
from rltransfer.errors import IncompatibleError
from rltransfer.records import PlanEntry
from rltransfer.transfer import Plan

SOME = settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
ALGORITHMS = ["ppo", "a2c", "dqn", "sac", "td3", "tqc"]
CONTINUOUS = ("sac", "td3", "tqc")
WIDTHS = st.lists(st.sampled_from([2, 3, 5]), min_size=1, max_size=3)


class Still(gym.Env[Any, Any]):
    """An environment of any spaces in which nothing happens."""

    def __init__(self, observations: spaces.Space[Any], actions: spaces.Space[Any]) -> None:
        self.observation_space, self.action_space = observations, actions

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        return self.observation_space.sample(), 0.0, False, True, {}


class Stated(OwnVector):
    """A user's own features extractor that states its inputs."""

    def input_weights(self) -> dict[str, tuple[str, ...]]:
        return {"": ("net.0.weight",)}


def box(size: int) -> spaces.Box:
    return spaces.Box(-1.0, 1.0, (size,), np.float32)


@st.composite
def vectors(draw: Any) -> tuple[Any, Any, Inputs | None]:
    """A source's and a target's vector, with a map between them where they differ."""
    size = draw(st.integers(1, 4))
    entries = draw(st.permutations([*range(size), None, None]))[: draw(st.integers(1, size + 2))]
    if all(entry is None for entry in entries) or draw(st.booleans()):
        return box(size), box(size), None
    return box(size), box(len(entries)), Inputs(map=tuple(entries), new=draw(st.sampled_from(["zero", "random"])))


@st.composite
def dictionaries(draw: Any) -> tuple[Any, Any, Inputs | None]:
    """Two dictionaries whose keys are in orders of their own, with new keys, other names and a map of one key."""
    sizes = {key: draw(st.integers(1, 3)) for key in "abc"[: draw(st.integers(1, 3))]}
    source = spaces.Dict([(key, box(sizes[key])) for key in draw(st.permutations(sorted(sizes)))])
    renamed = draw(st.booleans())
    extractor_kwargs = {(key.upper() if renamed else key): box(size) for key, size in sizes.items()}
    maps = {}
    if draw(st.booleans()):
        key = draw(st.sampled_from(sorted(extractor_kwargs)))
        entries = tuple(draw(st.permutations([*range(sizes[key.lower()]), None])))
        extractor_kwargs[key], maps[key] = box(len(entries)), entries
    if draw(st.booleans()):
        extractor_kwargs["new"] = box(2)
    target = spaces.Dict([(key, extractor_kwargs[key]) for key in draw(st.permutations(sorted(extractor_kwargs)))])
    keys = {key: key.lower() for key in extractor_kwargs if key != "new"} if renamed else {}
    return source, target, Inputs(map=maps or None, keys=keys) if maps or keys else None


@st.composite
def methods(draw: Any) -> Any:
    layers = draw(st.sampled_from(["all", "none", 1]))
    return draw(
        st.sampled_from(
            [
                Full(),
                Full(critic="reset"),
                Finetune(layers=layers),
                Frozen(layers=layers),
                Finetune(source_branch="actor"),
                Shuffled(of=Full(), seed=3),
                Shuffled(of=Frozen(), seed=3),
                RandomFrozen(),
                Rescaled(),
                Scratch(),
                (Full(), L2Init()),
                (Finetune(), LoRA(rank=1)),
            ]
        )
    )


def make(algo: str, observations: Any, actions: Any, widths: list[int], seed: int, **settings: Any) -> Any:
    policy = "MultiInputPolicy" if isinstance(observations, spaces.Dict) else "MlpPolicy"
    return make_agent(
        algo,
        Still(observations, actions),
        policy=policy,
        seed=seed,
        policy_kwargs={"net_arch": list(widths), **settings},
    )


def numbered(agent: Any) -> Encoder:
    """Returns an agent's encoder after giving each of its online values a number of its own, from 1,000 on."""
    first = 1_000
    seen: set[int] = set()
    with torch.no_grad():
        for tensor in agent_tensors(agent).values():
            if tensor.data_ptr() not in seen:
                seen.add(tensor.data_ptr())
                tensor.copy_(torch.arange(first, first + tensor.numel(), dtype=tensor.dtype).reshape(tensor.shape))
                first += tensor.numel()
    with tempfile.TemporaryDirectory() as folder:
        agent.save(Path(folder) / "agent.zip")
        return load_encoder(Path(folder) / "agent.zip")


def actions_of(algo: str, size: int) -> Any:
    return box(size) if algo in CONTINUOUS else spaces.Discrete(size + 1)


def cells(entry: PlanEntry) -> Iterator[tuple[tuple[int, ...], tuple[int | None, Any]]]:
    """Yields each place of a small tensor with the source's row (None: as the agent has it) and column of a plan."""
    for place in np.ndindex(*entry.shape):
        row: int | None = place[0] if place else 0
        column: Any = place[1] if len(place) > 1 else 0
        if entry.rows is not None:
            row = entry.rows[place[0]]
        if entry.columns is not None:
            column = entry.columns[place[-1] if len(place) < 2 else place[1]]
            row = 0 if len(place) < 2 else row
        yield place, (row, column)


def check_entry(entry: PlanEntry, plan: Plan, before: dict[str, Any], now: dict[str, Any]) -> None:
    values, old = now[entry.tensor], before[entry.tensor]
    match entry.origin:
        case "initialised":
            assert torch.equal(values, old), entry
        case "synced":
            assert torch.equal(values, now[entry.twin]), entry
        case "set":
            assert torch.all(values == entry.value), entry
        case "rescaled":
            torch.testing.assert_close(values.norm(), plan.encoder.tensors[entry.source_tensor].norm())
        case _ if not entry.permuted:
            source = plan.encoder.tensors[entry.source_tensor]
            for place, (row, column) in cells(entry):
                torch.testing.assert_close(values[place], expected_value(entry, source, old[place], row, column))


def expected_value(entry: PlanEntry, source: Any, old: Any, row: int | None, column: Any) -> Any:
    """Returns what a plan says of one value."""
    if row is None or column == "fresh":
        return old
    if column in ("zero", "random"):
        return old * (0.0 if column == "zero" else 0.1)
    if len(entry.shape) < 2:
        return source.reshape(-1)[row if entry.columns is None else column]
    return source[row, column]


def inputs_of_source(source: Any, target: Any, inputs: Inputs | None) -> list[int | None]:
    """Returns the source's input for each one of the target's, from the two spaces and the map alone."""
    parts = [space.spaces if isinstance(space, spaces.Dict) else {"": space} for space in (source, target)]
    starts, start = {}, 0
    for key, space in parts[0].items():
        starts[key], start = start, start + space.shape[0]
    meant: list[int | None] = []
    for key, space in parts[1].items():
        name = inputs.keys.get(key, key) if inputs else key
        entries = inputs.entries(key) if inputs else None
        if name not in starts:
            entries = (None,) * space.shape[0]
        elif entries is None:
            entries = tuple(range(space.shape[0]))
        meant += [None if entry is None else starts[name] + entry for entry in entries]
    return meant


def check_inputs(plan: Plan, agent: Any, meant: list[int | None]) -> None:
    """Checks that each weight that reads an input of the target is the source's that read the same one."""
    now = agent_tensors(agent)
    has_own = any("features_extractor" in entry.tensor for entry in plan.entries)
    for entry in plan.entries:
        reads = entry.tensor.endswith(".0.weight") and ("features_extractor" in entry.tensor or not has_own)
        if not reads or entry.branch == "target" or entry.permuted or entry.origin not in ("copied", "mapped"):
            continue
        source = plan.encoder.tensors[entry.source_tensor]
        for column, place in enumerate(meant):
            if place is not None:
                assert torch.equal(now[entry.tensor][:, column], source[:, place]), (entry.tensor, column, place)


def check_plan(plan: Plan, agent: Any) -> None:
    before = {name: tensor.detach().clone() for name, tensor in agent_tensors(agent).items()}
    apply_plan(plan, agent)
    now = {name: tensor.detach() for name, tensor in agent_tensors(agent).items()}
    for entry in plan.entries:
        check_entry(entry, plan, before, now)
        assert now[entry.tensor].requires_grad is False or entry.trains
    totals = plan.totals()
    online = [entry for entry in plan.entries if entry.branch != "target"]
    given = np.concatenate([tensor.numpy().ravel() for tensor in plan.encoder.tensors.values()]) if plan.encoder else []
    held = np.concatenate([now[entry.tensor].numpy().ravel() for entry in online])
    is_moved = np.isin(held, given)
    assert int(is_moved.sum()) == totals["moved"]
    if not plan.source_values:
        assert not is_moved.any()
        return
    assert len(given) == totals["source_values"]
    assert len(np.unique(held[is_moved])) == totals["source_moved"]
    named = {entry.source_tensor for entry in plan.entries if entry.origin in ("copied", "mapped", "rescaled")}
    left_out = {tensor.tensor: tensor for tensor in plan.left_out}
    for name, tensor in plan.encoder.tensors.items():
        assert name in named or name in left_out, name
        if name in left_out:
            missing = int((~np.isin(tensor.numpy(), held)).sum())
            assert (left_out[name].values, left_out[name].size) == (missing, tensor.numel()), name
            assert name in str(plan)


@SOME
@given(
    algo=st.sampled_from(ALGORITHMS),
    widths=WIDTHS,
    observations=vectors() | dictionaries(),
    strategy=methods(),
    extractor=st.booleans(),
)
def test_what_a_plan_says_is_what_the_agent_holds(
    algo: str, widths: list[int], observations: Any, strategy: Any, extractor: bool
) -> None:
    source, target, inputs = observations
    has_own = extractor and not isinstance(source, spaces.Dict)
    extractor_kwargs = {"features_extractor_class": Stated} if has_own else {}
    encoder = numbered(make(algo, source, actions_of(algo, 2), widths, 0, **extractor_kwargs))
    agent = make(algo, target, actions_of(algo, 2), widths, 1, **extractor_kwargs)
    try:
        plan = plan_transfer(encoder, agent, strategy, inputs=inputs)
    except IncompatibleError:
        # Not every strategy is for every agent: 'critic: reset' needs an actor, for one.
        return
    check_plan(plan, agent)
    if plan.encoder is not None:
        check_inputs(plan, agent, inputs_of_source(source, target, inputs))


@SOME
@given(
    algo=st.sampled_from(ALGORITHMS),
    other=st.sampled_from(ALGORITHMS),
    widths=WIDTHS,
    more=st.lists(st.sampled_from([2, 3]), max_size=1),
    strategy=methods(),
)
def test_it_holds_between_algorithms_and_depths(
    algo: str, other: str, widths: list[int], more: list[int], strategy: Any
) -> None:
    encoder = numbered(make(algo, box(3), actions_of(algo, 2), [*widths, *more], 0))
    agent = make(other, box(3), actions_of(other, 2), widths, 1)
    try:
        plan = plan_transfer(encoder, agent, strategy)
    except IncompatibleError:
        return
    check_plan(plan, agent)


@SOME
@given(
    algo=st.sampled_from(["sac", "td3", "tqc"]),
    critics=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    strategy=methods(),
    entries=st.permutations([0, 1, None]),
)
def test_it_holds_of_critics_and_actions(
    algo: str, critics: tuple[int, int], strategy: Any, entries: list[int | None]
) -> None:
    source = make(algo, box(3), box(2), [4], 0, n_critics=critics[0])
    agent = make(algo, box(3), box(3), [4], 1, n_critics=critics[1])
    try:
        plan = plan_transfer(numbered(source), agent, strategy, actions=Actions(map=tuple(entries)))
    except IncompatibleError:
        return
    check_plan(plan, agent)
    if critics[0] > critics[1] and strategy == Full():
        assert {tensor.reason for tensor in plan.left_out if tensor.tensor.startswith("critic.qf2")} <= {"no_place"}
        assert any(finding.kind == "no_place" and finding.severity == "warning" for finding in plan.findings)
