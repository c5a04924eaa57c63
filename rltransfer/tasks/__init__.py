"""Builds seeded, monitored and watched vector environments from a task, and takes their state."""

from rltransfer.tasks.build import (
    check_randomise,
    check_task,
    evaluates_deterministically,
    import_packages,
    make_eval_env,
    make_train_env,
    reward_threshold,
)
from rltransfer.tasks.env_guard import Watched, watch_of
from rltransfer.tasks.env_snapshot import Keeping, dump_states, find_joint_keeping, find_keeping, load_states
from rltransfer.tasks.env_state import copy_generators
from rltransfer.tasks.evaluation_envs import EvaluationEnvs
from rltransfer.tasks.random_policy import UniformPolicy, action_masks, has_action_masks
from rltransfer.tasks.stopwatch import Stopwatch

__all__ = [
    "EvaluationEnvs",
    "Keeping",
    "Stopwatch",
    "UniformPolicy",
    "Watched",
    "action_masks",
    "check_randomise",
    "check_task",
    "copy_generators",
    "dump_states",
    "evaluates_deterministically",
    "find_joint_keeping",
    "find_keeping",
    "has_action_masks",
    "import_packages",
    "load_states",
    "make_eval_env",
    "make_train_env",
    "reward_threshold",
    "watch_of",
]
