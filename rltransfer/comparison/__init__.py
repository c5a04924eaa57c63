"""Turns the runs of one or more folders into the report's tables: which arm helps, by how much, and why."""

from rltransfer.comparison.assembly import compare
from rltransfer.comparison.pilot import PilotSpread, pilot_spreads
from rltransfer.comparison.tables import (
    Arm,
    ArmAcrossTasks,
    Comparison,
    Detectable,
    Effort,
    FailedCheck,
    NamedEffect,
    Origin,
    Retention,
    Robust,
    RunScores,
    Score,
    SkippedRun,
    StepsAccount,
    TaskComparison,
    ThresholdTime,
    TotalAccount,
)

__all__ = [
    "Arm",
    "ArmAcrossTasks",
    "Comparison",
    "Detectable",
    "Effort",
    "FailedCheck",
    "NamedEffect",
    "Origin",
    "PilotSpread",
    "Retention",
    "Robust",
    "RunScores",
    "Score",
    "SkippedRun",
    "StepsAccount",
    "TaskComparison",
    "ThresholdTime",
    "TotalAccount",
    "compare",
    "pilot_spreads",
]
