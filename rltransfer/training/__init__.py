"""Trains and evaluates one agent for one seed."""

from rltransfer.training.run import train_run

__all__ = ["train_run"]
