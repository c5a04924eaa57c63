"""The average of several sources is their tensors' mean, with pooled statistics and an honest origin."""

import dataclasses
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch
from agents import Images, NormedCnn, encoder_of, make_agent, normalised, source_encoder, weights
from runs import pretrained
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from rltransfer import Encoder, Full, apply_plan, average_encoders, load_encoder, plan_transfer
from rltransfer.cli import main
from rltransfer.errors import IncompatibleError
from rltransfer.vecnormalize_reader import Statistics


class Parts(gym.Env):
    observation_space = gym.spaces.Dict({"position": gym.spaces.Box(-1, 1, (2,)), "speed": gym.spaces.Box(-1, 1, (1,))})
    action_space = gym.spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple:
        super().reset(seed=seed)
        return self.observation_space.sample(), {}

    def step(self, action: int) -> tuple:
        return self.observation_space.sample(), 1.0, False, False, {}


def two(folder: Path, algo: str = "ppo", **second: object) -> list:
    encoders = []
    for seed, settings in ((7, {}), (8, second)):
        place = folder / str(seed)
        place.mkdir(parents=True)
        encoders.append(encoder_of(make_agent(algo, **{"seed": seed, **settings}), place))
    return encoders


def test_each_tensor_is_the_mean_and_moves_as_any_source(tmp_path: Path) -> None:
    first, second = two(tmp_path)
    average = average_encoders([first, second])
    for name, tensor in average.tensors.items():
        torch.testing.assert_close(tensor, (first.tensors[name] + second.tensors[name]) / 2)
    target = make_agent("ppo")
    transfer = apply_plan(plan_transfer(average, target, Full()), target)
    assert all(torch.equal(weights(target)[name], tensor) for name, tensor in average.tensors.items())
    assert all(check.passed for check in transfer.checks())


def test_counters_are_not_averaged(tmp_path: Path) -> None:
    kwargs = {"features_extractor_class": NormedCnn, "normalize_images": False, "net_arch": [8]}
    encoders = []
    for steps in (32, 96):
        place = tmp_path / str(steps)
        place.mkdir()
        agent = make_agent("ppo", Images(), policy="CnnPolicy", policy_kwargs=dict(kwargs)).learn(steps)
        encoders.append(encoder_of(agent, place))
    name = "features_extractor.body.1.num_batches_tracked"
    counts = [int(encoder.tensors[name]) for encoder in encoders]
    assert counts[0] < counts[1]
    assert int(average_encoders(encoders).tensors[name]) == counts[1]


def test_statistics_are_those_of_everything_together(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    parts = [rng.normal(2.0, 3.0, (50, 4)), rng.normal(-1.0, 0.5, (150, 4))]
    encoders = []
    for number, values in enumerate(parts):
        place = tmp_path / str(number)
        place.mkdir()
        encoder = encoder_of(make_agent("ppo", normalised("CartPole-v1"), seed=number), place)
        moments = Statistics(values.mean(axis=0), values.var(axis=0), float(len(values)))
        assert encoder.normaliser is not None
        encoders.append(
            dataclasses.replace(encoder, normaliser=dataclasses.replace(encoder.normaliser, observation=moments))
        )
    pooled = average_encoders(encoders).normaliser
    assert pooled is not None
    assert isinstance(pooled.observation, Statistics)
    both = np.concatenate(parts)
    np.testing.assert_allclose(pooled.observation.mean, both.mean(axis=0))
    np.testing.assert_allclose(pooled.observation.var, both.var(axis=0))
    assert pooled.observation.count == 200.0


def test_what_differs_is_named(tmp_path: Path) -> None:
    def refused(words: str, other: object) -> None:
        with pytest.raises(IncompatibleError, match=words):
            average_encoders([first, other])  # type: ignore[list-item]

    first, wider = two(tmp_path, policy_kwargs={"net_arch": [9, 8]})
    refused(r"their layers differ:\n  mlp_extractor.policy_net.0.weight: \[8, 4\] and \[9, 4\]", wider)
    refused("their algorithms differ: ppo and dqn", source_encoder("dqn", tmp_path))
    refused("their observations differ", source_encoder("ppo", tmp_path, "Acrobot-v1"))
    refused(
        "their activations differ",
        encoder_of(make_agent("ppo", policy_kwargs={"activation_fn": torch.nn.ReLU, "net_arch": [8, 8]}), tmp_path),
    )
    refused("their normalised observations differ", encoder_of(make_agent("ppo", normalised("CartPole-v1")), tmp_path))
    with pytest.raises(IncompatibleError, match="at least two sources, found 1"):
        average_encoders([first])


def test_extract_saves_the_average_with_its_origin(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for seed in (1, 2):
        pretrained(tmp_path / str(seed), seed=seed)
    assert main(["extract", str(tmp_path / "1"), str(tmp_path / "2"), "-o", str(tmp_path / "average")]) == 0
    assert f"average of {tmp_path / '1'}" in capsys.readouterr().out
    average = load_encoder(tmp_path / "average")
    singles = [load_encoder(tmp_path / str(seed)) for seed in (1, 2)]
    assert average.source.env_steps == sum(single.source.env_steps or 0 for single in singles)
    assert average.source.mean_return is None
    assert average.source.task == singles[0].source.task
    name = "action_net.weight"
    torch.testing.assert_close(average.tensors[name], (singles[0].tensors[name] + singles[1].tensors[name]) / 2)


@pytest.mark.parametrize(
    ("words", "changes"),
    [
        ("clip_obs differ: 10.0 and 0.5", {"clip_obs": 0.5}),
        ("epsilon differ: 1e-08 and 0.1", {"epsilon": 0.1}),
        ("normalised rewards differ: True and False", {"norm_reward": False}),
        ("clip_reward differ: 10.0 and 2.0", {"clip_reward": 2.0}),
        (r"discounts of normalised rewards \(gamma\) differ: 0.99 and 0.5", {"gamma": 0.5}),
    ],
)
def test_other_normalisation_is_named(words: str, changes: dict, tmp_path: Path) -> None:
    first = encoder_of(make_agent("ppo", normalised("CartPole-v1"), seed=7).learn(32), tmp_path)
    assert first.normaliser is not None
    other = dataclasses.replace(first, normaliser=dataclasses.replace(first.normaliser, **changes))
    for pair in ([first, other], [first, first, other]):
        with pytest.raises(IncompatibleError, match=f"cannot be averaged: their {words}"):
            average_encoders(pair)


def test_other_normalised_keys_are_named_in_either_order(tmp_path: Path) -> None:
    encoders = []
    for keys in (["position"], ["position", "speed"]):
        place = tmp_path / str(len(keys))
        place.mkdir()
        env = VecNormalize(DummyVecEnv([Parts]), norm_obs_keys=keys)
        encoders.append(encoder_of(make_agent("ppo", env, policy="MultiInputPolicy").learn(32), place))
    for first, other in (encoders, encoders[::-1]):
        with pytest.raises(IncompatibleError, match=r"their normalised keys \(norm_obs_keys\) differ: \['position'"):
            average_encoders([first, other])


@pytest.mark.parametrize("name", ["policy_class", "extractor_class"])
def test_other_classes_are_named_as_far_as_they_are_told(name: str, tmp_path: Path) -> None:
    def named(dotted: str | None) -> Encoder:
        return dataclasses.replace(encoder, **{name: dotted})

    encoder = source_encoder("ppo", tmp_path)
    words = "policy classes" if name == "policy_class" else "features extractors"
    sb3 = "stable_baselines3.common.torch_layers.FlattenExtractor"
    for item, another in ((sb3, "lab.Net"), ("lab.Net", "lab.Other"), (None, "lab.Net"), (sb3, sb3 + "2")):
        for first, second in ((item, another), (another, item)):
            with pytest.raises(IncompatibleError, match=f"their {words} differ: "):
                average_encoders([named(first), named(second)])
    for item, another in ((None, sb3), (sb3, sb3), ("lab.Net", "lab.Net")):
        average_encoders([named(item), named(another)])
