"""The strategy ``auto``: several agents train in turn, the hopeless stop, and the best goes on."""

from rltransfer.training.race.curve import LeaderCurve
from rltransfer.training.race.race import Race

__all__ = ["LeaderCurve", "Race"]
