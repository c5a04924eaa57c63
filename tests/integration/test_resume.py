"""A run that was interrupted ends as if it had not been: weights, curves, episodes and events bit by bit."""

import contextlib
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from families import FAMILIES
from method_table import strategy_of
from resuming import RECORDED, assert_alike, every, interrupted, scalars
from runs import POLICIES, SMALL, pretrained, run_config

from rltransfer.config import RunConfig
from rltransfer.errors import IncompatibleError, Stopped
from rltransfer.hyperparams import Hyperparameters
from rltransfer.records import RunRecord
from rltransfer.strategies import KINDS, parse_strategy
from rltransfer.training import train_run
from rltransfer.training.resume import rewind
from rltransfer.transfer import Transfer

with warnings.catch_warnings():
    # SWIG's classes have no __module__; Python crashes where this warning is an error.
    warnings.simplefilter("ignore")
    import Box2D  # noqa: F401

NORMALISED = {"normalize": True, "n_envs": 2}


@pytest.fixture
def no_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """Does without waiting for another second, which only TensorBoard's order of files needs."""
    monkeypatch.setattr(rewind, "_LONGEST_WAIT_SECONDS", 0.0)


def config_of(
    algo: str, *, agent: dict[str, Any] | None = None, policy: str | None = None, **settings: Any
) -> RunConfig:
    """Returns the settings of a small run, with further settings of its agent."""
    hyperparams = settings.pop("hyperparams", {})
    if algo == "ars":
        settings |= {"role": "source", "arm": "pretrain"}
    config = run_config(algo, hyperparams=hyperparams, **settings)
    settings_of_run = Hyperparameters(policy=policy or POLICIES[algo], agent=SMALL[algo] | (agent or {}), **hyperparams)
    return config.model_copy(update={"hyperparams": settings_of_run})


def compare(config: RunConfig, folder: Path, *, calls: int = 19, least: int = 2) -> RunRecord:
    """Runs without and with interruptions, and asserts that nothing differs; returns the second one's record."""
    whole = train_run(config, folder / "whole")
    parted, times = interrupted(config, folder / "parted", every(calls))
    assert times >= least
    assert [entry.exact for entry in parted.resumed] == [True] * times
    assert {name: getattr(whole, name) for name in RECORDED} == {name: getattr(parted, name) for name in RECORDED}
    assert parted.resume_level == "exact"
    assert_alike(config, folder / "whole", folder / "parted")
    return parted


# What holds other kinds of state; the rest goes with `pytest -m long`, since each is trained twice.
QUICK_VARIANTS = {
    "ppo normalised",
    "sac normalised",
    "ppo gSDE",
    "schedules",
    "noise",
    "full buffer",
    "LunarLander",
    "rarely evaluated",
    "drawn arguments",
    "statistics in a wrapper",
}
QUICK_STRATEGIES = {
    "warm-up",
    "gradual unfreezing",
    "recycling",
    "jump start",
    "kickstart off-policy",
    "qdagger",
    "lora",
    "replay",
    "auto",
}


def long_but_for(quick: set[str], names: Iterable[str]) -> list[Any]:
    """Returns the names as parameters, all but the quick ones marked as long."""
    names = list(names)
    assert quick <= set(names)
    return [pytest.param(name, marks=[] if name in quick else [pytest.mark.long]) for name in names]


@pytest.mark.usefixtures("no_wait")
@pytest.mark.parametrize("algo", long_but_for({"ppo", "dqn", "sac", "ppo_lstm", "ars"}, SMALL))
def test_every_algorithm_goes_on_bit_by_bit(algo: str, tmp_path: Path) -> None:
    n_timesteps = 500 if algo == "ars" else 96
    compare(config_of(algo, n_timesteps=n_timesteps, save_freq=32), tmp_path, calls=61 if algo == "ars" else 19)


VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "ppo normalised": ("ppo", {"hyperparams": NORMALISED}),
    "sac normalised": ("sac", {"hyperparams": NORMALISED}),
    "ppo gSDE": ("ppo", {"env": "ShortPendulum-v0", "agent": {"use_sde": True}}),
    "ppo gSDE drawn often": ("ppo", {"env": "ShortPendulum-v0", "agent": {"use_sde": True, "sde_sample_freq": 3}}),
    "sac gSDE": ("sac", {"agent": {"use_sde": True, "use_sde_at_warmup": True, "train_freq": 8}}),
    "tqc gSDE": ("tqc", {"agent": {"use_sde": True}}),
    "schedules": ("ppo", {"agent": {"learning_rate": "lin_0.01", "clip_range": "lin_0.3"}}),
    "sac schedule": ("sac", {"agent": {"learning_rate": "lin_0.01"}}),
    "logged every third rollout": ("a2c", {"log_interval": 3, "agent": {"n_steps": 8}}),
    "noise": ("td3", {"agent": {"noise_type": "ornstein-uhlenbeck", "noise_std": 0.2}}),
    "statistics in a wrapper": (
        "ppo",
        {"eval_freq": 16, "hyperparams": {"env_wrapper": ("gymnasium.wrappers.NormalizeObservation",)}},
    ),
    "noise of several": (
        "ddpg",
        {"hyperparams": {"n_envs": 2}, "agent": {"noise_type": "ornstein-uhlenbeck", "noise_std": 0.2}},
    ),
    "n-step returns": ("dqn", {"agent": {"n_steps": 3}}),
    "full buffer": ("dqn", {"agent": {"buffer_size": 30}}),
    "memory-efficient buffer": (
        "dqn",
        {
            "agent": {
                "optimize_memory_usage": True,
                "buffer_size": 40,
                "replay_buffer_kwargs": {"handle_timeout_termination": False},
            }
        },
    ),
    "updates after episodes": ("td3", {"agent": {"train_freq": [1, "episode"]}}),
    "entropy fixed": ("sac", {"agent": {"ent_coef": 0.1}}),
    "stacked frames": ("ppo", {"hyperparams": {"frame_stack": 3, "n_envs": 2}}),
    "images": (
        "ppo",
        {
            "env": "minigrid:MiniGrid-Empty-5x5-v0",
            "policy": "CnnPolicy",
            "hyperparams": {"env_wrapper": ("minigrid.wrappers.ImgObsWrapper",), "n_envs": 2},
            "agent": {"policy_kwargs": {"features_extractor_class": "SmallCNN", "net_arch": [8]}},
        },
    ),
    "hindsight": (
        "dqn",
        {
            "env": "BitFlips-v0",
            "policy": "MultiInputPolicy",
            "agent": {"replay_buffer_class": "HerReplayBuffer", "replay_buffer_kwargs": {"copy_info_dict": True}},
        },
    ),
    "Hopper": ("sac", {"env": "Hopper-v5", "n_timesteps": 80}),
    "LunarLander": ("ppo", {"env": "LunarLander-v3", "n_timesteps": 160, "hyperparams": {"n_envs": 2}}),
    "rarely evaluated": ("ppo", {"eval_freq": -1}),
    "drawn arguments": (
        "ppo",
        {
            "env": "rltransfer_envs:rltransfer/CartPole-v0",
            "randomise": {"length": [0.2, 2.0]},
            "hyperparams": NORMALISED,
        },
    ),
    "drawn arguments off-policy": (
        "sac",
        {"env": "rltransfer_envs:rltransfer/Pendulum-v0", "randomise": {"g": [5, 15]}, "n_timesteps": 260},
    ),
    "drawn arguments, Hopper": (
        "ppo",
        {"env": "rltransfer_envs:rltransfer/Hopper-v0", "randomise": {"gravity": [5, 15]}},
    ),
    "drawn arguments, LunarLander": (
        "ppo",
        {"env": "rltransfer_envs:rltransfer/LunarLander-v0", "randomise": {"gravity": [-11, -5]}},
    ),
    "drawn arguments, MiniGrid": (
        "dqn",
        {"env": "rltransfer_envs:rltransfer/MiniGrid-Empty-v0", "randomise": {"size": [5, 6, 7]}},
    ),
}


@pytest.mark.usefixtures("no_wait")
@pytest.mark.parametrize("name", long_but_for(QUICK_VARIANTS, VARIANTS))
def test_whatever_an_agent_has_goes_on_with_it(name: str, tmp_path: Path) -> None:
    algo, settings = VARIANTS[name]
    compare(config_of(algo, **{"n_timesteps": 160, "episodes": 2, **settings}), tmp_path)


def test_environments_in_processes_go_on_too(tmp_path: Path) -> None:
    config = config_of("ppo", vec_env="subproc", hyperparams={"n_envs": 2}, n_timesteps=128)
    compare(config, tmp_path, calls=40, least=1)


@pytest.mark.usefixtures("no_wait")
@pytest.mark.parametrize("algo", ["ppo", "dqn"])
def test_it_can_stop_at_every_rollout(algo: str, tmp_path: Path) -> None:
    record = compare(config_of(algo, n_timesteps=48, eval_freq=16), tmp_path, calls=2)
    steps = {"ppo": [16, 32, 48], "dqn": [*range(2, 50, 2)]}[algo]
    assert [entry.env_steps for entry in record.resumed] == steps


def test_tensorboard_shows_one_curve(tmp_path: Path) -> None:
    """The other tests compare what is on disk; this one what a reader sees who looked in between."""
    config = config_of("ppo", n_timesteps=96, eval_freq=16)
    train_run(config, tmp_path / "whole")
    place = "tb/scratch-seed0"
    stop = every(38)
    for _ in range(3):
        try:
            train_run(config, tmp_path / "parted", stop=stop)
        except Stopped:
            scalars(tmp_path / "parted" / place)
    assert scalars(tmp_path / "parted" / place) == scalars(tmp_path / "whole" / place)
    steps = [step for step, _ in scalars(tmp_path / "parted" / place)["eval/mean_reward"]]
    # The end is measured once more, after the last update.
    assert steps == [0, 16, 32, 48, 64, 80, 96, 96]


STRATEGIES: dict[str, tuple[str, Any]] = {
    "frozen": ("ppo", "frozen"),
    "frozen off-policy": ("sac", "frozen"),
    "warm-up": ("ppo", {"kind": "full", "critic_warmup_steps": 48}),
    "TRPO warms up": ("trpo", {"kind": "full", "critic_warmup_steps": 48}),
    "discriminative": ("ppo", ["finetune", "discriminative"]),
    "gradual unfreezing": ("ppo", ["finetune", {"kind": "gradual_unfreeze", "at": [48, 96]}]),
    "pulls": ("ppo", ["full", "l2_sp"]),
    "pulls by importance": ("ppo", ["full", {"kind": "ewc", "steps": 32}]),
    "pulls to the start": ("ppo", ["finetune", "l2_init"]),
    "recycling": ("dqn", ["full", {"kind": "redo", "threshold": 0.5, "every": 40}]),
    "jump start": ("ppo", {"kind": "jump_start", "horizon": 8, "episodes": 2, "window": 2}),
    "jump start off-policy": ("dqn", {"kind": "jump_start", "episodes": 2, "until": 100}),
    "kickstart": ("ppo", {"kind": "kickstart", "episodes": 2, "window": 2}),
    "kickstart off-policy": ("sac", {"kind": "kickstart", "episodes": 2, "memory": 60}),
    "qdagger": ("dqn", {"kind": "qdagger", "collect": 60, "offline_updates": 20}),
    "lora": ("ppo", "lora"),
    "progressive": ("ppo", "progressive"),
    "residual": ("sac", "residual"),
    "residual and augment": ("sac", ["residual", {"kind": "augment", "noise": 0.1}]),
    "replay": ("dqn", {"kind": "replay", "until": 120}),
    "augment": ("ppo", ["finetune", {"kind": "augment", "noise": 0.1}]),
    "augment off-policy": ("sac", ["finetune", {"kind": "augment", "noise": 0.1}]),
    "shuffled": ("ppo", {"kind": "shuffled", "of": "frozen"}),
    "auto": ("ppo", "auto"),
    "auto off-policy": ("dqn", {"kind": "auto", "of": ["full", ["finetune", "l2_sp"]]}),
}


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Returns a source run for each algorithm."""
    folder = tmp_path_factory.mktemp("sources")
    for algo in {algo for algo, _ in STRATEGIES.values()}:
        pretrained(folder / algo, algo, save_replay_buffer=algo in ("dqn", "sac"))
    return {path.name: str(path) for path in folder.iterdir()}


@pytest.mark.usefixtures("no_wait")
@pytest.mark.parametrize("name", long_but_for(QUICK_STRATEGIES, STRATEGIES))
def test_whatever_a_strategy_holds_goes_on_with_it(name: str, sources: dict[str, str], tmp_path: Path) -> None:
    algo, strategy = STRATEGIES[name]
    steps = 400 if "auto" in name else 160
    config = config_of(algo, strategy=strategy, source=sources[algo], n_timesteps=steps, episodes=2)
    record = compare(config, tmp_path, calls=29)
    assert all(check.passed for check in record.checks)


KINDS_ABOVE = {settings.kind for _, strategy in STRATEGIES.values() for settings in parse_strategy(strategy)}


@pytest.mark.long
@pytest.mark.usefixtures("no_wait")
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in KINDS_ABOVE])
def test_any_other_method_goes_on_with_what_it_holds(kind: str, tmp_path: Path) -> None:
    """On the first algorithm of a family whose agents train with it, as ``test_method_table`` finds one."""
    for algo in FAMILIES:
        source = tmp_path / algo / "source"
        pretrained(source, algo, hyperparams=NORMALISED, save_replay_buffer=algo != "ppo")
        config = config_of(
            algo, strategy=strategy_of(kind), source=str(source), hyperparams=NORMALISED, n_timesteps=160
        )
        with contextlib.suppress(IncompatibleError):
            compare(config, tmp_path / algo)
            return
    raise AssertionError(f"no agent trains with {kind}")


@pytest.mark.usefixtures("no_wait")
@pytest.mark.parametrize("name", ["gradual unfreezing", "recycling", "jump start off-policy"])
def test_a_run_that_version_0_1_left_half_done_goes_on(
    name: str, sources: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its checkpoints hold no count of the steps since the transfer."""
    state_dict = Transfer.state_dict
    monkeypatch.setattr(Transfer, "state_dict", lambda transfer: state_dict(transfer)[:-1])
    algo, strategy = STRATEGIES[name]
    compare(config_of(algo, strategy=strategy, source=sources[algo], n_timesteps=160, episodes=2), tmp_path, calls=29)


@pytest.mark.usefixtures("no_wait")
def test_observation_statistics_that_a_plan_holds_stay_held(tmp_path: Path) -> None:
    pretrained(tmp_path / "source", "ppo", hyperparams=NORMALISED)
    config = config_of("ppo", strategy="frozen", source=str(tmp_path / "source"), hyperparams=NORMALISED)
    record = compare(config.model_copy(update={"n_timesteps": 160}), tmp_path, calls=29)
    assert all(check.passed for check in record.checks), record.checks
    assert "held observation statistics unchanged" in {check.name for check in record.checks}


@pytest.mark.usefixtures("no_wait")
def test_a_race_is_the_same_with_an_interruption_in_every_slice(sources: dict[str, str], tmp_path: Path) -> None:
    config = config_of("ppo", strategy="auto", source=sources["ppo"], n_timesteps=320, episodes=2)
    record = compare(config, tmp_path, calls=2)
    assert record.race == train_run(config, tmp_path / "whole").race


@pytest.mark.usefixtures("no_wait")
@pytest.mark.parametrize("algo", ["ppo", pytest.param("sac", marks=pytest.mark.long), "dqn"])
def test_where_the_state_cannot_be_kept_new_episodes_begin(algo: str, tmp_path: Path) -> None:
    hyperparams = {"env_wrapper": ("runs.Opaque",), **(NORMALISED if algo != "dqn" else {})}
    agent = {"dqn": {"n_steps": 3}, "ppo": {}, "sac": {}}[algo]
    config = config_of(algo, hyperparams=hyperparams, agent=agent, n_timesteps=160)
    whole = train_run(config, tmp_path / "whole")
    assert whole.resume_level == "boundary"
    parted, times = interrupted(config, tmp_path / "parted", every(37))
    assert times >= 1
    assert [entry.exact for entry in parted.resumed] == [False] * times
    assert (parted.status, parted.env_steps, parted.resume_level) == ("done", whole.env_steps, "boundary")
    again, _ = interrupted(config, tmp_path / "again", every(37))
    # Where it began new episodes they come from the seed and the step.
    assert again.final == parted.final
    assert_alike(config, tmp_path / "parted", tmp_path / "again")


@pytest.mark.usefixtures("no_wait")
def test_recomputed_statistics_are_the_same_and_count_once_after_an_interruption(tmp_path: Path) -> None:
    config = config_of("crossq", strategy="random_frozen", n_timesteps=320, episodes=2)
    record = compare(config, tmp_path, calls=19)
    assert all(check.passed for check in record.checks)
    assert record.env_steps == 320
