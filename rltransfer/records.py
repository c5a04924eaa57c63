"""Reads and writes what runs leave on disk: ``evaluations.npz`` is the curve, our record adds the facts."""

import contextlib
import csv
import dataclasses
import io
import json
import math
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float, Int
from pydantic import BaseModel, ConfigDict, ValidationError

from rltransfer import files
from rltransfer.errors import RunError

OWN_FOLDER = "rltransfer"
RECORD = "record.json"
CURVE = "evaluations.npz"
PLAN = "plan.json"
COMMAND = "command.txt"
REPRESENTATION = "representation.npz"
MONITORS = "*monitor.csv"
HEARTBEAT = "heartbeat.json"
Status = Literal["running", "stopped", "done", "failed"]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TaskFacts(_Model):
    """What makes two tasks the same: the environment id, its arguments and its wrappers.

    ``randomise`` are the arguments that were drawn anew for each training episode, and what from.
    """

    env: str
    kwargs: dict[str, Any] = {}
    wrappers: tuple[str, ...] = ()
    randomise: dict[str, tuple[Any, ...]] = {}

    def label(self) -> str:
        """Returns the task in one line, as reports show it.

        >>> TaskFacts(env="CartPole-v1", kwargs={"length": 1.5}).label()
        'CartPole-v1 (length=1.5)'
        >>> TaskFacts(env="CartPole-v1", randomise={"length": (0.5, 2.0)}).label()
        'CartPole-v1 (length drawn from [0.5, 2.0])'
        """
        extras = [f"{key}={value}" for key, value in sorted(self.kwargs.items())] + list(self.wrappers)
        extras += [f"{key} drawn from {list(values)}" for key, values in sorted(self.randomise.items())]
        return self.env.removeprefix("rltransfer_envs:") + (f" ({', '.join(extras)})" if extras else "")


class Episodes(_Model):
    """Undiscounted returns and lengths of evaluation episodes of one policy on one task."""

    episode_returns: tuple[float, ...]
    episode_lengths: tuple[int, ...]
    successes: tuple[bool, ...] | None = None
    deterministic: bool
    seed: int

    @property
    def mean_return(self) -> float:
        """The mean episode return."""
        return float(np.mean(self.episode_returns))


class EvaluationFacts(_Model):
    """How the evaluation curve of a run was made."""

    eval_freq: int
    episodes: int
    n_envs: int
    deterministic: bool
    env_kwargs: dict[str, Any] | None = None


class SourceFacts(_Model):
    """Where the transferred weights came from; ``env_steps`` is accumulated along chains A -> B -> C.

    ``random_return`` is what a uniform policy scored in the source task, ``reward_threshold`` what solves it.
    ``is_residual`` says that its actions are added to another agent's, and mean nothing alone.
    """

    path: str
    sha256: str
    algo: str
    task: TaskFacts | None = None
    seed: int | None = None
    env_steps: int | None = None
    mean_return: float | None = None
    random_return: float | None = None
    reward_threshold: float | None = None
    which: str | None = None
    is_residual: bool = False


class Check(_Model):
    """One self-check of a run, for example that frozen tensors are bit-identical after training."""

    name: str
    passed: bool
    detail: str


class Trial(_Model):
    """One strategy that a run of ``auto`` tried: what it cost, its score after each slice, and how it ended."""

    label: str
    strategy: tuple[dict[str, Any], ...]
    env_steps: int = 0
    evaluation_steps: int = 0
    scores: tuple[float, ...] = ()
    end: str


class RaceFacts(_Model):
    """What a run of ``auto`` tried, in the order of its trials."""

    trials: tuple[Trial, ...]

    @property
    def winner(self) -> str:
        """The label of the strategy that went on."""
        return next(trial.label for trial in self.trials if trial.end == "went on")


class Resumption(_Model):
    """Where a run was taken up again, and whether it went on bit by bit as if it had not been interrupted."""

    env_steps: int
    exact: bool


class Heartbeat(_Model):
    """The latest sign of life of the process that writes a run; ``time`` is in seconds since 1970."""

    host: str
    pid: int
    time: float
    env_steps: int
    steps_per_second: float


class RunRecord(_Model):
    """The facts of one run: one agent, one seed.

    ``maps`` is how its inputs and actions meet the source's. ``retention`` is the last agent in the source task,
    ``no_retention`` why it could not be there. ``thresholds`` are the ones that were set, shares of the reference such
    as "90%" among them; ``reward_threshold`` is the first return of these, or the environment's own. ``n_updates`` is
    SB3's count of updates: epochs over a rollout in PPO and its like, gradient steps elsewhere.

    ``arms_differ_in`` names the hyperparameters in which runs that are compared with this one may differ from it.

    A record that is not ``written_by`` us was put together from what other software left in the run's folder.
    ``resume_level`` says how the run goes on after an interruption: as if there had been none (``exact``), or with new
    episodes in its environments (``boundary``); ``resumed`` where it did.
    """

    schema_version: Literal[1] = 1
    written_by: Literal["rltransfer", "rl_zoo"] = "rltransfer"
    status: Status
    role: Literal["source", "target"]
    task: TaskFacts
    task_name: str
    algo: str
    arm: str
    strategy: tuple[dict[str, Any], ...] = ()
    maps: dict[str, dict[str, Any]] = {}
    seed: int
    n_timesteps: int
    env_steps: int = 0
    hyperparams: dict[str, Any] = {}
    arms_differ_in: tuple[str, ...] = ()
    evaluation: EvaluationFacts
    source: SourceFacts | None = None
    random: Episodes | None = None
    initial: Episodes | None = None
    final: Episodes | None = None
    best: Episodes | None = None
    retention: Episodes | None = None
    no_retention: str | None = None
    n_updates: int | None = None
    checks: tuple[Check, ...] = ()
    race: RaceFacts | None = None
    reward_threshold: float | None = None
    thresholds: tuple[float | str, ...] = ()
    wall_seconds: float = 0.0
    started: str = ""
    versions: dict[str, str] = {}
    resume_level: Literal["exact", "boundary"] | None = None
    resumed: tuple[Resumption, ...] = ()
    error: str | None = None


class _Reading(BaseModel):
    """Of a file that holds more than is read here."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class TensorFacts(_Reading):
    """What a run's plan says of one tensor; ``rltransfer.transfer.PlanEntry`` explains each word."""

    tensor: str
    layer: str
    branch: str
    role: str
    shape: tuple[int, ...]
    origin: str
    permuted: bool = False
    trains: bool
    frozen: bool
    lr_scale: float = 1.0
    rank: int = 0
    held_until: int = 0
    shrink: float = 1.0
    perturb: float = 0.0
    pull: float = 0.0
    decay: float = 0.0
    importance: float = 0.0
    return_pull: float = 0.0

    @property
    def size(self) -> int:
        """The number of values in the tensor."""
        return math.prod(self.shape)


class StatisticsFacts(_Reading):
    """What a run's plan says of the normalisation statistics."""

    observation: str = "none"
    hold_observation: bool = False
    reward: str = "none"


class FindingFacts(_Reading):
    """Something about a transfer that its user should know."""

    severity: str
    words: str


class PlanFacts(_Reading):
    """A run's plan as it lies on disk, for reading without torch."""

    entries: tuple[TensorFacts, ...]
    totals: dict[str, int] = {}
    statistics: StatisticsFacts = StatisticsFacts()
    critic_warmup_steps: int = 0
    quiet_steps: int | None = None
    findings: tuple[FindingFacts, ...] = ()

    def same_moves(self, other: "PlanFacts") -> bool:
        """Says whether two plans do the same, whatever they remark."""
        return self.model_copy(update={"findings": ()}) == other.model_copy(update={"findings": ()})


@dataclasses.dataclass(frozen=True)
class Curve:
    """The evaluation curve of one run; row ``i`` was measured after ``env_steps[i]`` training steps."""

    env_steps: Int[np.ndarray, " evals"]
    episode_returns: Float[np.ndarray, "evals episodes"]
    episode_lengths: Int[np.ndarray, "evals episodes"]
    successes: Bool[np.ndarray, "evals episodes"] | None = None

    @property
    def mean_returns(self) -> Float[np.ndarray, " evals"]:
        """The mean episode return of each evaluation."""
        mean: Float[np.ndarray, " evals"] = self.episode_returns.mean(axis=1)
        return mean

    @property
    def success_rates(self) -> Float[np.ndarray, " evals"] | None:
        """The share of successful episodes of each evaluation, where the environment reports ``is_success``."""
        return None if self.successes is None else self.successes.mean(axis=1)


@dataclasses.dataclass(frozen=True)
class RepresentationPoint:
    """What one layer represents at one moment, on a fixed batch of states.

    Attributes:
        cka: The similarity of its features to those that it started from (linear CKA), from 0 to 1.
        effective_rank: How many directions its features spread over.
        dormant: The share of its units that are dormant.
        distance: How far its weights are from their start, in units of their norm there.
    """

    cka: float
    effective_rank: float
    dormant: float
    distance: float


@dataclasses.dataclass(frozen=True)
class Representation:
    """What the layers of one run represent over training: ``[evals, layers]`` for each measure."""

    env_steps: Int[np.ndarray, " evals"]
    layers: tuple[str, ...]
    measures: dict[str, Float[np.ndarray, "evals layers"]]


@dataclasses.dataclass(frozen=True)
class TrainingEpisodes:
    """The finished training episodes of one run, over all its environments."""

    episode_returns: Float[np.ndarray, " episodes"]
    episode_lengths: Int[np.ndarray, " episodes"]


@dataclasses.dataclass(frozen=True)
class Run:
    """A run as found on disk."""

    folder: Path
    record: RunRecord
    curve: Curve | None


def write_record(run_folder: Path, record: RunRecord) -> None:
    """Writes ``<run>/rltransfer/record.json`` atomically."""
    files.write_json(run_folder / OWN_FOLDER / RECORD, record.model_dump(mode="json"))


def read_record(run_folder: Path) -> RunRecord:
    """Returns the record of a run folder.

    Raises:
        RunError: There is no record, or it is not one of this version.
    """
    path = run_folder / OWN_FOLDER / RECORD
    try:
        return RunRecord.model_validate(json.loads(path.read_text()))
    except FileNotFoundError:
        raise RunError(f"{run_folder} is not a run folder of rltransfer: {path} is missing.") from None
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(str(item) for item in problem["loc"])
        raise RunError(f"{path} cannot be read as a run record: key {where!r}: {problem['msg']}.") from None
    except (OSError, ValueError) as error:
        raise RunError(f"{path} cannot be read as a run record: {error}") from None


def read_plan_facts(run_folder: Path) -> PlanFacts | None:
    """Returns what a run's plan says, None for a run that has no plan.

    Raises:
        RunError: The plan cannot be read.
    """
    path = run_folder / OWN_FOLDER / PLAN
    try:
        return PlanFacts.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise RunError(f"{path} cannot be read as a plan: {error}") from None


def read_command(run_folder: Path) -> str:
    """Returns the command that made a run, empty where none is recorded (the runs of a study)."""
    for path in sorted(run_folder.glob(f"*/{COMMAND}")):
        with contextlib.suppress(OSError, UnicodeDecodeError):
            return path.read_text().strip()
    return ""


def read_heartbeat(run_folder: Path) -> Heartbeat | None:
    """Returns the latest sign of life of a run; None where there is none that can be read."""
    try:
        return Heartbeat.model_validate_json((run_folder / OWN_FOLDER / HEARTBEAT).read_text())
    except (OSError, ValueError):
        return None


def write_curve(run_folder: Path, curve: Curve) -> None:
    """Writes ``evaluations.npz`` with SB3's keys (``timesteps results ep_lengths successes``), atomically."""
    arrays: dict[str, np.ndarray] = {
        "timesteps": curve.env_steps,
        "results": curve.episode_returns,
        "ep_lengths": curve.episode_lengths,
    }
    if curve.successes is not None:
        arrays["successes"] = curve.successes
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    files.write_bytes(run_folder / CURVE, buffer.getvalue())


def read_curve(run_folder: Path) -> Curve:
    """Returns the evaluation curve of a run folder, ours or RL Zoo's.

    Raises:
        RunError: There is no readable ``evaluations.npz``.
    """
    path = run_folder / CURVE
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return Curve(
                env_steps=arrays["timesteps"],
                episode_returns=arrays["results"],
                episode_lengths=arrays["ep_lengths"],
                successes=arrays["successes"].astype(bool) if "successes" in arrays else None,
            )
    except FileNotFoundError:
        raise RunError(f"{run_folder} has no evaluation curve: {path} is missing.") from None
    except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise RunError(f"{path} cannot be read as an evaluation curve: {error}") from None


def write_representation(run_folder: Path, found: Representation) -> None:
    """Writes ``<run>/rltransfer/representation.npz``, atomically."""
    arrays: dict[str, np.ndarray] = {"timesteps": found.env_steps, "layers": np.array(found.layers), **found.measures}
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    files.write_bytes(run_folder / OWN_FOLDER / REPRESENTATION, buffer.getvalue())


def read_representation(run_folder: Path) -> Representation | None:
    """Returns what the layers of a run represented; None where that was not recorded.

    Raises:
        RunError: The file is damaged.
    """
    path = run_folder / OWN_FOLDER / REPRESENTATION
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as arrays:
            names = [field.name for field in dataclasses.fields(RepresentationPoint)]
            return Representation(
                env_steps=arrays["timesteps"],
                layers=tuple(str(name) for name in arrays["layers"]),
                measures={name: arrays[name] for name in names},
            )
    except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise RunError(f"{path} cannot be read as a record of representations: {error}") from None


def read_training_episodes(run_folder: Path) -> TrainingEpisodes:
    """Returns the training episodes that SB3's ``Monitor`` wrote to ``*.monitor.csv``; without any file, no episodes.

    Raises:
        RunError: A monitor file is damaged.
    """
    rows: list[tuple[float, int]] = []
    for path in sorted(run_folder.glob(MONITORS)):
        try:
            with path.open(newline="") as lines:
                next(lines, None)  # SB3's first line is a JSON comment, the second the column names.
                rows += [(float(row["r"]), int(row["l"])) for row in csv.DictReader(lines)]
        except (ValueError, KeyError, TypeError, csv.Error) as error:
            raise RunError(f"{path} cannot be read as a monitor file of SB3: {error!r}") from None
    returns, lengths = zip(*rows, strict=True) if rows else ((), ())
    return TrainingEpisodes(np.array(returns, dtype=float), np.array(lengths, dtype=int))


def read_run(run_folder: Path) -> Run:
    """Returns the record of a run folder, with its curve where there is one."""
    record = read_record(run_folder)
    curve = read_curve(run_folder) if (run_folder / CURVE).exists() else None
    return Run(folder=run_folder, record=record, curve=curve)


def find_runs(root: Path, say_unreadable: Callable[[Path, RunError], None] | None = None) -> Iterator[Run]:
    """Yields every run of ours below ``root``, in the order of their paths.

    Args:
        root: The folder.
        say_unreadable: Receives the folder of a run whose record or curve is damaged, and what is wrong; without it,
            the first such run stops the search.

    Raises:
        RunError: A run cannot be read.
    """
    for path in sorted(root.rglob(f"{OWN_FOLDER}/{RECORD}")):
        folder = path.parent.parent
        try:
            run = read_run(folder)
        except RunError as error:
            if say_unreadable is None:
                raise
            say_unreadable(folder, error)
        else:
            yield run
