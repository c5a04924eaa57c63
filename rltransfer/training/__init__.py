"""Trains and evaluates one agent for one seed, and looks at a plan's agent before."""

from rltransfer.training.diagnosis import diagnose
from rltransfer.training.evaluation import derived_seed, evaluate, evaluate_agent
from rltransfer.training.run import train_run

__all__ = ["derived_seed", "diagnose", "evaluate", "evaluate_agent", "train_run"]
