"""Progressive columns: the source's stay as they are, the agent's own reads them, and both are what they say."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from agents import ENVS, STEPS, Images, NormedCnn, encoder_of, make_agent, normalised, source_encoder, weights
from runs import pretrained, run_config
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.preprocessing import preprocess_obs
from stable_baselines3.common.torch_layers import NatureCNN

from rltransfer import (
    Encoder,
    Kickstart,
    Progressive,
    Shuffled,
    apply_plan,
    hold_plan,
    plan_transfer,
    progressive_kwargs,
)
from rltransfer.anatomy import agent_tensors
from rltransfer.cli.describe import describe_encoder
from rltransfer.errors import ConfigError, IncompatibleError, UnknownNameError
from rltransfer.extractors import LinearAdapter, ProgressiveColumns, SmallCNN
from rltransfer.training import train_run
from rltransfer.transfer import Transfer, read_plan
from rltransfer.transfer.optimizer_hooks import agent_optimizers
from rltransfer.vecnormalize_reader import Statistics

NET: dict[str, Any] = {"net_arch": [8, 8]}
NATURE: dict[str, Any] = {"features_extractor_kwargs": {"features_dim": 16}, "net_arch": [8]}
SYMBOLS: dict[str, Any] = {
    "features_extractor_class": SmallCNN,
    "features_extractor_kwargs": {"features_dim": 16},
    "normalize_images": False,
    "net_arch": [8],
}
STEERED = gym.spaces.Box(-1.0, 1.0, (1,), np.float32)


class SteeredImages(Images):
    """The random images with actions in a Box."""

    def __init__(self) -> None:
        super().__init__()
        self.action_space = STEERED


def environment(algo: str, kwargs: dict[str, Any]) -> Any:
    if kwargs is NET:
        return None
    return SteeredImages() if ENVS[algo] == "Pendulum-v1" else Images()


def policy_of(kwargs: dict[str, Any]) -> str:
    return "MlpPolicy" if kwargs is NET else "CnnPolicy"


def source_of(algo: str, folder: Path, kwargs: dict[str, Any] = NET, **settings: Any) -> Encoder:
    env = environment(algo, kwargs)
    return source_encoder(algo, folder, env, policy=policy_of(kwargs), policy_kwargs=dict(kwargs), **settings)


def with_columns(
    encoders: Any, algo: str, kwargs: dict[str, Any] = NET, *, strategy: Any = None, inputs: Any = None, **settings: Any
) -> Transfer:
    """Returns a plan that is applied to an agent with columns."""
    part = Progressive(units=4) if strategy is None else strategy
    built = progressive_kwargs(encoders, algo, kwargs, part=part if isinstance(part, Progressive) else part.of[0])
    settings = {"env": environment(algo, kwargs), **settings}
    agent = make_agent(algo, policy=policy_of(kwargs), policy_kwargs=built, **settings)
    return apply_plan(plan_transfer(encoders, agent, part, inputs=inputs), agent)


def learn(transfer: Transfer, steps: int | None = None, **settings: Any) -> None:
    algo = transfer.plan.algo
    masks = {"use_masking": False} if algo == "maskable_ppo" else {}
    transfer.agent.learn(steps or STEPS[algo], callback=transfer.callbacks, **masks, **settings)


def extractors(agent: BaseAlgorithm) -> list[Any]:
    return [module for module in agent.policy.modules() if type(module).__name__ == "ProgressiveColumns"]


CASES = [
    *[(algo, NET) for algo in STEPS if algo not in ("ars", "ppo_lstm", "crossq", "maskable_ppo")],
    *[(algo, NATURE) for algo in ("ppo", "a2c", "dqn", "sac", "td3")],
    *[(algo, SYMBOLS) for algo in ("ppo", "dqn")],
]


@pytest.mark.parametrize(
    ("algo", "kwargs"),
    [pytest.param(a, k, marks=[pytest.mark.long] * (k is NATURE and a != "ppo")) for a, k in CASES],
    ids=[f"{a}-{'vector' if k is NET else 'nature' if k is NATURE else 'small'}" for a, k in CASES],
)
def test_training_reaches_the_agents_own_layers_and_laterals_and_no_source_column(
    algo: str, kwargs: dict[str, Any], tmp_path: Path
) -> None:
    transfer = with_columns(source_of(algo, tmp_path, kwargs), algo, kwargs, learning_rate=0.01)
    roles = {entry.tensor: entry.role for entry in transfer.plan.entries if entry.branch != "target"}
    start = weights(transfer.agent)
    learn(transfer, 100)
    now = weights(transfer.agent)
    changed = {name for name, role in roles.items() if name in now and not torch.equal(now[name], start[name])}
    columns = {name for name, role in roles.items() if role == "column"}
    assert columns
    assert not changed & columns
    assert all(agent_tensors(transfer.agent)[name].grad is None for name in columns)
    laterals = {name for name, role in roles.items() if role == "lateral"}
    assert {name.rpartition(".")[2] for name in laterals} == {"scale", "weight", "bias"}
    # A unit behind ReLU may have no gradient in so few steps, but no lateral stays as it is.
    assert {name.partition(".laterals.")[2].rpartition(".")[0] for name in changed & laterals} >= {
        name.partition(".laterals.")[2].rpartition(".")[0] for name in laterals if name.endswith(".weight")
    }
    assert all(name in changed for name in roles if ".own." in name and name.endswith("weight"))
    assert all(check.passed for check in transfer.checks()), transfer.checks()
    assert all(len(optimizer.param_groups) == 1 for optimizer in agent_optimizers(transfer.agent).values())


@pytest.mark.parametrize(("algo", "source"), [("crossq", "sac"), ("ppo_lstm", "ppo"), ("maskable_ppo", "ppo")])
def test_agents_whose_first_layers_stay_where_they_are_read_the_columns_too(
    algo: str, source: str, tmp_path: Path
) -> None:
    kwargs = NET if algo != "ppo_lstm" else {"net_arch": [8], "lstm_hidden_size": 8}
    encoder = source_of(source, tmp_path)
    agent = make_agent(algo, policy_kwargs=progressive_kwargs(encoder, algo, kwargs))
    transfer = apply_plan(plan_transfer(encoder, agent, "progressive"), agent)
    assert any(".own." in entry.tensor for entry in transfer.plan.entries) == (algo == "maskable_ppo")
    start = weights(agent)
    learn(transfer, 100)
    columns = [entry.tensor for entry in transfer.plan.entries if entry.role == "column"]
    assert columns
    assert all(torch.equal(weights(agent)[name], start[name]) for name in columns)
    assert any(".laterals." in name and not torch.equal(weights(agent)[name], start[name]) for name in start)
    assert all(check.passed for check in transfer.checks()), transfer.checks()


def features_of_source(agent: Any, branch: str, observations: torch.Tensor) -> torch.Tensor:
    """Returns the last features of an actor-critic agent as SB3 computes them."""
    features = agent.policy.extract_features(observations)
    return getattr(agent.policy.mlp_extractor, f"forward_{branch}")(features)


@pytest.mark.parametrize("kwargs", [NET, NATURE, SYMBOLS], ids=["vector", "nature", "small"])
def test_a_column_gives_what_the_source_gives(kwargs: dict[str, Any], tmp_path: Path) -> None:
    source = make_agent("ppo", environment("ppo", kwargs), policy=policy_of(kwargs), policy_kwargs=dict(kwargs), seed=7)
    transfer = with_columns(encoder_of(source.learn(64), tmp_path), "ppo", kwargs)
    space = source.observation_space
    space.seed(0)
    seen, _ = transfer.agent.policy.obs_to_tensor(np.stack([space.sample() for _ in range(5)]))
    extractor = extractors(transfer.agent)[0]
    policy = transfer.agent.policy
    given = preprocess_obs(seen, policy.observation_space, normalize_images=policy.normalize_images)
    names = {"0_actor"} if kwargs is not NET else {"0_actor", "0_critic"}
    assert set(extractor.columns) == names
    for name in names:
        expected = features_of_source(source, name.partition("_")[2], seen)
        torch.testing.assert_close(extractor._given(name, given)[-1], expected, rtol=1e-5, atol=1e-6)


def silence(agent: BaseAlgorithm) -> None:
    """Cuts every lateral: projections into the own column, and the columns of what follows it."""
    with torch.no_grad():
        for name, parameter in agent.policy.named_parameters():
            if ".laterals." in name and (".project." in name):
                parameter.zero_()
        layers = extractors(agent)[0]
        width = layers.features_dim - sum(lateral.size for _, _, lateral in layers._ends)
        for module in agent.policy.modules():
            if isinstance(module, torch.nn.Linear) and module.in_features >= layers.features_dim:
                module.weight[:, width : layers.features_dim] = 0.0


@pytest.mark.parametrize("algo", ["ppo", "a2c", "dqn", "sac", "td3"])
@pytest.mark.parametrize("kwargs", [NET, NATURE], ids=["vector", "images"])
def test_without_laterals_it_is_the_agent_without_columns(algo: str, kwargs: dict[str, Any], tmp_path: Path) -> None:
    """The actor's networks and DQN's are those of `scratch`: the same numbers give the same outputs."""
    transfer = with_columns(source_of(algo, tmp_path, kwargs), algo, kwargs)
    stock = make_agent(algo, environment(algo, kwargs), policy=policy_of(kwargs), policy_kwargs=dict(kwargs))
    silence(transfer.agent)
    fill_from_columns(stock, transfer.agent, algo)
    space = stock.observation_space
    space.seed(1)
    seen, _ = stock.policy.obs_to_tensor(np.stack([space.sample() for _ in range(6)]))
    for expected, result in zip(outputs(stock, seen), outputs(transfer.agent, seen), strict=True):
        torch.testing.assert_close(result, expected, rtol=1e-5, atol=1e-6)


PATHS = {
    "ppo": (
        ("features_extractor", "mlp_extractor.policy_net", "action_net"),
        ("vf_features_extractor", "mlp_extractor.value_net", "value_net"),
    ),
    "dqn": (("q_net.features_extractor", "q_net.q_net"),),
    "qrdqn": (("quantile_net.features_extractor", "quantile_net.quantile_net"),),
    "sac": (("actor.features_extractor", "actor.latent_pi", "actor.mu", "actor.log_std"),),
}
PATHS |= {"a2c": PATHS["ppo"], "trpo": PATHS["ppo"], "tqc": PATHS["sac"], "td3": PATHS["sac"], "ddpg": PATHS["sac"]}


def on_path(policy: Any, path: tuple[str, ...]) -> list[torch.Tensor]:
    """Returns the tensors on the way from the observations to the outputs, without those of columns and laterals."""
    return [
        tensor
        for prefix in path
        for name, tensor in policy.state_dict(keep_vars=True).items()
        if name.startswith(prefix + ".") and ".columns." not in name and ".laterals." not in name
    ]


@torch.no_grad()
def fill_from_columns(stock: BaseAlgorithm, agent: BaseAlgorithm, algo: str) -> None:
    """Copies the own column and what follows it into an agent without columns, layer by layer in order."""
    for path in PATHS[algo]:
        for layers, other in zip(on_path(stock.policy, path), on_path(agent.policy, path), strict=True):
            layers.copy_(other[:, : layers.shape[1]] if layers.dim() == 2 else other)


@torch.no_grad()
def outputs(agent: Any, seen: torch.Tensor) -> list[torch.Tensor]:
    policy = agent.policy
    if hasattr(policy, "q_net"):
        return [policy.q_net(seen)]
    if hasattr(policy, "actor"):
        squashes = hasattr(policy.actor, "latent_pi")
        return list(policy.actor.get_action_dist_params(seen)[:2]) if squashes else [policy.actor(seen)]
    return [policy.get_distribution(seen).distribution.logits, policy.predict_values(seen)]


@pytest.mark.parametrize("algo", ["ppo", "a2c", "trpo", "dqn", "qrdqn", "sac", "tqc", "td3", "ddpg"])
@pytest.mark.parametrize("kwargs", [NET, NATURE], ids=["vector", "images"])
def test_where_nothing_is_said_the_own_column_is_as_wide_as_what_sb3_builds(
    algo: str, kwargs: dict[str, Any], tmp_path: Path
) -> None:
    """The defaults of SB3, which are written down here, are those of the SB3 that is installed."""
    settings: dict[str, Any] = {} if algo in ("ppo", "a2c", "trpo") else {"buffer_size": 10}
    stock = make_agent(algo, environment(algo, kwargs), policy=policy_of(kwargs), policy_kwargs={}, **settings)
    built = progressive_kwargs(source_of(algo, tmp_path, kwargs), algo)
    agent = make_agent(algo, environment(algo, kwargs), policy=policy_of(kwargs), policy_kwargs=built, **settings)
    for path in PATHS[algo]:
        widths = [[len(item) for item in on_path(each.policy, path)] for each in (stock, agent)]
        assert widths[0] == widths[1]
    # SB3's networks of actor and critic are apart behind vectors, and share the features extractor of images.
    if PATHS[algo] is PATHS["ppo"]:
        assert len(extractors(agent)) == (2 if kwargs is NET else 1)
    activation = agent.policy.activation_fn.__name__
    layers = built["features_extractor_kwargs"]["own"]["layers"]
    assert layers[-1]["activation"] == (activation if kwargs is NET else "ReLU")


def test_the_own_column_of_images_is_sb3s_extractor_on_images_of_any_size(tmp_path: Path) -> None:
    arguments = progressive_kwargs(source_of("ppo", tmp_path, NATURE), "ppo")["features_extractor_kwargs"]
    for size in (44, 84):
        space = gym.spaces.Box(0, 255, (2, size, size), np.uint8)
        layers = [tuple(level.layer.weight.shape) for level in ProgressiveColumns(space, **arguments).own]
        assert layers == [tuple(item.shape) for name, item in NatureCNN(space).state_dict().items() if "weight" in name]


def test_what_the_networks_have_in_common_is_the_column_and_the_rest_follows_it(tmp_path: Path) -> None:
    encoder = source_of("ppo", tmp_path)

    def split(algo: str, net_arch: Any) -> tuple[list[int], Any]:
        result = progressive_kwargs(encoder, algo, {"net_arch": net_arch})
        return [layer["size"] for layer in result["features_extractor_kwargs"]["own"]["layers"]], result["net_arch"]

    assert split("ppo", [8, 4]) == ([8, 4], {"pi": [], "vf": []})
    assert split("ppo", {"pi": [8, 4], "vf": [8, 6, 2]}) == ([8], {"pi": [4], "vf": [6, 2]})
    assert split("ppo", [{"pi": [8], "vf": [4]}]) == ([], {"pi": [8], "vf": [4]})
    assert split("dqn", [8, 4]) == ([8, 4], [])
    assert split("sac", [8, 4]) == ([8], {"pi": [4], "qf": [4]})
    assert split("td3", {"pi": [8], "qf": [8, 4]}) == ([], {"pi": [8], "qf": [8, 4]})
    assert split("crossq", [8, 4]) == ([], {"pi": [8, 4], "qf": [8, 4]})


def test_each_of_several_sources_has_columns_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    encoders = [
        source_of("ppo", tmp_path / "a"),
        source_encoder("dqn", tmp_path / "b", policy_kwargs={"net_arch": [6, 5, 4]}),
    ]
    transfer = with_columns(encoders, "a2c")
    assert set(extractors(transfer.agent)[0].columns) == {"0_actor", "0_critic", "1_critic"}
    tensors = agent_tensors(transfer.agent)
    name = "features_extractor.columns.{}.layer.weight"
    for column, number, source in (
        ("0_actor.1", 0, "mlp_extractor.policy_net.2.weight"),
        ("0_critic.0", 0, "mlp_extractor.value_net.0.weight"),
        ("1_critic.2", 1, "q_net.q_net.4.weight"),
    ):
        assert torch.equal(tensors[name.format(column)], encoders[number].tensors[source])
    assert "from q_net.q_net.4.weight of source 2" in str(transfer.plan)
    # Its third level is above the agent's own two, and ends in features as its second does.
    ends = {(column, level) for column, level, _ in extractors(transfer.agent)[0]._ends}
    assert ends == {("0_actor", 2), ("0_critic", 2), ("1_critic", 2), ("1_critic", 3)}
    learn(transfer)
    assert all(check.passed for check in transfer.checks()), transfer.checks()


def test_columns_read_the_sources_inputs_through_the_map(tmp_path: Path) -> None:
    source = make_agent("ppo", seed=7).learn(64)
    encoder = encoder_of(source, tmp_path)
    transfer = with_columns(encoder, "ppo", inputs=[2, None, 0, 1])
    seen = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
    expected = torch.stack([seen[:, 2], seen[:, 3], seen[:, 0], torch.zeros(5)], dim=1)
    given = extractors(transfer.agent)[0]._given("0_actor", seen)
    torch.testing.assert_close(given[-1], features_of_source(source, "actor", expected))
    learn(transfer)
    torch.testing.assert_close(extractors(transfer.agent)[0]._given("0_actor", seen)[-1], given[-1], rtol=0, atol=0)
    assert "ignored for good" not in str(transfer.plan)


def test_channels_of_images_meet_as_elsewhere(tmp_path: Path) -> None:
    class Colours(Images):
        observation_space = gym.spaces.Box(0, 255, (3, 36, 36), np.uint8)

        def _observe(self) -> np.ndarray:
            return self.np_random.integers(0, 256, (3, 36, 36), dtype=np.uint8)

    encoder = source_of("ppo", tmp_path, NATURE)
    transfer = with_columns(encoder, "ppo", NATURE, env=Colours(), inputs={"channels": "repeat"})
    kernel = agent_tensors(transfer.agent)["features_extractor.columns.0_actor.0.layer.weight"]
    source = encoder.tensors["features_extractor.cnn.0.weight"]
    torch.testing.assert_close(kernel, source.repeat(1, 3, 1, 1) / 3)
    learn(transfer)
    assert all(check.passed for check in transfer.checks()), transfer.checks()


def test_statistics_travel_and_are_held(tmp_path: Path) -> None:
    source = make_agent("ppo", normalised("CartPole-v1"), seed=7).learn(64)
    transfer = with_columns(encoder_of(source, tmp_path), "ppo", env=normalised("CartPole-v1"))
    mean = transfer.agent.get_vec_normalize_env().obs_rms.mean.copy()
    np.testing.assert_array_equal(mean, source.get_vec_normalize_env().obs_rms.mean)
    learn(transfer)
    np.testing.assert_array_equal(transfer.agent.get_vec_normalize_env().obs_rms.mean, mean)
    assert {check.name for check in transfer.checks()} >= {"held observation statistics unchanged"}


def test_a_shuffled_control_has_columns_of_the_same_numbers_in_another_order(tmp_path: Path) -> None:
    encoder = source_of("ppo", tmp_path)
    transfer = with_columns(encoder, "ppo", strategy=Shuffled(of=Progressive()))
    now = agent_tensors(transfer.agent)["features_extractor.columns.0_actor.1.layer.weight"]
    source = encoder.tensors["mlp_extractor.policy_net.2.weight"]
    assert not torch.equal(now, source)
    assert torch.equal(now.flatten().sort().values, source.flatten().sort().values)
    learn(transfer)
    assert all(check.passed for check in transfer.checks()), transfer.checks()


def test_it_is_held_again_after_a_load_and_columns_get_no_gradient_without(tmp_path: Path) -> None:
    transfer = with_columns(source_of("sac", tmp_path), "sac")
    learn(transfer)
    transfer.agent.save(tmp_path / "agent.zip")
    (tmp_path / "plan.json").write_text(json.dumps(transfer.plan.to_json()))
    plan = read_plan(tmp_path / "plan.json")
    assert plan.entries == transfer.plan.entries
    columns = [entry.tensor for entry in plan.entries if entry.role == "column" and entry.branch != "target"]
    for holds in (True, False):
        loaded = type(transfer.agent).load(tmp_path / "agent.zip", env=transfer.agent.get_env())
        start = weights(loaded)
        callbacks = hold_plan(plan, loaded).callbacks if holds else None
        loaded.learn(40, callback=callbacks)
        assert all(torch.equal(weights(loaded)[name], start[name]) for name in columns)
        assert not torch.equal(weights(loaded)["actor.mu.weight"], start["actor.mu.weight"])


def test_the_table_of_a_plan_counts_columns_as_frozen(tmp_path: Path) -> None:
    transfer = with_columns(source_of("dqn", tmp_path), "dqn")
    totals = transfer.plan.totals()
    assert totals["moved"] == totals["frozen"] == 4 * 8 + 8 + 8 * 8 + 8
    assert totals["values"] == totals["frozen"] + totals["trained"]


class Joints(gym.Env[Any, Any]):
    """A dictionary of observations."""

    observation_space = gym.spaces.Dict(joints=gym.spaces.Box(-1.0, 1.0, (3,), np.float32))
    action_space = gym.spaces.Discrete(2)


def dictionary_source(folder: Path) -> Encoder:
    return encoder_of(make_agent("ppo", Joints(), policy="MultiInputPolicy", policy_kwargs=dict(NET)), folder)


def columned_source(folder: Path) -> Encoder:
    return encoder_of(with_columns(source_of("ppo", folder), "ppo").agent, folder)


def adapted_source(folder: Path) -> Encoder:
    kwargs = {"features_extractor_class": LinearAdapter, "features_extractor_kwargs": {"features_dim": 4}, **NET}
    return encoder_of(make_agent("ppo", policy_kwargs=kwargs), folder)


def normed_source(folder: Path) -> Encoder:
    kwargs = {"features_extractor_class": NormedCnn, "normalize_images": False, "net_arch": [8]}
    return encoder_of(make_agent("ppo", Images(), policy="CnnPolicy", policy_kwargs=kwargs), folder)


SOURCES: dict[str, tuple[Callable[[Path], Encoder], str]] = {
    "recurrent": (lambda folder: source_encoder("ppo_lstm", folder), "it is recurrent"),
    "renormalised": (lambda folder: source_encoder("crossq", folder), "is neither a linear layer nor a convolution"),
    "dictionary": (dictionary_source, "reads a dictionary"),
    "columns": (columned_source, "it has columns itself: name the sources of these instead"),
    "adapter": (adapted_source, "through a learned adapter"),
    "extractor": (normed_source, "is neither a linear layer nor a convolution"),
    "linear": (lambda folder: source_encoder("ppo", folder, policy_kwargs={"net_arch": []}), "has no feature layers"),
    "activation": (
        lambda folder: dataclasses.replace(
            encoder := source_of("ppo", folder),
            anatomy=dataclasses.replace(encoder.anatomy, activation="unknown"),
        ),
        "its activation function is unknown",
    ),
}


def test_an_agent_with_columns_is_described_and_not_said_to_be_built_like_another(tmp_path: Path) -> None:
    words = describe_encoder(columned_source(tmp_path))
    assert "The source has progressive columns, which are built from its own sources" in words
    assert {"column", "lateral", "encoder", "head"} <= {
        line.split()[2] for line in words.splitlines() if "actor" in line
    }


@pytest.mark.parametrize("case", SOURCES)
def test_sources_that_cannot_be_columns_are_refused_with_the_reason(case: str, tmp_path: Path) -> None:
    make, words = SOURCES[case]
    with pytest.raises(IncompatibleError, match=words):
        progressive_kwargs(make(tmp_path), "ppo")


def test_agents_that_cannot_have_columns_are_refused_with_the_reason(tmp_path: Path) -> None:
    vector, images = source_of("ppo", tmp_path), source_of("ppo", tmp_path, NATURE)
    for arguments, words in (
        ((vector, "ppo", {"features_extractor_class": LinearAdapter}), "its features extractor would be LinearAdapter"),
        ((images, "ppo", SYMBOLS), "go through NatureCNN, and the agent's through SmallCNN"),
        (([vector, images], "ppo", NET), "one reads images, another a vector"),
        (([], "ppo", NET), "at least one source"),
    ):
        with pytest.raises(IncompatibleError, match=words):
            progressive_kwargs(*arguments)
    with pytest.raises(UnknownNameError, match="Unknown algorithm 'ars'"):
        progressive_kwargs(vector, "ars")


def test_a_plan_for_an_agent_that_was_built_otherwise_says_what_to_type(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    encoder = source_of("ppo", tmp_path)
    other = source_encoder("ppo", tmp_path / "b", policy_kwargs={"net_arch": [8, 9]})
    agent = make_agent("ppo", policy_kwargs=progressive_kwargs(encoder, "ppo", NET))
    build = r"policy_kwargs=rltransfer.progressive_kwargs\(encoder, 'ppo'"
    for given, target, strategy, words in (
        (encoder, make_agent("ppo"), "progressive", f"has none: build it with {build}\\)"),
        (other, agent, "progressive", f"those of other sources: build it with {build}\\)"),
        (encoder, agent, Progressive(units=4), f"16 units .* asks for 4 .*{build}, part=Progressive\\(.*units=4"),
        (encoder, agent, "finetune", "has progressive columns, which only 'progressive' fills"),
        ([encoder, other], make_agent("ppo"), "finetune", "'finetune' takes one source, and 2 are given"),
        ([encoder, encoder], agent, [Progressive(), Kickstart()], "takes one source"),
    ):
        with pytest.raises(IncompatibleError, match=words):
            plan_transfer(given, target, strategy)
    plan_transfer(None, agent, "scratch")


def test_what_frozen_columns_cannot_read_is_refused(tmp_path: Path) -> None:
    encoder = source_of("ppo", tmp_path)
    agent = make_agent("ppo", policy_kwargs=progressive_kwargs(encoder, "ppo", NET))
    with pytest.raises(IncompatibleError, match="leave 'new' out"):
        plan_transfer(encoder, agent, "progressive", inputs={"map": [0, None, 1, 2], "new": "random"})
    sources = [encoder_of(make_agent("ppo", normalised("CartPole-v1")).learn(32), tmp_path) for _ in range(2)]
    statistics = sources[1].normaliser.observation
    assert isinstance(statistics, Statistics)
    moved = dataclasses.replace(statistics, mean=statistics.mean + 1)
    sources[1] = dataclasses.replace(
        sources[1], normaliser=dataclasses.replace(sources[1].normaliser, observation=moved)
    )
    agent = make_agent("ppo", normalised("CartPole-v1"), policy_kwargs=progressive_kwargs(sources, "ppo", NET))
    with pytest.raises(IncompatibleError, match="normalised in different ways"):
        plan_transfer(sources, agent, "progressive")
    plan_transfer([sources[0], sources[0]], agent, "progressive")


def test_a_run_builds_the_agent_with_columns_and_counts_what_all_sources_cost(tmp_path: Path) -> None:
    for seed in (1, 2):
        pretrained(tmp_path / f"source_{seed}", seed=seed)
    sources = [str(tmp_path / f"source_{seed}") for seed in (1, 2)]
    config = run_config(strategy=["progressive"], source=sources)
    record = train_run(config, tmp_path / "run")
    assert record.source is not None
    assert record.source.env_steps == 2 * 96
    assert record.source.path.count("source_") == 2
    assert record.hyperparams == run_config().hyperparams.flat(), "those of scratch"
    assert all(check.passed for check in record.checks)
    plan = json.loads((tmp_path / "run" / "rltransfer" / "plan.json").read_text())
    assert [len(plan["other_sources"]), plan["source"]["seed"], plan["other_sources"][0]["seed"]] == [1, 1, 2]
    again = type(config).model_validate_json((tmp_path / "run" / "rltransfer" / "config.json").read_text())
    assert again == config
    assert again.sources == tuple(sources)


def test_one_source_in_a_list_is_one_source() -> None:
    assert run_config(strategy="frozen", source=["a"]).source == "a"
    assert run_config(strategy="frozen", source="a").sources == ("a",)
    assert run_config().sources == ()


def test_an_adapter_and_columns_are_refused(tmp_path: Path) -> None:
    pretrained(tmp_path / "source")
    config = run_config(strategy="progressive", source=str(tmp_path / "source"), inputs={"adapter": 4})
    with pytest.raises(ConfigError, match="choose one of them"):
        train_run(config, tmp_path / "run")
