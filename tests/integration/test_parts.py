"""Each part that composes with others does what it says to the weights and gradients of an agent, and nothing else."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from agents import ENVS, Images, NormedCnn, make_agent, pulls_of_last_steps, source_encoder, weights

from rltransfer import (
    L2SP,
    Discriminative,
    Encoder,
    Finetune,
    Full,
    GradualUnfreeze,
    ShrinkPerturb,
    Shuffled,
    apply_plan,
    hold_plan,
    plan_transfer,
)
from rltransfer.errors import IncompatibleError, TransferError
from rltransfer.transfer import read_plan
from rltransfer.transfer.optimizer_hooks import agent_optimizers

ONE_UPDATE: dict[str, Any] = {"n_epochs": 1, "batch_size": 32, "max_grad_norm": 1e9}
CNN: dict[str, Any] = {"features_extractor_class": NormedCnn, "normalize_images": False, "net_arch": [8]}


def updates_of_one_step(encoder: Encoder, strategy: Any, **settings: Any) -> dict[str, torch.Tensor]:
    target = make_agent("ppo", **ONE_UPDATE, **settings)
    transfer = apply_plan(plan_transfer(encoder, target, strategy), target)
    before = weights(target)
    target.learn(32, callback=transfer.callbacks)
    return {name: tensor - before[name] for name, tensor in weights(target).items()}


@pytest.mark.parametrize("lr_scale", [1.0, 0.5])
def test_discriminative_scales_the_update_of_each_layer_by_its_distance_from_the_head(
    lr_scale: float, tmp_path: Path
) -> None:
    encoder = source_encoder("ppo", tmp_path)
    plain = updates_of_one_step(encoder, Finetune())
    scaled = updates_of_one_step(encoder, [Finetune(lr_scale=lr_scale), Discriminative(decay=0.2)])
    factors = {"_net.2.": 0.2 * lr_scale, "_net.0.": 0.04 * lr_scale}
    for name, update in plain.items():
        expected = next((factor for part, factor in factors.items() if part in name), 1.0)
        assert update.any()
        torch.testing.assert_close(scaled[name], update * expected, rtol=5e-3, atol=2e-7)


def test_discriminative_counts_layers_through_a_shared_extractor(tmp_path: Path) -> None:
    settings: dict[str, Any] = {
        "policy": "CnnPolicy",
        "policy_kwargs": {"features_extractor_kwargs": {"features_dim": 16}, "net_arch": {"pi": [8, 8], "vf": [8]}},
    }
    target = make_agent("ppo", Images(), **settings)
    plan = plan_transfer(source_encoder("ppo", tmp_path, Images(), **settings), target, Discriminative(decay=0.5))
    rates = {entry.layer: entry.lr_scale for entry in plan.entries if entry.role == "encoder"}
    assert rates == {
        "features_extractor.cnn.0": 0.5**6,
        "features_extractor.cnn.2": 0.5**5,
        "features_extractor.cnn.4": 0.5**4,
        "features_extractor.linear": 0.5**3,
        "mlp_extractor.policy_net.0": 0.5**2,
        "mlp_extractor.policy_net.2": 0.5,
        "mlp_extractor.value_net.0": 0.5,
    }
    assert {entry.lr_scale for entry in plan.entries if entry.role == "head"} == {1.0}
    assert "trained at 0.0156 x lr" in str(plan)


def test_gradual_unfreezing_releases_layers_from_the_head_down_at_their_steps(tmp_path: Path) -> None:
    target = make_agent("ppo")
    strategy = GradualUnfreeze(at=(40, 80))
    transfer = apply_plan(plan_transfer(source_encoder("ppo", tmp_path), target, strategy), target)
    moved = []
    for _ in range(3):
        before = weights(target)
        target.learn(32, callback=transfer.callbacks, reset_num_timesteps=False)
        after = weights(target)
        moved.append({name for name in after if not torch.equal(after[name], before[name])})
    heads = {name for name in weights(target) if "mlp_extractor" not in name}
    last = {name for name in weights(target) if "_net.2." in name}
    assert moved == [heads, heads | last, set(weights(target))]
    assert all(check.passed for check in transfer.checks()), transfer.checks()


def test_layers_below_the_last_step_of_gradual_unfreezing_wait_for_it(tmp_path: Path) -> None:
    plan = plan_transfer(source_encoder("ppo", tmp_path), make_agent("ppo"), GradualUnfreeze(at=50))
    assert {entry.held_until for entry in plan.entries if entry.role == "encoder"} == {50}
    assert "trained from step 50 on" in str(plan)


@pytest.mark.parametrize("algo", ["dqn", "sac", "td3"])
def test_held_layers_of_off_policy_agents_wait_in_every_optimizer(algo: str, tmp_path: Path) -> None:
    target = make_agent(algo)
    transfer = apply_plan(plan_transfer(source_encoder(algo, tmp_path), target, GradualUnfreeze(at=30)), target)
    start = weights(target)
    encoder = {entry.tensor for entry in transfer.plan.entries if entry.held_until}
    target.learn(29, callback=transfer.callbacks)
    assert all(torch.equal(weights(target)[name], start[name]) for name in encoder)
    assert not all(torch.equal(weights(target)[name], start[name]) for name in start if "target" not in name)
    target.learn(20, callback=transfer.callbacks, reset_num_timesteps=False)
    assert not any(torch.equal(weights(target)[name], start[name]) for name in encoder if name.endswith("weight"))
    assert all(check.passed for check in transfer.checks()), transfer.checks()


def test_statistics_of_held_batchnorm_layers_wait_too(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"policy": "CnnPolicy", "policy_kwargs": CNN}
    target = make_agent("ppo", Images(), **settings)
    encoder = source_encoder("ppo", tmp_path, Images(), **settings)
    transfer = apply_plan(plan_transfer(encoder, target, GradualUnfreeze(at=40)), target)
    start = weights(target)["features_extractor.body.1.running_mean"]
    target.learn(32, callback=transfer.callbacks)
    assert torch.equal(weights(target)["features_extractor.body.1.running_mean"], start)
    target.learn(32, callback=transfer.callbacks, reset_num_timesteps=False)
    assert not torch.equal(weights(target)["features_extractor.body.1.running_mean"], start)


@pytest.mark.parametrize("algo", ["ppo", "a2c", "dqn", "sac", "td3", "crossq"])
@pytest.mark.parametrize("part", [Finetune(), Full()], ids=["finetune", "full"])
def test_the_gradient_of_l2_sp_is_its_closed_form_before_the_optimizer_scales_it(
    algo: str, part: Finetune | Full, tmp_path: Path
) -> None:
    env = "Pendulum-v1" if algo in ("ppo", "a2c") else ENVS[algo]
    encoder = source_encoder(algo, tmp_path, env)
    target = make_agent(algo, env)
    plan = plan_transfer(encoder, target, [part, L2SP(alpha=0.3, beta=0.2)])
    added = pulls_of_last_steps(target, lambda: apply_plan(plan, target))
    assert added.keys() == {entry.tensor for entry in plan.entries if entry.trains}
    for entry in plan.entries:
        if not entry.trains:
            continue
        pull, now = added[entry.tensor]
        expected = 0.2 * now
        if entry.layer in ("log_std", "actor.log_std", "log_ent_coef"):
            expected = torch.zeros_like(now)
        elif entry.role == "encoder" or part == Full():
            expected = 0.3 * (now - encoder.tensors[entry.tensor])
        torch.testing.assert_close(pull, expected, rtol=1e-4, atol=1e-5)
    assert any((now - encoder.tensors[name]).abs().max() > 1e-3 for name, (_, now) in added.items())
    assert all(len(optimizer.param_groups) == 1 for optimizer in agent_optimizers(target).values())


def test_l2_sp_pulls_to_the_source_and_new_inputs_to_zero_after_a_load_too(tmp_path: Path) -> None:
    encoder = source_encoder("ppo", tmp_path)
    target = make_agent("ppo")
    swapped = [1, 0, None, 3]
    plan = plan_transfer(encoder, target, [Finetune(), L2SP(alpha=0.3, beta=0.2)], inputs=swapped)
    transfer = apply_plan(plan, target)
    target.learn(64, callback=transfer.callbacks).save(tmp_path / "target.zip")
    (tmp_path / "plan.json").write_text(json.dumps(plan.to_json()))
    read = read_plan(tmp_path / "plan.json")
    loaded = type(target).load(tmp_path / "target.zip", env=target.get_env())
    with pytest.raises(IncompatibleError, match="hold dataclasses.replace"):
        hold_plan(read, loaded)
    added = pulls_of_last_steps(loaded, lambda: hold_plan(dataclasses.replace(read, encoder=encoder), loaded))
    pull, now = added["mlp_extractor.policy_net.0.weight"]
    source = encoder.tensors["mlp_extractor.policy_net.0.weight"]
    for column, taken in enumerate(swapped):
        expected = 0.2 * now[:, column] if taken is None else 0.3 * (now[:, column] - source[:, taken])
        torch.testing.assert_close(pull[:, column], expected, rtol=1e-4, atol=2e-6)


def test_a_strong_pull_keeps_an_agent_at_its_source(tmp_path: Path) -> None:
    encoder = source_encoder("ppo", tmp_path)

    def distance(strategy: Any) -> float:
        target = make_agent("ppo", learning_rate=0.01)
        transfer = apply_plan(plan_transfer(encoder, target, strategy), target)
        target.learn(320, callback=transfer.callbacks)
        names = [entry.tensor for entry in transfer.plan.entries if entry.role == "encoder"]
        return float(sum((weights(target)[name] - encoder.tensors[name]).square().sum() for name in names))

    assert distance(L2SP(alpha=10.0)) < 0.2 * distance(Finetune())


@pytest.mark.parametrize("part", [Finetune(), Full()], ids=["finetune", "full"])
def test_shrink_and_perturb_mixes_what_moved_with_the_agents_own_initialisation(
    part: Finetune | Full, tmp_path: Path
) -> None:
    settings: dict[str, Any] = {"policy": "CnnPolicy", "policy_kwargs": CNN}
    encoder = source_encoder("ppo", tmp_path, Images(), **settings)
    target = make_agent("ppo", Images(), **settings)
    fresh = weights(target)
    plan = plan_transfer(encoder, target, [part, ShrinkPerturb(shrink=0.7, perturb=0.4)])
    transfer = apply_plan(plan, target)
    assert all(check.passed for check in transfer.checks()), transfer.checks()
    for entry in plan.entries:
        source, now = encoder.tensors[entry.tensor], weights(target)[entry.tensor]
        if entry.role == "head" and part == Finetune():
            assert torch.equal(now, fresh[entry.tensor])
        elif entry.trains:
            torch.testing.assert_close(now, 0.7 * source + 0.4 * fresh[entry.tensor])
        else:
            assert torch.equal(now, source), "running statistics are copied as they are"
    assert "times 0.7 plus 0.4 x fresh" in str(plan)


def test_new_inputs_are_not_perturbed(tmp_path: Path) -> None:
    encoder = source_encoder("ppo", tmp_path)
    target = make_agent("ppo")
    fresh = weights(target)
    apply_plan(plan_transfer(encoder, target, ShrinkPerturb(shrink=0.7, perturb=0.4), inputs=[1, 0, None, 3]), target)
    name = "mlp_extractor.policy_net.0.weight"
    now, source = weights(target)[name], encoder.tensors[name]
    assert not now[:, 2].any()
    torch.testing.assert_close(now[:, 0], 0.7 * source[:, 1] + 0.4 * fresh[name][:, 0])


def test_what_did_not_arrive_mixed_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from rltransfer.transfer import apply

    target = make_agent("ppo")
    plan = plan_transfer(source_encoder("ppo", tmp_path), target, ShrinkPerturb())
    planned = apply.planned_tensors
    monkeypatch.setattr(
        apply, "planned_tensors", lambda *given: {name: 2 * values for name, values in planned(*given).items()}
    )
    with pytest.raises(TransferError, match="64 of 64 values are not those of the plan"):
        apply_plan(plan, target)


def test_a_control_of_composed_parts_does_as_they_do_with_shuffled_weights(tmp_path: Path) -> None:
    encoder = source_encoder("ppo", tmp_path)
    target = make_agent("ppo")
    plan = plan_transfer(encoder, target, Shuffled(of=[L2SP(alpha=0.3), Discriminative(decay=0.5)]))
    name = "mlp_extractor.policy_net.0.weight"
    added = pulls_of_last_steps(target, lambda: apply_plan(plan, target))
    pull, now = added[name]
    anchor = now - pull / 0.3
    assert not torch.allclose(anchor, encoder.tensors[name], atol=1e-3)
    torch.testing.assert_close(
        anchor.flatten().sort().values, encoder.tensors[name].flatten().sort().values, rtol=1e-3, atol=1e-4
    )
    assert next(entry.lr_scale for entry in plan.entries if entry.tensor == name) == 0.25


@pytest.mark.parametrize(
    ("part", "word"),
    [(Discriminative(), "lr_scale"), (GradualUnfreeze(), "gradual_unfreeze"), (L2SP(), "l2_sp")],
)
def test_what_has_no_effect_on_trpos_actor_is_refused(part: Any, word: str, tmp_path: Path) -> None:
    encoder, target = source_encoder("trpo", tmp_path), make_agent("trpo")
    with pytest.raises(IncompatibleError, match=f"where {word} has no effect"):
        plan_transfer(encoder, target, part)
    if not isinstance(part, L2SP):
        plan_transfer(encoder, target, [Finetune(actor="none"), part])
