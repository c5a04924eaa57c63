"""Makes run folders without training: records and curves with chosen numbers, for tests of the analysis."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rltransfer import records
from rltransfer.records import Check, Curve, Episodes, EvaluationFacts, Run, RunRecord, SourceFacts, TaskFacts

SCRATCH = ({"kind": "scratch"},)
FULL = ({"kind": "full"},)
FROZEN = ({"kind": "frozen", "layers": "all"},)
FINETUNE = ({"kind": "finetune", "layers": "all", "lr_scale": 1.0},)
TASK = TaskFacts(env="rltransfer_envs:rltransfer/CartPole-v0", kwargs={"swap_actions": True})


def shuffled(of: Sequence[dict[str, Any]]) -> tuple[dict[str, Any], ...]:
    """Returns the strategy of the shuffled control of another strategy."""
    return ({"kind": "shuffled", "of": list(of), "seed": None},)


def source(seed: int, *, env_steps: int | None = 40_000, sha256: str | None = None) -> SourceFacts:
    """Returns the facts of the source agent of one seed, each with a hash of its own."""
    return SourceFacts(
        path=f"sources/seed_{seed}",
        sha256=sha256 or f"{seed:064x}",
        algo="ppo",
        task=TaskFacts(env="CartPole-v1"),
        seed=seed,
        env_steps=env_steps,
    )


def episodes(mean: float, *, seed: int = 0, success: bool | None = None) -> Episodes:
    """Returns four evaluation episodes with the given mean return."""
    return Episodes(
        episode_returns=(mean - 1, mean, mean, mean + 1),
        episode_lengths=(10, 10, 10, 10),
        successes=None if success is None else (success,) * 4,
        deterministic=True,
        seed=seed,
    )


def ramp(start: float, end: float, points: int = 6) -> list[float]:
    """Returns the mean returns of a learning curve that rises evenly."""
    return [float(value) for value in np.linspace(start, end, points)]


def make_run(
    root: Path,
    *,
    arm: str,
    seed: int,
    strategy: Sequence[dict[str, Any]] = SCRATCH,
    task: TaskFacts = TASK,
    returns: Sequence[float] = (10.0, 20.0, 30.0, 40.0, 50.0, 60.0),
    successes: Sequence[float] | None = None,
    n_timesteps: int = 10_000,
    env_steps: Sequence[int] | None = None,
    source: SourceFacts | None = None,
    folder: str | None = None,
    training: Sequence[tuple[float, int]] = (),
    **record: Any,
) -> Run:
    """Writes one run folder at ``<root>/<task>/<arm>/seed_<seed>`` and returns it as it reads back.

    Args:
        root: The study or log folder.
        arm: The arm's label.
        seed: The run's seed.
        strategy: The strategy's parts.
        task: The target task.
        returns: Mean return of each evaluation, evenly spaced from step 0 to the budget.
        successes: Success rate of each evaluation, rounded to quarters.
        n_timesteps: The budget.
        env_steps: Steps of the evaluations, where they are not evenly spaced.
        source: Where the weights came from.
        folder: Another folder below ``root``.
        training: Return and length of each training episode, written as SB3's monitor file.
        record: Further fields of the record, or others than the defaults.
    """
    name = task.env.split(":")[-1].replace("/", "-")
    path = root / (folder or f"{name}/{arm}/seed_{seed}")
    steps = np.linspace(0, n_timesteps, len(returns)).astype(int) if env_steps is None else np.array(env_steps)
    noise = np.array([-1.0, 0.0, 0.0, 1.0])
    curve = Curve(
        env_steps=steps,
        episode_returns=np.array(returns, dtype=float)[:, None] + noise,
        episode_lengths=np.full((len(returns), 4), 10),
        successes=None if successes is None else np.array(successes)[:, None] > np.array([0.1, 0.3, 0.6, 0.8]),
    )
    facts: dict[str, Any] = {
        "status": "done",
        "role": "target",
        "task_name": name,
        "algo": "ppo",
        "env_steps": n_timesteps,
        "hyperparams": {"learning_rate": 3e-4, "n_steps": 2048},
        "evaluation": EvaluationFacts(eval_freq=2_000, episodes=4, n_envs=1, deterministic=True),
        "random": episodes(9.0, seed=seed),
        "initial": episodes(returns[0], seed=seed),
        "final": episodes(returns[-1], seed=seed),
        "checks": (Check(name="frozen tensors are bit-identical", passed=True, detail="4 tensors"),),
        "started": "2026-01-01T00:00:00",
        "versions": {"python": "3.11.0", "stable_baselines3": "2.9.2"},
    }
    facts |= record
    written = RunRecord(
        task=task, arm=arm, strategy=tuple(strategy), seed=seed, n_timesteps=n_timesteps, source=source, **facts
    )
    records.write_record(path, written)
    records.write_curve(path, curve)
    if training:
        rows = "".join(f"{value},{length},1.0\n" for value, length in training)
        (path / "0.monitor.csv").write_text(f'#{{"t_start": 0.0, "env_id": "{name}"}}\nr,l,t\n{rows}')
    return records.read_run(path)


def make_study(root: Path, *, seeds: int = 5, spread: float = 4.0) -> None:
    """Writes a study in which ``full`` hurts, ``frozen`` helps by its features and ``finetune`` by its scale alone.

    All numbers are fixed: the seeds differ by ``spread``, in an order of its own in each arm.
    """
    levels = {
        "scratch": (SCRATCH, 60.0, None),
        "full": (FULL, 15.0, 0),
        "frozen": (FROZEN, 100.0, 0),
        "finetune": (FINETUNE, 98.0, 0),
        "shuffled_frozen": (shuffled(FROZEN), 58.0, 0),
        "shuffled_finetune": (shuffled(FINETUNE), 97.0, 0),
    }
    for index, (arm, (strategy, level, sourced)) in enumerate(levels.items()):
        for seed in range(seeds):
            end = level + spread * ((3 * seed + index) % seeds - (seeds - 1) / 2)
            make_run(
                root,
                arm=arm,
                seed=seed,
                strategy=strategy,
                returns=[10 + (end - 10) * share for share in (0.0, 0.35, 0.6, 0.8, 0.93, 1.0)],
                source=None if sourced is None else source(seed),
                reward_threshold=80.0,
                training=[(end / 2, 50), (end, 100)],
            )
