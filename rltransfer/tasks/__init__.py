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
from rltransfer.tasks.keep import Keeping, find_joint_keeping, find_keeping, put_states, take_states
from rltransfer.tasks.state import copy_generators
from rltransfer.tasks.stopwatch import Stopwatch
from rltransfer.tasks.watch import Watched, watch_of

__all__ = [
    "Keeping",
    "Stopwatch",
    "Watched",
    "check_randomise",
    "check_task",
    "copy_generators",
    "evaluates_deterministically",
    "find_joint_keeping",
    "find_keeping",
    "import_packages",
    "make_eval_env",
    "make_train_env",
    "put_states",
    "reward_threshold",
    "take_states",
    "watch_of",
]
