"""What the user froze on a target before it was planned for stays frozen, and the plan says so."""

import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from agents import STEPS, Images, NormedCnn, encoder_of, make_agent, source_encoder, weights

from rltransfer import (
    EWC,
    L2SP,
    Discriminative,
    Finetune,
    Frozen,
    Full,
    GradualUnfreeze,
    Kickstart,
    L2Init,
    LoRA,
    RandomFrozen,
    ReDo,
    Scratch,
    ShrinkPerturb,
    apply_plan,
    hold_plan,
    plan_transfer,
)
from rltransfer.anatomy import agent_tensors
from rltransfer.errors import IncompatibleError
from rltransfer.transfer import read_plan

STRATEGIES: dict[str, Any] = {
    "full": Full(),
    "finetune": Finetune(lr_scale=0.5),
    "frozen": Frozen(),
    "lora": [Full(), LoRA(rank=1)],
    "l2_sp": [Finetune(), L2SP()],
    "discriminative": [Full(), Discriminative()],
    "gradual_unfreeze": GradualUnfreeze(at=(20,)),
    "l2_init": L2Init(),
    "shrink_perturb": ShrinkPerturb(),
    "redo": [Full(), ReDo(every=10, states=8)],
    "scratch": Scratch(),
}
# A module of the encoder, and a parameter of a head.
FIRST = {
    "ppo": "mlp_extractor.policy_net.0",
    "trpo": "mlp_extractor.policy_net.0",
    "sac": "critic.qf0.0",
    "dqn": "q_net.q_net.0",
    "td3": "actor.mu.0",
    "crossq": "critic.qf0.2",
}
HEAD = {
    "ppo": "value_net",
    "trpo": "value_net",
    "sac": "actor.mu",
    "dqn": "",
    "td3": "critic.qf1.4",
    "crossq": "actor.mu",
}


def freeze(agent: Any, *prefixes: str) -> set[str]:
    """Freezes parameters as a user does; returns the names of the online ones."""
    named = {
        name: named_parameter for name, named_parameter in agent.policy.named_parameters() if name.startswith(prefixes)
    }
    for parameter in named.values():
        parameter.requires_grad_(False)
    return set(named)


def columns(plan: Any) -> dict[str, str]:
    """Returns what the plan prints of each tensor's training."""
    lines = str(plan).splitlines()
    start = lines[0].index("training")
    return {line.split()[0]: line[start:] for line in lines[2 : lines.index("")]}


def train(agent: Any, transfer: Any, algo: str) -> None:
    agent.learn(STEPS[algo], callback=transfer.callbacks)
    assert all(check.passed for check in transfer.checks()), transfer.checks()


@pytest.mark.parametrize("strategy", STRATEGIES.values(), ids=STRATEGIES)
@pytest.mark.parametrize("algo", ["ppo", "sac", "dqn", "td3"])
def test_what_the_user_froze_stays_whatever_the_strategy(algo: str, strategy: Any, tmp_path: Path) -> None:
    encoder, target = source_encoder(algo, tmp_path), make_agent(algo)
    frozen = freeze(target, *(item for item in (FIRST[algo], HEAD[algo]) if item))
    plan = plan_transfer(encoder, target, strategy)
    assert {entry.tensor for entry in plan.entries if entry.frozen_by_user} == frozen
    shown = columns(plan)
    assert {name for name, words in shown.items() if words == "frozen (by you)"} == frozen
    (note,) = (finding.words for finding in plan.findings if finding.kind == "frozen_by_user")
    assert note.startswith("you froze ")
    assert FIRST[algo] in note
    transfer = apply_plan(plan, target)
    start = weights(target)
    before = {entry.tensor: entry for entry in plan.entries}
    for name in frozen:
        if before[name].origin == "copied" and not before[name].is_mixed:
            assert torch.equal(start[name], encoder.tensors[before[name].source_tensor])
    train(target, transfer, algo)
    tensors = agent_tensors(target)
    assert all(torch.equal(tensors[name], start[name]) and not tensors[name].requires_grad for name in frozen)
    for entry in plan.entries:
        if entry.twin in frozen:
            assert torch.equal(tensors[entry.tensor], tensors[entry.twin])
    assert any(not torch.equal(tensors[name], start[name]) for name in start if "target" not in name)


@pytest.mark.parametrize("algo", ["trpo", "crossq"])
def test_other_algorithms_keep_it_too(algo: str, tmp_path: Path) -> None:
    encoder, target = source_encoder(algo, tmp_path), make_agent(algo)
    frozen = freeze(target, FIRST[algo], HEAD[algo] + ".weight")
    transfer = apply_plan(plan_transfer(encoder, target, Finetune()), target)
    start = weights(target)
    train(target, transfer, algo)
    assert all(torch.equal(weights(target)[name], start[name]) for name in frozen)


def test_parts_that_act_on_what_learns_say_that_they_do_nothing_there(tmp_path: Path) -> None:
    encoder = source_encoder("ppo", tmp_path)

    def said(strategy: Any, *frozen: str) -> str:
        target = make_agent("ppo")
        freeze(target, *frozen)
        plan = plan_transfer(encoder, target, strategy)
        return next(finding.words for finding in plan.findings if finding.kind == "frozen_by_user")

    start = "you froze mlp_extractor.policy_net.0 (requires_grad False): what they start with stays"
    first = "mlp_extractor.policy_net.0"
    assert said(Full(), first) == start
    assert said([Full(), LoRA(), L2SP()], first) == f"{start}; 'l2_sp' and 'lora' do nothing there"
    assert said(GradualUnfreeze(), first) == f"{start}; 'gradual_unfreeze' does nothing there"
    assert said(Finetune(lr_scale=0.1), first) == f"{start}; 'lr_scale' does nothing there"
    assert said([Finetune(layers="none"), L2SP()], first) == f"{start}; 'l2_sp' does nothing there"
    assert "nothing there" not in said(GradualUnfreeze(), "value_net")
    assert "you froze mlp_extractor.policy_net.2.bias, value_net (" in said(
        Full(), "mlp_extractor.policy_net.2.bias", "value_net"
    )


def test_what_an_earlier_plan_froze_is_not_the_users_and_is_released_aloud(tmp_path: Path) -> None:
    encoder, target = source_encoder("ppo", tmp_path), make_agent("ppo")
    user = freeze(target, "value_net")
    apply_plan(plan_transfer(encoder, target, Frozen()), target)
    plan = plan_transfer(encoder, target, Finetune())
    assert {entry.tensor for entry in plan.entries if entry.frozen} == user
    assert "note: an earlier plan froze mlp_extractor.policy_net.0, mlp_extractor.policy_net.2, mlp" in str(plan)
    with torch.no_grad():
        for parameter in target.policy.mlp_extractor.parameters():
            parameter.mul_(2.0)
    train(target, apply_plan(plan, target), "ppo")
    assert "earlier plan" not in str(plan_transfer(encoder, target, Finetune()))
    target.policy.requires_grad_(True)
    assert not any(entry.frozen for entry in plan_transfer(encoder, target, Finetune()).entries)


def test_what_the_user_froze_since_an_earlier_plan_is_the_users(tmp_path: Path) -> None:
    encoder, target = source_encoder("sac", tmp_path), make_agent("sac")
    train(target, apply_plan(plan_transfer(encoder, target, Finetune()), target), "sac")
    user = freeze(target, "actor.latent_pi")
    plan = plan_transfer(encoder, target, Full())
    assert {entry.tensor for entry in plan.entries if entry.frozen_by_user} == user


def test_a_copy_of_a_held_agent_knows_what_the_plan_froze(tmp_path: Path) -> None:
    encoder, target = source_encoder("ppo", tmp_path), make_agent("ppo")
    apply_plan(plan_transfer(encoder, target, Frozen()), target)
    target.policy = copy.deepcopy(target.policy)
    assert not any(entry.frozen for entry in plan_transfer(encoder, target, Finetune()).entries)


def test_the_plan_freezes_again_after_a_load(tmp_path: Path) -> None:
    encoder, target = source_encoder("dqn", tmp_path), make_agent("dqn")
    user = freeze(target, "q_net.q_net.2")
    plan = plan_transfer(encoder, target, Finetune())
    apply_plan(plan, target)
    target.save(tmp_path / "held.zip")
    (tmp_path / "plan.json").write_text(json.dumps(plan.to_json()))
    loaded = type(target).load(tmp_path / "held.zip", env=target.get_env())
    assert all(item.requires_grad for item in loaded.policy.parameters())
    read = read_plan(tmp_path / "plan.json")
    assert read == plan
    transfer = hold_plan(read, loaded)
    start = weights(loaded)
    train(loaded, transfer, "dqn")
    assert all(torch.equal(weights(loaded)[name], start[name]) for name in user)
    # Still the user's, also for the next plan.
    again = plan_transfer(encoder, loaded, Full())
    assert {entry.tensor for entry in again.entries if entry.frozen_by_user} == user


def test_freezing_after_the_plan_is_refused_and_not_undone(tmp_path: Path) -> None:
    encoder, target = source_encoder("ppo", tmp_path), make_agent("ppo")
    plan = plan_transfer(encoder, target, Finetune())
    freeze(target, "mlp_extractor.value_net.2")
    with pytest.raises(IncompatibleError, match=r"value_net.2.weight, .* are frozen .*, and the plan trains them"):
        apply_plan(plan, target)
    assert not target.policy.mlp_extractor.value_net[2].weight.requires_grad
    apply_plan(plan_transfer(encoder, target, Finetune()), target)


def test_statistics_and_dropout_of_a_module_that_the_user_froze_are_held(tmp_path: Path) -> None:
    settings: dict[str, Any] = {
        "policy": "CnnPolicy",
        "policy_kwargs": {"features_extractor_class": NormedCnn, "net_arch": [4]},
    }
    encoder = encoder_of(make_agent("ppo", Images(), seed=7, **settings).learn(32), tmp_path)
    target = make_agent("ppo", Images(), **settings)
    parameters = freeze(target, "features_extractor")
    plan = plan_transfer(encoder, target, Finetune())
    frozen = {entry.tensor for entry in plan.entries if entry.frozen_by_user}
    assert frozen - parameters == {f"features_extractor.body.1.{name}" for name in (
        "running_mean", "running_var", "num_batches_tracked"
    )}  # fmt: skip
    transfer = apply_plan(plan, target)
    start = weights(target)
    target.policy.set_training_mode(True)
    assert not any(module.training for module in target.policy.features_extractor.modules())
    train(target, transfer, "ppo")
    assert all(torch.equal(weights(target)[name], start[name]) for name in frozen)
    # Of a module that is frozen in part, the statistics go on.
    other = make_agent("ppo", Images(), **settings)
    freeze(other, "features_extractor.body.0")
    plan = plan_transfer(encoder, other, Finetune())
    assert {entry.tensor for entry in plan.entries if entry.frozen_by_user} == {
        "features_extractor.body.0.weight", "features_extractor.body.0.bias"
    }  # fmt: skip
    start_of_mean = other.policy.features_extractor.body[1].running_mean
    train(other, apply_plan(plan, other), "ppo")
    assert other.policy.features_extractor.body[1].running_mean is start_of_mean
    assert not torch.equal(start_of_mean, encoder.tensors["features_extractor.body.1.running_mean"])


def test_what_the_user_froze_is_not_called_a_random_control(tmp_path: Path) -> None:
    encoder, target = source_encoder("ppo", tmp_path), make_agent("ppo")
    freeze(target, "value_net", "mlp_extractor.policy_net.0")
    kinds = {finding.kind for finding in plan_transfer(encoder, target, Finetune(layers="none")).findings}
    assert "frozen_random" not in kinds
    assert "frozen_random" in {finding.kind for finding in plan_transfer(None, target, RandomFrozen()).findings}


def everything(agent: Any) -> Iterator[str]:
    return (name for name, _ in agent.policy.named_parameters())


@pytest.mark.parametrize(
    ("algo", "strategy", "frozen", "whose"),
    [
        ("ppo", Finetune(), everything, "the agent"),
        ("dqn", Full(), everything, "the agent"),
        ("sac", Scratch(), lambda _: ["critic"], "the critic"),
        ("td3", Full(), lambda _: ["critic"], "the critic"),
        ("trpo", Finetune(), lambda _: ["mlp_extractor.policy_net", "action_net"], "the actor"),
        ("trpo", Finetune(), lambda _: ["mlp_extractor.value_net", "value_net"], "the critic"),
        ("ppo", Kickstart(), lambda _: ["mlp_extractor.policy_net", "action_net"], "the actor"),
        ("dqn", Frozen(), lambda _: ["q_net.q_net.4"], "the agent"),
    ],
)
def test_an_agent_of_which_nothing_is_left_to_train_is_refused(
    algo: str, strategy: Any, frozen: Callable[[Any], Any], whose: str, tmp_path: Path
) -> None:
    encoder, target = source_encoder(algo, tmp_path), make_agent(algo)
    freeze(target, *frozen(target))
    with pytest.raises(IncompatibleError, match=f"Nothing is left to train in {whose}: .* Unfreeze some"):
        plan_transfer(encoder, target, strategy)


@pytest.mark.parametrize("algo", ["sac", "td3"])
def test_an_actor_that_the_user_froze_whole_stays_while_the_critic_learns(algo: str, tmp_path: Path) -> None:
    encoder, target = source_encoder(algo, tmp_path), make_agent(algo)
    frozen = freeze(target, "actor.")
    transfer = apply_plan(plan_transfer(encoder, target, Full()), target)
    start = weights(target)
    train(target, transfer, algo)
    assert all(torch.equal(weights(target)[name], start[name]) for name in frozen)
    assert not torch.equal(weights(target)["critic.qf0.0.weight"], start["critic.qf0.0.weight"])


def test_a_frozen_entropy_coefficient_is_refused_with_what_fixes_it(tmp_path: Path) -> None:
    encoder, target = source_encoder("sac", tmp_path), make_agent("sac")
    target.log_ent_coef.requires_grad_(False)
    with pytest.raises(IncompatibleError, match="ent_coef=VALUE"):
        plan_transfer(encoder, target, Full())


def test_low_rank_updates_of_nothing_but_frozen_layers_are_refused(tmp_path: Path) -> None:
    encoder, target = source_encoder("ppo", tmp_path), make_agent("ppo")
    freeze(target, "mlp_extractor")
    with pytest.raises(IncompatibleError, match="'lora' changes layers that move, and you froze all of these"):
        plan_transfer(encoder, target, LoRA())
    plan = plan_transfer(encoder, target, [Finetune(), EWC(steps=4, states="target")])
    train(target, apply_plan(plan, target), "ppo")
