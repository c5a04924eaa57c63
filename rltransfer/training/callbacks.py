"""What happens during a run beside SB3's training: evaluations, checkpoints, lines on the terminal."""

import contextlib
import copy
import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.vec_env import VecEnv

from rltransfer.records import BEST_AGENT, BEST_NORMALISER, Curve, Episodes, write_curve
from rltransfer.training.agent_files import save_agent, save_normaliser, save_replay_buffer
from rltransfer.training.agents import refuse_broken_weights
from rltransfer.training.evaluation import evaluate_agent
from rltransfer.training.representation import RepresentationCurve


@dataclasses.dataclass(frozen=True)
class Snapshot:
    """An agent's weights and observation statistics at one moment."""

    weights: dict[str, torch.Tensor]
    statistics: Any

    @classmethod
    def of(cls, agent: BaseAlgorithm) -> "Snapshot":
        """Returns a copy of what the agent has now."""
        normaliser = agent.get_vec_normalize_env()
        return cls(
            weights={name: tensor.detach().clone() for name, tensor in agent.policy.state_dict().items()},
            statistics=copy.deepcopy(normaliser.obs_rms) if normaliser is not None and normaliser.norm_obs else None,
        )

    def put_into(self, agent: BaseAlgorithm) -> None:
        """Gives the agent these weights and statistics."""
        agent.policy.load_state_dict(self.weights)
        normaliser = agent.get_vec_normalize_env()
        if normaliser is not None and self.statistics is not None:
            normaliser.obs_rms = copy.deepcopy(self.statistics)


@dataclasses.dataclass(frozen=True)
class Subject:
    """What an evaluation looks at: an agent, the environments that it is evaluated on, and the env_steps so far.

    No update counts in the agent's first ``quiet_steps``. ``name`` tells it from others that are evaluated in turn.
    """

    agent: BaseAlgorithm
    env: VecEnv
    env_steps: int
    quiet_steps: int
    name: str = ""

    @property
    def moment(self) -> tuple[str, int, int]:
        """What tells whether anything has changed since an earlier evaluation."""
        return self.name, self.env_steps, self.agent._n_updates


class CurveCallback(BaseCallback):
    """Evaluates at step 0, whenever ``eval_freq`` env_steps have passed, and at the end; keeps the best agent.

    SB3's ``EvalCallback`` has no point at step 0 and counts calls instead of steps (sb3_facts.md#evaluation). Every
    evaluation uses the same seed, so that a point of the curve depends only on weights and statistics. An agent that no
    update has changed yet never becomes the best one; where none was evaluated after an update, the last one is kept.
    ``run_logger`` is where evaluations are logged, if not where the agent logs. Evaluations are played within
    ``evaluating``, which may end them. What the agent's layers represent is looked at with each evaluation where there
    is a curve of it.
    """

    run_logger: Logger | None = None

    def __init__(
        self,
        folder: Path,
        env: VecEnv,
        *,
        eval_freq: int,
        episodes: int,
        seed: int,
        deterministic: bool,
        report: Callable[[int, Episodes], None],
        evaluating: Callable[[], contextlib.AbstractContextManager[None]] = contextlib.nullcontext,
        quiet_steps: int = 0,
        representation: RepresentationCurve | None = None,
    ) -> None:
        super().__init__()
        self._quiet_steps = quiet_steps
        self._representation = representation
        self.best: Snapshot | None = None
        self._folder = folder
        self._env = env
        self._eval_freq = eval_freq
        self._episodes = episodes
        self._seed = seed
        self._deterministic = deterministic
        self._report = report
        self._evaluating = evaluating
        self._points: list[tuple[int, Episodes]] = []
        self._best = -np.inf
        self._evaluated = ("", -1, -1)

    def subject(self) -> Subject:
        """Returns what is evaluated now."""
        return Subject(self.model, self._env, self.num_timesteps, self._quiet_steps)

    def finish(self) -> None:
        """Evaluates once more where something has changed since the last time."""
        subject = self.subject()
        if self._evaluated != subject.moment:
            if self._points[-1][0] == subject.env_steps:
                # Measured at the end of the last rollout, before the update that came after it.
                self._points.pop()
            self._evaluate(subject)
        if self.best is None:
            self._keep_best(subject)

    def state_dict(self) -> dict[str, Any]:
        """Returns the curve so far, and the best agent."""
        return {"points": list(self._points), "score": self._best, "evaluated": self._evaluated, "best": self.best}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Loads an earlier curve, and writes it."""
        self._points = list(state["points"])
        self._best, self._evaluated, self.best = state["score"], state["evaluated"], state["best"]
        write_curve(self._folder, _curve(self._points))

    def _on_training_start(self) -> None:
        if not self._points:
            self._evaluate(self.subject())

    def _on_step(self) -> bool:
        subject = self.subject()
        if subject.env_steps // self._eval_freq > self._points[-1][0] // self._eval_freq:
            self._evaluate(subject)
        return True

    def _on_training_end(self) -> None:
        self.finish()

    def _evaluate(self, subject: Subject) -> None:
        refuse_broken_weights(subject.agent)
        with self._evaluating():
            episodes = evaluate_agent(
                subject.agent, subject.env, episodes=self._episodes, seed=self._seed, deterministic=self._deterministic
            )
        self._points.append((subject.env_steps, episodes))
        self._evaluated = subject.moment
        write_curve(self._folder, _curve(self._points))
        self._log(episodes, subject)
        # More steps than 0 are not enough: a first rollout, or learning_starts, may be longer than eval_freq.
        # Nor are updates, where a plan lets none of the first steps count.
        is_trained = subject.agent._n_updates > 0 and subject.agent.num_timesteps > subject.quiet_steps
        if is_trained and episodes.mean_return > self._best:
            self._best = episodes.mean_return
            self._keep_best(subject)
        self._report(subject.env_steps, episodes)

    def _keep_best(self, subject: Subject) -> None:
        save_normaliser(subject.agent.get_vec_normalize_env(), self._folder / BEST_NORMALISER)
        save_agent(subject.agent, self._folder / BEST_AGENT)
        self.best = Snapshot.of(subject.agent)

    def _log(self, episodes: Episodes, subject: Subject) -> None:
        logger = self.run_logger or self.logger
        if self._representation is not None:
            for name, value in self._representation.add(subject.env_steps, subject.agent).items():
                logger.record(name, value)
        logger.record("eval/mean_reward", episodes.mean_return)
        logger.record("eval/mean_ep_length", float(np.mean(episodes.episode_lengths)))
        if episodes.successes is not None:
            logger.record("eval/success_rate", float(np.mean(episodes.successes)))
        logger.record("time/total_timesteps", subject.env_steps, exclude="tensorboard")
        logger.dump(subject.env_steps)


class _KeepAgents(BaseCallback):
    """Saves ``rl_model_<n>_steps.zip`` with its statistics, atomically; the kinds of it say when."""

    def __init__(self, folder: Path, *, replay_buffer: bool) -> None:
        super().__init__()
        self._folder = folder
        self._replay_buffer = replay_buffer
        self._last = 0

    def state_dict(self) -> int:
        """Returns up to which step everything is saved."""
        return self._last

    def load_state_dict(self, state: int) -> None:
        """Loads up to which step everything was saved."""
        self._last = state

    def _keep(self, steps: int) -> None:
        """Saves the agent under a number of steps, its statistics first: without them it would not be the same."""
        agent, folder = self.model, self._folder
        save_normaliser(agent.get_vec_normalize_env(), folder / f"rl_model_vecnormalize_{steps}_steps.pkl")
        if self._replay_buffer:
            save_replay_buffer(agent, folder / f"rl_model_replay_buffer_{steps}_steps.pkl")
        save_agent(agent, folder / f"rl_model_{steps}_steps.zip")


class CheckpointCallback(_KeepAgents):
    """Saves the agent whenever ``save_freq`` env_steps have passed."""

    def __init__(self, folder: Path, save_freq: int, *, replay_buffer: bool) -> None:
        super().__init__(folder, replay_buffer=replay_buffer)
        self._save_freq = save_freq

    def _on_step(self) -> bool:
        if self.num_timesteps // self._save_freq > self._last // self._save_freq:
            self._last = self.num_timesteps
            self._keep(self.num_timesteps)
        return True


class MilestoneCallback(_KeepAgents):
    """Saves the agent as ``rl_model_<n>_steps.zip`` at the first step from each ``n`` of ``save_at`` on.

    Where several environments step at once, that can be a few steps later; the zip knows of how many steps it is.
    """

    def __init__(self, folder: Path, save_at: Sequence[int], *, replay_buffer: bool) -> None:
        super().__init__(folder, replay_buffer=replay_buffer)
        self._save_at = tuple(save_at)

    def _on_step(self) -> bool:
        for steps in self._save_at:
            if self._last < steps <= self.num_timesteps:
                self._keep(steps)
        self._last = self.num_timesteps
        return True


class LogRollouts(BaseCallback):
    """Dumps SB3's log every few rollouts of an on-policy agent, counted from the beginning of the run.

    SB3 itself counts from the beginning of the call of ``learn``, which is another one after a resume.
    """

    def __init__(self, interval: int) -> None:
        super().__init__()
        self._interval = interval
        self._rollouts = 0

    def state_dict(self) -> int:
        """Returns how many rollouts there were."""
        return self._rollouts

    def load_state_dict(self, state: int) -> None:
        """Loads how many rollouts there were."""
        self._rollouts = state

    def _on_rollout_end(self) -> None:
        self._rollouts += 1
        if self._rollouts % self._interval == 0:
            self.model.dump_logs(self._rollouts)  # type: ignore[call-arg]

    def _on_step(self) -> bool:
        return True


def _curve(points: list[tuple[int, Episodes]]) -> Curve:
    successes = [episodes.successes for _, episodes in points]
    return Curve(
        env_steps=np.array([step for step, _ in points]),
        episode_returns=np.array([episodes.episode_returns for _, episodes in points]),
        episode_lengths=np.array([episodes.episode_lengths for _, episodes in points]),
        successes=None if None in successes else np.array(successes, dtype=bool),
    )
