"""The agent learns what is added to the source's actions."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, PositiveFloat

from rltransfer.strategies.base import DefaultWeights, ModifierSettings

if TYPE_CHECKING:
    from rltransfer.transfer.methods.residual import ResidualMethod


class Residual(ModifierSettings):
    """The source acts, and the agent learns what is added to its actions (Silver et al. 2018; Johannink et al. 2019).

    The environment receives ``source + scale * agent``, clipped to its bounds. The agent's last layer starts at zero,
    so that it begins with the source's behaviour. For actions that are numbers, and a source that is nearly right.
    """

    method: ClassVar[type["ResidualMethod"]]
    kind: Literal["residual"] = "residual"
    uses_policy: ClassVar[bool] = True
    default_weights: ClassVar[DefaultWeights] = "scratch"
    excludes: ClassVar[dict[str, str]] = {
        "jump_start": "the source acts in every step already",
        "kickstart": "one draws the agent to the source's actions, the other adds them to its own",
        "qdagger": "one draws the agent to the source's actions, the other adds them to its own",
        "replay": "the source remembers whole actions, and the agent's are added to them",
    }
    excludes_weights: ClassVar[dict[str, str]] = {
        "full": "adds the agent's actions to the source's, which {first} would give once more: use 'finetune' or "
        "'frozen'"
    }
    scale: PositiveFloat = Field(default=1.0, description="of the agent's actions before they are added")

    def description(self) -> Sequence[str]:
        """Returns what is added to what."""
        return (f"residual: the source acts, and {self.scale:g} x what the agent does is added",)
