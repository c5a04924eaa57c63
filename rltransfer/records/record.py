"""The record of a run: its facts, in ``<run>/rltransfer/record.json``."""

import contextlib
import json
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, SerializerFunctionWrapHandler, ValidationError, model_serializer

from rltransfer import files
from rltransfer.errors import RunError
from rltransfer.records.names import COMMAND, HEARTBEAT, OWN_FOLDER, RECORD
from rltransfer.records.network import NetworkFacts

Status = Literal["running", "stopped", "done", "failed"]


class TaskFacts(BaseModel, frozen=True, extra="forbid"):
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


class Episodes(BaseModel, frozen=True, extra="forbid"):
    """Undiscounted returns and lengths of evaluation episodes of one policy on one task.

    ``cut_off`` is how many of them did not end by themselves, but at the bound of the evaluation.
    """

    episode_returns: tuple[float, ...]
    episode_lengths: tuple[int, ...]
    successes: tuple[bool, ...] | None = None
    deterministic: bool
    seed: int
    cut_off: int = 0

    @property
    def mean_return(self) -> float:
        """The mean episode return."""
        return float(np.mean(self.episode_returns))


class EvaluationFacts(BaseModel, frozen=True, extra="forbid"):
    """How the evaluation curve of a run was made; ``max_episode_steps`` is the bound of episodes that was set."""

    eval_freq: int
    episodes: int
    n_envs: int
    deterministic: bool
    env_kwargs: dict[str, Any] | None = None
    max_episode_steps: int | None = None


class SourceFacts(BaseModel, frozen=True, extra="forbid"):
    """Where the transferred weights came from; ``env_steps`` is accumulated along chains A -> B -> C.

    ``random_return`` is what a uniform policy scored in the source task, ``reward_threshold`` what solves it.
    ``is_residual`` says that its actions are added to another agent's, and mean nothing alone. A pretrained network,
    which is no agent, has a ``network`` in place of an ``algo``.
    """

    path: str
    sha256: str
    algo: str | None = None
    task: TaskFacts | None = None
    seed: int | None = None
    env_steps: int | None = None
    mean_return: float | None = None
    random_return: float | None = None
    reward_threshold: float | None = None
    which: str | None = None
    is_residual: bool = False
    network: NetworkFacts | None = None

    @model_serializer(mode="wrap")
    def _leave_out_no_network(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        facts: dict[str, Any] = serialise(self)
        if self.network is None:
            # Version 0.1, which reads artifacts of agents, does not know it.
            facts.pop("network", None)
        return facts

    @property
    def what(self) -> str:
        """What the source is, in words: an agent of an algorithm, or a network of a library."""
        return f"an agent of {self.algo}" if self.network is None else f"the network {self.network.name}"


class Check(BaseModel, frozen=True, extra="forbid"):
    """One self-check of a run, for example that frozen tensors are bit-identical after training."""

    name: str
    passed: bool
    detail: str


class Trial(BaseModel, frozen=True, extra="forbid"):
    """One strategy that a run of ``auto`` tried: what it cost, its score after each slice, and how it ended."""

    label: str
    strategy: tuple[dict[str, Any], ...]
    env_steps: int = 0
    evaluation_steps: int = 0
    scores: tuple[float, ...] = ()
    end: str


class RaceFacts(BaseModel, frozen=True, extra="forbid"):
    """What a run of ``auto`` tried, in the order of its trials."""

    trials: tuple[Trial, ...]

    @property
    def winner(self) -> str:
        """The label of the strategy that went on."""
        return next(trial.label for trial in self.trials if trial.end == "went on")


class Resumption(BaseModel, frozen=True, extra="forbid"):
    """Where a run was resumed, and whether it went on bit by bit as if it had not been interrupted."""

    env_steps: int
    exact: bool


class Heartbeat(BaseModel, frozen=True, extra="forbid"):
    """The latest sign of life of the process that writes a run; ``time`` is in seconds since 1970."""

    host: str
    pid: int
    time: float
    env_steps: int
    steps_per_second: float


class RunRecord(BaseModel, frozen=True, extra="forbid"):
    """The facts of one run: one agent, one seed.

    ``maps`` is how its inputs and actions match the source's. ``retention`` is the last agent in the source task,
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
    evaluation_seconds: float | None = None
    started: str = ""
    versions: dict[str, str] = {}
    resume_level: Literal["exact", "boundary"] | None = None
    resumed: tuple[Resumption, ...] = ()
    error: str | None = None

    @property
    def is_of_version_0_1(self) -> bool:
        """Whether rltransfer 0.1 began the run."""
        return self.versions.get("rltransfer", "").startswith("0.1.")


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
