"""How a transferred agent starts: its critic's modes and warm-up, and off-policy agents without random actions."""

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from agents import STEPS, encoder_of, make_agent, normalised, weights
from stable_baselines3 import DQN
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.her import HerReplayBuffer

from rltransfer import Finetune, Frozen, Full, apply_plan, hold_plan, plan_transfer
from rltransfer.errors import IncompatibleError
from rltransfer.transfer import read_plan

WITH_ACTOR = [algo for algo in STEPS if algo not in ("ars", "dqn", "qrdqn")]
OFF_POLICY = ["dqn", "qrdqn", "sac", "tqc", "crossq", "td3", "ddpg"]
ACTOR = ("mlp_extractor.policy_net", "action_net", "log_std", "lstm_actor", "actor.")


def learn(agent: BaseAlgorithm, steps: int, **settings: Any) -> BaseAlgorithm:
    masking = {"use_masking": False} if type(agent).__name__ == "MaskablePPO" else {}
    return agent.learn(steps, **masking, **settings)


@pytest.fixture(scope="module")
def encoders(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Any]:
    made: dict[str, Any] = {}

    def encoder(algo: str) -> Any:
        if algo not in made:
            made[algo] = encoder_of(learn(make_agent(algo, seed=7), STEPS[algo]), tmp_path_factory.mktemp(algo))
        return made[algo]

    return encoder


def parts(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> tuple[set[str], set[str]]:
    """Returns which tensors changed, those of the actor and those of the critic."""
    changed = {name for name in before if not torch.equal(before[name], after[name]) and "_target" not in name}
    actor = {name for name in changed if name.startswith(ACTOR)}
    return actor, changed - actor


class After(BaseCallback):
    """Keeps the weights as they are when a number of steps is reached."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.steps = steps
        self.weights: dict[str, torch.Tensor] = {}

    def _on_step(self) -> bool:
        if self.num_timesteps >= self.steps and not self.weights:
            self.weights = weights(self.model)
        return True


@pytest.mark.parametrize("strategy", ["full", "finetune", "frozen"])
@pytest.mark.parametrize("algo", WITH_ACTOR)
def test_the_actor_is_held_while_the_critic_warms_up(
    algo: str, strategy: str, encoders: Callable[[str], Any], tmp_path: Path
) -> None:
    agent = make_agent(algo)
    held = 96 if algo in ("ppo", "a2c", "trpo", "maskable_ppo", "ppo_lstm") else 60
    given = {"kind": strategy, "critic_warmup_steps": held}
    transfer = apply_plan(plan_transfer(encoders(algo), agent, given), agent)
    start, then = weights(agent), After(held)
    learn(agent, 2 * held + 40, callback=[then, *transfer.callbacks])
    actor, critic = parts(start, then.weights)
    assert actor == set()
    assert critic
    actor, _ = parts(start, weights(agent))
    assert actor
    assert all(check.passed for check in transfer.checks()), transfer.checks()
    assert "actor held while the critic warmed up" in {check.name for check in transfer.checks()}
    agent.save(tmp_path / "agent.zip")
    type(agent).load(tmp_path / "agent.zip", device="cpu")


def test_the_warm_up_goes_on_after_a_load(encoders: Callable[[str], Any], tmp_path: Path) -> None:
    agent = make_agent("ppo")
    plan = plan_transfer(encoders("ppo"), agent, Full(critic_warmup_steps=96))
    learn(agent, 32, callback=apply_plan(plan, agent).callbacks)
    agent.save(tmp_path / "agent.zip")
    (tmp_path / "plan.json").write_text(json.dumps(plan.to_json()))
    loaded = type(agent).load(tmp_path / "agent.zip", env=agent.get_env(), device="cpu")
    transfer = hold_plan(read_plan(tmp_path / "plan.json"), loaded, done_steps=32)
    start, then = weights(loaded), After(96)
    learn(loaded, 128, callback=[then, *transfer.callbacks], reset_num_timesteps=False)
    assert parts(start, then.weights)[0] == set()
    assert parts(start, weights(loaded))[0]


@pytest.mark.parametrize("algo", WITH_ACTOR)
def test_a_reset_critic_starts_afresh_under_the_sources_actor(algo: str, encoders: Callable[[str], Any]) -> None:
    agent = make_agent(algo)
    fresh = weights(agent)
    plan = plan_transfer(encoders(algo), agent, Full(critic="reset"))
    apply_plan(plan, agent)
    now = weights(agent)
    for name, source in encoders(algo).tensors.items():
        if name.startswith(ACTOR):
            assert torch.equal(now[name], source), name
        elif name in now:
            assert torch.equal(now[name], fresh[name]), name
    assert all(torch.equal(now[entry.tensor], now[entry.twin]) for entry in plan.entries if entry.twin)
    given = {"kind": "finetune", "critic": "reset"}
    entries = plan_transfer(encoders(algo), make_agent(algo), given).entries
    assert {entry.origin for entry in entries if entry.branch == "critic"} == {"initialised"}


def test_reward_statistics_travel_with_the_critic_alone(tmp_path: Path) -> None:
    source = make_agent("ppo", normalised("CartPole-v1"), seed=7).learn(64)
    encoder = encoder_of(source, tmp_path)
    for strategy, start in ((Full(), "copied"), (Full(critic="reset"), "fresh"), (Finetune(), "fresh")):
        plan = plan_transfer(encoder, make_agent("ppo", normalised("CartPole-v1")), strategy)
        assert plan.statistics.reward == start


@pytest.mark.parametrize("algo", ["dqn", "qrdqn"])
def test_an_agent_without_an_actor_has_no_critic_modes(algo: str, encoders: Callable[[str], Any]) -> None:
    for strategy in (Full(critic="reset"), Full(critic_warmup_steps=9), Frozen(critic_warmup_steps=9)):
        with pytest.raises(IncompatibleError, match=f"an agent of {algo} has no actor"):
            plan_transfer(encoders(algo), make_agent(algo), strategy)


def test_trpo_refuses_a_rate_that_its_search_ignores(encoders: Callable[[str], Any]) -> None:
    with pytest.raises(IncompatibleError, match="lr_scale has no effect"):
        plan_transfer(encoders("trpo"), make_agent("trpo"), Finetune(lr_scale=0.5))
    plan_transfer(encoders("trpo"), make_agent("trpo"), Finetune(lr_scale=0.5, actor="none"))


class Acts(BaseCallback):
    """Counts the actions that are the agent's own deterministic ones, and keeps the first weights that differ."""

    def __init__(self) -> None:
        super().__init__()
        self.rates: list[float] = []
        self.changed_at: int | None = None
        self.start: dict[str, torch.Tensor] = {}

    def _on_training_start(self) -> None:
        self.start = weights(self.model)

    def _on_step(self) -> bool:
        self.rates.append(getattr(self.model, "exploration_rate", 0.0))
        now = weights(self.model)
        # Polyak averaging moves target copies at the rounding level even where the online network rests.
        online = [name for name in now if "_target" not in name]
        if self.changed_at is None and any(not torch.equal(now[name], self.start[name]) for name in online):
            self.changed_at = self.num_timesteps
        return True


@contextlib.contextmanager
def counted_samples(agent: BaseAlgorithm) -> Iterator[mock.Mock]:
    """Counts the actions that are drawn from the agent's space."""
    space = type(agent.action_space)
    with mock.patch.object(space, "sample", autospec=True, side_effect=space.sample) as samples:
        yield samples


@pytest.mark.parametrize("algo", OFF_POLICY)
def test_a_transfer_that_keeps_its_heads_acts_by_what_it_knows(algo: str, encoders: Callable[[str], Any]) -> None:
    for strategy, is_quiet in ((Full(), True), (Full(exploration="restart"), False), (Finetune(), False)):
        settings = {"exploration_final_eps": 0.0, "exploration_fraction": 0.5} if algo in ("dqn", "qrdqn") else {}
        agent = make_agent(algo, **settings)
        transfer = apply_plan(plan_transfer(encoders(algo), agent, strategy), agent)
        acts = Acts()
        with counted_samples(agent) as samples:
            agent.learn(40, callback=[acts, *transfer.callbacks])
        assert (samples.call_count == 0) == is_quiet
        # 16 steps without updates in each case.
        assert acts.changed_at is not None
        assert acts.changed_at > 16
        if algo in ("dqn", "qrdqn"):
            assert (max(acts.rates) == 0.0) == is_quiet
        assert all(check.passed for check in transfer.checks())


def test_stock_sb3_does_not_restart_the_epsilon_of_such_an_agent(
    encoders: Callable[[str], Any], tmp_path: Path
) -> None:
    agent = make_agent("dqn")
    apply_plan(plan_transfer(encoders("dqn"), agent, Full()), agent)
    agent.save(tmp_path / "agent.zip")
    loaded = DQN.load(tmp_path / "agent.zip", env=agent.get_env(), device="cpu")
    acts = Acts()
    loaded.learn(30, callback=acts)
    assert set(acts.rates) == {loaded.exploration_final_eps}
    assert acts.changed_at is not None


def test_her_keeps_its_first_episodes(encoders: Callable[[str], Any]) -> None:
    agent = make_agent("sac")
    agent.replay_buffer_class = HerReplayBuffer
    assert plan_transfer(encoders("sac"), agent, Full()).quiet_steps is None


def test_the_noise_matrix_of_gsde_is_drawn_from_the_copied_log_std(tmp_path: Path) -> None:
    settings = {"use_sde": True}
    source = make_agent("ppo", "Pendulum-v1", seed=7, **settings)
    with torch.no_grad():
        source.policy.log_std.fill_(-20.0)
    target = make_agent("ppo", "Pendulum-v1", **settings)
    apply_plan(plan_transfer(encoder_of(source, tmp_path), target, Full()), target)
    observation = np.ones(3, dtype=np.float32)
    sampled, _ = target.predict(observation)
    mode, _ = target.predict(observation, deterministic=True)
    np.testing.assert_allclose(sampled, mode, atol=1e-5)
