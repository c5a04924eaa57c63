from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from agents import Images, NormedCnn, make_agent

from rltransfer.anatomy import algorithm_of, anatomy_of_agent, choose_layers, refuse_unknown_layers
from rltransfer.errors import IncompatibleError


class Grouped(NormedCnn):
    def layer_groups(self) -> dict[str, tuple[str, ...]]:
        return {"convolution": ("body.0", "body.1"), "linear": ("body.5",)}


def layer_names(agent: Any, branch: str, role: str = "encoder") -> list[tuple[str, int]]:
    return [
        (layer.name, layer.depth)
        for layer in anatomy_of_agent(agent).layers
        if (layer.branch, layer.role) == (branch, role)
    ]


@pytest.mark.parametrize("algo", ["ppo", "dqn", "sac"])
def test_every_tensor_is_in_exactly_one_layer(algo: str) -> None:
    agent = make_agent(algo)
    anatomy = anatomy_of_agent(agent)
    placed = [tensor for layer in anatomy.layers for tensor in layer.tensors]
    assert sorted(placed) == sorted(anatomy.shapes)
    expected = set(agent.policy.state_dict()) | ({"log_ent_coef"} if algo == "sac" else set())
    assert set(placed) | set(anatomy.aliases) == expected


def test_ppo_mlp() -> None:
    agent = make_agent("ppo")
    assert layer_names(agent, "actor") == [("mlp_extractor.policy_net.0", 0), ("mlp_extractor.policy_net.2", 1)]
    assert layer_names(agent, "critic") == [("mlp_extractor.value_net.0", 0), ("mlp_extractor.value_net.2", 1)]
    assert {name for name, _ in layer_names(agent, "actor", "head")} == {"action_net"}
    assert {name for name, _ in layer_names(agent, "critic", "head")} == {"value_net"}


def test_the_standard_deviation_of_a_gaussian_policy_is_a_head() -> None:
    agent = make_agent("ppo", "Pendulum-v1")
    assert {name for name, _ in layer_names(agent, "actor", "head")} == {"action_net", "log_std"}


def test_twin_q_networks_are_two_paths_and_targets_know_their_twins() -> None:
    anatomy = anatomy_of_agent(make_agent("sac"))
    assert {layer.path for layer in anatomy.layers if layer.branch == "critic"} == {"critic.qf0", "critic.qf1"}
    for layer in anatomy.layers:
        if layer.branch == "target":
            assert layer.twin == layer.name.replace("critic_target", "critic")


def test_an_unknown_extractor_is_one_layer_unless_it_names_its_groups() -> None:
    for extractor, expected in (
        (NormedCnn, [("features_extractor", 0)]),
        (Grouped, [("features_extractor.convolution", 0), ("features_extractor.linear", 1)]),
    ):
        settings = {"features_extractor_class": extractor, "normalize_images": False, "net_arch": [8]}
        agent = make_agent("ppo", Images(), policy="CnnPolicy", policy_kwargs=settings)
        assert layer_names(agent, "shared") == expected
        assert layer_names(agent, "actor") == [("mlp_extractor.policy_net.0", len(expected))]


def test_buffers_are_no_parameters() -> None:
    settings = {"features_extractor_class": NormedCnn, "normalize_images": False}
    anatomy = anatomy_of_agent(make_agent("dqn", Images(), policy="CnnPolicy", policy_kwargs=settings))
    buffers = {name for name in anatomy.shapes if name not in anatomy.parameters}
    assert {name.rsplit(".", 1)[1] for name in buffers} == {"running_mean", "running_var", "num_batches_tracked"}


def test_separate_extractors_belong_to_their_branches() -> None:
    settings = {"features_extractor_class": NormedCnn, "normalize_images": False, "share_features_extractor": False}
    agent = make_agent("ppo", Images(), policy="CnnPolicy", policy_kwargs=settings)
    assert [name for name, _ in layer_names(agent, "actor")][0] == "features_extractor"
    assert [name for name, _ in layer_names(agent, "critic")][0] == "vf_features_extractor"
    assert not layer_names(agent, "shared")


def test_an_extractor_that_sac_shares_is_shared() -> None:
    class Continuous(Images):
        def __init__(self) -> None:
            super().__init__()
            self.action_space = gym.spaces.Box(-1.0, 1.0, (1,), np.float32)

    settings = {"features_extractor_class": NormedCnn, "normalize_images": False, "share_features_extractor": True}
    anatomy = anatomy_of_agent(make_agent("sac", Continuous(), policy="CnnPolicy", policy_kwargs=settings))
    (shared,) = [layer for layer in anatomy.layers if layer.branch == "shared"]
    (copy,) = [layer for layer in anatomy.layers if layer.name == "critic_target.features_extractor"]
    assert shared.name == copy.twin == "actor.features_extractor"


def test_layers_are_chosen_by_number_name_and_module() -> None:
    anatomy = anatomy_of_agent(make_agent("ppo"))
    both = ["actor", "critic"]
    assert len(choose_layers(anatomy, "all", both)) == 4
    assert choose_layers(anatomy, "none", both) == set()
    assert choose_layers(anatomy, 1, both) == {"mlp_extractor.policy_net.0", "mlp_extractor.value_net.0"}
    assert choose_layers(anatomy, ("mlp_extractor.policy_net",), both) == choose_layers(anatomy, "all", ["actor"])
    with pytest.raises(IncompatibleError, match=r"no encoder layer 'mlp_extractor.policy_net.1'.*Did you mean"):
        refuse_unknown_layers(anatomy, ["mlp_extractor.policy_net.1"])
    with pytest.raises(IncompatibleError, match="no encoder layer 'action_net'"):
        refuse_unknown_layers(anatomy, ["action_net"])


def test_other_algorithms_and_foreign_modules_are_refused() -> None:
    with pytest.raises(IncompatibleError, match="object is not supported"):
        algorithm_of(object())
    agent = make_agent("ppo")
    agent.policy.extra = torch.nn.Linear(1, 1)
    with pytest.raises(IncompatibleError, match="'extra.weight'"):
        anatomy_of_agent(agent)
