"""Turns the runs of one or more folders into the report's tables: which arm helps, by how much, and why."""

from rltransfer.comparison.assembly import compare
from rltransfer.comparison.tables import (
    Arm,
    Comparison,
    FailedCheck,
    Origin,
    RunScores,
    Score,
    SkippedRun,
    StepsAccount,
    TaskComparison,
)

__all__ = [
    "Arm",
    "Comparison",
    "FailedCheck",
    "Origin",
    "RunScores",
    "Score",
    "SkippedRun",
    "StepsAccount",
    "TaskComparison",
    "compare",
]
