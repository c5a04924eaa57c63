"""One process's work on a run: from its beginning or from a checkpoint, to its end or to the next interruption."""

import contextlib
import dataclasses
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.logger import Logger, TensorBoardOutputFormat, configure
from stable_baselines3.common.vec_env import VecEnv
from tensorboard.compat.proto.event_pb2 import Event, SessionLog  # type: ignore[import-untyped]

from rltransfer import files, tasks
from rltransfer.config import RunConfig
from rltransfer.errors import BrokenEnvironmentError, RLTransferError, Stopped
from rltransfer.records import LAST_NORMALISER, REPLAY_BUFFER, Check, Episodes, Resumption, SourceFacts, read_record
from rltransfer.run_folder import tensorboard_folder
from rltransfer.training import heartbeat
from rltransfer.training.agent_files import save_agent, save_normaliser, save_replay_buffer
from rltransfer.training.agents import refuse_broken_weights
from rltransfer.training.evaluation import derived_seed
from rltransfer.training.heartbeat import Heart, StopNow
from rltransfer.training.record_writer import note_end, update_record, versions
from rltransfer.training.resume import rewind
from rltransfer.training.resume.checkpoint import Checkpoint, Checkpoints
from rltransfer.training.resume.save_run import Pace, Saved, SaveRun

COSTLY_EVALUATION = 0.25
"""The share of a run's time from which a run says how evaluations could cost less."""


@dataclasses.dataclass
class Session:
    """What the work on a run needs beside its agents.

    Attributes:
        config: The run.
        folder: Its folder.
        checkpoints: Where it is saved.
        checkpoint: Where it goes on; None at its beginning.
        stop: Returns whether it is to stop.
        heart: Shows that it is alive, and ends what must not go on.
        evaluation_seconds: In which agents were evaluated so far, earlier sessions included.
    """

    config: RunConfig
    folder: Path
    checkpoints: Checkpoints
    checkpoint: Checkpoint | None
    stop: Callable[[], bool]
    heart: Heart

    def __post_init__(self) -> None:
        self.heart.listen(self.stop)
        self._began = time.monotonic()
        self.evaluation_seconds = (
            float(self.checkpoint.state.get("evaluation_seconds", 0.0)) if self.checkpoint else 0.0
        )
        self._saved = None if self.checkpoint is None else self.checkpoint.env_steps
        self._pace = Pace(self.config.checkpoint_freq)

    @property
    def begin(self) -> dict[str, Any] | None:
        """The state to go on from; None at the beginning of the run."""
        return self.checkpoint.state if self.checkpoint else None

    def seconds(self) -> float:
        """Returns how long the run has taken, earlier sessions included."""
        before = self.checkpoint.state["seconds"] if self.checkpoint else 0.0
        return float(before) + time.monotonic() - self._began

    @contextlib.contextmanager
    def evaluating(self) -> Iterator[None]:
        """Counts the seconds in which agents are evaluated."""
        began = time.monotonic()
        try:
            yield
        finally:
            self.evaluation_seconds += time.monotonic() - began

    @contextlib.contextmanager
    def _evaluating_curve(self) -> Iterator[None]:
        with self.evaluating(), self.heart.giving_up_after(heartbeat.EVALUATION_SECONDS):
            yield

    def say(self, line: str) -> None:
        """Prints a line, unless the run is to be silent."""
        if self.config.verbose:
            try:
                print(line, flush=True)
            except OSError as error:
                raise files.not_written("standard output", error) from error

    def introduce(self) -> None:
        """Says what the run is."""
        config = self.config
        self.say(
            f"{config.arm} on {config.task.env}, seed {config.seed}, {config.n_timesteps:,} steps -> {self.folder}"
        )

    def scores(
        self, source: SourceFacts | None, keeping: tasks.Keeping, score: Callable[[], dict[str, Episodes]]
    ) -> dict[str, Episodes]:
        """Writes down how the run begins, or goes on; returns its scores from before training."""
        level = "exact" if keeping.is_exact else "boundary"
        kept = "an interruption changes nothing"
        lost = "the state of the environments cannot be taken: after an interruption new episodes begin"
        self.say(f"resume level: {level} ({kept if keeping.is_exact else lost})")
        if self.checkpoint is None:
            with self.evaluating():
                new_scores = score()
            update_record(self.folder, source=source, resume_level=level, **new_scores)
            return new_scores
        record, state = read_record(self.folder), self.checkpoint.state
        is_exact = state["exact"] and state["versions"] == versions()
        resumed = Resumption(env_steps=self.checkpoint.env_steps, exact=is_exact)
        update_record(self.folder, resumed=(*record.resumed, resumed))
        how = "as if there had been no interruption" if is_exact else "not bit by bit"
        self.say(f"goes on from {self.checkpoint.env_steps:,} env_steps, {how}")
        return {name: scores for name in ("random", "initial") if (scores := getattr(record, name)) is not None}

    def logger(self) -> Logger:
        """Returns the logger of the run."""
        formats = ["tensorboard", "stdout"] if self.config.verbose > 1 else ["tensorboard"]
        events = tensorboard_folder(self.config, self.folder)
        logger = configure(str(events), formats)
        for output in logger.output_formats:
            if not isinstance(output, TensorBoardOutputFormat):
                continue
            if self.checkpoint is not None:
                # The files are cut already: this is for a TensorBoard that has read them before.
                start = Event(step=self.checkpoint.env_steps + 1, session_log=SessionLog(status=SessionLog.START))
                output.writer._get_file_writer().add_event(start)  # type: ignore[no-untyped-call]
            _name_its_file(output, events)
        return logger

    def curve_settings(self) -> dict[str, Any]:
        """Returns how the run is evaluated."""

        def report(step: int, episodes: Episodes) -> None:
            count = len(episodes.episode_returns)
            self.say(f"step {step:>9,}  mean return {episodes.mean_return:10.2f}  ({count} episodes)")

        config = self.config
        return {
            "eval_freq": config.evaluation.frequency(config.n_timesteps),
            "episodes": config.evaluation.episodes,
            "seed": derived_seed(config.seed, "curve"),
            "deterministic": tasks.evaluates_deterministically(config.task.env),
            "report": report,
            "evaluating": self._evaluating_curve,
        }

    def stopping_at_once(self) -> contextlib.AbstractContextManager[None]:
        """Gives up what follows when the run is asked to stop: it is done again when the run goes on."""
        return self.heart.giving_up_after(0.0)

    def stopping_at_rollouts(self) -> contextlib.AbstractContextManager[None]:
        """Lets a rollout end, after which the run is saved, when the run is asked to stop, unless it takes too long."""
        return self.heart.giving_up_after(heartbeat.ROLLOUT_SECONDS)

    def saver(self, run: Saved, begin: dict[str, Any] | None) -> SaveRun:
        """Returns the callback that saves a run, and resumes it from a state if one is given."""
        return SaveRun(run, self._save, pace=self._pace, stop=self._is_asked_to_stop, begin=begin)

    def save_last(self, agent: BaseAlgorithm) -> None:
        """Writes the last agent with its statistics, and its replay buffer where that is wanted."""
        refuse_broken_weights(agent)
        name = self.config.task.file_name
        save_normaliser(agent.get_vec_normalize_env(), self.folder / name / LAST_NORMALISER)
        save_agent(agent, self.folder / f"{name}.zip")
        if self.config.save_replay_buffer:
            save_replay_buffer(agent, self.folder / REPLAY_BUFFER)

    def report_end(self, scores: dict[str, Any], checks: tuple[Check, ...]) -> None:
        """Says how the run has ended."""
        final, uniform = scores["final"].mean_return, scores["random"].mean_return
        self.say(f"last agent: mean return {final:.2f} on fresh seeds (uniform random policy: {uniform:.2f})")
        if "best" in scores:
            self.say(f"best agent: mean return {scores['best'].mean_return:.2f} on the same seeds")
        if "retention" in scores:
            self.say(f"last agent in the source task: mean return {scores['retention'].mean_return:.2f}")
        for check in checks:
            self.say(f"check {'passed' if check.passed else 'FAILED'}: {check.name} ({check.detail})")
        share = self.evaluation_seconds / self.seconds()
        hint = "; fewer of them (--eval-freq, --eval-episodes) make runs faster" if share > COSTLY_EVALUATION else ""
        self.say(f"evaluations took {share:.0%} of the time{hint}")
        self.say(f"written to {self.folder}")

    def watch(self, env: VecEnv) -> None:
        """Ends steps of environments that take too long."""
        self.heart.watch([tasks.watch_of(env).stopwatch])

    @contextlib.contextmanager
    def watching(self, agents: list[BaseAlgorithm], envs: list[Any], env_steps: Callable[[], int]) -> Iterator[None]:
        """Watches a run's environments, and says where in the run one of them, or an agent's weights, broke."""
        for env in envs:
            self.watch(env)
        self.heart.follow(env_steps)
        try:
            yield
        except (BrokenEnvironmentError, ValueError) as error:
            # An agent whose weights are NaN acts NaN, which its environment may answer; or SB3 fails on it in its way.
            for agent in agents:
                refuse_broken_weights(agent)
            if not isinstance(error, BrokenEnvironmentError):
                raise
            raise BrokenEnvironmentError(
                f"{error} (after {env_steps():,} env_steps, seed {self.config.seed})"
            ) from error.__cause__

    @contextlib.contextmanager
    def noting_end(self) -> Iterator[None]:
        """Writes into the record how a run came to an early end, and names a file where the disk is full."""
        try:
            yield
        except Stopped:
            self._note_end(status="stopped")
            raise
        except StopNow:
            self._note_end(status="stopped")
            where = "before anything was saved" if self._saved is None else f"as saved after {self._saved:,} env_steps"
            raise Stopped(f"stopped {where}") from None
        except BaseException as error:
            named: BaseException = error
            if isinstance(error, OSError) and files.is_full(error):
                named = files.not_written(error.filename or f"a file in {self.folder}", error)
            is_ours = isinstance(named, RLTransferError)
            reason = str(named) if is_ours else "".join(traceback.format_exception_only(named)).strip()
            self._note_end(status="failed", error=reason)
            if named is not error:
                raise named from error
            raise

    def _note_end(self, **facts: Any) -> None:
        """Writes into the record how the run ended, unless the record is another process's by now."""
        if self.heart.owns_folder():
            seconds = {"wall_seconds": self.seconds(), "evaluation_seconds": self.evaluation_seconds}
            note_end(self.folder, **facts, **seconds)

    def _save(self, env_steps: int, state: dict[str, Any]) -> None:
        facts = {
            "events": rewind.event_lengths(self.config, self.folder),
            "seconds": self.seconds(),
            "evaluation_seconds": self.evaluation_seconds,
            "versions": versions(),
        }
        self.heart.refuse_lost_claim(look=True)
        self.checkpoints.save(env_steps, state | facts, keep=rewind.kept_files(self.folder))
        self._saved = env_steps

    def _is_asked_to_stop(self) -> bool:
        self.heart.refuse_lost_claim()
        return self.heart.is_asked_to_stop()


def _name_its_file(output: Any, folder: Path) -> None:
    """Lets it say which event file cannot be written: its writer's thread leaves an error without a name."""
    write = output.write

    def write_or_name(*content: Any) -> None:
        try:
            write(*content)
        except OSError as error:
            newest = max(folder.glob(rewind.EVENTS), default=folder)
            raise files.not_written(newest, error) from error

    output.write = write_or_name
