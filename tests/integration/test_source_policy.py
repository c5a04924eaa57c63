"""A source's policy, rebuilt from its file without unpickling, acts as the agent that was saved."""

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from agents import ENVS, STEPS, Images, NormedCnn, encoder_of, make_agent
from stable_baselines3.common.vec_env import DummyVecEnv, VecFrameStack

from rltransfer import Kickstart, Scratch, load_encoder, plan_transfer
from rltransfer.artifact.policy import build_policy
from rltransfer.errors import IncompatibleError
from rltransfer.extractors import SmallCNN
from rltransfer.transfer.source_policy import source_policy_of

NATURE: dict[str, Any] = {"features_extractor_kwargs": {"features_dim": 16}, "net_arch": [8]}
BUILT: dict[str, tuple[str, Any, dict[str, Any]]] = {
    **{algo: (algo, None, {}) for algo in STEPS if algo != "ppo_lstm"},
    "ars-linear": ("ars", None, {"policy": "LinearPolicy", "policy_kwargs": {}}),
    "ppo-images": ("ppo", Images, {"policy": "CnnPolicy", "policy_kwargs": NATURE}),
    "dqn-images": ("dqn", Images, {"policy": "CnnPolicy", "policy_kwargs": NATURE}),
    "ppo-separate": (
        "ppo",
        Images,
        {"policy": "CnnPolicy", "policy_kwargs": {**NATURE, "share_features_extractor": False}},
    ),
    "ppo-sde": ("ppo", "Pendulum-v1", {"use_sde": True}),
    "sac-sde": ("sac", "Pendulum-v1", {"use_sde": True}),
    "ppo-box": ("ppo", "Pendulum-v1", {}),
    "ppo-small-cnn": (
        "ppo",
        Images,
        {
            "policy": "CnnPolicy",
            "policy_kwargs": {"features_extractor_class": SmallCNN, "normalize_images": False, "net_arch": [8]},
        },
    ),
}


@pytest.mark.parametrize("name", sorted(BUILT))
def test_a_rebuilt_policy_acts_as_its_agent(name: str, tmp_path: Path) -> None:
    algo, env, settings = BUILT[name]
    agent = make_agent(algo, env() if isinstance(env, type) else env, seed=7, **settings)
    agent.learn(STEPS[algo], **({"use_masking": False} if algo == "maskable_ppo" else {}))
    encoder = encoder_of(agent, tmp_path)
    drawn = torch.get_rng_state()
    policy = build_policy(encoder)
    assert torch.equal(torch.get_rng_state(), drawn), "building must not draw from the run's generator"
    agent.observation_space.seed(3)
    observations = np.stack([agent.observation_space.sample() for _ in range(16)])
    if isinstance(agent.observation_space, gym.spaces.Box) and observations.dtype != np.uint8:
        observations = np.clip(observations, -3, 3)
    expected, _ = agent.policy.predict(observations, deterministic=True)
    actions, _ = policy.predict(observations, deterministic=True)
    np.testing.assert_array_equal(actions, expected)
    assert not any(parameter.requires_grad for parameter in policy.parameters())
    assert ENVS[algo]


@pytest.mark.parametrize("algo", ["ppo", "dqn"])
def test_what_the_file_does_not_tell_is_refused(algo: str, tmp_path: Path) -> None:
    kwargs = {"features_extractor_class": NormedCnn, "normalize_images": False, "net_arch": [8]}
    agent = make_agent(algo, Images(), policy="CnnPolicy", policy_kwargs=kwargs)
    with pytest.raises(IncompatibleError, match="cannot be built again"):
        build_policy(encoder_of(agent, tmp_path))


def test_a_recurrent_policy_is_refused(tmp_path: Path) -> None:
    with pytest.raises(IncompatibleError, match="recurrent"):
        build_policy(encoder_of(make_agent("ppo_lstm"), tmp_path))


@pytest.mark.parametrize("entries", [[2, 1, 0, 5, 4, 3], [2, None, 0, 5, None, 3]])
def test_a_source_sees_stacked_frames_through_a_map(entries: list[int | None], tmp_path: Path) -> None:
    def stacked() -> VecFrameStack:
        return VecFrameStack(DummyVecEnv([lambda: gym.make("Pendulum-v1")]), 2)

    source_agent = make_agent("sac", stacked(), seed=0)
    source_agent.save(tmp_path / "agent.zip")
    agent = make_agent("sac", stacked(), seed=1)
    plan = plan_transfer(load_encoder(tmp_path / "agent.zip"), agent, (Scratch(), Kickstart()), inputs=entries)
    source = source_policy_of(plan, agent)
    frames = np.random.default_rng(0).uniform(-1, 1, (3, 1, 3)).astype(np.float32)
    for number, frame in enumerate(frames):
        seen = source.observe(frame, np.array([0]), np.array([number == 0]))
    expected = np.zeros((1, 6), np.float32)
    for place, entry in enumerate(entries):
        if entry is not None:
            expected[:, entry] = np.concatenate([frames[1], frames[2]], axis=1)[:, place]
    np.testing.assert_allclose(seen, expected, atol=1e-6)


def test_a_map_that_mixes_frames_is_refused_where_the_source_acts(tmp_path: Path) -> None:
    env = VecFrameStack(DummyVecEnv([lambda: gym.make("Pendulum-v1")]), 2)
    make_agent("sac", env, seed=0).save(tmp_path / "agent.zip")
    encoder = load_encoder(tmp_path / "agent.zip")
    with pytest.raises(IncompatibleError, match="not the same for each of the stacked frames"):
        plan_transfer(encoder, make_agent("sac", env, seed=1), (Scratch(), Kickstart()), inputs=[3, 4, 5, 0, 1, 2])


def test_a_source_of_one_frame_sees_the_latest(tmp_path: Path) -> None:
    make_agent("sac", seed=0).save(tmp_path / "agent.zip")
    env = VecFrameStack(DummyVecEnv([lambda: gym.make("Pendulum-v1")]), 2)
    agent = make_agent("sac", env, seed=1)
    inputs = [None, None, None, 2, 0, 1]
    plan = plan_transfer(load_encoder(tmp_path / "agent.zip"), agent, (Scratch(), Kickstart()), inputs=inputs)
    frame = np.array([[1.0, 2.0, 3.0]], np.float32)
    seen = source_policy_of(plan, agent).observe(frame, np.array([0]), np.array([True]))
    np.testing.assert_allclose(seen, [[2.0, 3.0, 1.0]])
