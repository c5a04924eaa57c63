"""Hyperparameters in RL Zoo's format: the defaults of each algorithm, and their safe reading and checking."""

from rltransfer.hyperparams.resolve import Hyperparameters, resolve

__all__ = ["Hyperparameters", "resolve"]
