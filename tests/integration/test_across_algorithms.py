"""Encoders that go into an agent of another algorithm."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest
import torch
from agents import ENVS, STEPS, encoder_of, make_agent, weights
from stable_baselines3.common.base_class import BaseAlgorithm

from rltransfer import Finetune, Frozen, Full, Shuffled, apply_plan, plan_transfer
from rltransfer.errors import IncompatibleError

RELU: dict[str, Any] = {"net_arch": [8, 8], "activation_fn": torch.nn.ReLU}
ENCODER = {
    "ppo": {"actor": "mlp_extractor.policy_net", "critic": "mlp_extractor.value_net"},
    "a2c": {"actor": "mlp_extractor.policy_net", "critic": "mlp_extractor.value_net"},
    "dqn": {"critic": "q_net.q_net"},
    "qrdqn": {"critic": "quantile_net.quantile_net"},
    "sac": {"actor": "actor.latent_pi", "critic": "critic.qf0"},
    "tqc": {"actor": "actor.latent_pi", "critic": "critic.qf0"},
    "td3": {"actor": "actor.mu", "critic": "critic.qf0"},
}
PAIRS = [(source, target) for source in ENCODER for target in ENCODER if source != target]


class Steered(gym.Wrapper[Any, Any, Any, Any]):
    """CartPole with one continuous action, so that every algorithm has the same observations."""

    def __init__(self) -> None:
        super().__init__(gym.make("CartPole-v1"))
        self.action_space = gym.spaces.Box(-1.0, 1.0, (1,))

    def step(self, action: Any) -> Any:
        return self.env.step(int(action[0] > 0))


def agent_of(algo: str, seed: int = 0, **kwargs: Any) -> BaseAlgorithm:
    env = Steered() if ENVS[algo] == "Pendulum-v1" else None
    return make_agent(algo, env, seed=seed, policy_kwargs={**RELU, **kwargs})


@pytest.fixture(scope="module")
def encoders(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Any]:
    made: dict[str, Any] = {}

    def encoder(algo: str) -> Any:
        if algo not in made:
            made[algo] = encoder_of(agent_of(algo, seed=7).learn(STEPS[algo]), tmp_path_factory.mktemp(algo))
        return made[algo]

    return encoder


@pytest.mark.parametrize(
    "strategy",
    [
        Frozen(),
        pytest.param(Finetune(), marks=pytest.mark.long),
        pytest.param(Shuffled(of=Finetune()), marks=pytest.mark.long),
    ],
    ids=lambda part: part.kind,
)
@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_each_layer_takes_the_one_at_its_place(
    source: str, target: str, strategy: Any, encoders: Callable[[str], Any]
) -> None:
    encoder, agent = encoders(source), agent_of(target)
    plan = plan_transfer(encoder, agent, strategy)
    transfer = apply_plan(plan, agent)
    start = weights(agent)
    agent.learn(STEPS[target], callback=transfer.callbacks)
    assert all(check.passed for check in transfer.checks()), transfer.checks()
    frozen = {entry.tensor for entry in plan.entries if entry.frozen}
    for branch, module in ENCODER[target].items():
        source_value = ENCODER[source].get(branch) or ENCODER[source]["critic"]
        for number in (0, 2):
            tensor, other = f"{module}.{number}.weight", f"{source_value}.{number}.weight"
            now, reads = start[tensor], encoder.tensors[other]
            if now.shape != reads.shape:
                now, reads = now[:, :4], reads[:, :4]
            if strategy.kind == "shuffled":
                assert torch.equal(now.flatten().sort().values, reads.flatten().sort().values)
                assert not torch.equal(now, reads)
                continue
            assert torch.equal(now, reads)
            # The first layer of Q(s, a) has columns for actions that V(s), Q(s) and actors lack: those are new.
            is_new = number == 0 and start[tensor].shape[1] > 4 and encoder.tensors[other].shape[1] == 4
            assert (tensor in frozen) == (strategy.kind == "frozen" and not is_new)
    assert not any(entry.origin in ("copied", "mapped") for entry in plan.entries if entry.role == "head")


@pytest.mark.parametrize(("source", "target"), [("sac", "td3"), ("td3", "tqc")])
def test_each_of_two_critics_takes_its_own(source: str, target: str, encoders: Callable[[str], Any]) -> None:
    agent = agent_of(target)
    apply_plan(plan_transfer(encoders(source), agent, Finetune()), agent)
    for critic in ("critic.qf0", "critic.qf1"):
        assert torch.equal(weights(agent)[f"{critic}.2.weight"], encoders(source).tensors[f"{critic}.2.weight"])


def test_one_branch_can_serve_both(encoders: Callable[[str], Any]) -> None:
    encoder = encoders("ppo")
    for branch in ("actor", "critic"):
        agent = agent_of("sac")
        apply_plan(plan_transfer(encoder, agent, Frozen(source_branch=branch)), agent)
        source_value = encoder.tensors[f"{ENCODER['ppo'][branch]}.2.weight"]
        for module in ("actor.latent_pi", "critic.qf0", "critic.qf1"):
            assert torch.equal(weights(agent)[f"{module}.2.weight"], source_value)


def test_full_moves_between_algorithms_with_the_same_heads(encoders: Callable[[str], Any]) -> None:
    agent = agent_of("a2c")
    apply_plan(plan_transfer(encoders("ppo"), agent, Full()), agent)
    assert all(torch.equal(tensor, encoders("ppo").tensors[name]) for name, tensor in weights(agent).items())
    with pytest.raises(IncompatibleError, match="an agent of ppo, the target one of dqn: their heads"):
        plan_transfer(encoders("ppo"), agent_of("dqn"), Full())


def test_an_encoder_of_images_goes_from_ppo_to_dqn(tmp_path: Path) -> None:
    from agents import Images

    kwargs: dict[str, Any] = {**RELU, "net_arch": [8], "features_extractor_kwargs": {"features_dim": 16}}
    source = make_agent("ppo", Images(), policy="CnnPolicy", seed=7, policy_kwargs=kwargs).learn(32)
    target = make_agent("dqn", Images(), policy="CnnPolicy", policy_kwargs=kwargs)
    apply_plan(plan_transfer(encoder_of(source, tmp_path), target, Frozen()), target)
    now = weights(target)
    for name, tensor in weights(source).items():
        if name.startswith("features_extractor."):
            assert torch.equal(now[f"q_net.{name}"], tensor)


def test_differences_are_named_layer_by_layer(encoders: Callable[[str], Any]) -> None:
    with pytest.raises(IncompatibleError) as error_info:
        plan_transfer(encoders("ppo"), agent_of("sac", net_arch=[8, 6], activation_fn=torch.nn.Tanh), Frozen())
    lines = str(error_info.value).splitlines()
    assert lines[0].startswith("The source is an agent of ppo, the target one of sac.")
    assert "  actor.latent_pi.0: activation ReLU in the source, Tanh in the target" in lines
    with pytest.raises(IncompatibleError) as error_info:
        plan_transfer(encoders("ppo"), agent_of("sac", net_arch=[8, 6]), Frozen())
    shape = re.compile(
        r"actor\.latent_pi\.2\.weight: source mlp_extractor\.policy_net\.2\.weight \[8, 8\], target \[6, 8\]"
    )
    assert shape.search(str(error_info.value))
    with pytest.raises(IncompatibleError, match=r"net\.2\.weight: the source has \[8, 8\], the target has no such"):
        plan_transfer(encoders("ppo"), agent_of("sac", net_arch=[8]), Frozen())
    with pytest.raises(IncompatibleError, match=r"latent_pi\.4\.weight: the source has no such tensor"):
        plan_transfer(encoders("ppo"), agent_of("sac", net_arch=[8, 8, 8]), Frozen())


def test_what_stands_behind_an_lstm_does_not_go_in_front_of_features(tmp_path: Path) -> None:
    kwargs = {"net_arch": [4], "lstm_hidden_size": 4, "activation_fn": torch.nn.ReLU}
    encoder = encoder_of(make_agent("ppo_lstm", seed=7, policy_kwargs=kwargs).learn(32), tmp_path)
    with pytest.raises(IncompatibleError, match="an LSTM stands before one of them"):
        plan_transfer(encoder, agent_of("ppo", net_arch=[4]), Frozen())
