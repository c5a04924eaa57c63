"""A source's policy acts in the target, and the agent is drawn to it: what it sees, when it acts, and how it draws."""

import json
import pickle
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from agents import ENVS, encoder_of, make_agent, normalised
from runs import pretrained, run_config
from stable_baselines3 import PPO
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecFrameStack, VecNormalize

from rltransfer import Encoder, Finetune, JumpStart, Kickstart, QDagger, apply_plan, hold_plan, plan_transfer
from rltransfer.artifact.policy import build_policy
from rltransfer.errors import IncompatibleError
from rltransfer.records import read_curve
from rltransfer.training import train_run
from rltransfer.transfer import Transfer, read_plan
from rltransfer.transfer.distillation import Distillation
from rltransfer.transfer.optimizer_hooks import agent_optimizers
from rltransfer.transfer.source_actor import SourceActorCallback
from rltransfer.transfer.source_policy import Advice, SourcePolicy, innermost


class Corridor(gym.Env[np.ndarray, Any]):
    """Ten steps; the observation is how many are done, the reward the action; notes what was done when."""

    observation_space = gym.spaces.Box(0.0, 10.0, (1,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def __init__(self) -> None:
        self.done: list[tuple[int, int]] = []
        self._step = 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed, options=options)
        self._step = 0
        return np.zeros(1, np.float32), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.done.append((self._step, int(action)))
        self._step += 1
        return np.full(1, self._step, np.float32), float(action), self._step == 10, False, {}


class ThreeWays(Corridor):
    action_space = gym.spaces.Discrete(3)


def always(agent: BaseAlgorithm, action: int) -> BaseAlgorithm:
    """Returns the agent, which now takes one action whatever it sees."""
    with torch.no_grad():
        agent.policy.action_net.weight.zero_()
        agent.policy.action_net.bias.copy_(torch.tensor([-50.0, 50.0] if action else [50.0, -50.0]))
    return agent


def source_actor_of(transfer: Transfer) -> Any:
    return innermost(transfer.agent.env).rltransfer_source_actor


def jump_started(folder: Path, part: JumpStart, env: Any = Corridor, **settings: Any) -> Transfer:
    """Returns a target that always takes action 0, jump-started by a source that always takes action 1."""
    encoder = encoder_of(always(make_agent("ppo", Corridor(), seed=7), 1), folder)
    target = always(make_agent("ppo", env(), learning_rate=0.0, **settings), 0)
    return apply_plan(plan_transfer(encoder, target, part), target)


def test_the_source_policy_hands_over_at_its_horizon_and_no_buffer_holds_what_it_did(tmp_path: Path) -> None:
    transfer = jump_started(tmp_path, JumpStart(horizon=4, stages=1, window=1000, episodes=1))
    agent = transfer.agent
    seen: list[float] = []
    agent.learn(64, callback=transfer.callbacks)
    env = innermost(agent.env).envs[0].unwrapped
    assert isinstance(env, Corridor)
    alone, together = env.done[:10], env.done[10:]
    assert [action for _, action in alone] == [1] * 10
    assert {action for step, action in together if step < 4} == {1}
    assert {action for step, action in together if step >= 4} == {0}
    assert not agent.rollout_buffer.actions.any()
    seen = agent.rollout_buffer.observations.reshape(-1).tolist()
    assert min(seen) == 4.0
    assert agent.num_timesteps == len(env.done)
    assert all(check.passed for check in transfer.checks()), transfer.checks()
    returns, lengths = evaluate_policy(agent, DummyVecEnv([Corridor]), 2, return_episode_rewards=True, warn=False)
    assert (returns, lengths) == ([0.0, 0.0], [10, 10])


@pytest.mark.parametrize("kind", [DummyVecEnv, SubprocVecEnv])
def test_source_policies_of_several_environments_each_hand_over(kind: Any, tmp_path: Path) -> None:
    transfer = jump_started(
        tmp_path, JumpStart(horizon=3, stages=1, window=1000, episodes=2), env=lambda: kind([Corridor] * 3)
    )
    transfer.agent.learn(32, callback=transfer.callbacks)
    assert min(transfer.agent.rollout_buffer.observations.reshape(-1)) == 3.0
    assert source_actor_of(transfer).own_returns == [10.0, 10.0]
    assert transfer.agent.num_timesteps == 3 * 32 + source_actor_of(transfer).steps
    transfer.agent.env.close()


def test_the_horizon_shrinks_when_the_returns_are_the_source_policys_own(tmp_path: Path) -> None:
    encoder = encoder_of(always(make_agent("ppo", Corridor(), seed=7), 1), tmp_path)
    target = always(make_agent("ppo", Corridor(), learning_rate=0.0), 1)
    part = JumpStart(horizon=8, stages=4, window=2, episodes=1)
    transfer = apply_plan(plan_transfer(encoder, target, part), target)
    horizons = []
    for _ in range(4):
        target.learn(32, callback=transfer.callbacks, reset_num_timesteps=False)
        horizons.append(source_actor_of(transfer).horizon)
    assert horizons == sorted(horizons, reverse=True)
    assert (horizons[0] < 8, horizons[-1]) == (True, 0)


@pytest.mark.parametrize("reset", [False, True])
def test_an_agent_that_falls_short_keeps_its_source_policy_until_the_last_step_named(
    reset: bool, tmp_path: Path
) -> None:
    transfer = jump_started(tmp_path, JumpStart(horizon=8, stages=4, window=2, episodes=1, until=400))
    horizons = []
    for _ in range(9):
        transfer.agent.learn(32, callback=transfer.callbacks, reset_num_timesteps=reset)
        horizons.append(source_actor_of(transfer).horizon)
    assert source_actor_of(transfer)._stage == 0
    assert horizons == sorted(horizons, reverse=True)
    assert horizons[-1] == 0
    assert horizons[0] > 0


def test_without_a_horizon_it_is_as_long_as_the_source_policys_own_episodes(tmp_path: Path) -> None:
    transfer = jump_started(tmp_path, JumpStart(stages=2, window=1000))
    transfer.agent.learn(16, callback=transfer.callbacks)
    # It begins again for half as long where its own part is the whole episode.
    assert source_actor_of(transfer).horizon == 10
    assert min(transfer.agent.rollout_buffer.observations.reshape(-1)) == 5.0


def test_holding_again_replaces_the_source_policy_and_a_plan_from_a_file_needs_its_source(tmp_path: Path) -> None:
    transfer = jump_started(tmp_path, JumpStart(horizon=4))
    agent, plan = transfer.agent, transfer.plan
    again = hold_plan(plan, agent)
    assert source_actor_of(again) is innermost(agent.env).__dict__["rltransfer_source_actor"]
    (tmp_path / "plan.json").write_text(json.dumps(plan.to_json()))
    with pytest.raises(IncompatibleError, match="hold dataclasses.replace"):
        hold_plan(read_plan(tmp_path / "plan.json"), agent)
    plain = apply_plan(plan_transfer(None, agent, "scratch"), agent)
    assert "rltransfer_source_actor" not in innermost(agent.env).__dict__
    assert not any(isinstance(callback, SourceActorCallback) for callback in plain.callbacks)


def test_the_source_policy_sees_through_its_own_statistics_and_frames(tmp_path: Path) -> None:
    """In environments without either, it does what it did in its own."""
    stacked = VecFrameStack(normalised("CartPole-v1"), 3)
    source = make_agent("ppo", stacked, seed=7).learn(64)
    encoder = encoder_of(source, tmp_path)
    raw = gym.make("CartPole-v1")
    source_policy = SourcePolicy(
        encoder,
        inputs={},
        actions=None,
        observation_space=raw.observation_space,
        action_space=raw.action_space,
        n_envs=1,
    )
    normaliser = stacked.venv
    assert isinstance(normaliser, VecNormalize)
    normaliser.training = False
    stacked.seed(3)
    observations = stacked.reset()
    starts = True
    for step in range(60):
        advice = source_policy.see(normaliser.get_original_obs(), np.array([0]), np.array([starts]))
        with torch.no_grad():
            expected = source.policy.get_distribution(torch.as_tensor(observations)).distribution.probs.numpy()
        np.testing.assert_allclose(advice.centre, expected, atol=1e-6)
        observations, _, dones, _ = stacked.step(np.array([step % 2]))
        starts = bool(dones[0])


def test_the_source_policys_inputs_and_actions_follow_the_maps(tmp_path: Path) -> None:
    encoder = encoder_of(make_agent("ppo", seed=7).learn(64), tmp_path)
    target = make_agent("ppo")
    plan = plan_transfer(encoder, target, Kickstart(), inputs=[2, 3, 0, 1], actions=[1, 0])
    transfer = apply_plan(plan, target)
    observations = np.random.default_rng(0).normal(size=(1, 4)).astype(np.float32)
    result = source_actor_of(transfer).source_policy.see(observations, np.array([0]), np.array([True]))
    with torch.no_grad():
        policy: Any = build_policy(encoder)
        expected = policy.get_distribution(torch.as_tensor(observations[:, [2, 3, 0, 1]])).distribution.probs.numpy()
    np.testing.assert_allclose(result.centre, expected[:, ::-1], atol=1e-6)


PAIRS = [
    ("ppo", "ppo", None),
    ("a2c", "dqn", None),
    ("dqn", "dqn", None),
    ("qrdqn", "ppo", None),
    ("ppo", "ppo", "Pendulum-v1"),
    ("sac", "sac", None),
    ("td3", "td3", None),
    ("sac", "td3", None),
    ("ppo", "sac", "Pendulum-v1"),
    ("crossq", "sac", None),
]


@pytest.mark.parametrize(("student", "source", "env"), PAIRS)
def test_distillation_drives_the_distance_to_zero_on_fixed_states(
    student: str, source: str, env: str | None, tmp_path: Path
) -> None:
    env = env or ENVS[student]
    encoder = encoder_of(make_agent(source, env, seed=7, policy_kwargs={"net_arch": [16]}).learn(64), tmp_path)
    target = make_agent(student, env, learning_rate=3e-3)
    transfer = apply_plan(plan_transfer(encoder, target, Kickstart(batch_size=32, episodes=0)), target)
    distillation = next(callback for callback in transfer.callbacks if isinstance(callback, Distillation))
    # Fills its memory with a few states; what it learns from rewards meanwhile does not matter.
    target.learn(8 if student not in ("ppo", "a2c") else 32, callback=transfer.callbacks)
    assert distillation._states is not None
    distillation.losses.clear()
    names = agent_optimizers(target)
    optimizer = names.get("actor.optimizer") or names["policy.optimizer"]
    for _ in range(3000):
        optimizer.zero_grad()
        optimizer.step()
        if distillation.losses[-1] < 1e-3 * max(1.0, distillation.losses[0]):
            break
    assert distillation.losses[-1] < max(0.02 * distillation.losses[0], 2e-3)
    assert all(len(name.param_groups) == 1 for name in names.values())


def test_the_added_gradient_is_that_of_the_weighted_divergence(tmp_path: Path) -> None:
    encoder = encoder_of(make_agent("ppo", seed=7).learn(64), tmp_path)
    target = make_agent("ppo")
    transfer = apply_plan(plan_transfer(encoder, target, Kickstart(weight=0.7, episodes=0, batch_size=2000)), target)
    distillation = next(callback for callback in transfer.callbacks if isinstance(callback, Distillation))
    target.learn(32, callback=transfer.callbacks)
    states = distillation._states
    assert states is not None
    optimizer = target.policy.optimizer
    optimizer.zero_grad()
    distillation._rng = np.random.default_rng(5)
    drawn, _ = states.draw(2000, np.random.default_rng(5))
    tensors = torch.as_tensor(drawn)
    source: Any = build_policy(encoder)
    divergence = torch.distributions.kl_divergence(
        source.get_distribution(tensors).distribution, target.policy.get_distribution(tensors).distribution
    ).mean()
    weight = target.policy.action_net.weight
    (expected,) = torch.autograd.grad(0.7 * divergence, [weight])
    distillation.before_step(optimizer)
    torch.testing.assert_close(weight.grad, expected, rtol=1e-4, atol=1e-6)


def test_the_weight_falls_as_the_agent_catches_up_and_with_time(tmp_path: Path) -> None:
    encoder = encoder_of(always(make_agent("ppo", Corridor(), seed=7), 1), tmp_path)
    target = always(make_agent("ppo", Corridor(), learning_rate=0.0), 0)
    part = Kickstart(weight=2.0, until=1000, window=2, episodes=1)
    transfer = apply_plan(plan_transfer(encoder, target, part), target)
    distillation = next(callback for callback in transfer.callbacks if isinstance(callback, Distillation))
    target.learn(32, callback=transfer.callbacks)
    assert distillation.weight == pytest.approx(2.0 * (1 - target.num_timesteps / 1000))
    source_actor_of(transfer).returns.extend([5.0, 5.0])
    assert distillation.weight == pytest.approx(1.0 * (1 - target.num_timesteps / 1000))
    source_actor_of(transfer).returns.extend([11.0, 11.0])
    assert distillation.weight == 0.0


def test_a_source_policy_that_is_no_better_than_the_agent_has_no_weight(tmp_path: Path) -> None:
    encoder = encoder_of(always(make_agent("ppo", Corridor(), seed=7), 0), tmp_path)
    target = always(make_agent("ppo", Corridor(), learning_rate=0.0), 1)
    transfer = apply_plan(plan_transfer(encoder, target, Kickstart(episodes=1)), target)
    distillation = next(callback for callback in transfer.callbacks if isinstance(callback, Distillation))
    target.learn(64, callback=transfer.callbacks)
    assert distillation.weight == 0.0


@pytest.mark.parametrize("algo", ["trpo", "ppo_lstm", "maskable_ppo"])
def test_agents_that_cannot_be_drawn_are_refused_with_the_reason(algo: str, tmp_path: Path) -> None:
    encoder = encoder_of(make_agent("ppo", seed=7), tmp_path)
    with pytest.raises(IncompatibleError, match="'kickstart' is for"):
        plan_transfer(encoder, make_agent(algo), Kickstart())
    assert plan_transfer(encoder, make_agent(algo), JumpStart()).strategy[0].kind == "scratch"


def test_sources_that_cannot_act_here_are_refused_with_the_reason(tmp_path: Path) -> None:
    def refused(words: str, source: BaseAlgorithm, target: BaseAlgorithm, **maps: Any) -> None:
        with pytest.raises(IncompatibleError, match=words):
            plan_transfer(encoder_of(source, tmp_path), target, JumpStart(), **maps)

    refused("recurrent", make_agent("ppo_lstm"), make_agent("ppo"))
    refused("Both must be Discrete, or both Box", make_agent("ppo"), make_agent("ppo", "MountainCarContinuous-v0"))
    refused("it knows 2 actions, and the target has 3", make_agent("ppo", Corridor()), make_agent("ppo", ThreeWays()))
    refused("observation spaces do not fit", make_agent("ppo"), make_agent("ppo", Corridor()))
    with pytest.raises(IncompatibleError, match="needs a source"):
        plan_transfer(None, make_agent("ppo"), "jump_start")


def test_distillation_stands_beside_moved_weights(tmp_path: Path) -> None:
    encoder: Encoder = encoder_of(make_agent("dqn", seed=7).learn(40), tmp_path)
    target = make_agent("dqn")
    plan = plan_transfer(encoder, target, [Finetune(lr_scale=0.5), JumpStart(horizon=3), Kickstart(episodes=2)])
    assert "jump-start: the source's policy begins each training episode, 3 steps at first" in str(plan)
    assert "kickstart: drawn to the source's policy with weight 1" in str(plan)
    transfer = apply_plan(plan, target)
    target.learn(200, callback=transfer.callbacks)
    assert all(check.passed for check in transfer.checks()), transfer.checks()
    target.save(tmp_path / "target.zip")
    type(target).load(tmp_path / "target.zip")


@pytest.mark.parametrize("strategy", ["jump_start", "kickstart", ["full", "jump_start", "kickstart"]])
@pytest.mark.parametrize("algo", ["ppo", "sac"])
def test_a_run_counts_the_source_policys_steps_and_leaves_a_stock_agent(
    algo: str, strategy: Any, tmp_path: Path
) -> None:
    settings: dict[str, Any] = {"hyperparams": {"normalize": True}}
    pretrained(tmp_path / "source", algo, **settings)
    config = run_config(algo, strategy=strategy, source=str(tmp_path / "source"), n_timesteps=400, **settings)
    record = train_run(config, tmp_path / "target")
    assert all(check.passed for check in record.checks), record.checks
    counted = next(check for check in record.checks if check.name == "the source's steps counted as env_steps")
    assert not counted.detail.startswith("0 ")
    assert record.env_steps >= 400
    curve = read_curve(tmp_path / "target")
    assert curve.env_steps[0] == 0
    lengths = [int(line.split(",")[1]) for line in (tmp_path / "target/0.monitor.csv").read_text().splitlines()[2:]]
    assert sum(lengths) <= record.env_steps
    if algo == "ppo":
        PPO.load(tmp_path / "target/best_model.zip")


def test_advice_of_some_states() -> None:
    advice = Advice(np.arange(6.0).reshape(3, 2), np.zeros((3, 2)))
    assert advice.rows(np.array([1])).centre.tolist() == [[2.0, 3.0]]


def qdagger(folder: Path, part: QDagger, **settings: Any) -> Transfer:
    """Returns a DQN agent that always takes action 0, taught by a source that always takes action 1."""
    encoder = encoder_of(always(make_agent("ppo", Corridor(), seed=7), 1), folder)
    target = make_agent("dqn", Corridor(), **{"learning_rate": 0.0, "learning_starts": 4, **settings})
    with torch.no_grad():
        target.policy.q_net.q_net[-1].weight.zero_()
        target.policy.q_net.q_net[-1].bias.copy_(torch.tensor([5.0, -5.0]))
    return apply_plan(plan_transfer(encoder, target, part), target)


def test_qdagger_fills_the_buffer_with_what_the_source_does_and_then_hands_over(tmp_path: Path) -> None:
    transfer = qdagger(tmp_path, QDagger(collect=40, offline_updates=0), exploration_initial_eps=0.05)
    agent = transfer.agent
    agent.learn(100, callback=transfer.callbacks)
    env = innermost(agent.env).envs[0].unwrapped
    assert isinstance(env, Corridor)
    taken = [action for _, action in env.done]
    assert len(taken) == agent.num_timesteps == 100
    assert taken[:40] == [1] * 40
    assert np.mean(taken[40:]) < 0.3
    assert agent.replay_buffer.actions[:100].flatten().tolist() == taken
    assert source_actor_of(transfer).own_returns == [10.0] * 4
    assert len(source_actor_of(transfer).returns) == 6
    assert "add" not in agent.replay_buffer.__dict__
    assert "qdagger: the source's policy acts for 40 env_steps, then 0 updates" in str(transfer.plan)
    assert all(check.passed for check in transfer.checks()), transfer.checks()


def test_a_replay_buffer_that_is_saved_while_the_source_acts_is_stock(tmp_path: Path) -> None:
    transfer = qdagger(tmp_path, QDagger(collect=40))
    transfer.agent.learn(20, callback=transfer.callbacks)
    saved = pickle.dumps(transfer.agent.replay_buffer)
    assert b"rltransfer" not in saved
    assert vars(pickle.loads(saved)).keys() == vars(make_agent("dqn", Corridor()).replay_buffer).keys()


def test_an_episode_that_both_played_is_the_return_of_neither(tmp_path: Path) -> None:
    transfer = qdagger(tmp_path, QDagger(collect=35, offline_updates=0), exploration_initial_eps=0.05)
    transfer.agent.learn(60, callback=transfer.callbacks)
    assert source_actor_of(transfer).own_returns == [10.0] * 3
    assert len(source_actor_of(transfer).returns) == 2


def test_offline_updates_come_between_collecting_and_acting(tmp_path: Path) -> None:
    transfer = qdagger(tmp_path, QDagger(collect=40, offline_updates=25), train_freq=1, target_update_interval=10)
    agent = transfer.agent
    updates: dict[int, int] = {}
    synced: list[float] = []

    class Note(BaseCallback):
        def _on_step(self) -> bool:
            updates[self.num_timesteps] = self.model._n_updates
            synced.append(float(self.model.q_net_target.q_net[-1].bias[0].detach()))
            return True

    with torch.no_grad():
        agent.policy.q_net_target.q_net[-1].bias.zero_()
    agent.tau = 1.0
    agent.target_update_interval = 1000
    agent.learn(60, callback=[*transfer.callbacks, Note()])
    # Learning begins behind step 4, once a step; between step 40 and 41 there are 25 more updates.
    assert updates[40] == 35
    assert updates[41] == 36 + 25
    assert synced[39] == 0.0
    assert synced[40] == 5.0, "the target network follows in offline updates too"


def test_qdagger_draws_q_values_to_the_source(tmp_path: Path) -> None:
    transfer = qdagger(tmp_path, QDagger(collect=64, offline_updates=300, weight=5.0), learning_rate=3e-3)
    agent = transfer.agent
    agent.learn(70, callback=transfer.callbacks)
    observations = np.arange(10, dtype=np.float32)[:, None]
    assert (agent.predict(observations, deterministic=True)[0] == 1).all()


@pytest.mark.parametrize("algo", ["ppo", "a2c", "sac", "td3", "qrdqn"])
def test_qdagger_is_for_dqn_and_refused_elsewhere_with_the_reason(algo: str, tmp_path: Path) -> None:
    encoder = encoder_of(make_agent(algo, seed=7), tmp_path)
    with pytest.raises(IncompatibleError, match="which is a loss of DQN"):
        plan_transfer(encoder, make_agent(algo), QDagger())


def test_remembered_states_are_normalised_as_they_are_now(tmp_path: Path) -> None:
    """Off-policy agents see their old states through today's statistics, as their replay buffer does."""
    source = make_agent("dqn", normalised("CartPole-v1"), seed=7).learn(40)
    target = make_agent("dqn", normalised("CartPole-v1"))
    transfer = apply_plan(plan_transfer(encoder_of(source, tmp_path), target, Kickstart(episodes=0)), target)
    target.learn(60, callback=transfer.callbacks)
    distillation = next(callback for callback in transfer.callbacks if isinstance(callback, Distillation))
    states = distillation._states
    assert states is not None
    np.testing.assert_array_equal(states._observations[""][:60], target.replay_buffer.observations[:60])
