"""Measures the CPU time that starting a job of a study costs: from the warm parent, and from nothing.

    python scripts/bench_start.py --repeats 20

A job has started when it calls ``train_run``. From the warm parent this costs the CPU time of its own process until
then, and what the supervisor and the warm parent, which forks, take for it (Linux only). From nothing it costs what a
fresh interpreter takes to import what a run needs.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from pathlib import Path

from rltransfer.config import RunConfig, Task
from rltransfer.hyperparams import resolve
from rltransfer.study.expand import Job
from rltransfer.study.fork_server import warm_context
from rltransfer.study.work import work

COLD = "import time, rltransfer.training, torch._dynamo, torch.utils.tensorboard; print(time.process_time())"


def main() -> None:
    parser = argparse.ArgumentParser(description="Measures what it costs to start a job of a study.")
    parser.add_argument("--repeats", type=int, default=20)
    repeats = parser.parse_args().repeats
    with tempfile.TemporaryDirectory() as folder:
        start(Path(folder) / "first")  # The warm parent itself comes with it.
        parent = forkserver._forkserver._forkserver_pid
        before = time.process_time(), cpu_seconds_of(parent)
        jobs = [start(Path(folder) / str(index)) for index in range(repeats)]
        supervisor, forking = time.process_time() - before[0], cpu_seconds_of(parent) - before[1]
    cold = [from_nothing() for _ in range(3)]
    each = (supervisor + forking) / repeats
    print(f"one start from the warm parent, in CPU seconds (median and most of {repeats}):")
    print(f"  the job's own process      {statistics.median(jobs):.3f}  {max(jobs):.3f}")
    print(f"  supervisor, warm parent    {supervisor / repeats:.3f}, {forking / repeats:.3f} (means)")
    print(f"  together                   {statistics.median(jobs) + each:.3f}  {max(jobs) + each:.3f}")
    print(f"one start from nothing       {statistics.median(cold):.3f}  {max(cold):.3f}")


def start(folder: Path) -> float:
    """Starts a job as the local engine does; returns the CPU seconds of its process until it calls ``train_run``."""
    config = RunConfig(
        role="target",
        algo="ppo",
        task=Task(env="CartPole-v1"),
        task_name="target",
        arm="scratch",
        seed=0,
        n_timesteps=1,
        hyperparams=resolve("ppo", "CartPole-v1"),
    )
    answer = folder.with_suffix(".txt")
    context = warm_context()
    _, sender = context.Pipe(duplex=False)
    process = context.Process(target=tell_and_end, args=(work, Job(folder, config), sender, answer))
    process.start()
    process.join()
    return float(answer.read_text())


def tell_and_end(function: Callable[[Job, Connection], None], job: Job, sender: Connection, answer: Path) -> None:
    """Does a job whose training ends at once, having told what it cost to come there."""
    import rltransfer.training

    def train_run(*_: object, **__: object) -> None:
        answer.write_text(str(time.process_time()))

    rltransfer.training.train_run = train_run  # type: ignore[assignment]
    function(job, sender)


def cpu_seconds_of(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def from_nothing() -> float:
    answer = subprocess.run([sys.executable, "-c", COLD], capture_output=True, text=True, check=True)
    return float(answer.stdout)


if __name__ == "__main__":
    main()
