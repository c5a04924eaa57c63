import json
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest
import torch
from agents import Images, encoder_of, make_agent, normalised, weights

from rltransfer import (
    Finetune,
    Frozen,
    Full,
    NormaliserOnly,
    RandomFrozen,
    Rescaled,
    Scratch,
    Shuffled,
    apply_plan,
    plan_transfer,
)
from rltransfer.errors import IncompatibleError
from rltransfer.extractors import SmallCNN
from rltransfer.transfer import read_plan

STRATEGIES = [
    Scratch(), Full(), Finetune(), Frozen(), RandomFrozen(), Rescaled(), Shuffled(of=Full()), Shuffled(of=Frozen())
]  # fmt: skip


def ids(value: Any) -> str:
    return f"{value.kind}-{value.of[0].kind}" if isinstance(value, Shuffled) else value.kind


@pytest.fixture
def encoder(tmp_path: Path) -> Any:
    return encoder_of(make_agent("ppo", seed=7).learn(32), tmp_path)


@pytest.mark.parametrize("strategy", STRATEGIES, ids=ids)
@pytest.mark.parametrize("algo", ["ppo", "dqn", "sac"])
def test_a_plan_covers_each_tensor_once_and_changes_nothing(algo: str, strategy: Any, tmp_path: Path) -> None:
    encoder = encoder_of(make_agent(algo, seed=7), tmp_path)
    target = make_agent(algo)
    before = weights(target)
    plan = plan_transfer(encoder, target, strategy)
    names = [entry.tensor for entry in plan.entries]
    expected = set(before) | ({"log_ent_coef"} if algo == "sac" else set())
    assert len(names) == len(set(names))
    assert set(names) == expected
    assert all(torch.equal(weights(target)[name], tensor) for name, tensor in before.items())
    assert all(parameter.requires_grad for parameter in target.policy.parameters())
    assert all(line in str(plan) for line in names)


@pytest.mark.parametrize("strategy", STRATEGIES, ids=ids)
def test_a_plan_survives_its_file(strategy: Any, encoder: Any, tmp_path: Path) -> None:
    plan = plan_transfer(encoder, make_agent("ppo"), strategy)
    path = tmp_path / "plan.json"
    path.write_text(json.dumps(plan.to_json()))
    assert read_plan(path) == plan


def test_full_moves_everything_and_finetune_all_but_the_heads(encoder: Any) -> None:
    for strategy, moves_heads in ((Full(), True), (Finetune(), False)):
        target = make_agent("ppo")
        fresh = weights(target)
        apply_plan(plan_transfer(encoder, target, strategy), target)
        for name, tensor in weights(target).items():
            from_source = "mlp_extractor" in name or moves_heads
            assert torch.equal(tensor, encoder.tensors[name] if from_source else fresh[name]), name


def test_chosen_layers_move_and_the_others_stay(encoder: Any) -> None:
    target = make_agent("ppo")
    fresh = weights(target)
    plan = plan_transfer(encoder, target, Frozen(layers=1, critic="none"))
    apply_plan(plan, target)
    changed = {name for name, tensor in weights(target).items() if not torch.equal(tensor, fresh[name])}
    assert changed == {"mlp_extractor.policy_net.0.weight", "mlp_extractor.policy_net.0.bias"}
    assert {entry.tensor for entry in plan.entries if entry.frozen} == changed


def test_shuffled_holds_the_same_numbers_in_another_order(encoder: Any) -> None:
    target = make_agent("ppo")
    apply_plan(plan_transfer(encoder, target, Shuffled(of=Frozen())), target)
    now = weights(target)
    for name, source in encoder.tensors.items():
        if "mlp_extractor" in name:
            assert torch.equal(now[name].flatten().sort().values, source.flatten().sort().values)
            assert not torch.equal(now[name], source)
    assert not target.policy.mlp_extractor.policy_net[0].weight.requires_grad


def test_the_shuffle_follows_the_agents_seed_or_its_own(encoder: Any) -> None:
    def shuffled(agent_seed: int, seed: int | None) -> torch.Tensor:
        target = make_agent("ppo", seed=agent_seed)
        apply_plan(plan_transfer(encoder, target, Shuffled(of=Frozen(), seed=seed)), target)
        return weights(target)["mlp_extractor.policy_net.2.weight"]

    assert torch.equal(shuffled(1, None), shuffled(1, None))
    assert not torch.equal(shuffled(1, None), shuffled(2, None))
    assert torch.equal(shuffled(1, 5), shuffled(2, 5))


def test_rescaled_is_fresh_at_the_sources_norm(encoder: Any) -> None:
    target = make_agent("ppo")
    fresh = weights(target)
    apply_plan(plan_transfer(encoder, target, Rescaled()), target)
    now = weights(target)
    for name, source in encoder.tensors.items():
        if "mlp_extractor" in name:
            torch.testing.assert_close(now[name].norm(), source.norm())
            if fresh[name].any():
                torch.testing.assert_close(now[name] / now[name].norm(), fresh[name] / fresh[name].norm())
        else:
            assert torch.equal(now[name], fresh[name])


def test_random_frozen_needs_no_source_and_trains_the_heads_only() -> None:
    target = make_agent("ppo")
    plan = plan_transfer(None, target, RandomFrozen())
    transfer = apply_plan(plan, target)
    before = weights(target)
    target.learn(32)
    moved = {name for name, tensor in weights(target).items() if not torch.equal(tensor, before[name])}
    assert moved == {"action_net.weight", "action_net.bias", "value_net.weight", "value_net.bias"}
    assert all(check.passed for check in transfer.checks())


def test_statistics_by_strategy(tmp_path: Path) -> None:
    encoder = encoder_of(make_agent("ppo", normalised("CartPole-v1"), seed=7).learn(32), tmp_path)
    expected = {
        Scratch(): ("fresh", False, "fresh"),
        Full(): ("copied", False, "copied"),
        Finetune(): ("copied", False, "fresh"),
        Frozen(): ("copied", True, "fresh"),
        RandomFrozen(): ("copied", True, "fresh"),
        NormaliserOnly(): ("copied", False, "fresh"),
        Shuffled(of=Frozen()): ("copied", True, "fresh"),
    }
    for strategy, (observation, hold, reward) in expected.items():
        plan = plan_transfer(encoder, make_agent("ppo", normalised("CartPole-v1")), strategy)
        result = plan.statistics
        assert (result.observation, result.hold_observation, result.reward) == (observation, hold, reward), strategy


def test_a_target_that_normalises_under_a_source_that_did_not_is_noted(encoder: Any) -> None:
    plan = plan_transfer(encoder, make_agent("ppo", normalised("CartPole-v1")), Finetune())
    assert any("normalises its observations and the source did not" in note for note in plan.notes)


def test_another_activation_is_noted(encoder: Any) -> None:
    settings = {"net_arch": [8, 8], "activation_fn": torch.nn.ReLU}
    plan = plan_transfer(encoder, make_agent("ppo", policy_kwargs=settings), Finetune())
    assert "the activation differs: Tanh in the source, ReLU here" in plan.notes


class Observed(gym.ObservationWrapper[Any, Any, Any]):
    def __init__(self) -> None:
        super().__init__(gym.make("CartPole-v1"))
        self.observation_space = gym.spaces.Box(-1.0, 1.0, (3,))

    def observation(self, observation: Any) -> Any:
        return observation[:3]


@pytest.mark.parametrize(
    ("target", "strategy", "words"),
    [
        (lambda: make_agent("ppo", Observed()), Finetune(), "observation spaces do not fit"),
        (lambda: make_agent("ppo", "Acrobot-v1"), Finetune(), "observation spaces do not fit"),
        (lambda: make_agent("dqn"), Finetune(), "of ppo, the target one of dqn"),
        (lambda: make_agent("ppo", policy_kwargs={"net_arch": [8, 9]}), Finetune(), r"source \[8, 8\], target \[9"),
        (lambda: make_agent("ppo", policy_kwargs={"net_arch": [8]}), Finetune(), "the target has no such tensor"),
        (lambda: make_agent("ppo", policy_kwargs={"net_arch": [8, 8, 8]}), Frozen(), "the source has no such tensor"),
        (lambda: make_agent("ppo"), Frozen(layers=["features_extractor"]), "no encoder layer 'features_extractor'"),
        (lambda: make_agent("ppo"), NormaliserOnly(), "the source has none"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_by_name(target: Any, strategy: Any, words: str, encoder: Any) -> None:
    with pytest.raises(IncompatibleError, match=words):
        plan_transfer(encoder, target(), strategy)


def test_full_needs_equal_actions_and_says_what_to_use(tmp_path: Path) -> None:
    class ThreeActions(gym.Wrapper[Any, Any, Any, Any]):
        def __init__(self) -> None:
            super().__init__(gym.make("CartPole-v1"))
            self.action_space = gym.spaces.Discrete(3)

        def step(self, action: Any) -> Any:
            return self.env.step(int(action > 0))

    encoder = encoder_of(make_agent("ppo", seed=7), tmp_path)
    target = make_agent("ppo", ThreeActions())
    with pytest.raises(IncompatibleError, match=r"'full' moves the heads.*Use 'finetune' or 'frozen'"):
        plan_transfer(encoder, target, Full())
    plan = plan_transfer(encoder, target, Finetune())
    assert {entry.origin for entry in plan.entries if entry.role == "head"} == {"initialised"}


def test_a_missing_source_is_refused() -> None:
    with pytest.raises(IncompatibleError, match="'finetune' needs a source"):
        plan_transfer(None, make_agent("ppo"), Finetune())


def test_a_plan_for_another_agent_and_a_plan_without_weights_are_not_applied(encoder: Any, tmp_path: Path) -> None:
    plan = plan_transfer(encoder, make_agent("ppo"), Finetune())
    with pytest.raises(IncompatibleError, match="made for another agent"):
        apply_plan(plan, make_agent("ppo", policy_kwargs={"net_arch": [4]}))
    path = tmp_path / "plan.json"
    path.write_text(json.dumps(plan.to_json()))
    with pytest.raises(IncompatibleError, match="has no weights"):
        apply_plan(read_plan(path), make_agent("ppo"))


@pytest.mark.parametrize("algo", ["ppo", "dqn"])
def test_groups_need_not_be_named_like_their_modules(algo: str, tmp_path: Path) -> None:
    settings = {"features_extractor_class": SmallCNN, "normalize_images": False}
    encoder = encoder_of(make_agent(algo, Images(), policy="CnnPolicy", policy_kwargs=settings, seed=7), tmp_path)
    target = make_agent(algo, Images(), policy="CnnPolicy", policy_kwargs=settings)
    transfer = apply_plan(plan_transfer(encoder, target, Frozen()), target)
    target.learn(40, callback=transfer.callbacks)
    assert all(check.passed for check in transfer.checks()), transfer.checks()


def test_the_spread_of_a_gaussian_policy_is_copied_reset_or_set(tmp_path: Path) -> None:
    source = make_agent("ppo", "Pendulum-v1", seed=7).learn(64)
    encoder = encoder_of(source, tmp_path)
    for log_std, expected in (("copy", source.policy.log_std.item()), ("reset", 0.0), (-1.0, -1.0)):
        target = make_agent("ppo", "Pendulum-v1")
        apply_plan(plan_transfer(encoder, target, Full(log_std=log_std)), target)
        assert target.policy.log_std.item() == expected
    encoder = encoder_of(make_agent("sac", seed=7), tmp_path)
    plan = plan_transfer(encoder, make_agent("sac"), Full(log_std="reset"))
    origins = {entry.tensor: entry.origin for entry in plan.entries}
    assert origins["actor.log_std.weight"] == origins["actor.log_std.bias"] == "initialised"
    with pytest.raises(IncompatibleError, match="depends on the state"):
        plan_transfer(encoder, make_agent("sac"), Full(log_std=-1.0))


def test_the_bounds_of_normalised_observations_travel_too(tmp_path: Path) -> None:
    encoder = encoder_of(make_agent("ppo", normalised("CartPole-v1", clip_obs=5.0), seed=7).learn(32), tmp_path)
    target = make_agent("ppo", normalised("CartPole-v1"))
    apply_plan(plan_transfer(encoder, target, Finetune()), target)
    wrapper = target.get_vec_normalize_env()
    assert wrapper is not None
    assert wrapper.clip_obs == 5.0
