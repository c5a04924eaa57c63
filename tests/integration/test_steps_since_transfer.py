"""What waits, decays or recurs by env_steps counts them since the transfer, into however many calls they are cut."""

import copy
import dataclasses
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from agents import encoder_of, make_agent, normalised, source_encoder, weights
from stable_baselines3 import PPO
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecNormalize

from rltransfer import (
    EWC,
    Augment,
    Encoder,
    Finetune,
    Frozen,
    Full,
    GradualUnfreeze,
    JumpStart,
    Kickstart,
    QDagger,
    ReDo,
    apply_plan,
    hold_plan,
    plan_transfer,
)
from rltransfer.errors import ConfigError, IncompatibleError, TransferError
from rltransfer.transfer import Plan, Transfer, read_plan
from rltransfer.transfer.distillation import Distillation
from rltransfer.transfer.methods.redo import Recycle
from rltransfer.transfer.statistics import copy_statistics

ENCODER = {
    "ppo": "mlp_extractor.policy_net.0.weight",
    "a2c": "mlp_extractor.policy_net.0.weight",
    "dqn": "q_net.q_net.0.weight",
    "sac": "critic.qf0.0.weight",
    "td3": "actor.mu.0.weight",
}
AT_ONCE: dict[str, Any] = {"learning_starts": 0}
PIECES = [pytest.param(False, id="counted on"), pytest.param(True, id="reset")]


@pytest.fixture(scope="module")
def ppo(tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    return source_encoder("ppo", tmp_path_factory.mktemp("ppo"))


def transferred(encoder: Encoder | None, agent: BaseAlgorithm, strategy: Any) -> Transfer:
    return apply_plan(plan_transfer(encoder, agent, strategy), agent)


def moves(
    agent: BaseAlgorithm, tensor: str, pieces: int, steps: int, *, reset: bool, callbacks: Any = None
) -> list[bool]:
    """Returns in which calls of ``learn`` a tensor changes."""
    moved = []
    for _ in range(pieces):
        before = weights(agent)[tensor]
        agent.learn(steps, callback=callbacks, reset_num_timesteps=reset)
        moved.append(not torch.equal(weights(agent)[tensor], before))
    return moved


@pytest.mark.parametrize("reset", PIECES)
@pytest.mark.parametrize("with_callbacks", [True, False])
@pytest.mark.parametrize("before", [0, 96])
def test_layers_are_released_at_their_steps(reset: bool, with_callbacks: bool, before: int, ppo: Encoder) -> None:
    for strategy, tensor, expected in (
        (Full(critic_warmup_steps=64), "action_net.weight", [False, True, True]),
        (GradualUnfreeze(at=(40, 80)), ENCODER["ppo"], [False, False, True]),
    ):
        agent = make_agent("ppo")
        if before:
            agent.learn(before)
        transfer = transferred(ppo, agent, strategy)
        callbacks = transfer.callbacks if with_callbacks else None
        assert moves(agent, tensor, 3, 32, reset=reset, callbacks=callbacks) == expected
        assert transfer.done_steps == 96
        assert all(check.passed for check in transfer.checks()), transfer.checks()


@pytest.mark.parametrize("reset", PIECES)
@pytest.mark.parametrize(
    ("algo", "settings"),
    [
        ("a2c", {"n_steps": 10}),
        ("dqn", AT_ONCE),
        ("dqn", {**AT_ONCE, "train_freq": 5, "gradient_steps": 3}),
        ("sac", AT_ONCE),
        ("td3", {**AT_ONCE, "policy_delay": 2}),
    ],
)
def test_updates_between_the_steps_of_a_call_know_the_count(
    algo: str, settings: dict[str, Any], reset: bool, tmp_path: Path
) -> None:
    encoder = source_encoder(algo, tmp_path)
    for with_callbacks in (True, False):
        agent = make_agent(algo, **settings)
        transfer = transferred(encoder, agent, GradualUnfreeze(at=35))
        callbacks = transfer.callbacks if with_callbacks else None
        moved = moves(agent, ENCODER[algo], 5, 10, reset=reset, callbacks=callbacks)
        assert moved == [False, False, False, True, True]
        assert transfer.done_steps == 50
        assert all(check.passed for check in transfer.checks()), transfer.checks()


@pytest.mark.parametrize("reset", PIECES)
def test_steps_of_several_environments_count_each(reset: bool, ppo: Encoder) -> None:
    agent = make_agent("ppo", make_vec_env("CartPole-v1", 3), n_steps=16)
    transfer = transferred(ppo, agent, GradualUnfreeze(at=100))
    moved = moves(agent, ENCODER["ppo"], 4, 48, reset=reset, callbacks=transfer.callbacks)
    assert moved == [False, False, True, True]
    assert transfer.done_steps == 192


def test_callbacks_see_calls_that_make_no_update_and_need_no_clock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.time_ns", lambda: 1)
    agent = make_agent("dqn", learning_starts=1000)
    transfer = transferred(source_encoder("dqn", tmp_path), agent, GradualUnfreeze(at=35))
    for done in (20, 40, 60):
        agent.learn(20, callback=transfer.callbacks)
        assert transfer.done_steps == done


@pytest.mark.parametrize("reset", PIECES)
def test_an_off_policy_agent_without_random_actions_waits_once(reset: bool, tmp_path: Path) -> None:
    encoder = source_encoder("dqn", tmp_path)
    agent = make_agent("dqn")
    transfer = transferred(encoder, agent, Full())
    assert transfer.plan.quiet_steps == 16
    assert moves(agent, ENCODER["dqn"], 3, 8, reset=reset, callbacks=transfer.callbacks) == [False, True, True]


@pytest.mark.parametrize("reset", PIECES)
def test_trpos_actor_is_as_it_was_after_each_call_of_its_warm_up(reset: bool, tmp_path: Path) -> None:
    agent = make_agent("trpo")
    transfer = transferred(source_encoder("trpo", tmp_path), agent, Full(critic_warmup_steps=80))
    moved = moves(agent, "action_net.weight", 4, 32, reset=reset, callbacks=transfer.callbacks)
    assert moved == [False, False, True, True]
    assert all(check.passed for check in transfer.checks()), transfer.checks()


def test_what_cannot_be_without_callbacks_is_said(tmp_path: Path) -> None:
    agent = make_agent("trpo")
    transfer = transferred(source_encoder("trpo", tmp_path), agent, Full(critic_warmup_steps=80))
    with pytest.warns(UserWarning, match=r"without the transfer's callbacks: the actor of TRPO is not held\. Call"):
        agent.learn(32)
    (failed,) = [check for check in transfer.checks() if not check.passed]
    assert failed.name == "actor held while the critic warmed up"
    for algo, strategy, words in (
        ("ppo", ["scratch", ReDo()], "dormant units do not start again"),
        (
            "dqn",
            QDagger(collect=20),
            "source's steps are not counted, no updates are made on .*, the agent is not drawn",
        ),
    ):
        agent = make_agent(algo, **(AT_ONCE if algo == "dqn" else {}))
        transferred(source_encoder(algo, tmp_path), agent, strategy)
        with pytest.warns(UserWarning, match=words):
            agent.learn(32)


@pytest.mark.parametrize("reset", PIECES)
def test_dormant_units_are_looked_for_as_often_in_pieces(reset: bool, tmp_path: Path) -> None:
    agent = make_agent("ppo", policy_kwargs={"net_arch": [8, 8], "activation_fn": torch.nn.ReLU})
    transfer = transferred(None, agent, ["scratch", ReDo(threshold=1e9, every=100)])

    def recycled_units(transfer: Transfer, pieces: int) -> list[int]:
        (recycle,) = (callback for callback in transfer.callbacks if isinstance(callback, Recycle))
        units = []
        for _ in range(pieces):
            transfer.agent.learn(32, callback=transfer.callbacks, reset_num_timesteps=reset)
            units.append(recycle.recycled)
        return units

    # All 32 units at each look: before the first update, and in the rollouts that end at 128 and 224.
    assert recycled_units(transfer, 7) == [32, 32, 32, 64, 64, 64, 96]
    agent.save(tmp_path / "agent.zip")
    loaded = PPO.load(tmp_path / "agent.zip", env=agent.get_env())
    again = hold_plan(transfer.plan, loaded, done_steps=transfer.done_steps)
    assert recycled_units(again, 3) == [0, 0, 32]


@pytest.mark.parametrize("reset", PIECES)
def test_a_source_policy_fades_and_the_sources_steps_count_once(reset: bool, ppo: Encoder) -> None:
    agent = make_agent("ppo")
    transfer = transferred(ppo, agent, [Kickstart(until=1000, episodes=0), JumpStart(horizon=2, episodes=1)])
    (distillation,) = (callback for callback in transfer.callbacks if isinstance(callback, Distillation))
    taken = 0
    step = agent.env.envs[0].step  # type: ignore[union-attr]

    def counted(action: Any) -> Any:
        nonlocal taken
        taken += 1
        return step(action)

    agent.env.envs[0].step = counted  # type: ignore[union-attr]
    for _ in range(3):
        agent.learn(32, callback=transfer.callbacks, reset_num_timesteps=reset)
        assert transfer.done_steps == taken
        assert distillation.weight == pytest.approx(1.0 - taken / 1000)
    assert taken > 3 * 32
    assert all(check.passed for check in transfer.checks()), transfer.checks()


@pytest.mark.parametrize("reset", PIECES)
def test_qdagger_collects_and_learns_from_it_once(reset: bool, tmp_path: Path) -> None:
    agent = make_agent("dqn", **AT_ONCE)
    plan = plan_transfer(source_encoder("dqn", tmp_path), agent, QDagger(collect=30, offline_updates=50))
    transfer = apply_plan(plan, agent)
    updates = []
    for _ in range(5):
        agent.learn(10, callback=transfer.callbacks, reset_num_timesteps=reset)
        updates.append(agent._n_updates)
    assert updates == [10, 20, 30, 90, 100]
    again = hold_plan(plan, agent, done_steps=transfer.done_steps)
    agent.learn(10, callback=again.callbacks, reset_num_timesteps=reset)
    assert agent._n_updates == 110


@pytest.mark.parametrize("reset", PIECES)
@pytest.mark.parametrize(("algo", "how"), [("ppo", "load"), ("dqn", "load"), ("dqn", "deep copy")])
def test_the_count_goes_on_in_another_agent(algo: str, how: str, reset: bool, tmp_path: Path) -> None:
    agent = make_agent(algo, **(AT_ONCE if algo == "dqn" else {}))
    plan = plan_transfer(source_encoder(algo, tmp_path), agent, GradualUnfreeze(at=80))
    transfer = apply_plan(plan, agent)
    agent.learn(32, callback=transfer.callbacks)
    agent.save(tmp_path / "agent.zip")

    def other() -> BaseAlgorithm:
        env = agent.get_env()
        return type(agent).load(tmp_path / "agent.zip", env=env) if how == "load" else copy.deepcopy(agent)

    follower = other()
    held = hold_plan(plan, follower, done_steps=transfer.done_steps)
    moved = moves(follower, ENCODER[algo], 3, 32, reset=reset, callbacks=held.callbacks)
    assert (moved, held.done_steps) == ([False, True, True], 128)
    late = other()
    assert moves(late, ENCODER[algo], 1, 32, reset=reset, callbacks=hold_plan(plan, late, done_steps=80).callbacks)[0]
    beginner = other()
    with pytest.warns(UserWarning, match=r"counted from 0 again: .* hold_plan\(plan, agent, done_steps=N\)"):
        held = hold_plan(plan, beginner)
    moved = moves(beginner, ENCODER[algo], 3, 32, reset=reset, callbacks=held.callbacks)
    assert (moved, held.done_steps) == ([False, False, True], 96)


def test_it_is_said_only_where_steps_count(ppo: Encoder) -> None:
    agent = make_agent("ppo")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for strategy in (Finetune(lr_scale=0.5), Frozen(), "l2_sp", JumpStart(episodes=1), "lora"):
            hold_plan(plan_transfer(ppo, agent, strategy), agent)
    assert [str(item.message) for item in caught] == []
    counting: list[Any] = [
        GradualUnfreeze(),
        ReDo(),
        JumpStart(until=9),
        Kickstart(until=9),
        Full(critic_warmup_steps=9),
    ]
    for strategy in counting:
        with pytest.warns(UserWarning, match="counted from 0"):
            hold_plan(plan_transfer(ppo, agent, strategy), agent)
    with pytest.raises(ConfigError, match="done_steps: expected the env_steps since apply_plan, 0 or more, found -1"):
        hold_plan(plan_transfer(ppo, agent, GradualUnfreeze()), agent, done_steps=-1)


def test_callbacks_of_another_agents_transfer_are_noticed(ppo: Encoder) -> None:
    agent, other = make_agent("ppo"), make_agent("ppo")
    transfer = transferred(ppo, agent, Frozen())
    with pytest.warns(UserWarning, match="belong to a transfer to another agent.*call transfer = hold_plan"):
        other.learn(32, callback=transfer.callbacks)


def test_other_statistics_after_set_env_are_named_before_training(tmp_path: Path) -> None:
    encoder = encoder_of(make_agent("ppo", normalised("CartPole-v1"), seed=7).learn(64), tmp_path)
    agent = make_agent("ppo", normalised("CartPole-v1"))
    plan = plan_transfer(encoder, agent, Frozen())
    transfer = apply_plan(plan, agent)
    agent.learn(32, callback=transfer.callbacks)
    held = agent.get_vec_normalize_env()
    assert held is not None
    assert all(check.passed for check in transfer.checks())
    words = r"other environments were set \(set_env\): .*call hold_plan\(plan, agent, done_steps=32\) again"
    others: dict[str, Any] = {
        "fresh": normalised("CartPole-v1"),
        "not normalised": normalised("CartPole-v1", norm_obs=False),
        "none": make_vec_env("CartPole-v1"),
        "alike, not held": copy_of(held),
    }
    for env in others.values():
        agent.set_env(env)
        (failed,) = [check for check in transfer.checks() if not check.passed]
        assert failed.name == "held observation statistics unchanged"
        with pytest.warns(UserWarning, match=words):
            agent.learn(0, callback=transfer.callbacks, reset_num_timesteps=False)
    agent.set_env(others["fresh"])
    with pytest.raises(IncompatibleError, match="those of the agent's VecNormalize are others.*call hold_plan again"):
        hold_plan(plan, agent)
    agent.set_env(others["not normalised"])
    with pytest.raises(IncompatibleError, match="the agent has a VecNormalize that leaves observations as they are"):
        hold_plan(plan, agent)
    agent.set_env(copy_of(held))
    again = hold_plan(plan, agent, done_steps=transfer.done_steps)
    agent.learn(32, callback=again.callbacks)
    assert all(check.passed for check in again.checks())
    agent.set_env(held)
    assert all(check.passed for check in transfer.checks()), "the environments of the plan are back"


def copy_of(wrapper: VecNormalize) -> VecNormalize:
    """Returns other environments with the same statistics, as a user brings them there."""
    other = normalised("CartPole-v1")
    other.obs_rms = copy.deepcopy(wrapper.obs_rms)
    return other


@pytest.mark.parametrize("strategy", [JumpStart(horizon=2, episodes=1), Augment(noise=0.1)])
def test_what_stands_in_environments_is_missed_after_set_env(strategy: Any, ppo: Encoder) -> None:
    agent = make_agent("ppo")
    plan = plan_transfer(ppo, agent, strategy)
    transfer = apply_plan(plan, agent)
    agent.learn(32, callback=transfer.callbacks)
    done = transfer.done_steps
    agent.set_env(make_vec_env("CartPole-v1"))
    with pytest.raises(UserWarning, match="other environments were set: call hold_plan again"):
        agent.learn(32, callback=transfer.callbacks)
    assert transfer.done_steps == done, "said before training"
    again = hold_plan(plan, agent, done_steps=transfer.done_steps)
    agent.learn(32, callback=again.callbacks)
    assert all(check.passed for check in again.checks()), again.checks()
    assert again.done_steps == transfer.done_steps


@pytest.mark.parametrize("done_steps", ["100", float("nan"), 1.5, True, -1, 2.0, [3]])
def test_only_a_whole_number_is_a_count(done_steps: Any, ppo: Encoder) -> None:
    agent = make_agent("ppo")
    plan = plan_transfer(ppo, agent, Frozen())
    with pytest.raises(ConfigError, match=r"done_steps: expected the env_steps .*found .*transfer\.done_steps"):
        hold_plan(plan, agent, done_steps=done_steps)
    assert all(parameter.requires_grad for parameter in agent.policy.parameters()), "nothing is held"
    assert hold_plan(plan, agent, done_steps=np.int64(7)).done_steps == 7  # type: ignore[arg-type]


def test_the_sources_steps_before_training_are_not_the_agents(tmp_path: Path) -> None:
    agent = make_agent("ppo")
    strategy = [Finetune(critic_warmup_steps=64), EWC(steps=100, states="target")]
    transfer = transferred(source_encoder("ppo", tmp_path), agent, strategy)
    assert moves(agent, "action_net.weight", 1, 132, reset=False, callbacks=transfer.callbacks) == [False]
    assert (agent.num_timesteps, transfer.done_steps) == (132, 32)
    assert moves(agent, "action_net.weight", 2, 32, reset=False, callbacks=transfer.callbacks) == [True, True]


def frozen_from_file(tmp_path: Path) -> tuple[Plan, Plan, BaseAlgorithm]:
    """Returns a plan that holds statistics, the same plan from a file, and an agent that was trained with it."""
    encoder = encoder_of(make_agent("ppo", normalised("CartPole-v1"), seed=7).learn(64), tmp_path)
    agent = make_agent("ppo", normalised("CartPole-v1"))
    plan = plan_transfer(encoder, agent, Frozen())
    agent.learn(32, callback=apply_plan(plan, agent).callbacks)
    (tmp_path / "plan.json").write_text(json.dumps(plan.to_json()))
    return plan, read_plan(tmp_path / "plan.json"), agent


def test_statistics_that_a_plan_from_a_file_cannot_know_are_said(tmp_path: Path) -> None:
    plan, from_file, agent = frozen_from_file(tmp_path)
    held = agent.get_vec_normalize_env()
    assert held is not None
    agent.set_env(normalised("CartPole-v1"))
    with pytest.raises(IncompatibleError, match="have seen no observation yet.*VecNormalize.load"):
        hold_plan(from_file, agent)
    agent.set_env(copy_of(held))
    with pytest.warns(UserWarning, match="read from a file, without .*VecNormalize.load.*load_encoder"):
        again = hold_plan(from_file, agent)
    assert all(check.passed for check in again.checks()), again.checks()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        hold_plan(dataclasses.replace(from_file, encoder=plan.encoder), agent)
        other = make_agent("ppo", normalised("CartPole-v1"))
        without = plan_transfer(plan.encoder, other, Finetune())
        (tmp_path / "without.json").write_text(json.dumps(without.to_json()))
        hold_plan(read_plan(tmp_path / "without.json"), other)


@pytest.mark.parametrize(("name", "value"), [("clip_obs", 0.5), ("epsilon", 0.1)])
def test_other_bounds_than_the_sources_are_refused(name: str, value: float, tmp_path: Path) -> None:
    plan, _, agent = frozen_from_file(tmp_path)
    held = agent.get_vec_normalize_env()
    assert held is not None
    other = copy_of(held)
    setattr(other, name, value)
    agent.set_env(other)
    with pytest.raises(IncompatibleError, match=f"VecNormalize has {name} {value:g}, the source's 1"):
        hold_plan(plan, agent)


def test_an_agent_on_which_a_plan_cannot_be_held_is_as_it_was(tmp_path: Path) -> None:
    plan, from_file, agent = frozen_from_file(tmp_path)
    agent.save(tmp_path / "agent.zip")
    for refused in (plan, from_file):
        loaded = PPO.load(tmp_path / "agent.zip", env=normalised("CartPole-v1"))
        with pytest.raises(IncompatibleError, match="observation statistics"):
            hold_plan(refused, loaded)
        assert all(parameter.requires_grad for parameter in loaded.policy.parameters())
        assert "_frozen_by_plan" not in vars(loaded.policy)
        # The first layer is trained: no hook is left.
        assert moves(loaded, ENCODER["ppo"], 1, 32, reset=True) == [True]


def test_bounds_that_do_not_arrive_are_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = encoder_of(make_agent("ppo", normalised("CartPole-v1"), seed=7).learn(64), tmp_path)
    agent = make_agent("ppo", normalised("CartPole-v1", clip_obs=5.0))
    plan = plan_transfer(encoder, agent, Finetune())

    def lost(plan: Plan, agent: BaseAlgorithm) -> None:
        copy_statistics(plan, agent)
        agent.get_vec_normalize_env().clip_obs = 5.0  # type: ignore[union-attr]

    monkeypatch.setattr("rltransfer.transfer.apply.copy_statistics", lost)
    with pytest.raises(TransferError, match="VecNormalize: clip_obs is 5, and the source's 10"):
        apply_plan(plan, agent)
