"""What each verb of ``rltransfer study`` does: arguments in, library calls, lines out."""

import argparse
import json
import math
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rltransfer import files
from rltransfer.cli.verbs import report_on, say_where
from rltransfer.config import CONFIRM, read_study
from rltransfer.errors import ConfigError, RunError
from rltransfer.study import confirm_study, run_study, set_up_study, slurm, tune_study, work_on_study
from rltransfer.study import status as states


def run(arguments: argparse.Namespace) -> None:
    """Runs what is missing of a study, and reports it."""
    from rltransfer.report.terminal import print_comparison

    folder = _folder(arguments)
    comparison = run_study(
        arguments.file,
        folder,
        engine=arguments.engine,
        address=arguments.address,
        cache=arguments.cache,
        **_limits(arguments),
    )
    print_comparison(comparison)
    say_where(folder)
    _refuse_failures(states.study_status(folder), folder)


def confirm(arguments: argparse.Namespace) -> None:
    """Runs what a sweep picked again on fresh seeds, and reports the study anew."""
    from rltransfer.report.terminal import print_comparison

    folder = arguments.folder
    comparison = confirm_study(
        folder,
        arms=tuple(arguments.arms),
        seeds=arguments.seeds,
        engine=arguments.engine,
        address=arguments.address,
        cache=arguments.cache,
        **_limits(arguments),
    )
    print_comparison(comparison)
    say_where(folder)
    _refuse_failures(states.study_status(folder / CONFIRM), folder / CONFIRM)


def tune(arguments: argparse.Namespace) -> None:
    """Tries hyperparameters for every arm alike, and says how to run the study with the best."""
    from rltransfer.cli.planning import describe_tuning

    folder = _folder(arguments)
    tuned = tune_study(arguments.file, folder, cache=arguments.cache, **_limits(arguments))
    print(describe_tuning(tuned))
    print(f"written to {tuned.file}")
    print(f"run it: rltransfer study run {shlex.quote(str(tuned.file))} -f {shlex.quote(f'{folder}_tuned')}")


def work(arguments: argparse.Namespace) -> None:
    """Joins a study until nothing is left to do."""
    folder = arguments.folder
    run_states = work_on_study(folder, **_limits(arguments))
    print(f"{states.progress_of(run_states)}; for the report: rltransfer study report {shlex.quote(str(folder))}")
    _refuse_failures(run_states, folder)


def write_slurm(arguments: argparse.Namespace) -> None:
    """Writes the script of a Slurm array that runs a study."""
    folder = _folder(arguments)
    text = slurm.array_script(
        folder, name=arguments.file.stem, workers=arguments.workers, jobs=arguments.jobs, time=arguments.time
    )
    set_up_study(arguments.file, folder, cache=arguments.cache)
    script, place = folder / slurm.SCRIPT, shlex.quote(str(folder))
    files.write_text(script, text)
    print(f"written to {script}")
    print(f"submit: sbatch {shlex.quote(str(script))}")
    print(f"look:   rltransfer study status {place}")
    print(f"report: rltransfer study report {place}")


def show_status(arguments: argparse.Namespace) -> None:
    """Shows how far a study is."""
    run_states = states.study_status(arguments.folder)
    progress = states.progress_of(run_states)
    if arguments.json:
        facts = {
            "runs": [state.to_json() for state in run_states],
            "counts": progress.counts,
            "steps_per_second": progress.steps_per_second,
            "seconds_left": progress.seconds_left,
        }
        print(json.dumps(facts, indent=2))
        return
    for state in run_states:
        if state.state == "failed":
            print(f"{state.job.name}: failed: {state.detail}")
        elif state.state == "running":
            print(f"{state.job.name}: {_pace(state)}, {state.detail}")
    print(progress)


def report(arguments: argparse.Namespace) -> None:
    """Writes the report of a study again."""
    path = states.study_file(arguments.folder)
    report_on(arguments.folder, arguments.folder, read_study(path).metric)


def _pace(state: states.RunState) -> str:
    steps = f"running: {state.env_steps:,} of {state.job.config.n_timesteps:,} steps"
    return f"{steps}, {state.steps_per_second:,.0f} per second" if state.steps_per_second else steps


def _folder(arguments: argparse.Namespace) -> Path:
    folder: Path = arguments.folder or Path("studies") / arguments.file.stem
    return folder


def _limits(arguments: argparse.Namespace) -> dict[str, Any]:
    minutes = arguments.time_limit
    return {
        "jobs": arguments.jobs,
        "retries": arguments.retries,
        "time_limit_seconds": None if minutes is None else 60 * minutes,
    }


def _refuse_failures(run_states: Sequence[states.RunState], folder: Path) -> None:
    failed = [state.job.name for state in run_states if state.state != "done"]
    if failed:
        raise RunError(
            f"{len(failed)} runs are not done and not in the report: {', '.join(failed)}. "
            f"`rltransfer study status {folder}` gives the reasons; the same command tries them again."
        )


def power(arguments: argparse.Namespace) -> None:
    """Says how many seeds a study needs for an effect that the user names."""
    from rltransfer.cli.planning import describe_power
    from rltransfer.comparison import PilotSpread, pilot_spreads
    from rltransfer.stats import Spread

    for flag, value in (("--effect", arguments.effect), ("--sd", arguments.sd), ("--arms", arguments.arms)):
        if value is not None and not 0 < value < math.inf:
            raise ConfigError(f"{flag}: expected a number above 0, found {value}.")
    named = (PilotSpread("", Spread(arguments.sd)),)
    spreads = named if arguments.pilot is None else pilot_spreads(arguments.pilot, metric=arguments.metric)
    print("\n\n".join(describe_power(spread, effect=arguments.effect, tests=arguments.arms) for spread in spreads))
