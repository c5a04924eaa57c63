from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from agents import ENVS, Images, NormedCnn, encoder_of, make_agent

from rltransfer import (
    Discriminative,
    Finetune,
    Frozen,
    Full,
    GradualUnfreeze,
    Inputs,
    LoRA,
    RandomFrozen,
    Rescaled,
    Scratch,
    Shuffled,
    plan_transfer,
)
from rltransfer.anatomy import anatomy_of_agent
from rltransfer.errors import IncompatibleError
from rltransfer.strategies import parse_strategy
from rltransfer.transfer.methods import layer_rules_of

UNEVEN = {"policy_kwargs": {"net_arch": {"pi": [8, 8, 8], "vf": [8, 8]}}}


def entry_names(plan: Any, **facts: Any) -> set[str]:
    return {entry.layer for entry in plan.entries if all(getattr(entry, name) == fact for name, fact in facts.items())}


@pytest.mark.parametrize(
    "strategy",
    [
        Finetune(layers=5),
        Frozen(layers=3),
        RandomFrozen(layers=5),
        Rescaled(layers=5),
        Shuffled(of=Frozen(layers=5)),
        [Finetune(layers=5), Discriminative()],
        [Full(), LoRA(layers=5)],
        Shuffled(of=[Full(), LoRA(layers=5)]),
        Frozen(layers=1, critic=3),
        Finetune(layers="none", critic=5),
        # Nothing follows this number, and it is wrong all the same.
        Frozen(layers=5, actor=1, critic=2),
        [Full(), GradualUnfreeze(at=(10, 20, 30))],
        Shuffled(of=[Finetune(), GradualUnfreeze(at=(10, 20, 30))]),
    ],
    ids=str,
)
@pytest.mark.parametrize("algo", ["ppo", "dqn", "sac"])
def test_more_layers_than_an_agent_has_are_refused_with_what_to_write(algo: str, strategy: Any, tmp_path: Path) -> None:
    encoder = encoder_of(make_agent(algo, seed=7), tmp_path)
    with pytest.raises(IncompatibleError, match=r"this agent has 2 layers \(1: .*2: .*\. Write (\w+:all or \w+:2|at)"):
        plan_transfer(encoder, make_agent(algo), strategy)


@pytest.mark.parametrize("algo", sorted(set(ENVS) - {"ars"}))
def test_as_many_layers_as_an_agent_has_are_all_of_them_and_one_more_is_refused(algo: str, tmp_path: Path) -> None:
    encoder = encoder_of(make_agent(algo, seed=7), tmp_path)
    everything = plan_transfer(encoder, make_agent(algo), Frozen())
    assert plan_transfer(encoder, make_agent(algo), Frozen(layers=2)).entries == everything.entries
    with pytest.raises(IncompatibleError, match="Write layers:all or layers:2"):
        plan_transfer(encoder, make_agent(algo), Frozen(layers=3))


def test_the_longest_path_decides_and_a_note_says_which_one_is_shorter(tmp_path: Path) -> None:
    encoder = encoder_of(make_agent("ppo", seed=7, **UNEVEN), tmp_path)
    plan = plan_transfer(encoder, make_agent("ppo", **UNEVEN), Frozen(layers=3))
    assert entry_names(plan, frozen=True) == {
        *(f"mlp_extractor.policy_net.{number}" for number in (0, 2, 4)),
        *(f"mlp_extractor.value_net.{number}" for number in (0, 2)),
    }
    assert "note: layers:3 is all of the critic, which has 2 layers" in str(plan)
    assert "which has" not in str(plan_transfer(encoder, make_agent("ppo", **UNEVEN), Frozen(layers=2)))
    assert "which has" not in str(plan_transfer(encoder, make_agent("ppo", **UNEVEN), Frozen(layers=3, critic="none")))


def test_a_number_is_compared_with_the_paths_that_it_is_for(tmp_path: Path) -> None:
    encoder = encoder_of(make_agent("ppo", seed=7, **UNEVEN), tmp_path)
    for strategy in (Frozen(layers=3, actor="none"), Frozen(critic=3), Frozen(layers=3, actor=1)):
        with pytest.raises(IncompatibleError, match=r"has 2 layers \(1: mlp_extractor.value_net.0; 2: .*:2\."):
            plan_transfer(encoder, make_agent("ppo", **UNEVEN), strategy)


def test_layers_of_an_extractor_count_for_actor_and_critic_alike(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"policy": "CnnPolicy", "policy_kwargs": {"net_arch": {"pi": [8], "vf": []}}}
    encoder = encoder_of(make_agent("ppo", Images(), seed=7, **settings), tmp_path)
    plan = plan_transfer(encoder, make_agent("ppo", Images(), **settings), Frozen(layers=5))
    assert len(entry_names(plan, frozen=True)) == 5
    plan_transfer(encoder, make_agent("ppo", Images(), **settings), Frozen(critic=4))
    with pytest.raises(IncompatibleError, match=r"this agent has 4 layers .*Write critic:all or critic:4\."):
        plan_transfer(encoder, make_agent("ppo", Images(), **settings), Frozen(critic=5))


def test_an_extractor_that_names_no_groups_is_one_layer(tmp_path: Path) -> None:
    settings: dict[str, Any] = {
        "policy": "CnnPolicy",
        "policy_kwargs": {"features_extractor_class": NormedCnn, "net_arch": []},
    }
    encoder = encoder_of(make_agent("dqn", Images(), seed=7, **settings), tmp_path)
    assert plan_transfer(encoder, make_agent("dqn", Images(), **settings), Frozen(layers=1)).totals()["frozen"]
    with pytest.raises(IncompatibleError, match=r"this agent has 1 layer \(1: q_net.features_extractor\)"):
        plan_transfer(encoder, make_agent("dqn", Images(), **settings), Frozen(layers=2))


def test_an_adapter_in_front_of_the_encoder_is_not_counted(tmp_path: Path) -> None:
    from rltransfer.extractors import LinearAdapter

    encoder = encoder_of(make_agent("ppo", seed=7), tmp_path)
    env = gym.wrappers.TransformObservation(
        gym.make("CartPole-v1"),
        lambda observation: np.append(observation, np.float32(0)),
        gym.spaces.Box(-np.inf, np.inf, (5,), np.float32),
    )
    adapted = {"features_extractor_class": LinearAdapter, "features_extractor_kwargs": {"features_dim": 4}}
    target = make_agent("ppo", env, policy_kwargs={"net_arch": [8, 8], **adapted})
    plan = plan_transfer(encoder, target, Frozen(layers=1), inputs=Inputs(adapter=4))
    assert entry_names(plan, frozen=True) == {"mlp_extractor.policy_net.0", "mlp_extractor.value_net.0"}
    with pytest.raises(IncompatibleError, match=r"this agent has 2 layers \(1: mlp_extractor.policy_net.0 and"):
        plan_transfer(encoder, target, Frozen(layers=3), inputs=Inputs(adapter=4))


def test_an_agent_without_layers_has_none_to_count_or_release(tmp_path: Path) -> None:
    target = make_agent("ppo", policy_kwargs={"net_arch": []})
    with pytest.raises(IncompatibleError, match=r"this agent has no encoder layers\. Write layers:all or layers:0\."):
        plan_transfer(None, target, RandomFrozen(layers=1))
    plan_transfer(None, target, RandomFrozen(layers=0))
    plan_transfer(None, target, Scratch())


SHORT_ACTOR: dict[str, Any] = {"policy_kwargs": {"net_arch": {"pi": [8], "qf": [8, 8, 8]}}}


@pytest.mark.parametrize(
    ("weights", "at", "idle", "instead"),
    [
        (Finetune(layers=1), (64, 128), "64", r"Write at:\[64\]"),
        (Finetune(actor="none"), (64, 128, 192), "192", r"Write at:\[64,128\]"),
        (Finetune(layers="none"), (64,), "64", "Leave 'gradual_unfreeze' out"),
        (Full(critic="reset"), (1, 2, 3, 4), "4", r"Write at:\[1,2,3\]"),
        (Shuffled(of=[Finetune(layers=1), GradualUnfreeze(at=(64, 128))]), None, "64", r"Write at:\[64\]"),
    ],
    ids=str,
)
def test_a_step_that_releases_nothing_is_refused(weights: Any, at: Any, idle: str, instead: str) -> None:
    anatomy = anatomy_of_agent(make_agent("ppo", **({} if at in (None, (64, 128)) else UNEVEN)))
    strategy = parse_strategy([weights] if at is None else [weights, GradualUnfreeze(at=at)])
    with pytest.raises(IncompatibleError, match=rf"releases nothing at {idle}: .*\. {instead}"):
        layer_rules_of(strategy, anatomy)


@pytest.mark.parametrize(
    ("weights", "most"),
    [(Finetune(), 3), (Finetune(critic="none"), 1), (Finetune(layers=1), 2), (Full(critic="reset"), 1), (Full(), 3)],
    ids=str,
)
def test_as_many_steps_as_release_something_are_accepted_where_paths_differ(weights: Any, most: int) -> None:
    anatomy = anatomy_of_agent(make_agent("sac", **SHORT_ACTOR))
    for count in range(1, most + 1):
        treatment = layer_rules_of(parse_strategy([weights, GradualUnfreeze(at=range(1, count + 1))]), anatomy)
        released = {treatment.held_until[name] for name in treatment.chosen}
        assert released == set(range(1, count + 1))
    with pytest.raises(IncompatibleError, match="gradual_unfreeze"):
        layer_rules_of(parse_strategy([weights, GradualUnfreeze(at=range(1, most + 2))]), anatomy)
