"""Skill transfer between reinforcement-learning agents of Stable-Baselines3, with a verdict that can be believed.

The names below are loaded on first use (PEP 562), so that ``import rltransfer`` costs no torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rltransfer.artifact import Encoder as Encoder
    from rltransfer.artifact import average_encoders as average_encoders
    from rltransfer.artifact import load_encoder as load_encoder
    from rltransfer.artifact import policy_kwargs_of as policy_kwargs_of
    from rltransfer.artifact import progressive_kwargs as progressive_kwargs
    from rltransfer.comparison import compare as compare
    from rltransfer.mapping import Actions as Actions
    from rltransfer.mapping import Inputs as Inputs
    from rltransfer.strategies.kinds import *
    from rltransfer.study import run_study as run_study
    from rltransfer.training import diagnose as diagnose
    from rltransfer.transfer import apply_plan as apply_plan
    from rltransfer.transfer import equip as equip
    from rltransfer.transfer import hold_plan as hold_plan
    from rltransfer.transfer import plan_transfer as plan_transfer
    from rltransfer.transfer import read_plan as read_plan

__version__ = "0.2.0"

_HOMES = {
    "Encoder": "artifact",
    "average_encoders": "artifact",
    "load_encoder": "artifact",
    "policy_kwargs_of": "artifact",
    "progressive_kwargs": "artifact",
    "compare": "comparison",
    "Actions": "mapping",
    "Inputs": "mapping",
    "run_study": "study",
    "diagnose": "training",
    "apply_plan": "transfer",
    "equip": "transfer",
    "hold_plan": "transfer",
    "plan_transfer": "transfer",
    "read_plan": "transfer",
}


def __getattr__(name: str) -> Any:
    if name == "__all__":
        return _names()
    if name in _HOMES:
        return getattr(importlib.import_module(f"rltransfer.{_HOMES[name]}"), name)
    if not name.startswith("_") and name in _method_classes():
        return _method_classes()[name]
    raise AttributeError(f"module 'rltransfer' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_names()})


def _names() -> list[str]:
    return sorted([*_HOMES, *_method_classes()])


def _method_classes() -> dict[str, Any]:
    """Returns the classes of settings of all methods, which their list names."""
    methods = importlib.import_module("rltransfer.strategies.kinds").METHODS
    return {settings.__name__: settings for settings in methods}
