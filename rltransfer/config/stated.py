"""What a user states of a source that its files do not tell."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator

from rltransfer.errors import ConfigError, UnknownNameError
from rltransfer.records import names_network
from rltransfer.setting_kinds import read_activation


def _as_activation(value: Any) -> str | None:
    try:
        return None if value is None else read_activation(value)
    except UnknownNameError as error:
        raise ValueError(str(error)) from None


class StatedOfSource(BaseModel, frozen=True, extra="forbid"):
    """What is stated of the one source of a run or a study; ``load_encoder`` takes the same names, and checks them.

    Attributes:
        normaliser: The file with its VecNormalize statistics.
        activation: Its activation function.
        arch: Of a file of weights: the network that they are of.
        cut: Of a pretrained network: the layer that features are taken behind.
        pool: Likewise, the side that a map of features is pooled to.
        size: Likewise, the side of the images that it receives.
    """

    normaliser: str | None = None
    activation: Annotated[str | None, BeforeValidator(_as_activation)] = None
    arch: str | None = None
    cut: str | None = None
    pool: int | None = None
    size: int | None = None

    @property
    def stated(self) -> dict[str, Any]:
        """The arguments that ``load_encoder`` gets; None where nothing is stated."""
        return {name: getattr(self, name) for name in STATED}

    def is_network(self, sources: Sequence[str]) -> bool:
        """Returns whether a source is a pretrained network: a file of weights, by what is stated of it."""
        return self.arch is not None or any(map(names_network, sources))


STATED: Mapping[str, None] = dict.fromkeys(StatedOfSource.model_fields)
"""The names of what can be stated, each with what stands for nothing."""


def refuse_without_one_source(stated: Mapping[str, Any], sources: Sequence[str]) -> None:
    """Raises ConfigError if something is stated, and there is not just one source that it can be of."""
    for name, value in stated.items():
        if value is not None and not sources:
            raise ConfigError(
                f"{name}: it is of a source, and there is none. Give one: --from SOURCE (pretrain: -i SOURCE)."
            )
        if value is not None and len(sources) > 1:
            raise ConfigError(
                f"{name}: it is of one source, and there are {len(sources)}. Make an artifact of each that needs it, "
                f"and start from these: rltransfer extract {sources[0]} --{name} {value} -o FOLDER"
            )
