"""The source's policy plays the beginning of each training episode."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, PositiveInt

from rltransfer.strategies.base import DefaultWeights, ModifierSettings

if TYPE_CHECKING:
    from rltransfer.transfer.methods.jump_start import JumpStartMethod


class JumpStart(ModifierSettings):
    """The source's policy plays the beginning of each training episode (JSRL; Uchendu et al. 2023).

    It acts inside ``reset`` of the training environments, so that none of its actions is in a buffer; its steps count
    as env_steps. It plays ``horizon`` steps at first; whenever the last ``window`` episodes, its own part included,
    earned what it earns alone (less ``tolerance`` of that), one of ``stages`` equal parts of the horizon is taken away.
    For targets whose reward is far away, and a source that gets near it.
    """

    method: ClassVar[type["JumpStartMethod"]]
    kind: Literal["jump_start"] = "jump_start"
    uses_policy: ClassVar[bool] = True
    default_weights: ClassVar[DefaultWeights] = "scratch"
    horizon: PositiveInt | None = Field(
        default=None, description="the most steps it plays in an episode; as long as its own episodes if not given"
    )
    stages: PositiveInt = Field(default=10, description="in how many equal parts the horizon shrinks to zero")
    tolerance: float = Field(default=0.1, ge=0, description="how far below its own return still counts as reached")
    window: PositiveInt = Field(default=10, description="episodes over which the return is averaged")
    until: PositiveInt | None = Field(
        default=None, description="env_steps by which it is gone whatever the returns: a line down from the horizon"
    )
    episodes: PositiveInt = Field(default=5, description="episodes that it plays alone at first, to know its return")

    def description(self) -> Sequence[str]:
        """Returns how long the source plays."""
        horizon = self.horizon
        words = "as long as its own episodes" if horizon is None else f"{horizon:,} steps"
        line = f"jump-start: the source's policy begins each training episode, {words} at first"
        return (line + self._until_words(),)
