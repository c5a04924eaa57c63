"""The state of the global random number generators."""

import contextlib
import random
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm


def rng_state_dict(agent: "BaseAlgorithm | None" = None) -> dict[str, Any]:
    """Returns the state of the generators of Python, NumPy and torch."""
    on_gpu = agent is not None and agent.device.type == "cuda"
    return {
        "python": random.getstate(),
        "numpy": np.random.get_state(),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state(agent.device) if on_gpu and agent is not None else None,
    }


def load_rng_state_dict(agent: "BaseAlgorithm | None", state: dict[str, Any]) -> None:
    """Loads what ``rng_state_dict`` returned."""
    random.setstate(state["python"])
    np.random.set_state(state["numpy"])
    torch.set_rng_state(state["torch"])
    if state["cuda"] is not None and agent is not None and agent.device.type == "cuda":
        torch.cuda.set_rng_state(state["cuda"], agent.device)


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Leaves the generators of Python, NumPy and torch as they are found."""
    before = rng_state_dict()
    try:
        yield
    finally:
        load_rng_state_dict(None, before)
