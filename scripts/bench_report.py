"""Measures how long a report takes: finds the runs of a study on disk, scores and tests them, writes everything.

    python scripts/bench_report.py --arms 10 --seeds 20 --evaluations 100

The study is made up: records and curves as runs leave them, with fixed numbers, and no plans. A report makes 50,000
resamples for each scalar and 2,000 for each band.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

import rltransfer
from rltransfer import records
from rltransfer.records import Check, Curve, Episodes, EvaluationFacts, RunRecord, SourceFacts, TaskFacts
from rltransfer.report import write_report
from rltransfer.stats.bootstrap import BAND_RESAMPLES, RESAMPLES

BUDGET_STEPS = 100_000
EPISODES = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--arms", type=int, default=10, help="arms, scratch among them (default: 10)")
    parser.add_argument("--seeds", type=int, default=20, help="runs of each arm (default: 20)")
    parser.add_argument("--evaluations", type=int, default=100, help="evaluations of each run (default: 100)")
    size = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for arm in range(size.arms):
            for seed in range(size.seeds):
                write_run(folder, arm, seed, size.evaluations)
        started = time.perf_counter(), time.process_time()
        comparison = rltransfer.compare(folder)
        compared = time.perf_counter(), time.process_time()
        page = write_report(comparison, folder)
        written = time.perf_counter(), time.process_time()
        print(f"{size.arms} arms, {size.seeds} seeds, {size.evaluations} evaluations of {EPISODES} episodes;")
        print(f"{RESAMPLES:,} resamples for scalars, {BAND_RESAMPLES:,} for bands")
        print(f"  compare       {seconds(started, compared)}")
        print(f"  write_report  {seconds(compared, written)}")
        print(f"  together      {seconds(started, written)}, the page has {page.stat().st_size / 1e6:.1f} MB")


def seconds(before: tuple[float, float], after: tuple[float, float]) -> str:
    wall, cpu = (end - start for start, end in zip(before, after, strict=True))
    return f"{wall:5.1f} s, {cpu:5.1f} CPU seconds"


def write_run(folder: Path, arm: int, seed: int, evaluations: int) -> None:
    """Writes one run: arm 0 is scratch, half of the others are the shuffled controls of the arm before them."""
    rng = np.random.default_rng([arm, seed])
    frozen = {"kind": "frozen", "layers": f"{1 + (arm - 1) // 2}"}
    control = {"kind": "shuffled", "of": [frozen], "seed": None}
    strategy = {"kind": "scratch"} if arm == 0 else frozen if arm % 2 else control
    name = "scratch" if arm == 0 else f"frozen_{(arm + 1) // 2}{'' if arm % 2 else '_shuffled'}"
    level = 300 + 10 * arm * (arm % 2) + 40 * rng.normal()
    means = level * np.linspace(0, 1, evaluations) ** 0.5 + 5 * rng.normal(size=evaluations)
    curve = Curve(
        env_steps=np.linspace(0, BUDGET_STEPS, evaluations).astype(int),
        episode_returns=means[:, None] + rng.normal(size=(evaluations, EPISODES)),
        episode_lengths=np.full((evaluations, EPISODES), 200),
    )
    run = folder / "target" / name / f"seed_{seed}"
    records.write_record(run, record(name, strategy, seed, means))
    records.write_curve(run, curve)


def record(arm: str, strategy: dict[str, object], seed: int, means: np.ndarray) -> RunRecord:
    task = TaskFacts(env="rltransfer_envs:rltransfer/CartPole-v0", kwargs={"swap_actions": True})
    source = SourceFacts(
        path=f"source/seed_{seed}",
        sha256=f"{seed:064x}",
        algo="ppo",
        task=TaskFacts(env="CartPole-v1"),
        seed=seed,
        env_steps=40_000,
    )
    return RunRecord(
        status="done",
        role="target",
        task=task,
        task_name="target",
        algo="ppo",
        arm=arm,
        strategy=(strategy,),
        seed=seed,
        n_timesteps=BUDGET_STEPS,
        env_steps=BUDGET_STEPS,
        source=None if arm == "scratch" else source,
        hyperparams={"learning_rate": 3e-4},
        evaluation=EvaluationFacts(eval_freq=1_000, episodes=EPISODES, n_envs=1, deterministic=True),
        random=episodes(20.0, seed),
        initial=episodes(float(means[0]), seed),
        final=episodes(float(means[-1]), seed),
        reward_threshold=250.0,
        checks=(Check(name="frozen tensors are bit-identical", passed=True, detail="4 tensors"),),
        started="2026-01-01T00:00:00",
        versions={"python": "3.11"},
    )


def episodes(mean: float, seed: int) -> Episodes:
    return Episodes(
        episode_returns=(mean,) * EPISODES, episode_lengths=(200,) * EPISODES, deterministic=False, seed=seed
    )


if __name__ == "__main__":
    main()
