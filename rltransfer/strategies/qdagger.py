"""The agent learns Q-values from what the source does, and is drawn to it."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, NonNegativeInt, PositiveInt

from rltransfer.strategies.base import DistillationSettings

if TYPE_CHECKING:
    from rltransfer.transfer.methods.qdagger import QDaggerMethod


class QDagger(DistillationSettings):
    """The agent learns Q-values from what the source does, and is drawn to it (QDagger; Agarwal et al. 2022, eq. 2).

    For the first ``collect`` env_steps the source acts and the agent learns from it; then come ``offline_updates`` on
    what was collected, then the agent acts. All along it is drawn to the source as by ``kickstart``, less as it catches
    up. For agents of DQN whose source is good at the target, of whatever kind it is.
    """

    method: ClassVar[type["QDaggerMethod"]]
    kind: Literal["qdagger"] = "qdagger"
    excludes: ClassVar[dict[str, str]] = {
        "kickstart": "both draw the agent to the source, with a weight each",
        "jump_start": "both let the source act first",
    }
    collect: PositiveInt = Field(default=2000, description="env_steps that the source plays into the replay buffer")
    offline_updates: NonNegativeInt = Field(default=1000, description="gradient steps before the agent acts")
    episodes: NonNegativeInt = Field(default=0, description="as of `kickstart`; what is collected tells its return too")

    def description(self) -> Sequence[str]:
        """Returns how long the source acts, and how strongly the agent is drawn to it."""
        line = (
            f"qdagger: the source's policy acts for {self.collect:,} env_steps, then {self.offline_updates:,} "
            f"updates on that; drawn to it with weight {self.weight:g}"
        )
        return (line + self._until_words(),)

    @property
    def counts_env_steps(self) -> bool:
        """Whether what it does depends on the env_steps since the transfer: it always does."""
        return True
