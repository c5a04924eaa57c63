"""Expands tasks x arms x seeds into runs and runs what is missing."""

from rltransfer.study.expand import expand_study
from rltransfer.study.run import run_study
from rltransfer.study.status import study_status

__all__ = ["expand_study", "run_study", "study_status"]
