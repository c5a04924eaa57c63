"""Expands tasks x arms x seeds into runs and runs what is missing."""

from rltransfer.study.confirm import confirm_study
from rltransfer.study.expand import Job, expand_study
from rltransfer.study.run import run_study, set_up_study, work_on_study
from rltransfer.study.status import RunState, count_states, run_state, study_status, write_study
from rltransfer.study.tune import tune_study

__all__ = [
    "Job",
    "RunState",
    "confirm_study",
    "count_states",
    "expand_study",
    "run_state",
    "run_study",
    "set_up_study",
    "study_status",
    "tune_study",
    "work_on_study",
    "write_study",
]
