"""A test for each silent trap of SB3 that the transfer works around (docs/sb3_facts.md has them all).

Each first shows the trap in plain SB3, so that an upgrade that changes it is noticed, then that we do not fall into it.
"""

import copy
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pytest
import torch
from agents import Images, NormedCnn, encoder_of, make_agent, normalised, weights
from stable_baselines3 import DQN, PPO, SAC
from stable_baselines3.common.save_util import load_from_zip_file
from stable_baselines3.common.vec_env import VecNormalize

from rltransfer import Finetune, Frozen, Full, apply_plan, hold_plan, plan_transfer
from rltransfer.anatomy import anatomy_of_agent
from rltransfer.errors import IncompatibleError
from rltransfer.transfer.optimizer_hooks import agent_optimizers

CNN: dict[str, Any] = {"features_extractor_class": NormedCnn, "normalize_images": False, "net_arch": []}


def trained(algo: str, steps: int = 96, **settings: Any) -> Any:
    return make_agent(algo, seed=7, **settings).learn(steps)


def test_weights_loaded_while_the_policy_is_built_are_lost_in_ppo(tmp_path: Path) -> None:
    class Loaded(NormedCnn):
        def __init__(self, *arguments: Any, **settings: Any) -> None:
            super().__init__(*arguments, **settings)
            with torch.no_grad():
                self.body[0].weight.fill_(1.0)

    built = make_agent("ppo", Images(), policy="CnnPolicy", policy_kwargs={**CNN, "features_extractor_class": Loaded})
    assert not torch.all(built.policy.features_extractor.body[0].weight == 1.0)

    source = trained("ppo", env=Images(), policy="CnnPolicy", policy_kwargs=CNN)
    target = make_agent("ppo", Images(), policy="CnnPolicy", policy_kwargs=CNN)
    apply_plan(plan_transfer(encoder_of(source, tmp_path), target, Finetune()), target)
    for name, tensor in source.policy.features_extractor.state_dict().items():
        assert torch.equal(target.policy.features_extractor.state_dict()[name], tensor), name


def test_layer_rates_survive_schedules_and_leave_the_groups_alone(tmp_path: Path) -> None:
    target = make_agent("ppo")
    target.policy.optimizer.add_param_group({"params": [torch.nn.Parameter(torch.zeros(1))], "lr": 1e-9})
    target._setup_learn(32)
    target._update_learning_rate(target.policy.optimizer)
    assert target.policy.optimizer.param_groups[1]["lr"] == target.policy.optimizer.param_groups[0]["lr"]

    source = trained("ppo")
    updates = {}
    for scale in (1.0, 0.1):
        target = make_agent("ppo", n_epochs=1, batch_size=32, max_grad_norm=1e9)
        transfer = apply_plan(plan_transfer(encoder_of(source, tmp_path), target, Finetune(lr_scale=scale)), target)
        before = weights(target)
        target.learn(32, callback=transfer.callbacks)
        updates[scale] = {name: tensor - before[name] for name, tensor in weights(target).items()}
        assert len(target.policy.optimizer.param_groups) == 1
        target.save(tmp_path / "target.zip")
        PPO.load(tmp_path / "target.zip")
    for name, update in updates[1.0].items():
        expected = 0.1 if "mlp_extractor" in name else 1.0
        torch.testing.assert_close(updates[0.1][name], update * expected, rtol=2e-3, atol=2e-7)


@pytest.mark.parametrize("algo", ["dqn", "sac"])
def test_every_optimizer_of_an_agent_is_scaled(algo: str, tmp_path: Path) -> None:
    source = trained(algo)
    target = make_agent(algo)
    plan = plan_transfer(encoder_of(source, tmp_path), target, Finetune(lr_scale=0.5))
    apply_plan(plan, target)
    scaled = {entry.tensor for entry in plan.entries if entry.lr_scale == 0.5}
    assert scaled == {t for layer in anatomy_of_agent(target).online if layer.role == "encoder" for t in layer.tensors}
    seen = {}
    for name, optimizer in agent_optimizers(target).items():
        optimizer.register_step_pre_hook(
            lambda opt, *_, name=name: seen.update({name: [g["lr"] for g in opt.param_groups]})
        )
    target.learn(32)
    rate = target.learning_rate
    assert all(sorted(rates) in ([rate / 2, rate], [rate]) for rates in seen.values())
    assert [rate / 2, rate] in [sorted(rates) for rates in seen.values()]


def test_frozen_batchnorm_and_dropout_stay_in_eval_mode(tmp_path: Path) -> None:
    plain = make_agent("ppo", Images(), policy="CnnPolicy", policy_kwargs=CNN)
    for parameter in plain.policy.features_extractor.parameters():
        parameter.requires_grad_(False)
    before = weights(plain)["features_extractor.body.1.running_mean"]
    plain.learn(64)
    assert not torch.equal(weights(plain)["features_extractor.body.1.running_mean"], before)

    source = trained("ppo", env=Images(), policy="CnnPolicy", policy_kwargs=CNN)
    target = make_agent("ppo", Images(), policy="CnnPolicy", policy_kwargs=CNN)
    transfer = apply_plan(plan_transfer(encoder_of(source, tmp_path), target, Frozen()), target)
    before = weights(target)
    target.policy.set_training_mode(True)
    assert not any(module.training for module in target.policy.features_extractor.modules())
    target.learn(96, callback=transfer.callbacks)
    after = weights(target)
    moved = {name for name in after if not torch.equal(after[name], before[name])}
    assert {name for name in after if "features_extractor" in name}.isdisjoint(moved)
    assert "action_net.weight" in moved
    assert all(check.passed for check in transfer.checks()), transfer.checks()


def test_a_deep_copy_is_bound_to_itself(tmp_path: Path) -> None:
    source = trained("ppo")
    target = make_agent("ppo")
    apply_plan(plan_transfer(encoder_of(source, tmp_path), target, Frozen()), target)
    twin = copy.deepcopy(target.policy)
    target.policy.mlp_extractor.policy_net.training = True
    twin.set_training_mode(True)
    assert target.policy.mlp_extractor.policy_net.training
    assert not twin.mlp_extractor.policy_net.training


def test_freezing_is_gone_after_a_load_and_is_held_again(tmp_path: Path) -> None:
    source = trained("ppo")
    target = make_agent("ppo")
    plan = plan_transfer(encoder_of(source, tmp_path), target, Frozen())
    apply_plan(plan, target)
    target.learn(32).save(tmp_path / "target.zip")
    loaded = PPO.load(tmp_path / "target.zip", env=target.get_env())
    assert all(parameter.requires_grad for parameter in loaded.policy.parameters())

    before = weights(loaded)
    transfer = hold_plan(plan, loaded)
    loaded.learn(64, callback=transfer.callbacks)
    after = weights(loaded)
    encoder = {name for name in after if name.startswith("mlp_extractor")}
    assert all(torch.equal(after[name], before[name]) for name in encoder)
    assert not torch.equal(after["action_net.weight"], before["action_net.weight"])
    assert all(check.passed for check in transfer.checks())


def test_holding_again_does_not_scale_twice(tmp_path: Path) -> None:
    source = trained("ppo")
    updates = []
    for times in (1, 3):
        target = make_agent("ppo")
        plan = plan_transfer(encoder_of(source, tmp_path), target, Finetune(lr_scale=0.1))
        apply_plan(plan, target)
        for _ in range(times - 1):
            hold_plan(plan, target)
        updates.append(weights(target.learn(32)))
    assert all(torch.equal(updates[0][name], updates[1][name]) for name in updates[0])


def test_copies_are_in_place_and_a_replaced_parameter_is_reported(tmp_path: Path) -> None:
    source = trained("ppo")
    target = make_agent("ppo")
    parameters = list(target.policy.parameters())
    transfer = apply_plan(plan_transfer(encoder_of(source, tmp_path), target, Full()), target)
    assert all(new is old for new, old in zip(target.policy.parameters(), parameters, strict=True))
    target.policy.action_net.weight = torch.nn.Parameter(target.policy.action_net.weight.detach().clone())
    (check,) = [check for check in transfer.checks() if "optimizer" in check.name]
    assert not check.passed
    assert "action_net.weight" in check.detail
    with pytest.warns(UserWarning, match="action_net.weight"):
        target.learn(32, callback=transfer.callbacks)


@pytest.mark.parametrize("algo", ["ppo", "dqn", "sac"])
def test_the_feature_layers_of_mlp_policies_are_found(algo: str) -> None:
    agent = make_agent(algo)
    results = {layer.name for layer in anatomy_of_agent(agent).online if layer.role == "encoder"}
    paths = {
        "ppo": ("mlp_extractor.policy_net", "mlp_extractor.value_net"),
        "dqn": ("q_net.q_net",),
        "sac": ("actor.latent_pi", "critic.qf0", "critic.qf1"),
    }
    assert results == {f"{path}.{index}" for path in paths[algo] for index in (0, 2)}


@pytest.mark.parametrize("algo", ["dqn", "sac"])
@pytest.mark.parametrize("strategy", [Full(), Finetune(), Frozen()], ids=lambda strategy: strategy.kind)
def test_target_networks_take_the_online_tensors(algo: str, strategy: Any, tmp_path: Path) -> None:
    source = trained(algo)
    target = make_agent(algo)
    plan = plan_transfer(encoder_of(source, tmp_path), target, strategy)
    apply_plan(plan, target)
    tensors = weights(target)
    twins = [entry for entry in plan.entries if entry.branch == "target"]
    assert twins
    assert all(torch.equal(tensors[entry.tensor], tensors[str(entry.twin)]) for entry in twins)


@pytest.mark.parametrize("algo", ["dqn", "sac"])
def test_frozen_target_copies_equal_their_twins_whenever_they_are_read(algo: str, tmp_path: Path) -> None:
    source = trained(algo)
    target = make_agent(algo)
    online, copies = ("q_net", "q_net_target") if algo == "dqn" else ("critic", "critic_target")
    plan = plan_transfer(encoder_of(source, tmp_path), target, Frozen())
    transfer = apply_plan(plan, target)
    held = [entry for entry in plan.entries if entry.branch == "target" and entry.frozen]
    seen = []
    network = getattr(target.policy, copies)

    def compare(*_: Any) -> None:
        raw = dict(target.policy.named_parameters())
        seen.append(all(torch.equal(raw[entry.tensor], raw[str(entry.twin)]) for entry in held))

    network.register_forward_pre_hook(compare)
    target.learn(64, callback=transfer.callbacks)
    assert len(seen) > 10
    assert all(seen)
    target.save(tmp_path / "target.zip")
    _, saved, _ = load_from_zip_file(tmp_path / "target.zip", load_data=False)
    for entry in held:
        assert torch.equal(saved["policy"][entry.tensor], saved["policy"][str(entry.twin)]), entry.tensor
    heads = [name for name in saved["policy"] if name.startswith(f"{copies}.") and ".4." in name]
    assert any(not torch.equal(saved["policy"][name], saved["policy"][name.replace(copies, online)]) for name in heads)


def test_polyak_averaging_moves_equal_tensors() -> None:
    values = torch.rand(1000)
    averaged = values.clone().mul_(1 - 0.005).add_(values, alpha=0.005)
    assert not torch.equal(values, averaged)


def test_a_shared_extractor_is_one_layer_group_with_aliases() -> None:
    agent = make_agent("ppo", Images(), policy="CnnPolicy", policy_kwargs=CNN)
    anatomy = anatomy_of_agent(agent)
    extractors = [layer for layer in anatomy.layers if "features_extractor" in layer.name]
    assert [(layer.name, layer.branch) for layer in extractors] == [("features_extractor", "shared")]
    assert len(anatomy.aliases) == 2 * len(agent.policy.features_extractor.state_dict())


def test_nothing_is_skipped_and_the_entropy_coefficient_travels_with_full(tmp_path: Path) -> None:
    source = trained("sac", steps=200)
    assert "log_ent_coef" not in source.get_parameters()["policy"]
    encoder = encoder_of(source, tmp_path)
    for strategy, travels in ((Full(), True), (Finetune(), False), (Finetune(log_ent_coef="copy"), True)):
        target = make_agent("sac")
        apply_plan(plan_transfer(encoder, target, strategy), target)
        assert torch.equal(target.log_ent_coef, source.log_ent_coef) is travels
    target = make_agent("sac")
    apply_plan(plan_transfer(encoder, target, Frozen(log_ent_coef=-1.5)), target)
    assert target.log_ent_coef.item() == -1.5


def test_encoders_are_copies_not_live_references(tmp_path: Path) -> None:
    source = trained("ppo")
    encoder = encoder_of(source, tmp_path)
    before = {name: tensor.clone() for name, tensor in encoder.tensors.items()}
    target = make_agent("ppo")
    apply_plan(plan_transfer(encoder, target, Full()), target)
    target.learn(32)
    assert all(torch.equal(encoder.tensors[name], tensor) for name, tensor in before.items())


def test_normalisation_travels_and_its_absence_is_refused(tmp_path: Path) -> None:
    source = trained("ppo", env=normalised("CartPole-v1"))
    encoder = encoder_of(source, tmp_path)
    with pytest.raises(IncompatibleError, match="VecNormalize.*normalize:True"):
        plan_transfer(encoder, make_agent("ppo"), Finetune())
    target = make_agent("ppo", normalised("CartPole-v1"))
    apply_plan(plan_transfer(encoder, target, Finetune()), target)
    source_normaliser, target_normaliser = source.get_vec_normalize_env(), target.get_vec_normalize_env()
    assert source_normaliser is not None
    assert target_normaliser is not None
    np.testing.assert_array_equal(target_normaliser.obs_rms.mean, source_normaliser.obs_rms.mean)
    np.testing.assert_array_equal(target_normaliser.obs_rms.var, source_normaliser.obs_rms.var)
    assert target_normaliser.obs_rms.count == source_normaliser.obs_rms.count
    target.learn(32)
    assert target_normaliser.obs_rms.count > source_normaliser.obs_rms.count


def test_observation_statistics_are_held_while_reward_statistics_run(tmp_path: Path) -> None:
    source = trained("ppo", env=normalised("CartPole-v1"))
    target = make_agent("ppo", normalised("CartPole-v1"))
    transfer = apply_plan(plan_transfer(encoder_of(source, tmp_path), target, Frozen()), target)
    wrapper = target.get_vec_normalize_env()
    assert wrapper is not None
    mean, returns = wrapper.obs_rms.mean.copy(), wrapper.ret_rms.count
    target.learn(64, callback=transfer.callbacks)
    np.testing.assert_array_equal(wrapper.obs_rms.mean, mean)
    assert wrapper.ret_rms.count > returns
    wrapper.save(str(tmp_path / "held.pkl"))
    loaded = VecNormalize.load(str(tmp_path / "held.pkl"), normalised("CartPole-v1").venv)
    assert type(loaded.obs_rms).__module__.startswith("stable_baselines3")


def test_the_first_layers_of_q_keep_observation_columns_where_actions_differ(tmp_path: Path) -> None:
    source = trained("sac")
    encoder = encoder_of(source, tmp_path)
    wide = make_agent("sac", _wider_pendulum())
    fresh = weights(wide)
    plan = plan_transfer(encoder, wide, Frozen())
    transfer = apply_plan(plan, wide)
    now = weights(wide)
    for network in ("qf0", "qf1"):
        name = f"critic.{network}.0.weight"
        torch.testing.assert_close(now[name][:, :3], encoder.tensors[name][:, :3], rtol=0, atol=0)
        assert torch.equal(now[name][:, 3:], fresh[name][:, 3:])
    assert not any(entry.frozen for entry in plan.entries if entry.layer.endswith("qf0.0"))
    assert all(entry.frozen for entry in plan.entries if entry.layer == "critic.qf0.2")
    wide.learn(48, callback=transfer.callbacks)
    assert all(check.passed for check in transfer.checks()), transfer.checks()


def _wider_pendulum() -> Any:
    import gymnasium as gym

    class Wider(gym.Wrapper[Any, Any, Any, Any]):
        def __init__(self) -> None:
            super().__init__(gym.make("Pendulum-v1"))
            self.action_space = gym.spaces.Box(-2.0, 2.0, (2,), np.float32)

        def step(self, action: Any) -> Any:
            return self.env.step(action[:1])

    return Wider()


@pytest.mark.parametrize(("algo", "kind"), [("ppo", PPO), ("dqn", DQN), ("sac", SAC)])
def test_hooks_do_not_reach_the_zip(algo: str, kind: Any, tmp_path: Path) -> None:
    source = trained(algo)
    target = make_agent(algo)
    apply_plan(plan_transfer(encoder_of(source, tmp_path), target, Finetune(lr_scale=0.5)), target)
    target.learn(32).save(tmp_path / "target.zip")
    loaded = kind.load(tmp_path / "target.zip", env=target.get_env())
    loaded.learn(32)
    assert b"rltransfer" not in cloudpickle.dumps(target.policy.state_dict())
