"""What holds for every plan, whatever the architecture and the layers."""

import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
from agents import encoder_of, make_agent, weights
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rltransfer import Encoder, Finetune, Frozen, Full, Scratch, Shuffled, apply_plan, plan_transfer
from rltransfer.anatomy import agent_tensors, anatomy_of_agent
from rltransfer.errors import IncompatibleError

FEW = settings(max_examples=8, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
ALGORITHMS = st.sampled_from(["ppo", "dqn", "sac"])
ARCHITECTURES = st.lists(st.sampled_from([2, 3, 5]), min_size=1, max_size=3)
STEPS = {"ppo": 32, "dqn": 24, "sac": 24}


def agent_of(algo: str, architecture: list[int], seed: int = 0) -> Any:
    return make_agent(algo, seed=seed, policy_kwargs={"net_arch": list(architecture)})


def source_of(algo: str, architecture: list[int]) -> Encoder:
    with tempfile.TemporaryDirectory() as folder:
        return encoder_of(agent_of(algo, architecture, seed=7).learn(STEPS[algo]), Path(folder))


def trained_alike(algo: str, agent: Any) -> dict[str, torch.Tensor]:
    """Returns the weights after a training that starts from the same random numbers each time."""
    agent.set_random_seed(3)
    return weights(agent.learn(STEPS[algo]))


def choices(architecture: list[int]) -> Any:
    """Choices of layers that an agent of this architecture has."""
    return st.sampled_from(["all", "none", *range(len(architecture) + 1)])


@st.composite
def moving(draw: Any) -> tuple[list[int], Any]:
    """An architecture, and a strategy that moves chosen layers of it, actor and critic together or apart."""
    architecture = draw(ARCHITECTURES)
    some = choices(architecture)
    chosen = {"layers": draw(some), "actor": draw(st.none() | some), "critic": draw(st.none() | some)}
    kind = draw(st.sampled_from([Frozen, Finetune]))
    return architecture, Shuffled(of=kind(**chosen)) if draw(st.booleans()) else kind(**chosen)


@FEW
@given(algo=ALGORITHMS, moved=moving())
def test_a_plan_covers_each_tensor_exactly_once_and_what_is_frozen_stays(
    algo: str, moved: tuple[list[int], Any]
) -> None:
    architecture, strategy = moved
    agent = agent_of(algo, architecture)
    plan = plan_transfer(source_of(algo, architecture), agent, strategy)
    names = [entry.tensor for entry in plan.entries]
    aliases = anatomy_of_agent(agent).aliases
    assert sorted(names) == sorted(set(agent_tensors(agent)) - set(aliases))
    assert all(not (entry.frozen and entry.trains) for entry in plan.entries)

    transfer = apply_plan(plan, agent)
    before = {name: tensor.detach().clone() for name, tensor in agent_tensors(agent).items()}
    agent.learn(STEPS[algo])
    after = agent_tensors(agent)
    for entry in plan.entries:
        if entry.frozen and entry.twin is None:
            assert torch.equal(before[entry.tensor], after[entry.tensor]), entry.tensor
    assert all(check.passed for check in transfer.checks() if check.name != "moved tensors arrived")


@FEW
@given(algo=ALGORITHMS, moved=moving(), setting=st.sampled_from(["layers", "actor", "critic"]), more=st.integers(1, 5))
def test_more_layers_than_there_are_are_refused(
    algo: str, moved: tuple[list[int], Any], setting: str, more: int
) -> None:
    architecture, strategy = moved
    part = strategy.of[0] if isinstance(strategy, Shuffled) else strategy
    wrong = part.model_copy(update={setting: len(architecture) + more})
    wrong = strategy.model_copy(update={"of": (wrong,)}) if isinstance(strategy, Shuffled) else wrong
    with pytest.raises(IncompatibleError, match=rf"{setting}:{len(architecture) + more} takes more layers than there"):
        plan_transfer(source_of(algo, architecture), agent_of(algo, architecture), wrong)


@FEW
@given(algo=ALGORITHMS, architecture=ARCHITECTURES, seed=st.none() | st.integers(0, 2**31))
def test_shuffling_keeps_the_entries_of_each_tensor(algo: str, architecture: list[int], seed: int | None) -> None:
    encoder = source_of(algo, architecture)
    agent = agent_of(algo, architecture)
    plan = plan_transfer(encoder, agent, Shuffled(of=Full(), seed=seed))
    apply_plan(plan, agent)
    tensors = agent_tensors(agent)
    for entry in plan.entries:
        now = tensors[entry.tensor]
        if entry.twin is not None:
            assert torch.equal(now, tensors[entry.twin])
        elif entry.origin == "copied":
            source = encoder.tensors[entry.tensor]
            assert torch.equal(now.flatten().sort().values, source.flatten().sort().values), entry.tensor
    assert any(not torch.equal(tensors[name], tensor) for name, tensor in encoder.tensors.items())


@FEW
@given(algo=ALGORITHMS, data=st.data(), architecture=ARCHITECTURES)
def test_scale_1_trains_as_no_hook_does(algo: str, data: Any, architecture: list[int]) -> None:
    layers = data.draw(choices(architecture))
    encoder = source_of(algo, architecture)
    held = agent_of(algo, architecture)
    apply_plan(plan_transfer(encoder, held, Finetune(layers=layers)), held)
    plain = agent_of(algo, architecture)
    plain.policy.load_state_dict(held.policy.state_dict())
    trained, expected = (trained_alike(algo, agent) for agent in (held, plain))
    assert all(torch.equal(trained[name], expected[name]) for name in expected)


@FEW
@given(algo=ALGORITHMS, architecture=ARCHITECTURES)
def test_scratch_trains_as_an_agent_that_was_never_touched(algo: str, architecture: list[int]) -> None:
    agent = agent_of(algo, architecture)
    apply_plan(plan_transfer(None, agent, Scratch()), agent)
    trained, expected = (trained_alike(algo, item) for item in (agent, agent_of(algo, architecture)))
    assert all(torch.equal(trained[name], expected[name]) for name in expected)
