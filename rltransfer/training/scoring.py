"""Scores an agent before training, and at the end on evaluation seeds that no agent was selected on."""

from typing import Any

from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import VecEnv

from rltransfer import tasks
from rltransfer.config import RunConfig
from rltransfer.records import Episodes
from rltransfer.tasks import UniformPolicy
from rltransfer.training.callbacks import Snapshot
from rltransfer.training.evaluation import derived_seed, evaluate, evaluate_agent

SCORING_EPISODES = 20


def score_random(config: RunConfig, env: VecEnv) -> dict[str, Episodes]:
    """Scores a uniform policy in the task itself: in environments where no source acts."""
    return {"random": evaluate(UniformPolicy(env, _at_the_start(config)["seed"]), env, **_at_the_start(config))}


def score_start(config: RunConfig, agent: BaseAlgorithm, env: VecEnv) -> dict[str, Episodes]:
    """Scores the agent before training with sampled actions: its mode alone is a lottery."""
    return {"initial": evaluate_agent(agent, env, **_at_the_start(config))}


def score_last(config: RunConfig, agent: BaseAlgorithm, env: VecEnv) -> dict[str, Episodes]:
    """Scores the last agent on evaluation seeds that no agent was selected on."""
    return {"final": evaluate_agent(agent, env, **_at_the_end(config))}


def score_best(config: RunConfig, agent: BaseAlgorithm, env: VecEnv, best: Snapshot | None) -> dict[str, Episodes]:
    """Scores the best agent on evaluation seeds that it was not selected on; leaves the agent as it was."""
    if best is None:
        return {}
    last = Snapshot.of(agent)
    best.put_into(agent)
    score = evaluate_agent(agent, env, **_at_the_end(config))
    last.put_into(agent)
    return {"best": score}


def _at_the_start(config: RunConfig) -> dict[str, Any]:
    return {
        "episodes": max(SCORING_EPISODES, config.evaluation.episodes),
        "seed": derived_seed(config.seed, "start"),
        "deterministic": False,
    }


def _at_the_end(config: RunConfig) -> dict[str, Any]:
    return {
        "episodes": max(SCORING_EPISODES, config.evaluation.episodes),
        "seed": derived_seed(config.seed, "final"),
        "deterministic": tasks.evaluates_deterministically(config.task.env),
    }
