"""Scores an agent in the task that its source was trained in: what the target training left of that skill."""

from collections.abc import Callable, Mapping
from typing import Any

from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import VecEnv

from rltransfer import tasks
from rltransfer.config import RunConfig, Task
from rltransfer.records import SourceFacts
from rltransfer.training import scoring
from rltransfer.training.evaluation import derived_seed, evaluate_agent
from rltransfer.transfer import Transfer


def score_in_source(
    config: RunConfig,
    agent: BaseAlgorithm,
    source: SourceFacts | None,
    transfer: Transfer | None,
    *,
    watch: Callable[[VecEnv], None],
) -> dict[str, Any]:
    """Returns the episodes of the agent in its source task as ``retention``, or why there are none.

    The agent plays as it is, with the heads and the observation statistics that it ended with. Whatever goes wrong
    here is a reason and no failure: the run is done. ``watch`` ends a step in the source task that takes too long.
    """
    problem = _problem(config, source)
    if problem or source is None or source.task is None:
        return {"no_retention": problem}
    task = Task(env=source.task.env, kwargs=source.task.kwargs)
    try:
        env = tasks.make_eval_env(
            task,
            config.hyperparams,
            seed=config.seed,
            n_envs=config.evaluation.parallel,
            max_episode_steps=config.evaluation.max_episode_steps,
        )
        watch(env)
        env = env if transfer is None else transfer.equip(env)
    except Exception as error:
        return {"no_retention": f"the source task cannot be made: {error}"}
    try:
        for name, here, there in (
            ("observations", agent.observation_space, env.observation_space),
            ("actions", agent.action_space, env.action_space),
        ):
            if not fits(here, there):
                return {"no_retention": f"the source task's {name} are others: {there} there, {here} here"}
        episodes = evaluate_agent(
            agent,
            env,
            episodes=max(scoring.SCORING_EPISODES, config.evaluation.episodes),
            seed=derived_seed(config.seed, "retention"),
            deterministic=tasks.evaluates_deterministically(task.env),
        )
    except Exception as error:
        return {"no_retention": f"the source task cannot be played: {error}"}
    finally:
        env.close()
    return {"retention": episodes}


def fits(here: spaces.Space[Any], there: spaces.Space[Any]) -> bool:
    """Returns whether what acts on one space can act on another: alike up to the bounds of numbers."""
    if isinstance(here, spaces.Box) and isinstance(there, spaces.Box):
        return here.shape == there.shape and here.dtype == there.dtype
    if isinstance(here, spaces.Dict) and isinstance(there, spaces.Dict):
        parts: Mapping[str, spaces.Space[Any]] = there.spaces
        return here.spaces.keys() == parts.keys() and all(fits(here[key], parts[key]) for key in parts)
    return here == there


def _problem(config: RunConfig, source: SourceFacts | None) -> str:
    """Returns why the agent cannot be put into its source task, or an empty text."""
    if source is None:
        return "the arm has no source"
    if source.task is None:
        return "the source does not say which task it was trained in"
    if config.maps():
        return "its inputs or actions match the source's through a map, which the source task knows nothing of"
    wrappers = config.task.facts(config.hyperparams).wrappers
    if source.task.wrappers != wrappers:
        names = [", ".join(some) or "none" for some in (source.task.wrappers, wrappers)]
        return f"the source task has other wrappers: {names[0]} there, {names[1]} here"
    return ""
