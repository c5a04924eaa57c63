"""The record of a tuning on disk: every trial with its hyperparameters and scores, in ``<study>/tune/trials.json``."""

import csv
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, FiniteFloat, ValidationError

from rltransfer import files
from rltransfer.errors import ConfigError, RunError

TRIALS = "trials.json"
_TABLE = "trials.csv"


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Trial(_Model):
    """What one arm of a task was tried with: ``number`` 0 is the study's own hyperparameters.

    ``scores`` are those of its runs in the order of the seeds, None until they have ended; ``failure`` says why there
    are none.
    """

    task: str
    arm: str
    number: int
    hyperparams: dict[str, Any]
    scores: tuple[FiniteFloat, ...] | None = None
    failure: str | None = None

    @property
    def is_open(self) -> bool:
        """Whether its runs have still to end."""
        return self.scores is None and self.failure is None

    @property
    def score(self) -> float | None:
        """The mean of its scores; None where there are none."""
        return None if self.scores is None else sum(self.scores) / len(self.scores)


class TrialLog(_Model):
    """All trials of a tuning, and the settings that they hold for."""

    schema_version: Literal[1] = 1
    settings: dict[str, Any]
    seeds: tuple[int, ...]
    trials: tuple[Trial, ...] = ()

    def of(self, task: str, arm: str) -> tuple[Trial, ...]:
        """Returns the trials of one arm of a task, in their order."""
        return tuple(trial for trial in self.trials if (trial.task, trial.arm) == (task, arm))

    def best(self, task: str, arm: str) -> Trial:
        """Returns the trial with the largest score, of equal ones the first.

        Raises:
            RunError: All have failed.
        """
        trials = self.of(task, arm)
        scored = [(trial.score, -trial.number, trial) for trial in trials if trial.score is not None]
        if not scored:
            raise RunError(f"All {len(trials)} trials of {task}/{arm} failed; the first: {trials[0].failure}")
        return max(scored, key=lambda entry: entry[:2])[2]


def read_log(folder: Path, settings: dict[str, Any], seeds: Sequence[int]) -> TrialLog:
    """Returns the record of the tuning in a folder, or a new one.

    Raises:
        ConfigError: It was begun with other settings.
        RunError: It cannot be read.
    """
    path = folder / TRIALS
    new = TrialLog(settings=settings, seeds=tuple(seeds))
    if not path.is_file():
        return new
    try:
        log = TrialLog.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        raise RunError(f"{path} is damaged. Delete {folder} to tune again.") from None
    for key in sorted({*settings, *log.settings}):
        if settings.get(key) != log.settings.get(key):
            raise ConfigError(
                f"{folder} was begun with another {key!r} in the study: {log.settings.get(key)!r}, now "
                f"{settings.get(key)!r}. Use another folder (-f), or delete that one."
            )
    return log


def write_log(log: TrialLog, folder: Path) -> None:
    """Writes the record, and the same as a table."""
    files.write_json(folder / TRIALS, log.model_dump(mode="json"))
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(_rows(log))
    files.write_text(folder / _TABLE, text.getvalue())


def _rows(log: TrialLog) -> Iterator[list[Any]]:
    yield ["task", "arm", "trial", "score", *(f"seed_{seed}" for seed in log.seeds), "failure", "hyperparams"]
    for trial in log.trials:
        scores = trial.scores or [""] * len(log.seeds)
        score = "" if trial.score is None else trial.score
        hyperparams = json.dumps(trial.hyperparams)
        yield [trial.task, trial.arm, trial.number, score, *scores, trial.failure or "", hyperparams]
