"""Writes studies with sweeps whose runs were never made: files, records and curves with chosen numbers."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from synthetic import make_run

from rltransfer.config import StudyConfig
from rltransfer.records import SourceFacts, TaskFacts
from rltransfer.strategies import dump_strategy, reads_source
from rltransfer.study import write_study

CARTPOLE = "rltransfer_envs:rltransfer/CartPole-v0"


def settings(**changes: Any) -> dict[str, Any]:
    """Returns a study file's content, with no sweep."""
    return {
        "algo": "ppo",
        "seeds": 6,
        "source": {"env": CARTPOLE, "n_timesteps": 40_000},
        "tasks": {"swapped": {"env": CARTPOLE, "kwargs": {"swap_actions": True}, "n_timesteps": 10_000}},
        "arms": {"scratch": "scratch"},
        **changes,
    }


LAYERS = settings(sweeps={"layers": {"layers": [0, 1, 2], "shuffled": True}})
SOURCE_STEPS = settings(sweeps={"source_steps": {"of": ["finetune", "frozen"], "at": [10_000, 40_000]}})
MATRIX = settings(
    source={"tasks": "all", "n_timesteps": 40_000},
    tasks={
        name: {"env": CARTPOLE, "kwargs": {"length": length}, "n_timesteps": 10_000}
        for name, length in (("short", 0.5), ("long", 1.5))
    },
    arms={"scratch": "scratch", "finetune": "finetune"},
)


def make(
    root: Path, content: Mapping[str, Any] | StudyConfig, levels: Mapping[str, float], *, tasks: Sequence[str] = ()
) -> StudyConfig:
    """Writes a study's file and its runs: those of an arm end at its level, give or take a little by seed.

    Args:
        root: The study's folder.
        content: The study.
        levels: For each arm, or ``task/arm``, where its curves end; 60 for the others, runs of None are left out.
        tasks: The tasks whose runs are written; all of them by default.
    """
    config = content if isinstance(content, StudyConfig) else StudyConfig.model_validate(content)
    write_study(config, root)
    for task in tasks or config.tasks:
        facts = TaskFacts(env=config.tasks[task].env, kwargs=config.tasks[task].kwargs)
        for index, (name, arm) in enumerate(config.planned_arms().items()):
            level = levels.get(f"{task}/{name}", levels.get(name, 60.0))
            for at, seed in enumerate(config.seeds):
                end = level + 4.0 * ((3 * at + index) % len(config.seeds) - (len(config.seeds) - 1) / 2)
                make_run(
                    root,
                    arm=name,
                    seed=seed,
                    strategy=dump_strategy(arm.strategy),
                    task=facts,
                    task_name=task,
                    folder=f"{task}/{name}/seed_{seed}",
                    returns=[10 + (end - 10) * share for share in (0.0, 0.35, 0.6, 0.8, 0.93, 1.0)],
                    source=_source(config, arm, seed) if reads_source(arm.strategy) else None,
                )
    return config


def _source(config: StudyConfig, arm: Any, seed: int) -> SourceFacts:
    task = config.tasks[arm.source] if arm.source else config.source
    steps = int(arm.which) if arm.which.isdecimal() else 40_000
    return SourceFacts(
        path=f"source/seed_{seed}",
        sha256=f"{seed * 1000 + steps:064x}",
        algo="ppo",
        task=TaskFacts(env=str(task.env), kwargs=task.kwargs),
        seed=seed,
        env_steps=steps,
        which=arm.which,
    )
