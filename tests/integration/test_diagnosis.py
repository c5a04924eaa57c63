"""What ``rltransfer plan`` warns of: each finding where it belongs, and nowhere else."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from agents import encoder_of, make_agent, normalised, weights
from runs import pretrained
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from rltransfer import Encoder, Frozen, Full, RandomFrozen, diagnose, plan_transfer
from rltransfer.cli import main
from rltransfer.records import SourceFacts

CARTPOLE = "rltransfer_envs:rltransfer/CartPole-v0"


@pytest.fixture
def encoder(tmp_path: Path) -> Encoder:
    return encoder_of(make_agent("ppo", seed=7).learn(64), tmp_path)


def kinds(encoder: Encoder | None, strategy: Any = None, agent: Any = None, **maps: Any) -> dict[str, str]:
    plan = plan_transfer(encoder, agent or make_agent("ppo"), strategy or Frozen(), **maps)
    return {finding.kind: finding.severity for finding in plan.findings}


def scored(encoder: Encoder, **facts: Any) -> Encoder:
    source = SourceFacts.model_validate(encoder.source.model_dump() | facts)
    return dataclasses.replace(encoder, source=source)


def test_a_plain_transfer_warns_of_nothing(encoder: Encoder) -> None:
    good = scored(encoder, task={"env": "CartPole-v1"}, mean_return=400.0, random_return=20.0, reward_threshold=475.0)
    assert kinds(good) == {}


def test_what_moves_and_what_does_not(encoder: Encoder) -> None:
    assert "little_moved" in kinds(encoder, Frozen(layers="none"))
    assert "little_moved" not in kinds(encoder)
    assert kinds(encoder, Full())["heads_kept"] == "warning"
    assert kinds(encoder, Full(), actions=[1, 0])["heads_kept"] == "note"
    assert kinds(None, RandomFrozen())["frozen_random"] == "warning"


@pytest.mark.parametrize(
    ("score", "threshold", "weak"),
    [(15.0, None, True), (60.0, None, False), (60.0, 475.0, True), (300.0, 475.0, False)],
)
def test_a_weak_source_is_named(encoder: Encoder, score: float, threshold: float | None, weak: bool) -> None:
    facts = {"mean_return": score, "random_return": 20.0} | (
        {} if threshold is None else {"reward_threshold": threshold}
    )
    assert ("weak_source" in kinds(scored(encoder, **facts))) == weak
    assert kinds(encoder)["unknown_score"] == "note"


def test_activation_and_normalisation(encoder: Encoder) -> None:
    relu = make_agent("ppo", policy_kwargs={"net_arch": [8, 8], "activation_fn": torch.nn.ReLU})
    assert kinds(encoder, agent=relu)["activation"] == "warning"
    assert kinds(encoder, agent=make_agent("ppo", normalised("CartPole-v1")))["normalisation_added"] == "warning"
    lost = dataclasses.replace(encoder, hyperparams={"normalize": True})
    assert kinds(lost)["normalisation_missing"] == "warning"
    assert kinds(encoder)["normalisation_unknown"] == "note"


def findings(encoder: Encoder, agent: Any, env: Any, strategy: Any = None, **maps: Any) -> dict[str, Any]:
    plan = plan_transfer(encoder, agent, strategy or Frozen(), **maps)
    return {finding.kind: finding for finding in diagnose(plan, agent, env)}


class Shifted(gym.ObservationWrapper[Any, Any, Any]):
    """Adds 40 to one input."""

    def __init__(self, env: gym.Env[Any, Any], place: int) -> None:
        super().__init__(env)
        self.place = place
        self.observation_space = gym.spaces.Box(-np.inf, np.inf, (4,))

    def observation(self, observation: np.ndarray) -> np.ndarray:
        return observation + 40.0 * (np.arange(4) == self.place).astype(np.float32)


def shifted(place: int | None) -> DummyVecEnv:
    return DummyVecEnv([lambda: Shifted(gym.make("CartPole-v1"), -1 if place is None else place)])


def test_inputs_far_from_the_sources_statistics_are_named(tmp_path: Path) -> None:
    encoder = encoder_of(make_agent("ppo", normalised("CartPole-v1"), seed=7).learn(256), tmp_path)
    for place, far in ((2, {"input_2"}), (None, set())):
        envs = [VecNormalize(shifted(place), training=training) for training in (True, False)]
        agent = make_agent("ppo", envs[0])
        before = (weights(agent), envs[0].obs_rms.mean.copy(), envs[1].obs_rms.mean.copy())
        results = findings(encoder, agent, envs[1])
        assert {name for item in results.values() for name in item.numbers if name.startswith("input")} == far
        assert all(torch.equal(tensor, before[0][name]) for name, tensor in weights(agent).items())
        assert np.array_equal(envs[0].obs_rms.mean, before[1])
        assert np.array_equal(envs[1].obs_rms.mean, before[2])


def test_the_map_of_inputs_says_which_input_is_far(tmp_path: Path) -> None:
    encoder = encoder_of(make_agent("ppo", normalised("CartPole-v1"), seed=7).learn(256), tmp_path)
    envs = [VecNormalize(DummyVecEnv([lambda: Shifted(gym.make("CartPole-v1"), 0)])) for _ in range(2)]
    results = findings(encoder, make_agent("ppo", envs[0]), envs[1], inputs=[2, 1, None, 3])
    assert set(results["observations_outside"].numbers) == {"input_0"}


def test_bounds_stand_in_for_statistics(tmp_path: Path) -> None:
    class Bounded(Shifted):
        def __init__(self, env: gym.Env[Any, Any]) -> None:
            super().__init__(env, place=1)
            self.observation_space = gym.spaces.Box(-5.0, 5.0, (4,))

        def observation(self, observation: np.ndarray) -> np.ndarray:
            return np.clip(observation, -5.0, 5.0)

    encoder = encoder_of(make_agent("ppo", Bounded(gym.make("CartPole-v1")), seed=7).learn(64), tmp_path)
    env = DummyVecEnv([lambda: Shifted(gym.make("CartPole-v1"), 1)])
    assert set(findings(encoder, make_agent("ppo", env), env)["observations_outside"].numbers) == {"input_1"}


def test_bounds_as_the_old_gym_wrote_them_are_no_bounds(encoder: Encoder) -> None:
    largest = np.finfo(np.float32).max
    old = dataclasses.replace(encoder, observation_space=gym.spaces.Box(-largest, largest, (4,), np.float32))
    env = DummyVecEnv([lambda: Shifted(gym.make("CartPole-v1"), 1)])
    assert "observations_outside" not in findings(old, make_agent("ppo", env), env)


@pytest.mark.parametrize("algo", ["ppo", "dqn", "sac", "td3", "ppo_lstm", "crossq"])
def test_dead_and_saturated_units_are_counted(algo: str, tmp_path: Path) -> None:
    kwargs: dict[str, Any] = {"net_arch": [8, 8]}
    if algo == "ppo_lstm":
        kwargs |= {"lstm_hidden_size": 8}
    source = make_agent(algo, seed=7, policy_kwargs=dict(kwargs))
    layer = {
        "ppo": "mlp_extractor.policy_net.2",
        "ppo_lstm": "mlp_extractor.policy_net.2",
        "dqn": "q_net.q_net.2",
        "sac": "critic.qf1.2",
        "td3": "actor.mu.2",
        "crossq": "actor.latent_pi.4",
    }[algo]
    kind = "saturated_units" if "ppo" in algo else "dead_units"
    healthy = findings(encoder_of(source, tmp_path), make_agent(algo, policy_kwargs=dict(kwargs)), source.get_env())
    assert not {"dead_units", "saturated_units"} & set(healthy)
    with torch.no_grad():
        dict(source.policy.named_parameters())[f"{layer}.bias"][:6] = -50.0
    target = make_agent(algo, policy_kwargs=dict(kwargs))
    results = findings(encoder_of(source, tmp_path), target, target.get_env())
    assert results[kind].numbers["share"] >= 0.75
    assert results[kind].words.startswith(f"{layer}: ")


def test_the_command_prints_them_and_gives_them_to_tools(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pretrained(tmp_path / "source", hyperparams={"normalize": True}, n_timesteps=256)
    words = ["plan", "--from", str(tmp_path / "source"), "--strategy", "full", "--env", CARTPOLE]
    words += ["--env-kwargs", "distractors:1", "--hyperparams", "normalize:True", "policy_kwargs:dict(net_arch=[8,8])"]
    assert main(words) == 0
    text = capsys.readouterr().out
    assert "warning: the heads move too" in text
    assert "inputs: 4 from the source, 1 new, which start at zero" in text
    assert main([*words, "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert {"heads_kept", "inputs"} <= {finding["kind"] for finding in content["findings"]}
    assert content["inputs"] == {"": {"source": "", "entries": [0, 1, 2, 3, None]}}
