"""The script of a Slurm array whose tasks join a study."""

import shlex
import sys
from pathlib import Path

from rltransfer.errors import ConfigError

SCRIPT = "slurm.sh"
_WARNING_SECONDS = 120
"""How long before the end of its time a task is told, so that its runs can be saved."""


def array_script(folder: Path, *, name: str, workers: int, jobs: int, time: str) -> str:
    """Returns the text of the script.

    Args:
        folder: The folder of a study, on a file system that every machine sees.
        name: What Slurm calls the array.
        workers: How many tasks the array has.
        jobs: How many runs go on at once in each task, on a core each.
        time: How long a task may run, as Slurm writes it.

    Raises:
        ConfigError: A number is below 1.
    """
    for flag, number in (("--workers", workers), ("--jobs", jobs)):
        if number < 1:
            raise ConfigError(f"{flag}: expected at least 1, found {number}.")
    place = folder.resolve()
    command = [sys.executable, "-m", "rltransfer", "study", "work", str(place), "--jobs", str(jobs)]
    log = place / "slurm-%A_%a.log"
    lines = [
        "#!/bin/bash",
        f"#SBATCH --job-name={shlex.quote(name)}",
        f"#SBATCH --array=1-{workers}",
        "#SBATCH --ntasks=1",
        f"#SBATCH --cpus-per-task={jobs}",
        f"#SBATCH --time={time}",
        f"#SBATCH --signal=B:TERM@{_WARNING_SECONDS}",
        "#SBATCH --requeue",
        "#SBATCH --open-mode=append",
        f"#SBATCH --output={shlex.quote(str(log))}",
        "",
        "# Each task does what no other has claimed, and ends when nothing is left. One that is told to end saves its",
        "# runs: submit the array again and they go on. Options on sbatch's command line come before those above.",
        "set -eu",
        f"cd {shlex.quote(str(Path.cwd()))}",
        "export OMP_NUM_THREADS=1",
        "# In place of the shell, so that Slurm's signal arrives.",
        f"exec {shlex.join(command)}",
        "",
    ]
    return "\n".join(lines)
