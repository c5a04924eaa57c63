"""Dormant units are initialised again."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, NonNegativeFloat, PositiveInt

from rltransfer.strategies.base import ModifierSettings, SourceUse

if TYPE_CHECKING:
    from rltransfer.transfer.methods.redo import ReDoMethod


class ReDo(ModifierSettings):
    """Units that are dormant start again (ReDo; Sokar et al. 2023): before training, and every so many env_steps.

    A unit is dormant whose mean activation is at most ``threshold`` of its layer's. What it reads is initialised anew,
    what reads it is set to zero. For sources that were trained long, of which many units respond to nothing any more.
    """

    method: ClassVar[type["ReDoMethod"]]
    kind: Literal["redo"] = "redo"
    reads_source: ClassVar[SourceUse] = "never"
    threshold: NonNegativeFloat = Field(default=0.025, description="the share of its layer's mean activation")
    every: PositiveInt | None = Field(
        default=None, description="env_steps between two looks during training; before it alone if not given"
    )
    states: PositiveInt = Field(default=256, description="the agent's own states that units are looked at on")

    def description(self) -> Sequence[str]:
        """Returns which units start again, and when."""
        when = "before training" + (f" and every {self.every:,} env_steps" if self.every else "")
        return (f"dormant units (at most {self.threshold:g} of their layer's activation) start again {when}",)

    @property
    def counts_env_steps(self) -> bool:
        """Whether what it does depends on the env_steps since the transfer: it always does."""
        return True
