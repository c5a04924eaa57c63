"""A share of each minibatch comes from the source's replay buffer."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, PositiveInt, field_validator

from rltransfer.strategies.base import DefaultWeights, ModifierSettings

if TYPE_CHECKING:
    from rltransfer.transfer.methods.replay import ReplayMethod

_IMPORT_PATH = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


class Replay(ModifierSettings):
    """A share of each minibatch comes from the source's replay buffer (as in RLPD; Ball et al. 2023).

    For off-policy agents whose source left its replay buffer. Its rewards are the source's own, unless ``reward`` names
    the target's: a function of arrays, ``f(observations, actions, next_observations) -> rewards``.
    """

    method: ClassVar[type["ReplayMethod"]]
    kind: Literal["replay"] = "replay"
    uses_replay: ClassVar[bool] = True
    default_weights: ClassVar[DefaultWeights] = "scratch"
    ratio: float = Field(default=0.5, ge=0, le=1, description="the source's share of each minibatch")
    until: PositiveInt | None = Field(default=None, description="env_steps by which the share is zero, on a line")
    reward: str | None = Field(default=None, description="the target's reward function, as module:function")
    size: PositiveInt | None = Field(default=None, description="how many of the latest transitions; all if not given")

    def description(self) -> Sequence[str]:
        """Returns the source's share."""
        return (f"replay: {100 * self.ratio:.0f} % of each minibatch from the source{self._until_words()}",)

    @field_validator("reward")
    @classmethod
    def _is_import_path(cls, value: str | None) -> str | None:
        if value is not None and not _IMPORT_PATH.fullmatch(value):
            raise ValueError("write it as module:function")
        return value
