"""Expands tasks x arms x seeds into runs and runs what is missing."""

from rltransfer.study.confirm import confirm_study
from rltransfer.study.expand import expand_study
from rltransfer.study.run import run_study, set_up_study, work_on_study
from rltransfer.study.status import study_status

__all__ = ["confirm_study", "expand_study", "run_study", "set_up_study", "study_status", "work_on_study"]
