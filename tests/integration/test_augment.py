"""Agents learn from changed observations: on-policy ones see them so, off-policy ones learn from them so."""

import pickle
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from agents import encoder_of, make_agent, normalised
from runs import run_config
from stable_baselines3 import DQN, PPO
from stable_baselines3.common.callbacks import EvalCallback
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecFrameStack, VecNormalize

from rltransfer import Augment, JumpStart, apply_plan, hold_plan, plan_transfer
from rltransfer.errors import IncompatibleError
from rltransfer.records import read_record
from rltransfer.training import train_run
from rltransfer.transfer import Transfer
from rltransfer.transfer.methods.augment import AugmentedViews
from rltransfer.transfer.minibatches import Minibatches

NOISE = Augment(noise=0.5)


class Steady(gym.Env[np.ndarray, Any]):
    """Shows ones for five steps, and twos at the end; time runs out there."""

    observation_space = gym.spaces.Box(-10.0, 10.0, (4,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self._step = 0
        return np.ones(4, np.float32), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self._step += 1
        ends = self._step == 5
        return np.full(4, 1.0 + ends, np.float32), 1.0, False, ends, {}


class Picture(Steady):
    """Shows one picture, which is different at each pixel."""

    observation_space = gym.spaces.Box(0, 255, (36, 36, 3), np.uint8)
    picture = np.random.default_rng(0).integers(0, 256, (36, 36, 3), np.uint8)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        return self.picture, {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        return self.picture, *super().step(action)[1:]


def augmented(algo: str, env: Any, part: Augment = NOISE, **settings: Any) -> Transfer:
    agent = make_agent(algo, env, **settings)
    return apply_plan(plan_transfer(None, agent, part), agent)


def minibatch(transfer: Transfer, size: int = 64) -> Any:
    agent: Any = transfer.agent
    return agent.replay_buffer.sample(size, env=agent.get_vec_normalize_env())


@pytest.mark.parametrize("algo", ["ppo", "a2c", "trpo", "ppo_lstm", "maskable_ppo"])
def test_on_policy_agents_see_and_store_what_is_changed(algo: str) -> None:
    transfer = augmented(algo, DummyVecEnv([Steady]), n_steps=64)
    agent: Any = transfer.agent
    settings = {"use_masking": False} if algo == "maskable_ppo" else {}
    agent.learn(64, callback=transfer.callbacks, **settings)
    stored = agent.rollout_buffer.observations.reshape(64, 4)
    assert (stored - 1.0).std() == pytest.approx(0.5, rel=0.25)
    assert len(np.unique(stored[:, 0])) == 64, "each is changed anew"
    clean = DummyVecEnv([Steady])
    assert np.array_equal(clean.reset(), np.ones((1, 4)))


def test_the_last_observation_of_an_episode_is_seen_changed_too() -> None:
    transfer = augmented("ppo", DummyVecEnv([Steady]))
    env = transfer.agent.env
    assert env is not None
    env.reset()
    infos = [env.step(np.zeros(1))[3] for _ in range(5)]
    last = infos[-1][0]["terminal_observation"]
    assert last.shape == (4,)
    assert not np.array_equal(last, np.full(4, 2.0))
    assert np.abs(last - 2.0).max() < 3.0
    assert last.dtype == np.float32


def test_noise_is_in_the_numbers_that_the_agent_sees() -> None:
    """Behind VecNormalize, whose statistics never see it."""
    env = VecNormalize(DummyVecEnv([Steady]), norm_reward=False)
    plain = VecNormalize(DummyVecEnv([Steady]), norm_reward=False)
    transfer = augmented("ppo", env, n_steps=64)
    transfer.agent.learn(64, callback=transfer.callbacks)
    make_agent("ppo", plain, n_steps=64).learn(64)
    assert np.allclose(env.obs_rms.mean, plain.obs_rms.mean)
    assert env.obs_rms.count == plain.obs_rms.count
    result = pickle.loads(pickle.dumps(env))
    assert b"rltransfer" not in pickle.dumps(env)
    assert vars(result).keys() == vars(pickle.loads(pickle.dumps(plain))).keys()


def test_sb3s_own_evaluation_goes_on_as_always(tmp_path: Path) -> None:
    """It compares the wrappers of both sides one by one; warnings are errors here."""
    evaluated = VecNormalize(DummyVecEnv([Steady]), training=False)
    transfer = augmented("ppo", VecNormalize(DummyVecEnv([Steady])))
    callback = EvalCallback(evaluated, eval_freq=16, n_eval_episodes=1, verbose=0, warn=False)
    transfer.agent.learn(64, callback=[*transfer.callbacks, callback])
    normaliser = transfer.agent.get_vec_normalize_env()
    assert normaliser is not None
    assert np.array_equal(evaluated.obs_rms.mean, normaliser.obs_rms.mean)


def test_stacked_frames_are_changed_alike() -> None:
    stack: VecEnv = VecFrameStack(DummyVecEnv([Steady]), 3)
    transfer = augmented("ppo", stack)
    env = transfer.agent.env
    assert env is not None
    env.reset()
    for _ in range(3):
        seen = env.step(np.zeros(1))[0]
    frames = seen.reshape(3, 4)
    assert np.allclose(frames[0], frames[1])
    assert np.allclose(frames[0], frames[2])
    assert not np.allclose(frames[0], 1.0)
    # The stack itself is what it was.
    assert np.array_equal(stack.stacked_obs.stacked_obs, np.ones((1, 12)))  # type: ignore[attr-defined]


def test_a_source_policy_on_the_same_environment_sees_it_unchanged(tmp_path: Path) -> None:
    encoder = encoder_of(make_agent("ppo", DummyVecEnv([Steady]), seed=7), tmp_path)
    agent = make_agent("ppo", DummyVecEnv([Steady]), n_steps=32)
    plan = plan_transfer(encoder, agent, [JumpStart(horizon=2, stages=1, episodes=1, window=1000), NOISE])
    transfer = apply_plan(plan, agent)
    source_actor: Any = agent.env.rltransfer_source_actor  # type: ignore[union-attr]
    seen: list[np.ndarray] = []
    see = source_actor.source_policy.see
    source_actor.source_policy.see = lambda raw, *rest: (seen.append(np.array(raw)), see(raw, *rest))[1]
    agent.learn(32, callback=transfer.callbacks)
    assert np.array_equal(np.unique(np.concatenate(seen)), [1.0])
    assert not (agent.rollout_buffer.observations == 1.0).any()
    again = hold_plan(plan, agent)
    assert {type(callback).__name__ for callback in again.callbacks} >= {"AugmentedViews", "SourceActorCallback"}
    plain = apply_plan(plan_transfer(None, agent, "scratch"), agent)
    assert not any(isinstance(callback, AugmentedViews) for callback in plain.callbacks)
    assert agent.env is not None
    assert np.array_equal(agent.env.reset(), np.ones((1, 4)))
    assert not {"reset", "step_wait", "step_async", "__reduce_ex__"} & vars(agent.env).keys()


@pytest.mark.parametrize("algo", ["dqn", "qrdqn"])
def test_off_policy_agents_remember_what_there_was_and_learn_from_what_is_changed(algo: str) -> None:
    transfer = augmented(algo, DummyVecEnv([Steady]))
    agent: Any = transfer.agent
    agent.learn(60, callback=transfer.callbacks)
    assert np.array_equal(np.unique(agent.replay_buffer.observations[:60]), [1.0])
    batch = minibatch(transfer, 500)
    assert float((batch.observations - 1.0).std()) == pytest.approx(0.5, rel=0.1)
    first, other = ((part - part.round()).flatten() for part in (batch.observations, batch.next_observations))
    assert abs(float(torch.corrcoef(torch.stack([first, other]))[0, 1])) < 0.1, "the state and the next one apart"
    assert torch.equal(batch.rewards, torch.ones(500, 1))
    assert all(check.passed for check in transfer.checks()), transfer.checks()


def test_a_replay_buffer_that_is_saved_meanwhile_is_stock(tmp_path: Path) -> None:
    transfer = augmented("dqn", DummyVecEnv([Steady]))
    agent: Any = transfer.agent
    agent.learn(40, callback=transfer.callbacks)
    agent.save_replay_buffer(tmp_path / "buffer.pkl")
    agent.save(tmp_path / "agent.zip")
    for name in ("buffer.pkl", "agent.zip"):
        assert b"rltransfer" not in (tmp_path / name).read_bytes()
    stock = DQN.load(tmp_path / "agent.zip", env=DummyVecEnv([Steady]))
    stock.load_replay_buffer(tmp_path / "buffer.pkl")
    assert stock.replay_buffer is not None
    assert float(stock.replay_buffer.sample(20).observations.std()) == 0.0


def test_a_buffer_that_takes_the_place_of_the_agents_is_augmented_from_the_next_learn_on(tmp_path: Path) -> None:
    transfer = augmented("dqn", DummyVecEnv([Steady]))
    agent: Any = transfer.agent
    agent.learn(40, callback=transfer.callbacks)
    agent.save_replay_buffer(tmp_path / "buffer.pkl")
    agent.load_replay_buffer(tmp_path / "buffer.pkl")
    assert float(minibatch(transfer).observations.std()) == 0.0
    agent.learn(10, callback=transfer.callbacks, reset_num_timesteps=False)
    assert float(minibatch(transfer).observations.std()) > 0.0
    assert all(check.passed for check in transfer.checks()), transfer.checks()


def test_updates_that_were_not_augmented_fail_the_check() -> None:
    transfer = augmented("dqn", DummyVecEnv([Steady]))
    agent: Any = transfer.agent
    agent.learn(40)
    assert all(check.passed for check in transfer.checks()), transfer.checks()
    apply_plan(plan_transfer(None, agent, "scratch"), agent)
    agent.learn(40, reset_num_timesteps=False)
    (failed,) = [check for check in transfer.checks() if not check.passed]
    assert failed.name == "minibatches drawn as planned"


@pytest.mark.parametrize("algo", ["ppo", "dqn"])
def test_images_of_cnn_agents_are_shifted_and_stay_images(algo: str) -> None:
    transfer = augmented(
        algo, DummyVecEnv([Picture]), Augment(shift=4, brightness=(0.8, 1.2)), policy="CnnPolicy", policy_kwargs={}
    )
    agent: Any = transfer.agent
    agent.learn(40, callback=transfer.callbacks)
    seen = agent._last_obs if algo == "ppo" else minibatch(transfer).observations.numpy()
    assert seen.dtype == np.uint8
    assert not np.array_equal(seen[0], Picture.picture.transpose(2, 0, 1))
    if algo == "dqn":
        assert np.array_equal(agent.replay_buffer.observations[0, 0], Picture.picture.transpose(2, 0, 1))


def test_an_agent_goes_on_with_the_draws_that_come_next(tmp_path: Path) -> None:
    for algo in ("ppo", "dqn"):
        first, other = (augmented(algo, DummyVecEnv([Steady])) for _ in range(2))
        first.agent.learn(40, callback=first.callbacks)
        other.load_state_dict(first.state_dict())
        states = [item.state_dict()[0] for item in (first, other)]
        assert str(states[0]) == str(states[1])
        assert isinstance(first.callbacks[0], AugmentedViews if algo == "ppo" else Minibatches)


def test_augmentation_does_not_change_what_others_draw() -> None:
    """The generators that SB3 draws from are where they are without it."""
    for algo in ("ppo", "dqn"):
        after = []
        for strategy in ("scratch", NOISE):
            agent = make_agent(algo, DummyVecEnv([Steady]))
            transfer = apply_plan(plan_transfer(None, agent, strategy), agent)
            agent.learn(64, callback=transfer.callbacks)
            after.append((np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()))
        assert after[0] == after[1]


def test_a_source_can_be_trained_with_augmentation(tmp_path: Path) -> None:
    config = run_config("ppo", role="source", arm="pretrain", strategy=["scratch", {"kind": "augment", "noise": 0.5}])
    train_run(config, tmp_path / "augmented")
    train_run(run_config("ppo", role="source", arm="pretrain"), tmp_path / "plain")
    record = read_record(tmp_path / "augmented")
    assert record.strategy[1]["noise"] == 0.5
    assert all(check.passed for check in record.checks)
    plain = read_record(tmp_path / "plain")
    assert plain.strategy == ()
    assert record.initial == plain.initial, "evaluation sees what there is"
    agents = [PPO.load(tmp_path / name / "CartPole-v1.zip") for name in ("augmented", "plain")]
    assert not torch.equal(*(agent.policy.action_net.weight for agent in agents))


def test_what_an_agent_does_not_see_is_refused_before_training() -> None:
    with pytest.raises(IncompatibleError, match="'shift' is for images"):
        plan_transfer(None, make_agent("ppo"), Augment(shift=4))
    images = VecNormalize(DummyVecEnv([Picture]))
    agent = make_agent("ppo", images, policy_kwargs={"normalize_images": False})
    with pytest.raises(IncompatibleError, match="'shift' is for images"):
        plan_transfer(None, agent, Augment(shift=4))
    assert "augmentation in training: noise 0.5" in str(plan_transfer(None, make_agent("ppo"), NOISE))
    assert "augment" not in str(plan_transfer(None, make_agent("ppo", normalised("CartPole-v1")), "scratch"))
