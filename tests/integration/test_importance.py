"""EWC: the Fisher information is autograd's, the pull its closed form, and the source's steps are counted."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from agents import ENVS, Images, make_agent, pulls_of_last_steps, source_encoder, weights
from runs import pretrained, run_config
from stable_baselines3 import PPO

from rltransfer import (
    EWC,
    Encoder,
    Finetune,
    Full,
    L2Init,
    Shuffled,
    apply_plan,
    hold_plan,
    load_encoder,
    plan_transfer,
)
from rltransfer.artifact.policy import build_policy
from rltransfer.errors import IncompatibleError
from rltransfer.records import read_curve
from rltransfer.training import train_run
from rltransfer.transfer import Transfer, read_plan
from rltransfer.transfer.methods.ewc import fisher_diagonal, importance_of
from rltransfer.transfer.values import planned_tensors

HERE = EWC(steps=40, states="target", strength=3.0)


def states_of(encoder: Encoder, amount: int = 5) -> np.ndarray:
    assert encoder.observation_space is not None
    shape = encoder.observation_space.shape
    assert shape is not None
    return np.random.default_rng(3).normal(size=(amount, *shape)).astype(np.float32)


def by_autograd(policy: Any, outputs: Any, states: np.ndarray) -> dict[str, torch.Tensor]:
    """Returns the mean of the weighted squared gradients, one state and one output at a time."""
    named = dict(policy.named_parameters())
    total = {name: torch.zeros_like(tensor) for name, tensor in named.items()}
    policy.requires_grad_(True)
    for state in states:
        for weight, value in outputs(torch.as_tensor(state[None])):
            gradients = torch.autograd.grad(value, list(named.values()), allow_unused=True, retain_graph=True)
            for name, gradient in zip(named, gradients, strict=True):
                if gradient is not None:
                    total[name] += (weight * gradient**2).detach()
    return {name: tensor / len(states) for name, tensor in total.items()}


def test_of_a_categorical_policy_it_is_the_expected_square_of_each_log_probability(tmp_path: Path) -> None:
    encoder = source_encoder("ppo", tmp_path)
    policy: Any = build_policy(encoder)
    states = states_of(encoder)

    def outputs(state: torch.Tensor) -> Any:
        distribution = policy.get_distribution(state).distribution
        for action in range(2):
            yield distribution.probs[0, action], distribution.log_prob(torch.tensor([action]))[0]
        yield 1.0, policy.predict_values(state)[0, 0]

    expected = by_autograd(policy, outputs, states)
    importance = fisher_diagonal(policy, "ppo", states)
    assert importance.keys() == expected.keys()
    assert all(tensor.any() for tensor in importance.values())
    for name, tensor in importance.items():
        torch.testing.assert_close(tensor, expected[name], rtol=1e-4, atol=1e-7)


@pytest.mark.long
def test_of_a_normal_policy_it_is_what_sampled_actions_give(tmp_path: Path) -> None:
    """The closed form against the mean over many sampled actions of the squared gradient of their log-probability."""
    encoder = source_encoder("ppo", tmp_path, "Pendulum-v1")
    policy: Any = build_policy(encoder)
    states = states_of(encoder, amount=2)
    importance = fisher_diagonal(policy, "ppo", states)

    def outputs(state: torch.Tensor) -> Any:
        distribution = policy.get_distribution(state).distribution
        generator = torch.Generator().manual_seed(0)
        draws = 4000
        for noise in torch.randn((draws, 1), generator=generator):
            action = (distribution.mean + distribution.stddev * noise).detach()
            yield 1 / draws, distribution.log_prob(action).sum()

    expected = by_autograd(policy, outputs, states)
    for name in ("action_net.weight", "mlp_extractor.policy_net.0.weight", "log_std"):
        torch.testing.assert_close(importance[name].sum(), expected[name].sum(), rtol=0.1, atol=1e-6)


def test_of_q_values_and_deterministic_actions_it_is_their_squared_gradient(tmp_path: Path) -> None:
    encoder = source_encoder("dqn", tmp_path)
    policy: Any = build_policy(encoder)
    states = states_of(encoder)
    expected = by_autograd(policy, lambda state: ((1.0, value) for value in policy.q_net(state)[0]), states)
    importance = fisher_diagonal(policy, "dqn", states)
    for name, tensor in importance.items():
        torch.testing.assert_close(tensor, expected[name], rtol=1e-4, atol=1e-7)
    encoder = source_encoder("td3", tmp_path)
    policy = build_policy(encoder)
    states = states_of(encoder)
    expected = by_autograd(policy, lambda state: ((1.0, value) for value in policy.actor(state)[0]), states)
    importance = fisher_diagonal(policy, "td3", states)
    for name, tensor in importance.items():
        if name.startswith("actor"):
            torch.testing.assert_close(tensor, expected[name], rtol=1e-4, atol=1e-7)


def test_large_batches_in_parts_give_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from rltransfer.transfer.methods import ewc

    policy, states = build_policy(source_encoder("ppo", tmp_path)), np.random.default_rng(0).normal(size=(70, 4))
    whole = fisher_diagonal(policy, "ppo", states.astype(np.float32))
    monkeypatch.setattr(ewc, "_MOST_NUMBERS", 1)
    in_parts = fisher_diagonal(policy, "ppo", states.astype(np.float32))
    for name, tensor in whole.items():
        torch.testing.assert_close(tensor, in_parts[name])
    assert not any(parameter.requires_grad for parameter in policy.parameters())


@pytest.mark.parametrize("algo", ["ppo", "a2c", "dqn", "sac", "td3", "crossq", "tqc", "qrdqn"])
def test_the_added_gradient_is_its_closed_form_before_the_optimizer_scales_it(algo: str, tmp_path: Path) -> None:
    encoder = source_encoder(algo, tmp_path)
    target = make_agent(algo)
    plan = plan_transfer(encoder, target, [Full(), HERE])
    fisher = importance_of(plan, target, HERE).tensors
    added = pulls_of_last_steps(target, lambda: apply_plan(plan, target))
    pulled = 0
    for entry in plan.entries:
        if not entry.trains:
            continue
        pull, now = added[entry.tensor]
        expected = torch.zeros_like(now)
        if entry.layer not in ("log_std", "actor.log_std", "log_ent_coef"):
            expected = 3.0 * fisher[entry.tensor] * (now - encoder.tensors[entry.tensor])
            pulled += bool(expected.any())
        torch.testing.assert_close(pull, expected, rtol=1e-3, atol=1e-5)
    assert pulled >= 4


def test_new_heads_are_not_pulled_and_maps_are_followed(tmp_path: Path) -> None:
    encoder = source_encoder("ppo", tmp_path)
    target = make_agent("ppo")
    plan = plan_transfer(encoder, target, [Finetune(), HERE], inputs=[1, 0, None, 3])
    fisher = importance_of(plan, target, HERE).tensors["mlp_extractor.policy_net.0.weight"]
    added = pulls_of_last_steps(target, lambda: apply_plan(plan, target))
    assert not added["action_net.weight"][0].any()
    pull, now = added["mlp_extractor.policy_net.0.weight"]
    source = encoder.tensors["mlp_extractor.policy_net.0.weight"]
    for column, taken in enumerate([1, 0, None, 3]):
        expected = torch.zeros(8) if taken is None else 3.0 * fisher[:, taken] * (now[:, column] - source[:, taken])
        torch.testing.assert_close(pull[:, column], expected, rtol=1e-3, atol=1e-6)


def test_in_a_control_importance_goes_with_the_shuffled_weights(tmp_path: Path) -> None:
    encoder = source_encoder("ppo", tmp_path)
    target = make_agent("ppo")
    plan = plan_transfer(encoder, target, Shuffled(of=[Finetune(), HERE]))
    name = "mlp_extractor.policy_net.0.weight"
    fisher = importance_of(plan, target, HERE).tensors[name]
    start = planned_tensors(plan, weights(target))[name]
    added = pulls_of_last_steps(target, lambda: apply_plan(plan, target))
    pull, now = added[name]
    by_start = dict(zip(encoder.tensors[name].flatten().tolist(), fisher.flatten().tolist(), strict=True))
    strengths = torch.tensor([by_start[value] for value in start.flatten().tolist()]).reshape(start.shape)
    torch.testing.assert_close(pull, 3.0 * strengths * (now - start), rtol=1e-3, atol=1e-6)


def test_the_source_plays_in_its_own_task_and_its_steps_are_counted(tmp_path: Path) -> None:
    pretrained(tmp_path / "source", env="rltransfer_envs:rltransfer/CartPole-v0", hyperparams={"normalize": True})
    config = run_config(
        env="rltransfer_envs:rltransfer/CartPole-v0",
        kwargs={"swap_actions": True},
        strategy=[{"kind": "full"}, {"kind": "ewc", "steps": 50}],
        source=str(tmp_path / "source"),
        hyperparams={"normalize": True},
    )
    record = train_run(config, tmp_path / "target")
    assert all(check.passed for check in record.checks), record.checks
    assert next(check.detail for check in record.checks if "counted" in check.name) == "importance 50"
    # 50 of the source's and 16 a rollout of the agent's own, to the first rollout at or behind 96.
    assert record.env_steps == 50 + 3 * 16
    assert read_curve(tmp_path / "target").env_steps[0] == 0


def test_the_same_plan_finds_the_same_importance_again(tmp_path: Path) -> None:
    pretrained(tmp_path, env="CartPole-v1")
    target = make_agent("ppo")
    plan = plan_transfer(load_encoder(tmp_path), target, [Full(), EWC(steps=30)])
    part = EWC(steps=30)
    first, second = (importance_of(plan, target, part).tensors for _ in range(2))
    assert all(torch.equal(tensor, second[name]) for name, tensor in first.items())


def test_a_source_that_cannot_play_is_refused_with_the_reason(tmp_path: Path) -> None:
    encoder = source_encoder("ppo", tmp_path)
    target = make_agent("ppo")
    with pytest.raises(IncompatibleError, match="does not tell it.*states:target"):
        plan_transfer(encoder, target, [Full(), EWC()])
    pretrained(tmp_path / "source", env="CartPole-v1")
    pretrained_encoder = load_encoder(tmp_path / "source")
    assert pretrained_encoder.source.task is not None

    def played_in(env: str, **hyperparams: Any) -> Encoder:
        task = pretrained_encoder.source.task.model_copy(update={"env": env})  # type: ignore[union-attr]
        return dataclasses.replace(
            pretrained_encoder,
            source=pretrained_encoder.source.model_copy(update={"task": task}),
            hyperparams={**pretrained_encoder.hyperparams, **hyperparams},
        )

    for hostile in (played_in("antigravity:Fly-v0"), played_in("CartPole-v1", env_wrapper=["subprocess.Popen"])):
        with pytest.raises(IncompatibleError, match="what a source's file names is not imported"):
            plan_transfer(hostile, target, [Full(), EWC()])
    with pytest.raises(IncompatibleError, match="cannot be made: Unknown environment"):
        plan_transfer(played_in("CartPole-v99"), target, [Full(), EWC()])
    with pytest.raises(IncompatibleError, match="recurrent"):
        plan_transfer(source_encoder("ppo_lstm", tmp_path), make_agent("ppo_lstm"), [Full(), HERE])


@pytest.mark.parametrize("part", [EWC(states="target"), L2Init()])
def test_pulls_on_trpos_actor_are_refused(part: Any, tmp_path: Path) -> None:
    with pytest.raises(IncompatibleError, match=f"where {part.kind} has no effect"):
        plan_transfer(source_encoder("trpo", tmp_path), make_agent("trpo"), [Full(), part])


def test_images_can_matter_too(tmp_path: Path) -> None:
    settings: dict[str, Any] = {
        "policy": "CnnPolicy",
        "policy_kwargs": {"features_extractor_kwargs": {"features_dim": 16}, "net_arch": [8]},
    }
    encoder = source_encoder("ppo", tmp_path, Images(), **settings)
    target = make_agent("ppo", Images(), **settings)
    plan = plan_transfer(encoder, target, [Full(), HERE])
    assert "pulled to the source by importance (3)" in str(plan)
    assert importance_of(plan, target, HERE).tensors["features_extractor.cnn.0.weight"].any()


@pytest.mark.parametrize("algo", sorted(set(ENVS) - {"ars", "trpo", "maskable_ppo"}))
def test_l2_init_pulls_every_weight_to_what_it_starts_from(algo: str, tmp_path: Path) -> None:
    encoder = source_encoder(algo, tmp_path)
    target = make_agent(algo)
    plan = plan_transfer(encoder, target, [Finetune(), L2Init(alpha=0.3)])
    start: dict[str, torch.Tensor] = {}

    def hold() -> Transfer:
        transfer = apply_plan(plan, target)
        start.update(weights(target))
        return transfer

    added = pulls_of_last_steps(target, hold)
    for name, (pull, now) in added.items():
        entry = next(entry for entry in plan.entries if entry.tensor == name)
        if entry.layer in ("log_std", "actor.log_std", "log_ent_coef"):
            assert not pull.any()
        else:
            torch.testing.assert_close(pull, 0.3 * (now - start[name]), rtol=1e-3, atol=1e-5)


def test_l2_init_of_a_plan_from_a_file_is_refused(tmp_path: Path) -> None:
    import json

    target = make_agent("ppo")
    plan = plan_transfer(None, target, ["scratch", "l2_init"])
    apply_plan(plan, target)
    (tmp_path / "plan.json").write_text(json.dumps(plan.to_json()))
    target.save(tmp_path / "agent.zip")
    loaded = PPO.load(tmp_path / "agent.zip", env=target.get_env())
    with pytest.raises(IncompatibleError, match="what they started from"):
        hold_plan(read_plan(tmp_path / "plan.json"), loaded)
    hold_plan(plan, loaded)


@pytest.mark.parametrize("algo", ["sac", "tqc"])
@pytest.mark.parametrize("amount", [5, 16])
def test_with_gsde_the_deviations_are_those_of_each_state(algo: str, amount: int, tmp_path: Path) -> None:
    # As many states as features: a matrix of features by actions would pass for deviations by state.
    settings: dict[str, Any] = {"use_sde": True, "policy_kwargs": {"net_arch": [16], "log_std_init": -1.0}}
    encoder = source_encoder(algo, tmp_path, **settings)
    policy: Any = build_policy(encoder)
    states = states_of(encoder, amount)

    def outputs(state: torch.Tensor) -> Any:
        mean, log_std, latent = policy.actor.get_action_dist_params(state)
        deviation = torch.sqrt(latent["latent_sde"] ** 2 @ log_std.exp() ** 2 + 1e-6)
        yield float(deviation.detach()) ** -2, mean[0, 0]
        yield 2.0, deviation.log()[0, 0]

    expected = by_autograd(policy, outputs, states)
    whole = fisher_diagonal(policy, algo, states)
    names = [name for name in whole if name.startswith("actor.")]
    assert whole["actor.log_std"].any()
    turned = fisher_diagonal(policy, algo, states[::-1].copy())
    for name in names:
        torch.testing.assert_close(whole[name], expected[name], rtol=1e-3, atol=1e-6)
        torch.testing.assert_close(whole[name], turned[name], rtol=1e-3, atol=1e-6)


def test_ewc_of_a_source_with_gsde_is_held(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"use_sde": True, "policy_kwargs": {"net_arch": [16]}}
    target = make_agent("sac", **settings)
    plan = plan_transfer(source_encoder("sac", tmp_path, **settings), target, [Full(), HERE])
    transfer = apply_plan(plan, target)
    target.learn(80, callback=transfer.callbacks)
    assert all(check.passed for check in transfer.checks()), transfer.checks()
