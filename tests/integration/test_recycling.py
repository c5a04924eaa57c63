"""ReDo: which units are dormant, what starting again does to weights and moments, and when it happens."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from agents import STEPS, Images, make_agent, source_encoder, weights
from stable_baselines3.common.base_class import BaseAlgorithm

from rltransfer import Finetune, Frozen, Full, ReDo, apply_plan, plan_transfer
from rltransfer.anatomy import Output, anatomy_of_agent, readers
from rltransfer.errors import IncompatibleError
from rltransfer.transfer import Transfer
from rltransfer.transfer.methods.redo import Recycle, dormant_units

RELU: dict[str, Any] = {"net_arch": [8, 8], "activation_fn": torch.nn.ReLU}
NATURE: dict[str, Any] = {"features_extractor_kwargs": {"features_dim": 16}, "net_arch": [8]}


def kill(agent: BaseAlgorithm, layer: str, units: list[int]) -> BaseAlgorithm:
    """Makes units of a ReLU layer respond to nothing."""
    module = agent.policy.get_submodule(layer)
    with torch.no_grad():
        module.weight[units] = 0.0
        module.bias[units] = -1.0
    return agent


def recycle_of(transfer: Transfer) -> Recycle:
    return next(holding for holding in transfer.callbacks if isinstance(holding, Recycle))


def test_dormant_is_what_is_small_beside_its_layer() -> None:
    values = torch.tensor([[1.0, -2.0, 0.0, 0.01], [3.0, 2.0, 0.0, -0.01]])
    assert dormant_units(Output(values, None), 0.0).tolist() == [False, False, True, False]
    assert dormant_units(Output(values, None), 0.025).tolist() == [False, False, True, True]
    images = torch.zeros(2, 3, 4, 4)
    images[:, 1, 2, 2] = 1.0
    assert dormant_units(Output(images, None), 0.0).tolist() == [True, False, True]
    assert dormant_units(Output(torch.zeros(2, 3), None), 0.0).all()


@pytest.mark.parametrize("algo", ["ppo", "dqn", "sac", "td3"])
def test_dead_units_start_again_and_live_ones_stay(algo: str, tmp_path: Path) -> None:
    layer = {
        "ppo": "mlp_extractor.policy_net.0",
        "dqn": "q_net.q_net.0",
        "sac": "actor.latent_pi.0",
        "td3": "critic.qf0.0",
    }[algo]
    source = make_agent(algo, seed=7, policy_kwargs=dict(RELU)).learn(STEPS[algo])
    kill(source, layer, [2, 5])
    source.save(tmp_path / "best_model.zip")
    from rltransfer import load_encoder

    target = make_agent(algo, learning_rate=0.0, policy_kwargs=dict(RELU))
    plan = plan_transfer(load_encoder(tmp_path / "best_model.zip"), target, [Full(), ReDo(threshold=0.0)])
    transfer = apply_plan(plan, target)
    start = weights(target)
    target.learn(40 if algo == "ppo" else 30, callback=transfer.callbacks)
    now = weights(target)
    assert recycle_of(transfer).recycled >= 2
    weight = now[f"{layer}.weight"]
    assert weight[[2, 5]].abs().sum(dim=1).min() > 0
    anatomy = anatomy_of_agent(target)
    result = readers(anatomy, next(encoder for encoder in anatomy.encoders() if encoder.name == layer))
    assert result
    for reader in result:
        assert start[reader.tensor].any(dim=0).all()
        live = now[reader.tensor].any(dim=0)
        assert live.any()
        assert not live[[2, 5]].any()
        assert torch.equal(weight[live], start[f"{layer}.weight"][live])


def test_an_agent_acts_as_before_where_dead_units_started_again(tmp_path: Path) -> None:
    source = kill(make_agent("ppo", seed=7, policy_kwargs=dict(RELU)), "mlp_extractor.policy_net.2", [1, 3])
    source.save(tmp_path / "best_model.zip")
    from rltransfer import load_encoder

    target = make_agent("ppo", learning_rate=0.0, policy_kwargs=dict(RELU))
    transfer = apply_plan(
        plan_transfer(load_encoder(tmp_path / "best_model.zip"), target, [Full(), ReDo(threshold=0.0)]), target
    )
    observations = torch.as_tensor(np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32) * 0.05)
    before = target.policy.get_distribution(observations).distribution.logits
    target.learn(32, callback=transfer.callbacks)
    after = target.policy.get_distribution(observations).distribution.logits
    assert recycle_of(transfer).recycled >= 2
    torch.testing.assert_close(before, after, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("use_sde", [False, True])
def test_a_gaussian_actor_acts_as_before_where_dead_units_started_again(use_sde: bool) -> None:
    target = make_agent("sac", learning_rate=0.0, use_sde=use_sde, policy_kwargs=dict(RELU))
    kill(target, "actor.latent_pi.2", [1, 3])
    transfer = apply_plan(plan_transfer(None, target, ["scratch", ReDo(threshold=0.0)]), target)
    observations = torch.as_tensor(np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32) * 0.05)
    before = target.policy.actor.get_action_dist_params(observations)
    target.learn(30, callback=transfer.callbacks)
    after = target.policy.actor.get_action_dist_params(observations)
    assert recycle_of(transfer).recycled >= 2
    for index, name in enumerate(("mean", "log_std")):
        torch.testing.assert_close(before[index], after[index], rtol=1e-5, atol=1e-6, msg=name)


def test_moments_of_what_starts_again_are_forgotten_and_others_kept() -> None:
    target = make_agent("ppo", policy_kwargs=dict(RELU))
    transfer = apply_plan(plan_transfer(None, target, ["scratch", ReDo(threshold=0.0, every=64)]), target)
    target.learn(32, callback=transfer.callbacks)
    kill(target, "mlp_extractor.policy_net.0", [4])
    parameter = target.policy.mlp_extractor.policy_net[0].weight
    moments = target.policy.optimizer.state[parameter]["exp_avg_sq"]
    moments.fill_(1.0)
    target.learn(32, callback=transfer.callbacks, reset_num_timesteps=False)
    # The updates behind the look add a little.
    assert moments[4].max() < 0.1
    assert moments.max() > 0.9
    assert recycle_of(transfer)._looks == 2


@pytest.mark.parametrize("reset", [False, True])
def test_it_looks_before_the_first_update_and_then_at_its_steps(reset: bool) -> None:
    target = make_agent("ppo", policy_kwargs=dict(RELU))
    transfer = apply_plan(plan_transfer(None, target, ["scratch", ReDo(every=100)]), target)
    recycle = recycle_of(transfer)
    looks = []
    for _ in range(8):
        target.learn(32, callback=transfer.callbacks, reset_num_timesteps=reset)
        looks.append(recycle._looks)
    # Rollouts of 32: 32, 64, 96, 128, 160, 192, 224, 256.
    assert looks == [1, 1, 1, 2, 2, 2, 3, 3]
    once = apply_plan(plan_transfer(None, target, ["scratch", ReDo()]), target)
    target.learn(128, callback=once.callbacks)
    assert recycle_of(once)._looks == 1


def test_off_policy_agents_are_looked_at_when_they_begin_to_learn() -> None:
    target = make_agent("dqn", policy_kwargs=dict(RELU))
    transfer = apply_plan(plan_transfer(None, target, ["scratch", ReDo(threshold=0.0)]), target)
    kill(target, "q_net.q_net.0", [0])
    target.learn(16, callback=transfer.callbacks)
    assert recycle_of(transfer)._looks == 0
    target.learn(4, callback=transfer.callbacks, reset_num_timesteps=False)
    assert recycle_of(transfer)._looks == 1
    assert target.policy.q_net.q_net[0].weight[0].any()


def test_channels_start_again_with_the_columns_that_read_them(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"policy": "CnnPolicy", "policy_kwargs": NATURE}
    target = make_agent("ppo", Images(), learning_rate=0.0, **settings)
    transfer = apply_plan(plan_transfer(None, target, ["scratch", ReDo(threshold=0.0)]), target)
    kill(target, "features_extractor.cnn.4", [3])
    target.learn(32, callback=transfer.callbacks)
    anatomy = anatomy_of_agent(target)
    layer = next(encoder for encoder in anatomy.encoders() if encoder.name == "features_extractor.cnn.4")
    (reader,) = readers(anatomy, layer)
    width = anatomy.shapes[reader.tensor][1]
    assert reader.per_unit == width // 64
    columns = weights(target)[reader.tensor]
    assert not columns[:, 3 * reader.per_unit : 4 * reader.per_unit].any()
    assert columns[:, : reader.per_unit].any()


def test_features_are_read_by_both_branches_and_by_q_of_states_and_actions() -> None:
    shared = anatomy_of_agent(make_agent("ppo", Images(), policy="CnnPolicy", policy_kwargs=dict(NATURE)))
    last = next(encoder for encoder in shared.encoders() if encoder.name == "features_extractor.linear")
    assert {reader.tensor for reader in readers(shared, last)} == {
        "mlp_extractor.policy_net.0.weight",
        "mlp_extractor.value_net.0.weight",
    }
    td3 = anatomy_of_agent(make_agent("td3"))
    assert [reader.tensor for reader in readers(td3, td3.encoders()[-1])] == ["critic.qf1.4.weight"]


def test_frozen_layers_are_left_alone_and_nothing_to_recycle_is_refused(tmp_path: Path) -> None:
    encoder = source_encoder("ppo", tmp_path)
    with pytest.raises(IncompatibleError, match="none that learns can"):
        plan_transfer(encoder, make_agent("ppo"), [Frozen(), ReDo()])
    target = make_agent("ppo")
    transfer = apply_plan(plan_transfer(encoder, target, [Frozen(layers=1), ReDo(threshold=1e9)]), target)
    target.learn(64, callback=transfer.callbacks)
    assert recycle_of(transfer).recycled == 16
    assert all(check.passed for check in transfer.checks()), transfer.checks()


def test_the_plan_tells_and_the_run_is_the_same_again(tmp_path: Path) -> None:
    encoder = source_encoder("ppo", tmp_path)
    agents = []
    for _ in range(2):
        target = make_agent("ppo")
        plan = plan_transfer(encoder, target, [Finetune(), ReDo(threshold=0.5, every=32)])
        assert "dormant units (at most 0.5 of their layer's activation) start again before training and every 32" in (
            str(plan)
        )
        transfer = apply_plan(plan, target)
        target.learn(128, callback=transfer.callbacks)
        assert recycle_of(transfer).recycled > 0
        agents.append(weights(target))
    assert all(torch.equal(item, agents[1][name]) for name, item in agents[0].items())
