"""Reads pickles of earlier versions: a class or function that has moved since is looked up where it is now."""

import pickle
from typing import Any

_MOVED = {
    ("rltransfer.randomise", "Draw"): ("rltransfer.domain_randomisation", "Draw"),
    ("rltransfer.training.checkpoint", "_tensor"): ("rltransfer.training.resume.checkpoint", "_tensor"),
    ("rltransfer.transfer.experience.teacher", "Advice"): ("rltransfer.transfer.source_policy", "Advice"),
    ("rltransfer.transfer.gradient.distill", "_States"): ("rltransfer.transfer.distillation", "_States"),
}
"""Module and name of each class and function that checkpoints of 0.1 name, and has moved: from where, to where."""


class Unpickler(pickle.Unpickler):
    """``pickle.Unpickler`` that also reads what earlier versions wrote.

    It runs what the pickle asks for, as any unpickler does: it is for this machine's own run folders.
    """

    def find_class(self, module: str, name: str) -> Any:
        """Returns what a pickle calls ``module.name``."""
        return super().find_class(*_MOVED.get((module, name), (module, name)))
