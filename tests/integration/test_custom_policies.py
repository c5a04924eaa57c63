"""A policy class that is the user's own computes what its author wrote: nothing of it is guessed."""

import functools
import hashlib
import json
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from agents import make_agent
from sb3_contrib import CrossQ, MaskablePPO
from sb3_contrib.common.maskable.policies import MaskableActorCriticPolicy
from sb3_contrib.crossq.policies import CrossQPolicy
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.torch_layers import FlattenExtractor
from stable_baselines3.sac.policies import SACPolicy
from torch import nn

from rltransfer import Full, apply_plan, average_encoders, cli, load_encoder, plan_transfer, policy_kwargs_of
from rltransfer.artifact.policy import build_policy
from rltransfer.errors import IncompatibleError, SourceError, UnknownNameError
from rltransfer.sb3_zip import read_sb3_zip

SMALL: dict[str, Any] = {"n_steps": 16, "batch_size": 16, "device": "cpu", "seed": 0}


class Net(nn.Module):
    """The extractor of SB3's documentation for custom policies."""

    def __init__(self, width: int, nested: bool) -> None:
        super().__init__()
        self.latent_dim_pi = self.latent_dim_vf = 8
        self.policy_net, self.value_net = (self._layers(width, nested) for _ in "pv")

    @staticmethod
    def _layers(width: int, nested: bool) -> nn.Sequential:
        layers = (nn.Linear(width, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU())
        return nn.Sequential(nn.Sequential(*layers)) if nested else nn.Sequential(*layers)

    def forward(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.forward_actor(features), self.forward_critic(features)

    def forward_actor(self, features: torch.Tensor) -> torch.Tensor:
        return self.policy_net(features)

    def forward_critic(self, features: torch.Tensor) -> torch.Tensor:
        return self.value_net(features)


class CustomPolicy(ActorCriticPolicy):
    nested = False

    def _build_mlp_extractor(self) -> None:
        self.mlp_extractor = Net(self.features_dim, self.nested)


class NestedPolicy(CustomPolicy):
    nested = True


class WithInit(ActorCriticPolicy):
    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)


class Bare(ActorCriticPolicy):
    pass


class BareSoft(SACPolicy):
    pass


class BareMaskable(MaskableActorCriticPolicy):
    pass


class BareCross(CrossQPolicy):
    pass


class Flat(FlattenExtractor):
    pass


class MyReLU(nn.ReLU):
    pass


class ReLU(nn.Tanh):
    """Not what its name says."""


def findings(encoder: Any, agent: Any = None) -> dict[str, Any]:
    agent = agent or make_agent("ppo", "Pendulum-v1")
    return {finding.kind: finding for finding in plan_transfer(encoder, agent, Full()).findings}


@pytest.fixture
def custom(tmp_path: Path) -> Path:
    PPO(CustomPolicy, "Pendulum-v1", **SMALL).save(tmp_path / "custom.zip")
    return tmp_path / "custom.zip"


@pytest.mark.parametrize(
    ("policy", "name"), [(WithInit, "WithInit"), (Bare, "?"), (CustomPolicy, "CustomPolicy"), (NestedPolicy, "?")]
)
@pytest.mark.parametrize("module", ["__main__", "my_policies", "stable_baselines3_extras", "my-script"])
def test_the_plan_says_whose_class_it_is(
    policy: type[ActorCriticPolicy], name: str, module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, types.ModuleType(module))
    monkeypatch.setattr(policy, "__module__", module)
    monkeypatch.setattr(sys.modules[module], policy.__name__, policy, raising=False)
    PPO(policy, "Pendulum-v1", policy_kwargs={"net_arch": [8, 8]}, **SMALL).save(tmp_path / "a.zip")
    encoder = load_encoder(tmp_path / "a.zip")
    assert encoder.policy_class == f"{module}.{name}"
    assert encoder.anatomy.activation == "unknown"
    assert encoder.extractor_class is None
    if policy is not NestedPolicy:
        finding = findings(encoder)["custom_policy"]
        assert finding.severity == "warning"
        assert f"policy class is {module}.{name}, which is not SB3's" in finding.words
        assert "--activation ReLU" in finding.words
        assert "activation_fn" not in policy_kwargs_of(encoder)
    again = load_encoder(encoder.save(tmp_path / "artifact"))
    assert (again.policy_class, again.anatomy.activation) == (encoder.policy_class, "unknown")


def test_classes_of_sb3_and_its_contributions_are_not_custom(tmp_path: Path) -> None:
    for algo in ("ppo", "dqn", "sac", "td3", "tqc", "qrdqn", "crossq", "trpo", "ppo_lstm", "maskable_ppo", "ars"):
        make_agent(algo).save(tmp_path / "a.zip")
        encoder = load_encoder(tmp_path / "a.zip")
        assert not encoder.has_custom_policy, algo
        assert encoder.policy_class.startswith(("stable_baselines3.", "sb3_contrib.")), algo
        assert encoder.anatomy.activation in ("Tanh", "ReLU"), algo


def test_what_policy_kwargs_say_to_a_custom_class_is_no_proof(tmp_path: Path) -> None:
    kwargs = {"net_arch": [8, 8], "activation_fn": nn.ELU}
    PPO(CustomPolicy, "Pendulum-v1", policy_kwargs=kwargs, **SMALL).save(tmp_path / "a.zip")
    assert load_encoder(tmp_path / "a.zip").anatomy.activation == "unknown"
    for activation in ("ReLU", "ELU"):
        encoder = load_encoder(tmp_path / "a.zip", activation=activation)
        assert encoder.anatomy.activation == activation
        assert f"its activation function is {activation} as you state" in findings(encoder)["custom_policy"].words


@pytest.mark.parametrize(
    ("agent", "algo"),
    [
        (lambda: SAC(BareSoft, "Pendulum-v1", buffer_size=10, device="cpu"), "sac"),
        (lambda: CrossQ(BareCross, "Pendulum-v1", buffer_size=10, device="cpu"), "crossq"),
        (lambda: MaskablePPO(BareMaskable, "CartPole-v1", **SMALL), "maskable_ppo"),
    ],
)
def test_the_algorithm_is_known_without_the_class(agent: Any, algo: str, tmp_path: Path) -> None:
    agent().save(tmp_path / "a.zip")
    encoder = load_encoder(tmp_path / "a.zip")
    assert (encoder.algo, encoder.has_custom_policy, encoder.anatomy.activation) == (algo, True, "unknown")


def test_a_custom_features_extractor_is_no_custom_policy(tmp_path: Path) -> None:
    kwargs = {"net_arch": [8, 8], "features_extractor_class": Flat}
    make_agent("ppo", "Pendulum-v1", policy_kwargs=kwargs).save(tmp_path / "a.zip")
    encoder = load_encoder(tmp_path / "a.zip")
    assert encoder.extractor_class == f"{Flat.__module__}.Flat"
    assert encoder.anatomy.activation == "Tanh"
    assert "custom_policy" not in findings(encoder)


def test_a_stated_activation_is_taken_and_travels(custom: Path, tmp_path: Path) -> None:
    encoder = load_encoder(custom, activation="nn.ReLU")
    assert policy_kwargs_of(encoder) == {"net_arch": [8, 8], "activation_fn": torch.nn.ReLU}
    words = findings(encoder)["custom_policy"].words
    assert "its activation function is ReLU as you state, and its structure is taken to be SB3's" in words
    again = load_encoder(encoder.save(tmp_path / "artifact"))
    assert again.anatomy.activation == "ReLU"
    assert findings(again)["custom_policy"].words == words
    later = load_encoder(load_encoder(custom).save(tmp_path / "later"), activation="ReLU")
    assert later.anatomy == again.anatomy
    with pytest.raises(SourceError, match="states another activation function than Tanh: ReLU"):
        load_encoder(tmp_path / "artifact", activation="Tanh")


def test_an_agent_built_as_stated_acts_as_the_custom_one(custom: Path) -> None:
    source = PPO(CustomPolicy, "Pendulum-v1", **SMALL)
    source.set_parameters(str(custom), device="cpu")
    encoder = load_encoder(custom, activation="ReLU")
    target = make_agent("ppo", "Pendulum-v1", policy_kwargs={"net_arch": [8, 8], "activation_fn": nn.ReLU})
    apply_plan(plan_transfer(encoder, target, Full()), target)
    seen = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
    expected = source.predict(seen, deterministic=True)[0]
    assert np.array_equal(target.predict(seen, deterministic=True)[0], expected)
    with torch.no_grad():
        rebuilt = build_policy(encoder).get_distribution(torch.as_tensor(seen)).mode()
    assert np.allclose(rebuilt.numpy().clip(-2, 2), expected, atol=1e-6)


@pytest.mark.parametrize(
    "strategy",
    [["full", "kickstart"], ["full", "jump_start"], "residual", ["full", {"kind": "ewc", "states": "target"}]],
)
def test_methods_that_run_the_sources_policy_refuse_it_by_name(strategy: Any, custom: Path) -> None:
    agent = make_agent("ppo", "Pendulum-v1")
    refusal = r"test_custom_policies\.CustomPolicy, not SB3's.*--activation ReLU"
    with pytest.raises(IncompatibleError, match=refusal):
        apply_plan(plan_transfer(load_encoder(custom), agent, strategy), agent)
    relu = make_agent("ppo", "Pendulum-v1", policy_kwargs={"net_arch": [8, 8], "activation_fn": nn.ReLU})
    plan = plan_transfer(load_encoder(custom, activation="ReLU"), relu, strategy)
    assert "structure is taken to be SB3's" in str(plan)


def test_a_policy_of_another_structure_is_not_rebuilt(tmp_path: Path) -> None:
    agent = PPO(NestedPolicy, "Pendulum-v1", **SMALL)
    agent.save(tmp_path / "a.zip")
    encoder = load_encoder(tmp_path / "a.zip", activation="ReLU")
    assert encoder.tensors.keys() == agent.policy.state_dict().keys()
    with pytest.raises(IncompatibleError, match="not those of a policy of SB3"):
        policy_kwargs_of(encoder)
    with pytest.raises(IncompatibleError, match="not those of a policy of SB3"):
        build_policy(encoder)


@pytest.mark.parametrize(
    ("activation", "told", "can_be"),
    [(MyReLU, ".MyReLU", "ReLU"), (ReLU, ".ReLU", "Tanh"), (functools.partial(nn.ReLU), "unknown", "ReLU")],
)
def test_an_activation_function_of_the_users_own_is_not_pytorchs(
    activation: Any, told: str, can_be: str, tmp_path: Path
) -> None:
    agent = make_agent("ppo", "Pendulum-v1", policy_kwargs={"net_arch": [8, 8], "activation_fn": activation})
    agent.save(tmp_path / "a.zip")
    encoder = load_encoder(tmp_path / "a.zip")
    assert encoder.anatomy.activation.endswith(told)
    assert encoder.anatomy.activation != "ReLU"
    assert "activation_fn" not in policy_kwargs_of(encoder)
    with pytest.raises(IncompatibleError, match="activation function"):
        build_policy(encoder)
    assert ("activation_unknown" in findings(encoder)) == (told == "unknown")
    assert not findings(encoder, agent).keys() & {"activation"}
    assert load_encoder(tmp_path / "a.zip", activation=can_be).anatomy.activation == can_be


def as_version_0_1_wrote(encoder: Any, folder: Path) -> Path:
    """Saves an artifact without what 0.1 did not record."""
    path = encoder.save(folder) / "manifest.json"
    manifest = json.loads(path.read_text())
    for key in ("policy_class", "extractor_class", "statistics", "activation_is_assumed"):
        del manifest[key]
    text = json.dumps(manifest | {"schema_version": 1, "manifest_sha256": "0" * 64}, indent=2) + "\n"
    path.write_text(text.replace("0" * 64, hashlib.sha256(text.encode()).hexdigest()))
    return folder


def test_an_artifact_of_0_1_may_be_of_a_custom_class(
    custom: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Version 0.1 took SB3's default for the activation function of any class.
    old = as_version_0_1_wrote(load_encoder(custom, activation="Tanh"), tmp_path / "old")
    again = load_encoder(old).save(tmp_path / "again")
    for folder in (old, again):
        finding = findings(load_encoder(folder))["policy_class_unknown"]
        assert finding.severity == "note"
        assert "before policy classes were recorded" in finding.words
        assert "the activation function Tanh is SB3's" in finding.words
        assert "--activation ReLU" in finding.words
        assert cli.main(["inspect", str(folder)]) == 0
        assert "not recorded by rltransfer 0.1" in capsys.readouterr().out
        assert cli.main(["inspect", str(folder), "--activation", "ReLU"]) == 0
        assert "activation ReLU\n" in capsys.readouterr().out
        stated = load_encoder(folder, activation="ReLU")
        assert stated.anatomy.activation == "ReLU"
        assert "policy_class_unknown" not in findings(stated)
    average = average_encoders([load_encoder(old), load_encoder(old)])
    assert "policy_class_unknown" in findings(average)
    settled = stated.save(tmp_path / "settled")
    with pytest.raises(SourceError, match="states another activation function than Tanh: ReLU"):
        load_encoder(settled, activation="Tanh")


def test_sources_of_today_need_no_note_of_their_class(custom: Path, tmp_path: Path) -> None:
    make_agent("ppo", "Pendulum-v1").save(tmp_path / "stock.zip")
    for source in (custom, tmp_path / "stock.zip"):
        for encoder in (load_encoder(source), load_encoder(load_encoder(source).save(tmp_path / "artifact"))):
            assert "policy_class_unknown" not in findings(encoder)


@pytest.mark.parametrize(("activation", "name"), [(MyReLU, f"{MyReLU.__module__}.MyReLU"), (nn.Hardtanh, "Hardtanh")])
def test_inspect_says_that_the_flag_lacks_an_activation_function_it_cannot_name(
    activation: Any, name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_agent("ppo", "Pendulum-v1", policy_kwargs={"activation_fn": activation}).save(tmp_path / "a.zip")
    assert cli.main(["inspect", str(tmp_path / "a.zip")]) == 0
    shown = capsys.readouterr().out
    assert f"(without activation_fn, which no hyperparameter can name: {name})" in shown
    assert "activation_fn" in str(policy_kwargs_of.__doc__)


def test_a_stated_activation_that_cannot_be_is_refused(custom: Path, tmp_path: Path) -> None:
    make_agent("ppo", "Pendulum-v1").save(tmp_path / "stock.zip")
    with pytest.raises(SourceError, match=r"stock\.zip states another activation function than ReLU: Tanh"):
        load_encoder(tmp_path / "stock.zip", activation="ReLU")
    assert load_encoder(tmp_path / "stock.zip", activation="Tanh").anatomy.activation == "Tanh"
    with pytest.raises(UnknownNameError, match="Did you mean 'ReLU'"):
        load_encoder(custom, activation="Relu")


def test_an_average_is_of_one_kind_of_policy(custom: Path, tmp_path: Path) -> None:
    make_agent("ppo", "Pendulum-v1").save(tmp_path / "stock.zip")
    with pytest.raises(IncompatibleError, match="their policy classes differ"):
        average_encoders([load_encoder(custom), load_encoder(tmp_path / "stock.zip")])
    average = average_encoders([load_encoder(custom), load_encoder(custom)])
    assert average.has_custom_policy


def test_inspect_says_whose_it_is(custom: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["inspect", str(custom)]) == 0
    assert "CustomPolicy, not SB3's: activation and structure unknown" in capsys.readouterr().out
    assert cli.main(["inspect", str(custom), "--activation", "ReLU"]) == 0
    assert "CustomPolicy, not SB3's: activation as stated, structure taken to be SB3's" in capsys.readouterr().out
    assert read_sb3_zip(custom).policy_class == "CustomPolicy"
