"""Maps of inputs behind features extractors: applied where it is known which weights read the observation, or refused.

What was ignored here looked applied in the plan.
"""

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from agents import Images, OwnVector, make_agent
from gymnasium import spaces
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor, CombinedExtractor, FlattenExtractor
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from rltransfer import (
    Finetune,
    Full,
    Inputs,
    Kickstart,
    RandomFrozen,
    Rescaled,
    Scratch,
    apply_plan,
    load_encoder,
    plan_transfer,
)
from rltransfer.errors import ConfigError, IncompatibleError

SIDE = 36


def box(size: int) -> spaces.Box:
    return spaces.Box(-1.0, 1.0, (size,), np.float32)


def pictures(channels: int) -> spaces.Box:
    return spaces.Box(0, 255, (channels, SIDE, SIDE), np.uint8)


class Still(gym.Env[Any, Any]):
    """Any observations, and nothing happens."""

    action_space = spaces.Discrete(2)

    def __init__(self, space: spaces.Space[Any]) -> None:
        self.observation_space = space

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> Any:
        return self.observation_space.sample(), 0.0, False, True, {}


class Stated(OwnVector):
    def input_weights(self) -> dict[str, tuple[str, ...]]:
        return {"": ("net.0.weight",)}


class Wrong(OwnVector):
    def input_weights(self) -> dict[str, tuple[str, ...]]:
        return {"": ("net.1.weight",)}


class Doubling(BaseFeaturesExtractor):
    """Has no weights at all, and gives its inputs in another order."""

    def __init__(self, observation_space: spaces.Box) -> None:
        super().__init__(observation_space, observation_space.shape[0])

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        return 2 * observations.flip(1)


class TwoEyes(BaseFeaturesExtractor):
    """Two convolutions side by side read the same image, one of them as it is scaled channel by channel."""

    def __init__(self, observation_space: spaces.Box, features_dim: int = 6) -> None:
        super().__init__(observation_space, features_dim)
        channels = observation_space.shape[0]
        self.left = torch.nn.Conv2d(channels, 2, 12, stride=12)
        self.right = torch.nn.Conv2d(channels, 2, 12, stride=12)
        self.linear = torch.nn.Linear(36, features_dim)

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        eyes = [eye(observations).flatten(1) for eye in (self.left, self.right)]
        return torch.relu(self.linear(torch.cat(eyes, dim=1)))


class StatedEyes(TwoEyes):
    def input_weights(self) -> dict[str, tuple[str, ...]]:
        return {"": ("left.weight", "right.weight")}


class ByKey(BaseFeaturesExtractor):
    """A linear layer for each key; their features are summed."""

    def __init__(self, observation_space: spaces.Dict, features_dim: int = 5) -> None:
        super().__init__(observation_space, features_dim)
        self.extractors = torch.nn.ModuleDict(
            {key: torch.nn.Linear(space.shape[0], features_dim) for key, space in observation_space.spaces.items()}
        )

    def forward(self, observations: Any) -> torch.Tensor:
        return torch.relu(sum(layer(observations[key]) for key, layer in self.extractors.items()))


class StatedByKey(ByKey):
    def input_weights(self) -> dict[str, tuple[str, ...]]:
        return {key: (f"extractors.{key}.weight",) for key in self.extractors}


class Joined(BaseFeaturesExtractor):
    """One layer reads all keys, one after another."""

    def __init__(self, observation_space: spaces.Dict, features_dim: int = 5) -> None:
        super().__init__(observation_space, features_dim)
        self.net = torch.nn.Linear(spaces.flatdim(observation_space), features_dim)

    def forward(self, observations: Any) -> torch.Tensor:
        return torch.tanh(self.net(torch.cat([observations[key] for key in self._observation_space.spaces], dim=1)))


class StatedJoined(Joined):
    def input_weights(self) -> dict[str, tuple[str, ...]]:
        return {"": ("net.weight",)}


class OwnCombined(CombinedExtractor):
    """A subclass may read its keys in any way."""


def make(space: spaces.Space[Any], extractor: Any, seed: int, algo: str = "ppo", **settings: Any) -> Any:
    kwargs = {"net_arch": [8], **({} if extractor is None else {"features_extractor_class": extractor})}
    policy = "MultiInputPolicy" if isinstance(space, spaces.Dict) else "MlpPolicy"
    return make_agent(algo, Still(space), policy=policy, seed=seed, policy_kwargs={**kwargs, **settings})


def encoder_from(agent: Any, folder: Path) -> Any:
    agent.save(folder / "agent.zip")
    return load_encoder(folder / "agent.zip")


def values(agent: Any, observations: Any) -> np.ndarray:
    tensors, _ = agent.policy.obs_to_tensor(observations)
    with torch.no_grad():
        given = agent.q_net(tensors) if hasattr(agent, "q_net") else agent.policy.predict_values(tensors)
    return given.numpy()


def samples(space: spaces.Space[Any], amount: int = 16) -> Any:
    space.seed(5)
    drawn = [space.sample() for _ in range(amount)]
    if isinstance(space, spaces.Dict):
        return {key: np.stack([item[key] for item in drawn]) for key in space.spaces}
    return np.stack(drawn)


@pytest.mark.parametrize("algo", ["ppo", "dqn"])
def test_a_vector_is_mapped_behind_an_extractor_that_states_its_inputs(algo: str, tmp_path: Path) -> None:
    source = make(box(3), Stated, 0, algo)
    agent = make(box(4), Stated, 1, algo)
    plan = plan_transfer(encoder_from(source, tmp_path), agent, Full(), inputs=Inputs(map=[2, None, 0, 1]))
    assert any(entry.origin == "mapped" and entry.tensor.endswith("net.0.weight") for entry in plan.entries)
    apply_plan(plan, agent)
    seen = samples(box(4))
    np.testing.assert_allclose(values(agent, seen), values(source, seen[:, [2, 3, 0]]), atol=1e-5)


def test_all_weights_that_read_an_image_are_mapped(tmp_path: Path) -> None:
    source = make(pictures(2), StatedEyes, 0)
    agent = make(pictures(3), StatedEyes, 1)
    encoder = encoder_from(source, tmp_path)
    apply_plan(plan_transfer(encoder, agent, Full(), inputs=Inputs(map=[1, None, 0])), agent)
    seen = samples(pictures(3), 4)
    np.testing.assert_allclose(values(agent, seen), values(source, seen[:, [2, 0]]), atol=1e-5)


@pytest.mark.parametrize("extractor", [StatedByKey, StatedJoined])
def test_keys_are_followed_behind_extractors_that_state_their_inputs(extractor: Any, tmp_path: Path) -> None:
    source_space = spaces.Dict(z=box(3), a=box(2))
    target_space = spaces.Dict(a=box(3), z=box(3))
    source, agent = make(source_space, extractor, 0), make(target_space, extractor, 1)
    inputs = Inputs(map={"a": [1, None, 0]})
    apply_plan(plan_transfer(encoder_from(source, tmp_path), agent, Full(), inputs=inputs), agent)
    seen = samples(target_space)
    expected = values(source, {"z": seen["z"], "a": seen["a"][:, [2, 0]]})
    np.testing.assert_allclose(values(agent, seen), expected, atol=1e-5)


@pytest.mark.parametrize("source_channels", [1, 2])
def test_an_image_that_is_flattened_is_mapped_by_channel(source_channels: int, tmp_path: Path) -> None:
    source, agent = make(pictures(source_channels), None, 0), make(pictures(2), None, 1)
    entries = [0, None] if source_channels == 1 else [1, 0]
    apply_plan(plan_transfer(encoder_from(source, tmp_path), agent, Full(), inputs=Inputs(map=entries)), agent)
    seen = samples(pictures(2), 4)
    expected = seen[:, [0]] if source_channels == 1 else seen[:, [1, 0]]
    np.testing.assert_allclose(values(agent, seen), values(source, expected), atol=1e-4)


def test_a_box_of_three_sides_that_is_no_image_is_mapped_by_entry(tmp_path: Path) -> None:
    space = spaces.Box(-1.0, 1.0, (2, 2, 2), np.float32)
    source, agent = make(space, None, 0), make(space, None, 1)
    order = [7, 6, 5, 4, 3, 2, 1, 0]
    apply_plan(plan_transfer(encoder_from(source, tmp_path), agent, Full(), inputs=Inputs(map=order)), agent)
    seen = samples(space)
    expected = seen.reshape(-1, 8)[:, ::-1].reshape(-1, 2, 2, 2)
    np.testing.assert_allclose(values(agent, seen), values(source, np.ascontiguousarray(expected)), atol=1e-5)


REFUSED = {
    "entries": (box(3), box(3), OwnVector, Inputs(map=[1, 0, 2])),
    "further entries": (box(3), box(4), OwnVector, None),
    "no weights": (box(3), box(3), Doubling, Inputs(map=[1, 0, 2])),
    "channels": (pictures(2), pictures(2), TwoEyes, Inputs(map=[1, 0])),
    "repeated channels": (pictures(1), pictures(2), TwoEyes, Inputs(channels="repeat")),
    "entries of a key": (spaces.Dict(a=box(2)), spaces.Dict(a=box(2)), ByKey, Inputs(map={"a": [1, 0]})),
    "order of keys": (spaces.Dict(z=box(2), a=box(2)), spaces.Dict(a=box(2), z=box(2)), Joined, None),
    "a new key": (spaces.Dict(a=box(2)), spaces.Dict(a=box(2), b=box(1)), ByKey, None),
    "another name": (spaces.Dict(a=box(2)), spaces.Dict(b=box(2)), ByKey, Inputs(keys={"b": "a"})),
    "a subclass of SB3's": (
        spaces.Dict(z=box(2), a=box(2)),
        spaces.Dict(a=box(2), z=box(2)),
        OwnCombined,
        None,
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_an_extractor_does_not_say_is_refused_by_its_name(name: str, tmp_path: Path) -> None:
    source, target, extractor, inputs = REFUSED[name]
    encoder = encoder_from(make(source, extractor, 0), tmp_path)
    agent = make(target, extractor, 1)
    with pytest.raises(
        IncompatibleError, match=rf"features extractor {extractor.__name__} does not say.*input_weights"
    ):
        plan_transfer(encoder, agent, Full(), inputs=inputs)
    if isinstance(target, spaces.Dict) and inputs is not None:
        with pytest.raises(IncompatibleError, match=f"observation {next(iter(target.spaces))!r} "):
            plan_transfer(encoder, agent, Finetune(), inputs=inputs)


def test_a_policy_that_acts_is_not_built_behind_an_unknown_extractor(tmp_path: Path) -> None:
    encoder = encoder_from(make(box(3), Doubling, 0), tmp_path)
    agent = make(box(3), None, 1)
    with pytest.raises(IncompatibleError, match="its features extractor is .*Doubling"):
        plan_transfer(encoder, agent, (Scratch(), Kickstart()))


def test_another_extractor_than_the_sources_is_said(tmp_path: Path) -> None:
    encoder = encoder_from(make(box(3), Doubling, 0), tmp_path)
    plan = plan_transfer(encoder, make(box(3), None, 1), Finetune())
    said = next(finding for finding in plan.findings if finding.kind == "extractor")
    assert said.severity == "warning"
    assert "Doubling in the source, FlattenExtractor here" in said.words
    with pytest.raises(IncompatibleError, match="what the source read of its own is not known"):
        plan_transfer(encoder, make(box(3), None, 1), Finetune(), inputs=Inputs(map=[1, 0, 2]))


def test_alike_inputs_need_no_statement(tmp_path: Path) -> None:
    source, agent = make(box(3), OwnVector, 0), make(box(3), OwnVector, 1)
    apply_plan(plan_transfer(encoder_from(source, tmp_path), agent, Full()), agent)
    seen = samples(box(3))
    np.testing.assert_allclose(values(agent, seen), values(source, seen), atol=1e-6)


def test_a_statement_that_names_no_tensor_is_refused(tmp_path: Path) -> None:
    encoder = encoder_from(make(box(3), Wrong, 0), tmp_path)
    with pytest.raises(ConfigError, match=r"Wrong says in input_weights\(\) that its 'net.1.weight' reads"):
        plan_transfer(encoder, make(box(3), Wrong, 1), Full())


def test_channels_of_an_image_that_is_flattened_are_not_repeated(tmp_path: Path) -> None:
    encoder = encoder_from(make(pictures(1), None, 0), tmp_path)
    with pytest.raises(IncompatibleError, match="channels 'repeat' is for convolutions"):
        plan_transfer(encoder, make(pictures(2), None, 1), Full(), inputs=Inputs(channels="repeat"))


def test_images_of_sb3_are_still_mapped(tmp_path: Path) -> None:
    source = make_agent("ppo", Images(), policy="CnnPolicy", seed=0)
    agent = make_agent("ppo", Still(pictures(2)), policy="CnnPolicy", seed=1)
    apply_plan(plan_transfer(encoder_from(source, tmp_path), agent, Full(), inputs=Inputs(map=[None, 0])), agent)
    seen = samples(pictures(2), 4)
    np.testing.assert_allclose(values(agent, seen), values(source, seen[:, [1]]), atol=1e-5)


class Apart(BaseFeaturesExtractor):
    """A layer for each of two keys, under names that do not hold the keys; both are stated."""

    def __init__(self, observation_space: spaces.Dict, features_dim: int = 8) -> None:
        super().__init__(observation_space, features_dim)
        self.first, self.second = (torch.nn.Linear(observation_space[key].shape[0], 4) for key in "ab")

    def forward(self, observations: Any) -> torch.Tensor:
        return torch.cat([self.first(observations["a"]), self.second(observations["b"])], dim=1).tanh()

    def input_weights(self) -> dict[str, tuple[str, ...]]:
        return {"a": ("first.weight",), "b": ("second.weight",)}


def test_keys_of_other_names_are_refused_where_no_tensor_is_named_after_them(tmp_path: Path) -> None:
    space = spaces.Dict(a=box(3), b=box(3))
    encoder = encoder_from(make(space, Apart, 0), tmp_path)
    with pytest.raises(IncompatibleError, match="observation 'a' is called 'b' in the source's"):
        plan_transfer(encoder, make(space, Apart, 1), Full(), inputs=Inputs(keys={"a": "b", "b": "a"}))


class Tied(OwnVector):
    """States a tensor by the second of its names."""

    def __init__(self, observation_space: spaces.Box, features_dim: int = 4) -> None:
        super().__init__(observation_space, features_dim)
        self.again = self.net

    def input_weights(self) -> dict[str, tuple[str, ...]]:
        return {"": ("again.0.weight",)}


def test_any_name_of_a_tensor_states_it(tmp_path: Path) -> None:
    source, agent = make(box(3), Tied, 0), make(box(3), Tied, 1)
    apply_plan(plan_transfer(encoder_from(source, tmp_path), agent, Full(), inputs=Inputs(map=[2, 0, 1])), agent)
    seen = samples(box(3))
    np.testing.assert_allclose(values(agent, seen), values(source, seen[:, [1, 2, 0]]), atol=1e-5)


class Siamese(BaseFeaturesExtractor):
    """One layer reads two keys."""

    def __init__(self, observation_space: spaces.Dict, features_dim: int = 8) -> None:
        super().__init__(observation_space, features_dim)
        self.net = torch.nn.Linear(3, 4)

    def forward(self, observations: Any) -> torch.Tensor:
        return torch.cat([self.net(observations[key]) for key in ("left", "right")], dim=1).tanh()

    def input_weights(self) -> dict[str, tuple[str, ...]]:
        return {"left": ("net.weight",), "right": ("net.weight",)}


def test_a_weight_that_reads_two_keys_follows_both_or_none(tmp_path: Path) -> None:
    space = spaces.Dict(left=box(3), right=box(3))
    source, agent = make(space, Siamese, 0), make(space, Siamese, 1)
    encoder = encoder_from(source, tmp_path)
    with pytest.raises(IncompatibleError, match=r"reads several parts of the observation \(left, right\)"):
        plan_transfer(encoder, agent, Full(), inputs=Inputs(map={"left": [2, 1, 0]}))
    both = Inputs(map={"left": [2, 1, 0], "right": [2, 1, 0]})
    apply_plan(plan_transfer(encoder, agent, Full(), inputs=both), agent)
    seen = samples(space)
    turned = {key: part[:, ::-1].copy() for key, part in seen.items()}
    np.testing.assert_allclose(values(agent, seen), values(source, turned), atol=1e-5)


class Scaled(BaseFeaturesExtractor):
    """Has no weights, and says that it passes its entries on."""

    def __init__(self, observation_space: spaces.Box) -> None:
        super().__init__(observation_space, observation_space.shape[0])

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        return 0.1 * observations

    def input_weights(self) -> dict[str, tuple[str, ...]]:
        return {"": ()}


def test_an_extractor_that_passes_its_inputs_on_needs_no_weights(tmp_path: Path) -> None:
    source, agent = make(box(3), Scaled, 0), make(box(4), Scaled, 1)
    inputs = Inputs(map=[2, 0, None, 1])
    apply_plan(plan_transfer(encoder_from(source, tmp_path), agent, Full(), inputs=inputs), agent)
    seen = samples(box(4))
    np.testing.assert_allclose(values(agent, seen), values(source, seen[:, [1, 3, 0]]), atol=1e-5)


class WithInner(OwnVector):
    """Holds another extractor, which reads nothing for the agent."""

    def __init__(self, observation_space: spaces.Box, features_dim: int = 4) -> None:
        super().__init__(observation_space, features_dim)
        self.flat_features_extractor = FlattenExtractor(observation_space)

    def input_weights(self) -> dict[str, tuple[str, ...]]:
        return {"": ("net.0.weight",)}


def test_an_extractor_inside_another_is_not_asked(tmp_path: Path) -> None:
    source, agent = make(box(3), WithInner, 0), make(box(3), WithInner, 1)
    apply_plan(plan_transfer(encoder_from(source, tmp_path), agent, Full(), inputs=Inputs(map=[2, 0, 1])), agent)
    seen = samples(box(3))
    np.testing.assert_allclose(values(agent, seen), values(source, seen[:, [1, 2, 0]]), atol=1e-5)


@pytest.mark.parametrize("stated", [[("", ("net.0.weight",))], {"": "net.0.weight"}, None, RuntimeError("no")])
def test_a_statement_of_another_form_is_refused_in_words(stated: Any, tmp_path: Path) -> None:
    class Odd(OwnVector):
        def input_weights(self) -> Any:
            if isinstance(stated, Exception):
                raise stated
            return stated

    encoder = encoder_from(make(box(3), None, 0), tmp_path)
    with pytest.raises(ConfigError, match=r"Odd.input_weights\(\) (returns|fails).*expected a dictionary"):
        plan_transfer(encoder, make(box(3), Odd, 1), Full())


MISFORMED = {
    "a map by key of a vector": (box(3), Inputs(map={"a": [0, 1, 2]}), "the map is by key"),
    "keys of a vector": (box(3), Inputs(keys={"a": "b"}), "the map is by key"),
    "channels of a vector": (box(3), Inputs(channels="repeat"), "channels 'repeat' is for images"),
    "one list for several keys": (spaces.Dict(z=box(3), a=box(3)), Inputs(map=[2, 1, 0]), r"several keys \(z, a\)"),
    "names for several keys": (
        spaces.Dict(z=box(3), a=box(3)),
        Inputs(source="x,y,z", target="z,y,x"),
        r"several keys \(z, a\)",
    ),
}


@pytest.mark.parametrize("name", MISFORMED)
def test_a_map_for_another_kind_of_observation_is_refused(name: str, tmp_path: Path) -> None:
    space, inputs, words = MISFORMED[name]
    encoder = encoder_from(make(space, None, 0), tmp_path)
    with pytest.raises(IncompatibleError, match=words):
        plan_transfer(encoder, make(space, None, 1), Full(), inputs=inputs)


@pytest.mark.parametrize("as_key", [False, True])
def test_one_hot_inputs_of_other_sizes_do_not_meet(as_key: bool, tmp_path: Path) -> None:
    source, target = (spaces.MultiDiscrete(sizes) for sizes in ([2, 3], [3, 2]))
    if as_key:
        source, target = spaces.Dict(a=source), spaces.Dict(a=target)
    encoder = encoder_from(make(source, None, 0), tmp_path)
    with pytest.raises(IncompatibleError, match="The observation spaces do not fit"):
        plan_transfer(encoder, make(target, None, 1), Full())


@pytest.mark.parametrize("strategy", [RandomFrozen(), Rescaled()])
def test_a_map_that_nothing_goes_through_is_said_to_have_no_effect(strategy: Any, tmp_path: Path) -> None:
    encoder = encoder_from(make(box(3), None, 0), tmp_path)
    plan = plan_transfer(encoder, make(box(3), None, 1), strategy, inputs=Inputs(map=[2, 1, 0]))
    kinds = {finding.kind for finding in plan.findings}
    assert "inputs" not in kinds


@pytest.mark.parametrize(("key", "added"), [("z", "a"), ("a", "z")])
def test_keys_that_only_one_side_normalises_are_named(key: str, added: str, tmp_path: Path) -> None:
    space = spaces.Dict(z=box(3), a=box(2))

    def normalised(*keys: str) -> VecNormalize:
        return VecNormalize(DummyVecEnv([lambda: Still(space)]), norm_obs_keys=list(keys))

    settings = {"policy": "MultiInputPolicy", "policy_kwargs": {"net_arch": [8]}}
    both, first = normalised("z", "a"), normalised(key)
    for name, env in (("both", both), ("one", first)):
        agent = make_agent("ppo", env, seed=0, **settings).learn(32)
        agent.save(tmp_path / f"{name}.zip")
        env.save(str(tmp_path / f"{name}_vecnormalize.pkl"))
    with pytest.raises(IncompatibleError, match=rf"The source read '{added}' normalised"):
        plan_transfer(load_encoder(tmp_path / "both.zip"), make_agent("ppo", normalised(key), **settings), Full())
    plan = plan_transfer(
        load_encoder(tmp_path / "one.zip"), make_agent("ppo", normalised("z", "a"), **settings), Full()
    )
    said = [finding for finding in plan.findings if finding.kind == "normalisation_added"]
    assert [finding.severity for finding in said] == ["warning"]
    assert f"the agent normalises '{added}'" in said[0].words


def test_gsde_noise_that_reads_the_observation_follows_the_map(tmp_path: Path) -> None:
    settings = {"policy_kwargs": {"net_arch": []}, "use_sde": True}
    source = make_agent("ppo", "Pendulum-v1", seed=0, **settings).learn(64)
    agent = make_agent("ppo", "Pendulum-v1", seed=1, **settings)
    encoder = encoder_from(source, tmp_path)
    apply_plan(plan_transfer(encoder, agent, Full(), inputs=Inputs(map=[2, 0, 1])), agent)
    torch.testing.assert_close(agent.policy.log_std.detach(), encoder.tensors["log_std"][[2, 0, 1]])


def test_a_policy_with_gsde_and_no_hidden_layers_is_planned(tmp_path: Path) -> None:
    settings = {"policy_kwargs": {"net_arch": {"pi": [], "qf": [8]}}, "use_sde": True}
    source = make_agent("sac", seed=0, **settings)
    agent = make_agent("sac", seed=1, **settings)
    apply_plan(plan_transfer(encoder_from(source, tmp_path), agent, Full(), inputs=Inputs(map=[2, 0, 1])), agent)
    seen = samples(spaces.Box(-1.0, 1.0, (3,), np.float32))
    expected = source.predict(seen[:, [1, 2, 0]], deterministic=True)[0]
    np.testing.assert_allclose(agent.predict(seen, deterministic=True)[0], expected, atol=1e-5)
