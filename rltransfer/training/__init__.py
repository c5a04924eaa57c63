"""Trains and evaluates one agent for one seed, and looks at a plan's agent before."""

from rltransfer.training.diagnosis import diagnose
from rltransfer.training.run import train_run

__all__ = ["diagnose", "train_run"]
