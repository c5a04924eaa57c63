"""Skill transfer between reinforcement-learning agents of Stable-Baselines3, with a verdict that can be believed.

The names below are loaded on first use (PEP 562), so that ``import rltransfer`` costs no torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rltransfer.artifact import Encoder, average_encoders, load_encoder, policy_kwargs_of, progressive_kwargs
    from rltransfer.comparison import compare
    from rltransfer.mapping import Actions, Inputs
    from rltransfer.strategies import (
        EWC,
        L2SP,
        Augment,
        Auto,
        Discriminative,
        Finetune,
        Frozen,
        Full,
        GradualUnfreeze,
        JumpStart,
        Kickstart,
        L2Init,
        LoRA,
        NormaliserOnly,
        Progressive,
        QDagger,
        RandomFrozen,
        ReDo,
        Replay,
        Rescaled,
        Residual,
        Scratch,
        ShrinkPerturb,
        Shuffled,
    )
    from rltransfer.study import run_study
    from rltransfer.training import diagnose
    from rltransfer.transfer import apply_plan, equip, hold_plan, plan_transfer, read_plan

__version__ = "0.2.0.dev0"

_HOMES = {
    "Encoder": "artifact",
    "average_encoders": "artifact",
    "load_encoder": "artifact",
    "policy_kwargs_of": "artifact",
    "progressive_kwargs": "artifact",
    "compare": "comparison",
    "Augment": "strategies",
    "Auto": "strategies",
    "Discriminative": "strategies",
    "EWC": "strategies",
    "Finetune": "strategies",
    "Frozen": "strategies",
    "Full": "strategies",
    "GradualUnfreeze": "strategies",
    "JumpStart": "strategies",
    "Kickstart": "strategies",
    "L2Init": "strategies",
    "L2SP": "strategies",
    "LoRA": "strategies",
    "NormaliserOnly": "strategies",
    "Progressive": "strategies",
    "QDagger": "strategies",
    "RandomFrozen": "strategies",
    "ReDo": "strategies",
    "Replay": "strategies",
    "Rescaled": "strategies",
    "Residual": "strategies",
    "Scratch": "strategies",
    "ShrinkPerturb": "strategies",
    "Shuffled": "strategies",
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

__all__ = [
    "EWC",
    "L2SP",
    "Actions",
    "Augment",
    "Auto",
    "Discriminative",
    "Encoder",
    "Finetune",
    "Frozen",
    "Full",
    "GradualUnfreeze",
    "Inputs",
    "JumpStart",
    "Kickstart",
    "L2Init",
    "LoRA",
    "NormaliserOnly",
    "Progressive",
    "QDagger",
    "RandomFrozen",
    "ReDo",
    "Replay",
    "Rescaled",
    "Residual",
    "Scratch",
    "ShrinkPerturb",
    "Shuffled",
    "apply_plan",
    "average_encoders",
    "compare",
    "diagnose",
    "equip",
    "hold_plan",
    "load_encoder",
    "plan_transfer",
    "policy_kwargs_of",
    "progressive_kwargs",
    "read_plan",
    "run_study",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'rltransfer' has no attribute {name!r}")
    return getattr(importlib.import_module(f"rltransfer.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
