"""A source acts and the agent adds to it: in training and evaluation, and nothing else is stored than its own part."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from agents import encoder_of, make_agent, normalised
from hypothesis import given, settings
from hypothesis import strategies as st
from runs import pretrained, run_config
from stable_baselines3 import SAC
from stable_baselines3.common.callbacks import EvalCallback
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import (
    DummyVecEnv,
    SubprocVecEnv,
    VecEnv,
    VecEnvWrapper,
    VecFrameStack,
    VecNormalize,
    unwrap_vec_wrapper,
)

from rltransfer import Encoder, Residual, apply_plan, equip, hold_plan, load_encoder, plan_transfer, read_plan
from rltransfer.artifact.policy import build_policy
from rltransfer.errors import ConfigError, IncompatibleError
from rltransfer.training import train_run
from rltransfer.transfer import Transfer
from rltransfer.transfer.methods.residual import ResidualVecEnv
from rltransfer.transfer.source_policy import innermost

ALGORITHMS = ["ppo", "a2c", "trpo", "ppo_lstm", "sac", "td3", "ddpg", "tqc", "crossq"]


class Noted(gym.Env[np.ndarray, Any]):
    """Ten steps of random observations; notes what it showed and what was done there."""

    observation_space = gym.spaces.Box(-5.0, 5.0, (3,), np.float32)

    def __init__(self, low: float = -2.0, high: float = 2.0) -> None:
        self.action_space = gym.spaces.Box(low, high, (2,), np.float32)
        self.shown: list[np.ndarray] = []
        self.done: list[np.ndarray] = []
        self._step = 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self._step = 0
        return self._show(), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.done.append(np.array(action))
        self._step += 1
        ends = self._step == 10
        observation = self._show()
        if ends:
            # The last observation of an episode is not one that is acted in.
            self.shown.pop()
        return observation, float(np.sum(action)), ends, False, {}

    def _show(self) -> np.ndarray:
        self.shown.append(self.np_random.uniform(-5, 5, 3).astype(np.float32))
        return self.shown[-1]


def noted(env: VecEnv) -> Noted:
    result = innermost(env).envs[0].unwrapped  # type: ignore[attr-defined]
    assert isinstance(result, Noted)
    return result


def source_of(folder: Path, algo: str = "sac", env: Any = Noted) -> Encoder:
    agent = make_agent(algo, env(), seed=7)
    with torch.no_grad():
        for name, parameter in agent.policy.named_parameters():
            if "actor" in name or "action_net" in name:
                # So that what it does depends on what it sees; PPO's starts next to zero.
                parameter.mul_(3.0 if "actor" in name else 100.0)
    return encoder_of(agent, folder)


def transferred(encoder: Encoder, algo: str, env: Any, strategy: Any = None, **settings: Any) -> Transfer:
    agent = make_agent(algo, env, **settings)
    return apply_plan(plan_transfer(encoder, agent, strategy or Residual()), agent)


def by_the_source(encoder: Encoder, observations: list[np.ndarray]) -> np.ndarray:
    """Returns what the source's policy does in raw observations, by SB3's own ``predict``."""
    return build_policy(encoder).predict(np.stack(observations), deterministic=True)[0]


@pytest.mark.parametrize(("algo", "source"), [*((algo, "sac") for algo in ALGORITHMS), ("sac", "td3"), ("td3", "ppo")])
def test_before_training_the_environment_receives_exactly_the_sources_actions(
    algo: str, source: str, tmp_path: Path
) -> None:
    encoder = source_of(tmp_path, source)
    transfer = transferred(encoder, algo, Noted())
    env = transfer.equip(DummyVecEnv([Noted]))
    evaluate_policy(transfer.agent, env, 2, deterministic=True, warn=False)
    world = noted(env)
    assert len(world.done) == 20
    np.testing.assert_allclose(world.done, by_the_source(encoder, world.shown[:20]), atol=1e-4)
    assert np.std(world.done) > 0.1


@pytest.mark.parametrize(("low", "high"), [(-2.0, 2.0), (0.0, 1.0), (-1.0, 5.0)])
@pytest.mark.parametrize("algo", ["sac", "ppo"])
def test_an_agent_that_puts_out_zero_adds_nothing_whatever_the_bounds(
    algo: str, low: float, high: float, tmp_path: Path
) -> None:
    def world() -> Noted:
        return Noted(low, high)

    encoder = source_of(tmp_path, "sac", world)
    transfer = transferred(encoder, algo, world())
    env = transfer.equip(DummyVecEnv([world]))
    evaluate_policy(transfer.agent, env, 1, deterministic=True, warn=False)
    np.testing.assert_allclose(noted(env).done, by_the_source(encoder, noted(env).shown[:10]), atol=1e-4)


@settings(deadline=None, max_examples=30)
@given(
    action=st.lists(st.floats(-2, 2, width=32), min_size=2, max_size=2),
    scale=st.floats(0.01, 4.0),
    seed=st.integers(0, 1000),
)
def test_the_environment_receives_the_clipped_sum(
    action: list[float], scale: float, seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    encoder = source_of(tmp_path_factory.mktemp("source"))
    agent = make_agent("sac", Noted())
    env = equip(DummyVecEnv([Noted]), plan_transfer(encoder, agent, Residual(scale=scale)))
    env.seed(seed)
    env.reset()
    env.step(np.array([action], dtype=np.float32))
    world = noted(env)
    expected = by_the_source(encoder, world.shown[:1])[0] + scale * np.array(action)
    np.testing.assert_allclose(world.done[0], np.clip(expected, -2, 2), atol=1e-4)
    assert world.done[0].dtype == np.float32


@pytest.mark.parametrize("algo", ["sac", "td3", "ppo", "a2c"])
def test_buffers_hold_the_agents_own_actions(algo: str, tmp_path: Path) -> None:
    encoder = source_of(tmp_path)
    steps = {"n_steps": 32} if algo in ("ppo", "a2c") else {}
    transfer = transferred(encoder, algo, Noted(), Residual(scale=0.5), learning_rate=0.0, **steps)
    agent: Any = transfer.agent
    agent.learn(32, callback=transfer.callbacks)
    buffer = agent.rollout_buffer if steps else agent.replay_buffer
    actions = buffer.actions[:32, 0] if not steps else buffer.actions.reshape(32, 2)
    actions = np.clip(actions, -2, 2) if steps else agent.policy.unscale_action(actions)
    assert np.std(actions) > 0.1
    states = list(buffer.observations.reshape(-1, 3)[:32])
    expected = np.clip(by_the_source(encoder, states) + 0.5 * actions, -2, 2)
    np.testing.assert_allclose(noted(agent.env).done, expected, atol=1e-4)
    assert all(check.passed for check in transfer.checks()), transfer.checks()


@pytest.mark.parametrize("kind", [DummyVecEnv, SubprocVecEnv])
def test_each_of_several_environments_has_its_own_source(kind: Any, tmp_path: Path) -> None:
    """What the source remembers, its frames, starts again with each episode of each environment."""
    stacked = encoder_of(make_agent("sac", VecFrameStack(DummyVecEnv([Noted]), 3), seed=7), tmp_path)
    transfer = transferred(stacked, "sac", VecFrameStack(kind([Noted] * 2), 3))
    env = transfer.agent.env
    assert env is not None
    # 20 steps each: a third episode has just begun.
    transfer.agent.learn(40, callback=transfer.callbacks)
    view = unwrap_vec_wrapper(env, ResidualVecEnv)
    assert view is not None
    stack = view.state_dict()["teacher"][""]
    assert stack.shape == (2, 9)
    assert not stack[:, :6].any()
    assert stack[:, 6:].all()
    assert not np.array_equal(stack[0], stack[1])
    env.close()


def test_the_source_sees_through_its_own_statistics_and_the_agent_through_its_own(tmp_path: Path) -> None:
    """In the source's own environments it does what it did there, whatever wrappers the target has."""
    actions = VecFrameStack(normalised("Pendulum-v1"), 2)
    source = make_agent("ppo", actions, seed=7).learn(256)
    encoder = encoder_of(source, tmp_path)
    target = VecFrameStack(normalised("Pendulum-v1", norm_reward=False), 2)
    transfer = transferred(encoder, "ppo", target)
    assert isinstance(transfer.agent.env, VecFrameStack)
    env = transfer.agent.env
    assert isinstance(env.venv, VecNormalize)
    assert isinstance(env.venv.venv, ResidualVecEnv)
    frozen = normalised("Pendulum-v1", norm_reward=False, training=False)
    frozen.obs_rms = actions.venv.obs_rms  # type: ignore[attr-defined]
    alone, _ = evaluate_policy(source, seeded(VecFrameStack(frozen, 2)), 3, return_episode_rewards=True, warn=False)
    fresh = VecFrameStack(normalised("Pendulum-v1", norm_reward=False), 2)
    together, _ = evaluate_policy(
        transfer.agent, seeded(transfer.equip(fresh)), 3, return_episode_rewards=True, warn=False
    )
    np.testing.assert_allclose(together, alone, rtol=1e-3)


def seeded(env: VecEnv) -> VecEnv:
    env.seed(3)
    return env


def wrappers(env: VecEnv | None) -> list[type]:
    results = []
    while isinstance(env, VecEnvWrapper):
        results.append(type(env))
        env = env.venv
    return results


def test_environments_are_equipped_once_and_given_up_again(tmp_path: Path) -> None:
    encoder = source_of(tmp_path)
    transfer = transferred(encoder, "sac", Noted())
    agent, plan = transfer.agent, transfer.plan
    inner = innermost(agent.env)
    assert wrappers(agent.env) == [ResidualVecEnv]
    env = equip(equip(VecNormalize(DummyVecEnv([Noted])), plan), plan)
    assert wrappers(env) == [VecNormalize, ResidualVecEnv]
    hold_plan(plan, agent)
    assert wrappers(agent.env) == [ResidualVecEnv]
    plain = apply_plan(plan_transfer(None, agent, "scratch"), agent)
    assert wrappers(agent.env) == []
    assert agent.env is inner
    assert plain.equip(inner) is inner
    assert wrappers(plain.equip(env)) == [VecNormalize]


def test_other_environments_leave_half_of_the_policy_and_the_check_says_so(tmp_path: Path) -> None:
    transfer = transferred(source_of(tmp_path), "sac", Noted())
    transfer.agent.set_env(DummyVecEnv([Noted]))
    (failed,) = [check for check in transfer.checks() if not check.passed]
    assert failed.name == "the source acts in the agent's environments"
    assert failed.detail == "other environments were set: hold the plan again"


def test_sb3s_own_evaluation_notices_environments_without_the_source(tmp_path: Path) -> None:
    encoder = source_of(tmp_path)
    for wrapped, error in ((False, UserWarning), (True, AssertionError)):
        envs: list[VecEnv] = [DummyVecEnv([Noted]) for _ in range(3)]
        if wrapped:
            envs = [VecNormalize(env, training=index == 0) for index, env in enumerate(envs)]
        transfer = transferred(encoder, "ppo", envs[0])
        evaluations = [
            EvalCallback(env, eval_freq=16, n_eval_episodes=1, verbose=0, warn=False)
            for env in (transfer.equip(envs[1]), envs[2])
        ]
        transfer.agent.learn(32, callback=[*transfer.callbacks, evaluations[0]])
        with pytest.raises(error, match="same type|wrapped the same way"):
            transfer.agent.learn(32, callback=[*transfer.callbacks, evaluations[1]])


def test_an_agent_learns_the_same_from_where_it_was_stopped(tmp_path: Path) -> None:
    """The wrapper's state is what its next action depends on."""
    transfer = transferred(source_of(tmp_path), "sac", Noted())
    transfer.agent.learn(15, callback=transfer.callbacks)
    other = transferred(source_of(tmp_path), "sac", Noted())
    other.load_state_dict(transfer.state_dict())
    views = [unwrap_vec_wrapper(item.agent.env, ResidualVecEnv) for item in (transfer, other)]  # type: ignore[arg-type]
    assert views[0] is not None
    assert views[1] is not None
    assert np.array_equal(views[0]._sources, views[1]._sources)
    assert views[0]._sources.any()


@pytest.mark.parametrize("strategy", ["residual", ["finetune", "residual"], ["frozen", {"kind": "residual"}]])
@pytest.mark.parametrize("algo", ["sac", "ppo"])
def test_a_run_evaluates_with_its_source_and_says_what_its_agent_needs(
    algo: str, strategy: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    normalise: dict[str, Any] = {"hyperparams": {"normalize": True}}
    env = {"env": "ShortPendulum-v0"}
    pretrained(tmp_path / "source", algo, **env, **normalise)
    config = run_config(
        algo, strategy=strategy, source=str(tmp_path / "source"), verbose=1, n_timesteps=64, **env, **normalise
    )
    record = train_run(config, tmp_path / "target")
    scratch = train_run(run_config(algo, n_timesteps=64, **env, **normalise), tmp_path / "scratch")
    assert all(check.passed for check in record.checks), record.checks
    assert record.random == scratch.random, "a random policy is one in the task itself"
    told = capsys.readouterr().out
    assert "what is saved is half of a policy: it acts on top of" in told
    assert str(tmp_path / "source/best_model.zip") in told
    plan = dataclasses.replace(
        read_plan(tmp_path / "target/rltransfer/plan.json"), encoder=load_encoder(tmp_path / "source")
    )
    assert record.final is not None
    assert score(tmp_path / "target", algo, plan) == pytest.approx(record.final.mean_return, rel=1e-4)
    assert score(tmp_path / "target", algo, None) != pytest.approx(record.final.mean_return, rel=1e-4)


def score(folder: Path, algo: str, plan: Any) -> float:
    """Returns what a saved agent earns on the seeds of its run, as a user would measure it."""
    from rltransfer.algorithms import agent_class

    agent = agent_class(algo).load(folder / "ShortPendulum-v0.zip")
    final = json.loads((folder / "rltransfer/record.json").read_text())["final"]
    # As many environments as the run evaluated in: episodes are seeded by the environment that they are played in.
    inner = DummyVecEnv([lambda: gym.make("ShortPendulum-v0") for _ in range(4)])
    env = VecNormalize.load(str(folder / "ShortPendulum-v0/vecnormalize.pkl"), inner)
    env.training = env.norm_reward = False
    equipped: VecEnv = env if plan is None else equip(env, plan)
    equipped.seed(final["seed"])
    episodes = len(final["episode_returns"])
    return float(evaluate_policy(agent, equipped, episodes, deterministic=True, warn=False)[0])


def test_the_saved_agent_is_stock_and_known_as_half_of_a_policy(tmp_path: Path) -> None:
    pretrained(tmp_path / "source", "sac")
    train_run(run_config("sac", strategy="residual", source=str(tmp_path / "source")), tmp_path / "target")
    SAC.load(tmp_path / "target/best_model.zip")
    encoder = load_encoder(tmp_path / "target")
    assert encoder.source.is_residual
    target = make_agent("sac")
    assert plan_transfer(encoder, target, "finetune").totals()["moved"] > 0
    for strategy, words in (
        ("full", "heads mean nothing alone"),
        ("kickstart", "cannot act alone"),
        ("residual", "cannot act alone"),
    ):
        with pytest.raises(IncompatibleError, match=words):
            plan_transfer(encoder, target, strategy)


def test_what_cannot_be_added_is_refused_with_the_reason(tmp_path: Path) -> None:
    encoder = source_of(tmp_path)
    with pytest.raises(ConfigError, match="which 'full' would give once more: use 'finetune' or 'frozen'"):
        plan_transfer(encoder, make_agent("sac", Noted()), ["full", "residual"])
    for other in ("jump_start", "kickstart", "replay"):
        with pytest.raises(ConfigError, match="contradict each other"):
            plan_transfer(encoder, make_agent("sac", Noted()), ["residual", other])
    with pytest.raises(IncompatibleError, match="'residual' adds actions.*which must be numbers: .*Discrete 2"):
        plan_transfer(encoder_of(make_agent("ppo"), tmp_path), make_agent("ppo"), "residual")
    with pytest.raises(IncompatibleError, match="observation spaces do not fit|it reads"):
        plan_transfer(encoder, make_agent("sac", "MountainCarContinuous-v0"), "residual")
    with pytest.raises(IncompatibleError, match="hold dataclasses.replace"):
        equip(
            DummyVecEnv([Noted]),
            dataclasses.replace(plan_transfer(encoder, make_agent("sac", Noted()), "residual"), encoder=None),
        )


def test_the_plan_shows_the_silent_start(tmp_path: Path) -> None:
    plan = plan_transfer(source_of(tmp_path), make_agent("td3", Noted()), ["finetune", Residual(scale=0.5)])
    table = str(plan)
    assert "residual: the source acts, and 0.5 x what the agent does is added" in table
    silent = [entry.tensor for entry in plan.entries if entry.origin == "set"]
    assert silent == ["actor.mu.4.weight", "actor.mu.4.bias"]
