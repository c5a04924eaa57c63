"""Nothing moves: the baseline."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from rltransfer.strategies.base import SourceUse, WeightsSettings

if TYPE_CHECKING:
    from rltransfer.transfer.methods.scratch import ScratchMethod


class Scratch(WeightsSettings):
    """Nothing moves: the baseline that every claim is measured against."""

    method: ClassVar[type["ScratchMethod"]]
    kind: Literal["scratch"] = "scratch"
    reads_source: ClassVar[SourceUse] = "never"

    arch: Literal["source"] | None = Field(
        default=None,
        description="`source`: the architecture of a pretrained network, drawn at random, in place of the agent's own",
    )

    @property
    def source_use(self) -> SourceUse:
        """Whether it needs a source: for its architecture, not for its weights."""
        return "never" if self.arch is None else "always"

    @model_serializer(mode="wrap")
    def _leave_out_unset_architecture(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        settings: dict[str, Any] = serialise(self)
        if self.arch is None:
            # A run that was begun before there was this setting has none.
            settings.pop("arch", None)
        return settings

    def description(self) -> Sequence[str]:
        """Returns what the agent is built with, where that is not its own; the rows say the rest."""
        return () if self.arch is None else ("network: the source's architecture, drawn at random and trained",)
