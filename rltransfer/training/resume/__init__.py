"""Exact resume: what changes in a run as state dicts, checkpoints of it on disk, and how a run goes on from one."""

from rltransfer.training.resume.checkpoint import Checkpoint, Checkpoints

__all__ = ["Checkpoint", "Checkpoints"]
