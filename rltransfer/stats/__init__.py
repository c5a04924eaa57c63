"""Turns numbers over seeds into estimates with intervals and a verdict.

Every input is one number per run (``accuracy`` and its kin take each item of a test); the runs of an arm are
independent and their order does not matter. An interval describes the uncertainty over *seeds* (of target training, and
of the sources where these vary): what would move if the same study were run again with new seeds on the same task. It
says nothing about other tasks.
"""

from rltransfer.stats.bootstrap import iqm_band, iqm_difference, iqm_estimate, median_over_tasks
from rltransfer.stats.clusters import MeanFacts, Sources, fewest_units, linked, mean_facts, units_of
from rltransfer.stats.coverage import ACCEPTED, Coverage, measured_coverage, measured_methods
from rltransfer.stats.estimates import LEVEL, Band, Estimate, Numbers, Tasks, iqm, share_better, shortfall
from rltransfer.stats.intervals import (
    CensoredMean,
    censored_mean,
    difference_over_tasks,
    improvement_over_tasks,
    mean,
    mean_difference,
    mean_over_tasks,
    median,
    paired_difference,
    probability_of_improvement,
    ratio,
    share_of_gain,
)
from rltransfer.stats.items import Hits, accuracy, accuracy_difference, accuracy_p
from rltransfer.stats.power import POWER, Spread, detectable_effect, pooled_spread, power_at, runs_for
from rltransfer.stats.profiles import Profile, profile, profile_points
from rltransfer.stats.tests import ALPHA, Verdict, holm, permutation_p, smallest_p, verdict

__all__ = [
    "ACCEPTED",
    "ALPHA",
    "LEVEL",
    "POWER",
    "Band",
    "CensoredMean",
    "Coverage",
    "Estimate",
    "Hits",
    "MeanFacts",
    "Numbers",
    "Profile",
    "Sources",
    "Spread",
    "Tasks",
    "Verdict",
    "accuracy",
    "accuracy_difference",
    "accuracy_p",
    "censored_mean",
    "detectable_effect",
    "difference_over_tasks",
    "fewest_units",
    "holm",
    "improvement_over_tasks",
    "iqm",
    "iqm_band",
    "iqm_difference",
    "iqm_estimate",
    "linked",
    "mean",
    "mean_difference",
    "mean_facts",
    "mean_over_tasks",
    "measured_coverage",
    "measured_methods",
    "median",
    "median_over_tasks",
    "paired_difference",
    "permutation_p",
    "pooled_spread",
    "power_at",
    "probability_of_improvement",
    "profile",
    "profile_points",
    "ratio",
    "runs_for",
    "share_better",
    "share_of_gain",
    "shortfall",
    "smallest_p",
    "units_of",
    "verdict",
]
