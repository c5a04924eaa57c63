"""The strategy ``auto``: several agents train in turn, the hopeless stop, and the best goes on."""

from rltransfer.training.successive_halving.curve import LeaderCurve
from rltransfer.training.successive_halving.halving import Race

__all__ = ["LeaderCurve", "Race"]
