"""Agents with a pretrained network as features extractor: what arrives, what stays, what it receives, what is saved."""

import contextlib
import dataclasses
import functools
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from agents import make_agent
from PIL import Image
from pretrained import ARCH, real_weights, write_weights
from resuming import assert_alike, every, interrupted
from runs import run_config
from safetensors.torch import load_file

from rltransfer import apply_plan, compare, load_encoder, plan_transfer
from rltransfer.anatomy import agent_tensors
from rltransfer.artifact import Encoder, network_kwargs
from rltransfer.cli import main
from rltransfer.config import RunConfig, StudyConfig
from rltransfer.errors import ConfigError, IncompatibleError
from rltransfer.extractors import NetworkExtractor
from rltransfer.networks import torchvision_networks
from rltransfer.records import NetworkFacts
from rltransfer.strategies import strategy_label
from rltransfer.study.expand import expand_study
from rltransfer.training import train_run
from rltransfer.training.prepare import prepare
from rltransfer.transfer import Transfer
from rltransfer.transfer.features_once import features_once


class Pictures(gym.Env[np.ndarray, Any]):
    """Random pictures of a size; the action is a number for agents of continuous actions."""

    def __init__(self, size: tuple[int, int] = (40, 48), channels: int = 3, *, continuous: bool = False) -> None:
        self.observation_space = gym.spaces.Box(0, 255, (*size, channels), np.uint8)
        self.action_space: Any = gym.spaces.Box(-1.0, 1.0, (1,)) if continuous else gym.spaces.Discrete(3)

    def _picture(self) -> np.ndarray:
        return self.np_random.integers(0, 256, self.observation_space.shape, dtype=np.uint8)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        return self._picture(), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        return self._picture(), float(np.sum(action)), False, bool(self.np_random.random() < 0.1), {}


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_weights(tmp_path_factory.mktemp("weights") / "weights.pth")


@pytest.fixture(scope="module")
def encoder(weights: Path) -> Encoder:
    return load_encoder(weights, arch=ARCH, size=32)


def agent_with(encoder: Encoder, algo: str = "ppo", env: Any = None, **settings: Any) -> Any:
    env = Pictures(continuous=algo in ("sac", "td3")) if env is None else env
    kwargs = {**network_kwargs(encoder), "net_arch": [8]}
    return make_agent(algo, env, policy="CnnPolicy", policy_kwargs=kwargs, **settings)


def transferred(encoder: Encoder, agent: Any, strategy: Any) -> Transfer:
    return apply_plan(plan_transfer(encoder, agent, strategy), agent)


def network_tensors(agent: Any) -> dict[str, torch.Tensor]:
    """Returns the tensors of all copies of the network in an agent, target networks included."""
    return {name: tensor.detach().clone() for name, tensor in agent_tensors(agent).items() if ".network." in f".{name}"}


def own_name(name: str) -> str:
    return name.partition("network.")[2]


def differing(agent: Any, state: dict[str, torch.Tensor]) -> set[str]:
    return {name for name, tensor in network_tensors(agent).items() if not torch.equal(tensor, state[own_name(name)])}


@pytest.mark.parametrize(
    ("algo", "copies"),
    [
        ("ppo", 1),
        pytest.param("a2c", 1, marks=pytest.mark.long),
        ("dqn", 2),
        ("sac", 3),
        pytest.param("td3", 4, marks=pytest.mark.long),
    ],
)
def test_every_tensor_is_the_files_after_the_transfer_and_after_training_frozen(
    algo: str, copies: int, weights: Path, encoder: Encoder
) -> None:
    agent = agent_with(encoder, algo)
    state = torch.load(weights, weights_only=True)
    assert differing(agent, state)
    transfer = transferred(encoder, agent, "frozen")
    storages = {tensor.data_ptr() for name, tensor in agent_tensors(agent).items() if ".network." in f".{name}"}
    assert len(storages) == copies * len(encoder.tensors)
    assert not differing(agent, state)
    heads = {name: tensor.clone() for name, tensor in agent_tensors(agent).items() if ".network." not in f".{name}"}
    agent.learn(64, callback=transfer.callbacks)
    assert not differing(agent, state)
    assert all(check.passed for check in transfer.checks())
    assert any(not torch.equal(tensor, agent_tensors(agent)[name]) for name, tensor in heads.items())


# Architecture, form of the file, size of the images, cut; a ViT takes its own size alone.
FILES: dict[str, tuple[str, str, int | None, str | None]] = {
    "resnet18": ("torchvision:resnet18", "pth", 32, None),
    "inception_v3": ("torchvision:inception_v3", "pth", 75, None),
    # In front of its classifier, which is 13 times as large.
    "vgg11": ("torchvision:vgg11", "pth", 32, "features.20"),
    "vit_tiny": ("timm:vit_tiny_patch16_224", "safetensors", None, None),
    "vit_tiny_pth": ("timm:vit_tiny_patch16_224", "pth", None, None),
}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[dict[str, torch.Tensor], Encoder]]:
    """Gives what a file of weights holds, and the encoder that is read from it."""

    @functools.cache
    def read(name: str) -> tuple[dict[str, torch.Tensor], Encoder]:
        arch, form, size, cut = FILES[name]
        path = write_weights(tmp_path_factory.mktemp("weights") / f"{name}.{form}", arch, size=size or 224)
        state = torch.load(path, weights_only=True) if form == "pth" else load_file(path)
        encoder = load_encoder(path, arch=arch, size=size, cut=cut)
        path.unlink()
        return state, encoder

    return read


BEHIND = {
    "resnet18": {"fc"},
    "inception_v3": {"fc", "AuxLogits"},
    "vgg11": {"classifier"},
    "vit_tiny": {"head"},
    "vit_tiny_pth": {"head"},
}
QUICK = {("resnet18", "sac"), ("vit_tiny", "ppo")}


@pytest.mark.parametrize(
    ("name", "algo"),
    [
        pytest.param(name, algo, marks=[] if (name, algo) in QUICK else pytest.mark.long)
        for name in FILES
        for algo in (("ppo", "dqn", "sac", "td3") if name != "vit_tiny_pth" else ("ppo",))
    ],
)
def test_every_tensor_is_that_of_the_librarys_file_also_after_training_frozen(
    name: str, algo: str, files: Callable[[str], tuple[dict[str, torch.Tensor], Encoder]]
) -> None:
    state, source = files(name)
    steps = {"learning_starts": 4, "batch_size": 4} if algo != "ppo" else {"n_steps": 8, "batch_size": 8, "n_epochs": 1}
    agent = agent_with(source, algo, **steps)
    transfer = transferred(source, agent, "frozen")
    copies = {"ppo": 1, "dqn": 2, "sac": 3, "td3": 4}[algo]
    storages = {tensor.data_ptr() for name, tensor in agent_tensors(agent).items() if ".network." in f".{name}"}
    assert len(storages) == copies * len(source.tensors)
    assert not differing(agent, state)
    heads = {name: tensor.clone() for name, tensor in agent_tensors(agent).items() if ".network." not in f".{name}"}
    agent.learn(8, callback=transfer.callbacks)
    assert agent._n_updates > 0
    assert not differing(agent, state)
    assert all(check.passed for check in transfer.checks())
    assert any(not torch.equal(tensor, agent_tensors(agent)[name]) for name, tensor in heads.items())
    # All that stands behind the cut is named, and nothing of it is in the agent.
    assert source.source.network is not None
    left_out = set(source.source.network.left_out)
    assert left_out == state.keys() - {own_name(name) for name in network_tensors(agent)}
    assert {name.partition(".")[0] for name in left_out} == BEHIND[name]
    assert sum(tensor.numel() for tensor in agent.policy.parameters()) < copies * 1.01 * sum(
        tensor.numel() for tensor in source.tensors.values()
    )


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cache of PyTorch with torchvision's own MobileNetV2 weights, as its download leaves them."""
    cache = tmp_path_factory.mktemp("cache")
    (cache / "hub" / "checkpoints").mkdir(parents=True)
    (cache / "hub" / "checkpoints" / real_weights().name).symlink_to(real_weights())
    return cache


@pytest.mark.parametrize(
    "algo", ["ppo", *(pytest.param(algo, marks=pytest.mark.long) for algo in ("a2c", "dqn", "sac", "td3"))]
)
@pytest.mark.parametrize("once", [True, pytest.param(False, marks=pytest.mark.long)])
def test_the_real_weights_are_the_files_bit_for_bit_also_after_training_frozen(
    algo: str, once: bool, real: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(real))
    source = load_encoder("torchvision:mobilenet_v2/IMAGENET1K_V1", size=32)
    assert source.source.network is not None
    assert source.source.network.file == "mobilenet_v2-b0353104.pth"
    assert source.source.sha256.startswith("b0353104")
    state = torch.load(real_weights(), weights_only=True)
    agent = agent_with(source, algo)
    plan = plan_transfer(source, agent, "frozen")
    transfer = apply_plan(plan, agent)
    assert not differing(agent, state)
    with features_once(plan, agent) if once else contextlib.nullcontext():
        agent.learn(32, callback=transfer.callbacks)
    assert not differing(agent, state)
    assert all(check.passed for check in transfer.checks())


def test_fine_tuned_weights_move_at_their_rate_and_statistics_stay(weights: Path, encoder: Encoder) -> None:
    state = torch.load(weights, weights_only=True)
    changes = {}
    for scale in (1.0, 0.01):
        agent = agent_with(encoder)
        plan = plan_transfer(encoder, agent, {"kind": "finetune", "lr_scale": scale})
        assert ("network_rate" in {finding.kind for finding in plan.findings}) == (scale == 1.0)
        assert "network_mode" in {finding.kind for finding in plan.findings}
        agent.learn(64, callback=apply_plan(plan, agent).callbacks)
        moved = {own_name(name) for name in differing(agent, state)}
        assert moved == {own_name(name) for name in encoder.anatomy.parameters}
        tensors = network_tensors(agent)
        name = "features_extractor.network.features.0.0.weight"
        changes[scale] = float((tensors[name] - state[own_name(name)]).norm())
    assert 0 < changes[0.01] < 0.05 * changes[1.0]


def test_an_unstated_rate_is_a_tenth_for_a_network_in_plans_runs_and_studies(encoder: Encoder, tmp_path: Path) -> None:
    encoder.save(tmp_path / "network")

    def rates(strategy: Any) -> set[float]:
        plan = plan_transfer(encoder, agent_with(encoder), strategy)
        return {entry.lr_scale for entry in plan.entries if entry.trains and ".network." in f".{entry.tensor}"}

    assert rates("finetune") == {0.1}
    assert rates({"kind": "finetune", "lr_scale": 1.0}) == {1.0}
    assert rates({"kind": "shuffled", "of": "finetune"}) == {0.1}
    assert rates(["finetune", {"kind": "lora", "rank": 2}]) == {1.0}
    study = StudyConfig.model_validate(
        {
            "algo": "ppo",
            "seeds": [0],
            "source": {"path": str(tmp_path / "network")},
            "tasks": {"empty": {"env": "rltransfer_envs:rltransfer/MiniGrid-Empty-v0", "kwargs": {"view": "rgb"}}},
            "arms": {
                "scratch": "scratch",
                "slow": "finetune",
                "fast": {"kind": "finetune", "lr_scale": 1.0},
                "control": {"kind": "shuffled", "of": "finetune"},
            },
            "hyperparams": {"policy": "CnnPolicy", "n_timesteps": 64},
        }
    )
    # As a worker reads it from the study's folder, and a run from its own.
    for given in (study, StudyConfig.model_validate_json(study.model_dump_json())):
        configs = {job.config.arm: job.config for job in expand_study(given, tmp_path / "study")}
        configs = {arm: RunConfig.model_validate_json(config.model_dump_json()) for arm, config in configs.items()}
        labels = {arm: strategy_label(config.strategy) for arm, config in configs.items()}
        assert labels == {
            "scratch": "scratch",
            "slow": "finetune_lr_scale=0.1",
            "fast": "finetune",
            "control": "shuffled_finetune_lr_scale=0.1",
        }
    assert run_config("ppo", strategy="finetune", source=str(tmp_path)).strategy[0].model_dump()["lr_scale"] == 1.0


@pytest.mark.parametrize(
    "strategy",
    [
        ["finetune", {"kind": "l2_sp", "alpha": 0.1}],
        ["finetune", {"kind": "lora", "rank": 2}],
        ["finetune", {"kind": "discriminative", "decay": 0.5}],
        ["finetune", {"kind": "gradual_unfreeze", "at": [33]}],
        {"kind": "shuffled", "of": "frozen"},
        "random_frozen",
        {"kind": "frozen", "layers": 4},
    ],
)
def test_strategies_and_controls_hold_what_they_say(strategy: Any, encoder: Encoder) -> None:
    agent = agent_with(encoder)
    plan = plan_transfer(encoder, agent, strategy)
    transfer = apply_plan(plan, agent)
    before = network_tensors(agent)
    agent.learn(64 + plan.statistics_steps, callback=transfer.callbacks)
    assert [check for check in transfer.checks() if not check.passed] == []
    frozen = {entry.tensor for entry in plan.entries if entry.frozen}
    after = network_tensors(agent)
    assert all(torch.equal(after[name], before[name]) for name in frozen & after.keys())
    # What stands behind the network is new, and learns under all of them: a control freezes what its strategy does.
    assert not any(entry.frozen for entry in plan.entries if not own_name(entry.tensor))
    fresh = "fresh_blocks" in {finding.kind for finding in plan.findings}
    assert fresh == (isinstance(strategy, dict) and "layers" in strategy)


def test_the_random_control_differs_from_the_source_everywhere_and_is_alive(encoder: Encoder) -> None:
    agent = agent_with(encoder)
    plan = plan_transfer(encoder, agent, "random_frozen")
    transfer = apply_plan(plan, agent)
    matrices = [name for name in encoder.anatomy.parameters if encoder.tensors[name].ndim > 1]
    assert not any(torch.equal(agent_tensors(agent)[name], encoder.tensors[name]) for name in matrices)
    (alive,) = (check for check in transfer.checks() if check.name == "recomputed layers differ between observations")
    assert alive.passed


def test_scratch_of_the_same_architecture_is_the_draw_of_the_random_control_and_trains(encoder: Encoder) -> None:
    starts = {}
    for strategy in ("random_frozen", {"kind": "scratch", "arch": "source"}):
        agent = agent_with(encoder)
        plan = plan_transfer(encoder, agent, strategy)
        transfer = apply_plan(plan, agent)
        starts[str(strategy)] = before = network_tensors(agent)
    assert all(torch.equal(*tensors) for tensors in zip(*(start.values() for start in starts.values()), strict=True))
    assert "network: the source's architecture, drawn at random and trained" in str(plan)
    assert plan.statistics_steps > 0
    assert {entry.origin for entry in plan.entries} == {"initialised", "recomputed"}
    assert {entry.lr_scale for entry in plan.entries} == {1.0}
    assert {finding.kind for finding in plan.findings} & {"network_rate", "network_mode", "fresh_blocks"} == {
        "network_mode"
    }
    agent.learn(64 + plan.statistics_steps, callback=transfer.callbacks)
    assert [check for check in transfer.checks() if not check.passed] == []
    changed = {
        own_name(name) for name, tensor in network_tensors(agent).items() if not torch.equal(tensor, before[name])
    }
    assert changed == {own_name(name) for name in encoder.anatomy.parameters}


def test_scratch_of_an_agents_architecture_is_refused(tmp_path: Path) -> None:
    make_agent("ppo").save(tmp_path / "agent.zip")
    source, strategy = load_encoder(tmp_path / "agent.zip"), {"kind": "scratch", "arch": "source"}
    with pytest.raises(IncompatibleError, match="is an agent, whose architecture 'scratch' has already"):
        plan_transfer(source, make_agent("ppo"), strategy)
    with pytest.raises(IncompatibleError, match="'scratch_arch=source' needs a source"):
        plan_transfer(None, make_agent("ppo"), strategy)


def test_heads_actions_and_other_sources_are_refused_by_name(encoder: Encoder) -> None:
    agent = agent_with(encoder)
    for strategy, words in {
        "full": "The source is the network torchvision:mobilenet_v3_small, the target an agent of ppo: their heads",
        "kickstart": "is a pretrained network, which gives features and no actions",
        "jump_start": "is a pretrained network, which gives features and no actions",
    }.items():
        with pytest.raises(IncompatibleError, match=words):
            plan_transfer(encoder, agent, strategy)
    with pytest.raises(IncompatibleError, match="no such layer|not fit|has no|agent's"):
        plan_transfer(encoder, make_agent("ppo", Pictures(), policy="CnnPolicy", policy_kwargs={}), "frozen")


CONTRACTS = {
    "the library's": {},
    "bicubic": {"interpolation": "bicubic"},
    "no antialias": {"antialias": False},
    "nearest": {"interpolation": "nearest"},
    "both sides": {"resize": None, "size": (96, 80)},
    "as it is": {"resize": None, "size": (40, 48)},
}


@pytest.mark.parametrize("size", [(40, 48), pytest.param((300, 260), marks=pytest.mark.long)])
@pytest.mark.parametrize("case", CONTRACTS)
def test_the_network_receives_what_torchvisions_transform_makes(
    case: str, size: tuple[int, int], weights: Path
) -> None:
    torchvision_networks.load_library()
    from torchvision.transforms import functional

    source = load_encoder(weights, arch=ARCH)
    assert source.source.network is not None
    contract = source.source.network.contract.model_copy(update=CONTRACTS[case])
    facts = source.source.network.model_copy(update={"contract": contract})
    source = dataclasses.replace(source, source=source.source.model_copy(update={"network": facts}))
    agent = agent_with(source, env=Pictures(size))
    received: list[torch.Tensor] = []
    extractor = agent.policy.features_extractor
    extractor.network.register_forward_pre_hook(lambda _, inputs: received.append(inputs[0]))
    pictures = np.random.default_rng(0).integers(0, 256, (2, *size, 3), dtype=np.uint8)
    agent.predict(pictures, deterministic=True)
    images = torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255.0
    how = functional.InterpolationMode(contract.interpolation)
    target = list(contract.size) if contract.resize is None else [contract.resize]
    expected = functional.resize(images, target, interpolation=how, antialias=contract.antialias)
    expected = functional.normalize(functional.center_crop(expected, list(contract.size)), contract.mean, contract.std)
    torch.testing.assert_close(received[0], expected, rtol=0.0, atol=1e-5)
    if case == "the library's":
        weights_of = torchvision_networks._member("mobilenet_v3_small", None)
        torch.testing.assert_close(received[0], weights_of.transforms()(images), rtol=0.0, atol=1e-5)
        # Of a picture, the library resizes whole numbers.
        by_picture = weights_of.transforms()(Image.fromarray(pictures[0]))
        scale = torch.tensor(contract.std).reshape(-1, 1, 1)
        assert float(((by_picture - received[0][0]) * scale).abs().max()) <= 2 / 255


def test_a_grey_channel_is_repeated_and_other_observations_are_refused(encoder: Encoder) -> None:
    agent = agent_with(encoder, env=Pictures((32, 32), channels=1))
    grey = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 1), dtype=np.uint8)
    colour = agent_with(encoder, env=Pictures((32, 32)))
    for other in (agent, colour):
        transferred(encoder, other, "frozen")
    features = [
        item.policy.extract_features(item.policy.obs_to_tensor(seen)[0])
        for item, seen in ((agent, grey), (colour, grey.repeat(3, axis=3)))
    ]
    assert torch.equal(features[0], features[1])
    for space in (gym.spaces.Box(0, 255, (12, 32, 32), np.uint8), gym.spaces.Box(0.0, 1.0, (3, 32, 32))):
        with pytest.raises(ValueError, match="reads colour or grey images of unsigned bytes"):
            NetworkExtractor(space, **network_kwargs(encoder)["features_extractor_kwargs"])


class Camera(gym.Env[dict[str, Any], Any]):
    """Random pictures of two cameras and a vector, under keys."""

    observation_space = gym.spaces.Dict(
        speed=gym.spaces.Box(-1.0, 1.0, (2,), np.float32),
        left=gym.spaces.Box(0, 255, (32, 32, 3), np.uint8),
        right=gym.spaces.Box(0, 255, (32, 32, 1), np.uint8),
    )
    action_space: Any = gym.spaces.Discrete(3)

    def _see(self) -> dict[str, Any]:
        spaces = self.observation_space.spaces.items()
        return {
            key: self.np_random.integers(0, 256, space.shape, dtype=np.uint8)
            if space.dtype == np.uint8
            else self.np_random.random(space.shape, dtype=np.float32)
            for key, space in spaces
        }

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[dict[str, Any], dict[str, Any]]:
        super().reset(seed=seed)
        return self._see(), {}

    def step(self, action: Any) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        return self._see(), float(action), False, bool(self.np_random.random() < 0.1), {}


@pytest.mark.parametrize("algo", ["ppo", pytest.param("dqn", marks=pytest.mark.long)])
def test_of_a_dictionary_each_image_goes_through_the_network_and_the_rest_beside_it(
    algo: str, weights: Path, encoder: Encoder
) -> None:
    kwargs = {**network_kwargs(encoder), "net_arch": [8]}
    agent = make_agent(algo, Camera(), policy="MultiInputPolicy", policy_kwargs=kwargs)
    plan = plan_transfer(encoder, agent, "frozen")
    (words,) = (finding.words for finding in plan.findings if finding.kind == "network_images")
    assert "repeated for its three" in words
    assert words.endswith("; speed: passed on beside its features")
    transfer = apply_plan(plan, agent)
    agent.learn(64, callback=transfer.callbacks)
    assert not differing(agent, torch.load(weights, weights_only=True))
    policy: Any = agent.policy if algo == "ppo" else agent.policy.q_net
    parts = reversed(agent.observation_space.spaces.items())
    seen = {key: np.stack([space.sample()] * 2) for key, space in parts}
    with torch.no_grad():
        features = policy.extract_features(policy.obs_to_tensor(seen)[0], policy.features_extractor)
        images = torch.from_numpy(np.stack([seen["left"][0], seen["right"][0].repeat(3, axis=0)])) / 255.0
        extractor = policy.features_extractor
        expected = extractor.network(extractor.received(images))
    # One after another in the order of the space, whatever the order of the observation's keys.
    assert list(agent.observation_space.spaces) == ["speed", "left", "right"]
    speed, left, right = features[0].split([2, 1024, 1024])
    torch.testing.assert_close(torch.stack([left, right]), expected, rtol=0.0, atol=1e-5)
    assert torch.equal(speed, torch.from_numpy(seen["speed"][0]))


def test_each_of_stacked_frames_goes_through_the_network_alone(encoder: Encoder, tmp_path: Path) -> None:
    encoder.save(tmp_path / "network")
    config = run_config(
        "ppo",
        env="rltransfer_envs:rltransfer/MiniGrid-Empty-v0",
        kwargs={"view": "rgb", "max_steps": 8},
        strategy="frozen",
        source=str(tmp_path / "network"),
    )
    config = config.model_copy(update={"hyperparams": config.hyperparams.model_copy(update={"frame_stack": 2})})
    with prepare(config, monitor_folder=None) as prepared:
        agent = prepared.agent
        assert prepared.plan is not None
        (words,) = (finding.words for finding in prepared.plan.findings if finding.kind == "network_images")
        assert "each of 2 frames is read alone, and their features are stacked" in words
        extractor: Any = agent.policy.features_extractor
        assert agent.observation_space.shape == (6, 56, 56)
        assert extractor.features_dim == 2048
        images = torch.rand(3, 6, 56, 56)
        with torch.no_grad():
            both = extractor(images)
            each = [extractor.network(extractor.received(part)) for part in images.split(3, dim=1)]
        torch.testing.assert_close(both, torch.cat(each, dim=1), rtol=0.0, atol=1e-5)


def test_a_plan_names_as_images_what_the_network_reads(encoder: Encoder) -> None:
    class Depth(Camera):
        observation_space = gym.spaces.Dict(
            **Camera.observation_space.spaces, depth=gym.spaces.Box(0.0, 1.0, (3, 8, 8), np.float32)
        )

    kwargs = {**network_kwargs(encoder), "net_arch": [8]}
    agent: Any = make_agent("ppo", Depth(), policy="MultiInputPolicy", policy_kwargs=kwargs)
    assert agent.policy.features_extractor.image_keys == {"left", "right"}
    findings = plan_transfer(encoder, agent, "frozen").findings
    (words,) = (finding.words for finding in findings if finding.kind == "network_images")
    assert words.endswith("; depth, speed: passed on beside its features")


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({"channels": "mean"}, "channels 'mean' has nothing to do: the images have three channels"),
        ({"map": [0, 1, 2]}, "map is of sources that are agents"),
        ({"keys": {"left": "right"}}, "keys is of sources that are agents"),
        ({"adapter": 8}, "adapter is of sources that are agents"),
        ({"new": "random"}, "new is of sources that are agents"),
    ],
)
def test_inputs_that_mean_nothing_to_a_network_are_refused(inputs: Any, words: str, encoder: Encoder) -> None:
    agent = agent_with(encoder)
    for strategy in ("frozen", "random_frozen"):
        with pytest.raises(IncompatibleError, match=words):
            plan_transfer(encoder, agent, strategy, inputs=inputs)
    grey = agent_with(encoder, env=Pictures(channels=1))
    if "channels" in inputs:
        plan_transfer(encoder, grey, "frozen", inputs=inputs)


ELSEWHERE = """
import sys
sys.modules.update(torchvision=None, timm=None, rltransfer=None)
import numpy as np
from stable_baselines3 import PPO
agent = PPO.load(sys.argv[1])
seen = np.load(sys.argv[2])
np.save(sys.argv[3], agent.policy.get_distribution(agent.policy.obs_to_tensor(seen)[0]).distribution.probs.detach())
"""


@pytest.mark.parametrize(
    ("name", "count"),
    [
        pytest.param(None, 1000, marks=pytest.mark.long),
        (None, 50),
        pytest.param("vit_tiny", 20, marks=pytest.mark.long),
        pytest.param("inception_v3", 100, marks=pytest.mark.long),
    ],
)
def test_the_zip_acts_as_the_agent_did_where_no_library_is(
    name: str | None,
    count: int,
    encoder: Encoder,
    files: Callable[[str], tuple[dict[str, torch.Tensor], Encoder]],
    tmp_path: Path,
) -> None:
    encoder = encoder if name is None else files(name)[1]
    agent = agent_with(encoder, env=Pictures((32, 32)), n_steps=16)
    transfer = transferred(encoder, agent, "frozen")
    agent.learn(16, callback=transfer.callbacks)
    agent.save(tmp_path / "agent.zip")
    pictures = np.random.default_rng(0).integers(0, 256, (count, 3, 32, 32), dtype=np.uint8)
    np.save(tmp_path / "pictures.npy", pictures)
    names = [str(tmp_path / name) for name in ("agent.zip", "pictures.npy", "probabilities.npy")]
    subprocess.run([sys.executable, "-c", ELSEWHERE, *names], check=True)
    probabilities = agent.policy.get_distribution(agent.policy.obs_to_tensor(pictures)[0]).distribution.probs
    np.testing.assert_allclose(np.load(tmp_path / "probabilities.npy"), probabilities.detach(), atol=1e-6)
    # The weights are in the zip once: not in the arguments of the policy, too.
    assert (tmp_path / "agent.zip").stat().st_size < 1.4 * 4 * sum(value.numel() for value in encoder.tensors.values())


MINIGRID = "--algo ppo --env rltransfer_envs:rltransfer/MiniGrid-Empty-v0 --env-kwargs view:rgb max_steps:8"


def test_the_command_plans_and_trains_from_an_artifact(
    encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    encoder.save("network")
    shown = {}
    for strategy in ("frozen", "random_frozen", "scratch"):
        assert main(f"plan --from network {MINIGRID} --strategy {strategy}".split()) in (0, None)
        shown[strategy] = capsys.readouterr().out
    assert "note: the network receives images of 32x32, to which the target's of 56x56 are resized" in shown["frozen"]
    size = f"{sum(value.numel() for value in encoder.tensors.values()):,}"
    assert f"moved {size} of the source's {size}, frozen {size}," in shown["frozen"]
    assert "features_extractor.network.features.0.0.weight" in shown["random_frozen"]
    # The baseline is the agent of the hyperparameters alone.
    assert "features_extractor.network" not in shown["scratch"]
    replaced = "stands in place of the features extractor of the hyperparameters (features_extractor_class"
    assert [replaced in " ".join(shown[name].split()) for name in shown] == [True, True, False]
    line = (
        f"transfer --from network {MINIGRID} --strategy frozen -n 64 --eval-freq 64 --eval-episodes 1 --seed 0 -f logs"
    )
    assert main([*line.split(), "--hyperparams", "n_steps:32", "batch_size:32", "n_envs:1", "n_epochs:1"]) in (0, None)
    assert "check passed: frozen tensors bit-identical" in capsys.readouterr().out


def test_a_second_source_beside_a_network_is_refused(encoder: Encoder, tmp_path: Path) -> None:
    assert isinstance(encoder.source.network, NetworkFacts)
    encoder.save(tmp_path / "network")
    config: RunConfig = run_config("ppo", strategy="frozen", source=str(tmp_path / "network"))
    several = config.model_copy(update={"source": (str(tmp_path / "network"),) * 2})
    with pytest.raises(IncompatibleError), prepare(several, monitor_folder=None):
        pass
    with pytest.raises(ConfigError, match="reads colour or grey images"), prepare(config, monitor_folder=None):
        pass


@pytest.mark.parametrize(
    ("algo", "strategy"),
    [
        pytest.param("ppo", "frozen", marks=pytest.mark.long),
        pytest.param("ppo", {"kind": "finetune", "lr_scale": 0.1}, marks=pytest.mark.long),
        pytest.param("ppo", "random_frozen", marks=pytest.mark.long),
        pytest.param("ppo", {"kind": "scratch", "arch": "source"}, marks=pytest.mark.long),
        pytest.param("dqn", "frozen", marks=pytest.mark.long),
    ],
)
def test_a_run_that_was_interrupted_ends_as_if_it_had_not_been(
    algo: str, strategy: Any, encoder: Encoder, tmp_path: Path
) -> None:
    encoder.save(tmp_path / "network")
    config = run_config(
        algo,
        env="rltransfer_envs:rltransfer/MiniGrid-Empty-v0",
        kwargs={"view": "rgb", "max_steps": 8},
        strategy=strategy,
        n_timesteps=320 if strategy == "random_frozen" or "arch" in strategy else 64,
        episodes=1,
        source=str(tmp_path / "network"),
    )
    whole = train_run(config, tmp_path / "whole")
    parted, times = interrupted(config, tmp_path / "parted", every(11))
    assert times >= 2
    assert whole.resume_level == parted.resume_level == "exact"
    assert_alike(config, tmp_path / "whole", tmp_path / "parted")
    assert parted.source is not None
    assert parted.source.network == encoder.source.network
    (task,) = compare(tmp_path / "whole").tasks
    assert f"the one seed starts from {ARCH}, so what is found holds for this pretrained network." in " ".join(
        task.notes
    )
