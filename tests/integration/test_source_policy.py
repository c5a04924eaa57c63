"""A source's policy, rebuilt from its file without unpickling, acts as the agent that was saved."""

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from agents import ENVS, STEPS, Images, NormedCnn, encoder_of, make_agent

from rltransfer.artifact.policy import build_policy
from rltransfer.errors import IncompatibleError
from rltransfer.extractors import SmallCNN

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
    found, _ = policy.predict(observations, deterministic=True)
    np.testing.assert_array_equal(found, expected)
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
