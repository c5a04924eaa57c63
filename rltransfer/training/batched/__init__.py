"""Trains several stock SB3 agents as one network with a leading run axis."""

from rltransfer.training.batched.generators import RunGenerators
from rltransfer.training.batched.trainer import BLOCK_SIZE, BatchedTrainer, learn_together

__all__ = ["BLOCK_SIZE", "BatchedTrainer", "RunGenerators", "learn_together"]
