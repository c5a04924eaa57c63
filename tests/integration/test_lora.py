"""Low-rank updates are those of LoRA: of their rank, nothing at the start, and the same as explicit factors trained."""

import copy
import json
import math
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from agents import STEPS, Images, NormedCnn, make_agent, source_encoder, weights
from stable_baselines3.common.base_class import BaseAlgorithm

from rltransfer import (
    L2SP,
    Discriminative,
    Finetune,
    Full,
    GradualUnfreeze,
    Kickstart,
    LoRA,
    ReDo,
    ShrinkPerturb,
    Shuffled,
    apply_plan,
    hold_plan,
    plan_transfer,
)
from rltransfer.anatomy import agent_tensors
from rltransfer.errors import IncompatibleError
from rltransfer.transfer import Transfer, read_plan
from rltransfer.transfer.optimizer_hooks import agent_optimizers

CNN: dict[str, Any] = {
    "policy": "CnnPolicy",
    "policy_kwargs": {"features_extractor_kwargs": {"features_dim": 16}, "net_arch": [8]},
}
NORMED: dict[str, Any] = {
    "policy": "CnnPolicy",
    "policy_kwargs": {"features_extractor_class": NormedCnn, "normalize_images": False, "net_arch": [8]},
}


def transferred(algo: str, strategy: Any, folder: Path, env: Any = None, **settings: Any) -> Transfer:
    encoder = source_encoder(algo, folder, env, **settings)
    agent = make_agent(algo, env, **settings)
    return apply_plan(plan_transfer(encoder, agent, strategy), agent)


def rank_of(change: torch.Tensor) -> int:
    values = torch.linalg.svdvals(change.reshape(len(change), -1).double())
    return int((values > 1e-5 * values[0]).sum())


def matrices(transfer: Transfer) -> list[str]:
    return [entry.tensor for entry in transfer.plan.entries if entry.rank]


@pytest.mark.parametrize("algo", ["ppo", "dqn", "sac", "td3", "crossq"])
def test_a_low_rank_update_changes_nothing_at_the_start(algo: str, tmp_path: Path) -> None:
    plain = transferred(algo, Finetune(), tmp_path)
    updated = transferred(algo, LoRA(), tmp_path)
    start = weights(plain.agent)
    assert matrices(updated)
    assert all(torch.equal(tensor, start[name]) for name, tensor in weights(updated.agent).items())


def loss_of(policy: Any, seed: int) -> torch.Tensor:
    """Returns some loss of an actor-critic policy on random observations and actions."""
    rng = np.random.default_rng(seed)
    space = policy.observation_space
    observations = rng.uniform(0, 255 if len(space.shape) == 3 else 1, (6, *space.shape)).astype(np.float32)
    values, log_probability, _ = policy.evaluate_actions(
        torch.as_tensor(observations), torch.as_tensor(rng.integers(0, 2, 6))
    )
    return (values**2).mean() + (log_probability * torch.arange(6)).mean()


def reference_step(policy: Any, factors: dict[str, tuple[torch.Tensor, torch.Tensor]], start: Any, seed: int) -> None:
    """Writes gradients of explicit factors, by autograd through the sum, and those of all other parameters."""
    parameters = dict(policy.named_parameters())
    merged = {name: start[name] + 0.75 * (up @ down).reshape(start[name].shape) for name, (up, down) in factors.items()}

    class Loss(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.policy = policy

        def forward(self) -> torch.Tensor:
            return loss_of(self.policy, seed)

    expected = {f"policy.{name}": merged.get(name, parameter) for name, parameter in parameters.items()}
    for name, alias in policy.state_dict(keep_vars=True).items():
        # A shared features extractor has several names.
        expected.setdefault(f"policy.{name}", next((m for n, m in merged.items() if parameters[n] is alias), alias))
    torch.func.functional_call(Loss(), expected, ()).backward()


@pytest.mark.parametrize(
    ("algo", "env", "settings", "kind"),
    [
        ("ppo", None, {}, "Adam"),
        ("a2c", None, {}, "RMSprop"),
        ("ppo", Images(), CNN, "Adam"),
        ("ppo", None, {"policy_kwargs": {"net_arch": [8], "optimizer_class": torch.optim.AdamW}}, "AdamW"),
    ],
    ids=["ppo", "a2c", "ppo-images", "adamw"],
)
def test_its_steps_are_those_of_explicit_factors_that_autograd_trains(
    algo: str, env: Any, settings: dict[str, Any], kind: str, tmp_path: Path
) -> None:
    """Several steps, with biases: the weight equals W0 + s B A, and all other parameters move as without it."""
    transfer = transferred(
        algo, [Finetune(lr_scale=0.5), LoRA(rank=2, alpha=1.5, bias=True)], tmp_path, env, **settings
    )
    policy, other = transfer.agent.policy, copy.deepcopy(transfer.agent.policy)
    optimizer = policy.optimizer
    assert type(optimizer).__name__ == kind
    start = {name: tensor.detach().clone() for name, tensor in policy.named_parameters()}
    factors: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}
    for name in matrices(transfer):
        out, width = len(start[name]), start[name][0].numel()
        drawn = np.random.default_rng([0, zlib.crc32(name.encode()), 4]).standard_normal((2, width))
        down = torch.as_tensor(drawn / math.sqrt(width), dtype=torch.float32)
        factors[name] = (torch.zeros(out, 2, requires_grad=True), down.requires_grad_())
    slowed = {entry.tensor for entry in transfer.plan.entries if entry.lr_scale == 0.5}
    plain = [(name, named_parameter) for name, named_parameter in other.named_parameters() if name not in factors]
    settings_of = {key: value for key, value in optimizer.defaults.items() if key != "decoupled_weight_decay"}
    rate = 1e-2
    reference = type(optimizer)(
        [
            {"params": [item for name, item in plain if name not in slowed], "lr": rate},
            {"params": [item for name, item in plain if name in slowed], "lr": rate / 2},
            {"params": [factor for pair in factors.values() for factor in pair], "lr": rate / 2},
        ],
        **{**settings_of, "lr": rate},
    )
    for group in optimizer.param_groups:
        group["lr"] = rate
    for seed in range(6):
        optimizer.zero_grad()
        loss_of(policy, seed).backward()
        optimizer.step()
        reference.zero_grad()
        reference_step(other, factors, start, seed)
        reference.step()
    with torch.no_grad():
        for name, parameter in policy.named_parameters():
            expected = dict(plain).get(name)
            if expected is None:
                up, down = factors[name]
                expected = start[name] + 0.75 * (up @ down).reshape(parameter.shape)
            torch.testing.assert_close(parameter, expected, rtol=1e-5, atol=1e-6)
            assert not torch.equal(parameter, start[name]), name
    assert all(check.passed for check in transfer.checks()), transfer.checks()


@pytest.mark.parametrize("algo", ["ppo", "a2c", "dqn", "sac", "td3", "tqc", "crossq", "ppo_lstm"])
def test_training_changes_each_layer_by_a_matrix_of_the_rank_and_holds_its_vectors(algo: str, tmp_path: Path) -> None:
    transfer = transferred(algo, LoRA(rank=1), tmp_path, learning_rate=0.01)
    start = {name: tensor.detach().clone() for name, tensor in agent_tensors(transfer.agent).items()}
    transfer.agent.learn(STEPS[algo], callback=transfer.callbacks)
    now = agent_tensors(transfer.agent)
    for entry in transfer.plan.entries:
        if entry.rank:
            assert rank_of(now[entry.tensor].detach() - start[entry.tensor]) == 1
        elif entry.role == "encoder" and entry.branch != "target" and entry.shape and ".ra_" not in entry.tensor:
            assert entry.frozen
            assert len(entry.shape) == 1
            assert torch.equal(now[entry.tensor], start[entry.tensor])
    heads = [entry.tensor for entry in transfer.plan.entries if entry.role == "head" and len(entry.shape) == 2]
    assert any(
        rank_of(now[name].detach() - start[name]) >= 1 for name in heads if not torch.equal(now[name], start[name])
    )
    assert {check.name for check in transfer.checks()} >= {
        "low-rank updates have their rank",
        "optimizer groups are SB3's",
    }
    assert all(check.passed for check in transfer.checks()), transfer.checks()


def test_layers_that_are_not_named_learn_at_full_rank(tmp_path: Path) -> None:
    strategy = [Full(), LoRA(rank=1, layers=1)]
    transfer = transferred("ppo", strategy, tmp_path, learning_rate=0.01)
    start = weights(transfer.agent)
    transfer.agent.learn(64, callback=transfer.callbacks)
    ranks = {
        name: rank_of(tensor - start[name]) for name, tensor in weights(transfer.agent).items() if tensor.dim() == 2
    }
    assert {rank for name, rank in ranks.items() if "_net.0." in name} == {1}
    assert min(rank for name, rank in ranks.items() if "_net.2." in name) > 1
    changed = {name for name, tensor in weights(transfer.agent).items() if not torch.equal(tensor, start[name])}
    assert set(start) - changed == {"mlp_extractor.policy_net.0.bias", "mlp_extractor.value_net.0.bias"}


def test_the_matrix_of_a_convolution_is_its_output_channels_by_all_else(tmp_path: Path) -> None:
    transfer = transferred("ppo", LoRA(rank=2), tmp_path, Images(), **CNN)
    start = weights(transfer.agent)
    transfer.agent.learn(64, callback=transfer.callbacks)
    name = "features_extractor.cnn.2.weight"
    assert name in matrices(transfer)
    assert rank_of(weights(transfer.agent)[name] - start[name]) == 2


def test_running_statistics_of_its_layers_go_on(tmp_path: Path) -> None:
    transfer = transferred("ppo", LoRA(), tmp_path, Images(), **NORMED)
    start = weights(transfer.agent)
    transfer.agent.learn(64, callback=transfer.callbacks)
    now = weights(transfer.agent)
    assert not torch.equal(
        now["features_extractor.body.1.running_mean"], start["features_extractor.body.1.running_mean"]
    )
    assert torch.equal(now["features_extractor.body.1.weight"], start["features_extractor.body.1.weight"])


def test_the_rank_is_at_most_the_shorter_side_and_the_plan_counts_what_is_learned(tmp_path: Path) -> None:
    transfer = transferred("ppo", [Finetune(lr_scale=0.5), LoRA(rank=6)], tmp_path)
    first, second = (f"mlp_extractor.policy_net.{place}.weight" for place in (0, 2))
    ranks = {entry.tensor: entry.rank for entry in transfer.plan.entries}
    assert (ranks[first], ranks[second]) == (4, 6)
    rest = sum(entry.size for entry in transfer.plan.entries if entry.role == "head")
    assert transfer.plan.totals()["trained"] == rest + 2 * (4 * (8 + 4) + 6 * (8 + 8))
    assert "low-rank update (rank 6) at 0.5 x lr" in str(transfer.plan)
    assert "no limit where a layer has no more inputs or units: mlp_extractor.policy_net.0, " in str(transfer.plan)


def test_the_rate_of_a_layer_scales_its_update(tmp_path: Path) -> None:
    def update(strategy: Any) -> dict[str, torch.Tensor]:
        transfer = transferred("ppo", strategy, tmp_path, n_epochs=1, batch_size=32, max_grad_norm=1e9)
        start = weights(transfer.agent)
        transfer.agent.learn(32, callback=transfer.callbacks)
        return {name: tensor - start[name] for name, tensor in weights(transfer.agent).items()}

    plain, slowed = update(LoRA()), update([Discriminative(decay=0.2), LoRA()])
    for name, change in plain.items():
        factor = {"_net.2.": 0.2, "_net.0.": 0.04}.get(next((p for p in ("_net.2.", "_net.0.") if p in name), ""), 1.0)
        torch.testing.assert_close(slowed[name], change * factor, rtol=5e-3, atol=2e-7)


@pytest.mark.parametrize("algo", ["ppo", "sac"])
def test_held_layers_wait_for_their_step(algo: str, tmp_path: Path) -> None:
    transfer = transferred(algo, [GradualUnfreeze(at=30 if algo == "sac" else 40), LoRA()], tmp_path)
    start = weights(transfer.agent)
    steps = {"ppo": 32, "sac": 29}[algo]
    transfer.agent.learn(steps, callback=transfer.callbacks)
    held = matrices(transfer)
    assert all(torch.equal(weights(transfer.agent)[name], start[name]) for name in held)
    transfer.agent.learn(steps, callback=transfer.callbacks, reset_num_timesteps=False)
    assert not any(torch.equal(weights(transfer.agent)[name], start[name]) for name in held)
    assert all(check.passed for check in transfer.checks()), transfer.checks()


def test_a_pull_to_the_source_reaches_the_factors(tmp_path: Path) -> None:
    def distance(strategy: Any) -> float:
        transfer = transferred("ppo", strategy, tmp_path, learning_rate=0.01)
        start = weights(transfer.agent)
        transfer.agent.learn(320, callback=transfer.callbacks)
        return float(sum((weights(transfer.agent)[name] - start[name]).square().sum() for name in matrices(transfer)))

    assert distance([L2SP(alpha=10.0), LoRA()]) < 0.2 * distance(LoRA())


def test_a_distillation_gradient_reaches_the_factors(tmp_path: Path) -> None:
    transfer = transferred("ppo", [Finetune(), LoRA(), Kickstart(episodes=0)], tmp_path)
    transfer.agent.learn(64, callback=transfer.callbacks)
    start = weights(transfer.agent)
    optimizer = transfer.agent.policy.optimizer
    optimizer.zero_grad()
    optimizer.step()
    now = weights(transfer.agent)
    moved = {name for name in matrices(transfer) if not torch.equal(now[name], start[name])}
    assert moved == {name for name in matrices(transfer) if "policy_net" in name}


def test_shrunk_and_shuffled_layers_start_where_they_do_without_it(tmp_path: Path) -> None:
    strategy = [ShrinkPerturb(shrink=0.7, perturb=0.4)]
    plain = transferred("ppo", Shuffled(of=strategy), tmp_path, learning_rate=0.01)
    updated = transferred("ppo", Shuffled(of=[*strategy, LoRA(rank=1)]), tmp_path, learning_rate=0.01)
    start = weights(updated.agent)
    assert all(torch.equal(start[name], tensor) for name, tensor in weights(plain.agent).items())
    updated.agent.learn(64, callback=updated.callbacks)
    changes = {name: weights(updated.agent)[name] - start[name] for name in matrices(updated)}
    assert {rank_of(change) for change in changes.values()} == {1}


def test_what_changed_a_layer_from_elsewhere_is_found(tmp_path: Path) -> None:
    transfer = transferred("ppo", LoRA(rank=2), tmp_path)
    transfer.agent.learn(64, callback=transfer.callbacks)
    name = "mlp_extractor.policy_net.2.weight"
    with torch.no_grad():
        agent_tensors(transfer.agent)[name].add_(1e-3 * torch.eye(8))
    failed = [check for check in transfer.checks() if not check.passed]
    assert [check.name for check in failed] == ["low-rank updates have their rank"]
    assert name in failed[0].detail
    transfer.agent.policy.optimizer.add_param_group({"params": [torch.nn.Parameter(torch.zeros(1))]})
    assert [check.name for check in transfer.checks() if not check.passed][1:] == ["optimizer groups are SB3's"]


@pytest.mark.parametrize("algo", ["ppo", "sac"])
def test_it_is_taken_up_where_it_was_left(algo: str, tmp_path: Path) -> None:
    def gradients(agent: BaseAlgorithm, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        for optimizer in agent_optimizers(agent).values():
            for group in optimizer.param_groups:
                for parameter in group["params"]:
                    parameter.grad = torch.randn(parameter.shape, generator=generator)
            optimizer.step()

    whole, parted = (transferred(algo, LoRA(), tmp_path) for _ in range(2))
    for seed in range(4):
        gradients(whole.agent, seed)
    for seed in range(2):
        gradients(parted.agent, seed)
    again = transferred(algo, LoRA(), tmp_path)
    again.agent.set_parameters(parted.agent.get_parameters())
    again.load_state_dict(parted.state_dict())
    for seed in (2, 3):
        gradients(again.agent, seed)
    expected = weights(whole.agent)
    assert all(torch.equal(tensor, expected[name]) for name, tensor in weights(again.agent).items())


def test_a_plan_from_a_file_holds_a_new_update_on_what_was_learned(tmp_path: Path) -> None:
    transfer = transferred("ppo", LoRA(rank=1), tmp_path, learning_rate=0.01)
    transfer.agent.learn(64, callback=transfer.callbacks).save(tmp_path / "agent.zip")
    (tmp_path / "plan.json").write_text(json.dumps(transfer.plan.to_json()))
    loaded = type(transfer.agent).load(tmp_path / "agent.zip", env=transfer.agent.get_env())
    start = weights(loaded)
    held = hold_plan(read_plan(tmp_path / "plan.json"), loaded)
    assert held.plan.entries == transfer.plan.entries
    loaded.learn(64, callback=held.callbacks)
    assert {rank_of(weights(loaded)[name] - start[name]) for name in matrices(held)} == {1}
    assert all(check.passed for check in held.checks()), held.checks()


@pytest.mark.parametrize(
    ("strategy", "inputs", "words"),
    [
        ([Finetune(layers=1), LoRA(layers="mlp_extractor.policy_net")], None, "policy_net.2 starts afresh"),
        (LoRA(layers="mlp_extractor.polic_net.0"), None, "Did you mean 'mlp_extractor.policy_net.0'"),
        ([Finetune(layers="none"), LoRA()], None, "no layer moves"),
        ([LoRA(bias=True), ReDo()], None, "moved by low-rank updates"),
        (LoRA(), [0, 1, None, 3], "policy_net.0: it has columns that the source does not have"),
    ],
)
def test_layers_that_it_cannot_change_are_refused(strategy: Any, inputs: Any, words: str, tmp_path: Path) -> None:
    with pytest.raises(IncompatibleError, match=words):
        plan_transfer(source_encoder("ppo", tmp_path), make_agent("ppo"), strategy, inputs=inputs)


def test_layers_behind_new_inputs_can_be_named(tmp_path: Path) -> None:
    layers = ["mlp_extractor.policy_net.2", "mlp_extractor.value_net.2"]
    plan = plan_transfer(
        source_encoder("ppo", tmp_path), make_agent("ppo"), LoRA(layers=layers), inputs=[0, 1, None, 3]
    )
    assert {entry.layer for entry in plan.entries if entry.rank} == set(layers)


def test_the_actor_of_trpo_is_refused_and_its_critic_is_not(tmp_path: Path) -> None:
    encoder = source_encoder("trpo", tmp_path)
    with pytest.raises(IncompatibleError, match="where lora has no effect"):
        plan_transfer(encoder, make_agent("trpo"), LoRA())
    agent = make_agent("trpo")
    transfer = apply_plan(plan_transfer(encoder, agent, LoRA(rank=1, layers="mlp_extractor.value_net")), agent)
    start = weights(agent)
    agent.learn(64, callback=transfer.callbacks)
    assert {rank_of(weights(agent)[name] - start[name]) for name in matrices(transfer)} == {1}
    assert all(check.passed for check in transfer.checks()), transfer.checks()
