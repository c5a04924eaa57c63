"""Writes agents, statistics and replay buffers as SB3 does, but atomically."""

import io
import pickle
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rltransfer import files
from rltransfer.transfer.features_once import saved_raw

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm
    from stable_baselines3.common.vec_env import VecNormalize


def save_agent(agent: "BaseAlgorithm", path: Path) -> None:
    """Writes a stock SB3 zip atomically: SB3's own ``save`` destroys the old file first (sb3_facts.md#saving)."""
    buffer = io.BytesIO()
    with saved_raw(agent):
        agent.save(buffer)
    files.write_bytes(path, buffer.getvalue())


def save_normaliser(normaliser: "VecNormalize | None", path: Path) -> None:
    """Writes VecNormalize statistics as SB3 does, atomically; nothing where an agent is not normalised."""
    if normaliser is not None:
        files.write_bytes(path, pickle.dumps(normaliser))


def save_replay_buffer(agent: Any, path: Path) -> None:
    """Writes the replay buffer of an off-policy agent as SB3 does, atomically; nothing for others."""
    buffer = getattr(agent, "replay_buffer", None)
    if buffer is not None:
        files.write_bytes(path, pickle.dumps(buffer))
