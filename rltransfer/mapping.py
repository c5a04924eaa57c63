"""How the inputs and actions of a source match those of a target, as validated data without torch."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    NonNegativeInt,
    PositiveInt,
    ValidationError,
    model_validator,
)

from rltransfer.errors import ConfigError, did_you_mean

IndexMap = tuple[NonNegativeInt | None, ...]


def _as_names(value: Any) -> Any:
    """Accepts ``x,v`` or ``[x, v]`` where a list of names is expected: a shell makes no lists."""
    if not isinstance(value, str):
        return value
    return [name.strip().strip("'\"") for name in value.strip().strip("[]()").split(",") if name.strip()]


Names = Annotated[tuple[str, ...], BeforeValidator(_as_names)]


class _Named(BaseModel):
    """Something that is mapped by index or by name."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: Names | None = None
    target: Names | None = None

    @model_validator(mode="after")
    def _names_come_in_pairs(self) -> Self:
        if (self.source is None) != (self.target is None):
            raise ValueError("'source' and 'target' name the entries of both: give both or neither")
        for side in (self.source or (), self.target or ()):
            if len(set(side)) != len(side):
                raise ValueError("a name is listed twice")
        return self

    def _by_name(self) -> IndexMap | None:
        if self.source is None or self.target is None:
            return None
        return tuple(self.source.index(name) if name in self.source else None for name in self.target)


class Inputs(_Named):
    """Which input of the source each input of the target is.

    Attributes:
        map: For each entry of the target's (flattened) observation the source's, None where it is new; by key where the
            observation is a dictionary; by channel where it is an image.
        source: Instead of ``map``: the names of the source's entries in order.
        target: The names of the target's, likewise. Equal names match.
        keys: Of dictionaries: the source's key for each key of the target, where their names differ.
        new: What the weights of new inputs start from: ``zero`` keeps the source's function, ``random`` is a tenth of
            the agent's own initial values (first layers of a frozen encoder are then trained).
        channels: Of images with other channels: ``repeat`` the source's in order, or their ``mean`` for each; either
            way the sum of the weights is kept, so that equal channels give what they gave.
        adapter: A learned linear layer from the target's observation to this many inputs, as many as the source has.
    """

    map: IndexMap | dict[str, IndexMap] | None = None
    keys: dict[str, str] = {}
    new: Literal["zero", "random"] = "zero"
    channels: Literal["repeat", "mean"] | None = None
    adapter: PositiveInt | None = None

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        ways = [name for name in ("map", "source", "channels", "adapter") if getattr(self, name) is not None]
        if len(ways) > 1:
            raise ValueError(f"give one of map, source with target, channels, adapter; found {' and '.join(ways)}")
        if self.adapter is not None and self.keys:
            raise ValueError("an adapter reads one vector, not keys")
        for indexes in self.map.values() if isinstance(self.map, dict) else [self.map or ()]:
            _refuse_twice(indexes)
        return self

    def entries(self, key: str = "") -> IndexMap | None:
        """Returns the source's entry for each of the target's (under a key), or None where nothing is said."""
        if isinstance(self.map, dict):
            return self.map.get(key)
        return self.map if self.map is not None else self._by_name()


class Actions(_Named):
    """Which action of the source each action of the target is.

    Attributes:
        map: For each action of the target (entry of a Box, component of a MultiDiscrete) the source's, None: it is new.
        source: Instead of ``map``: the names of the source's actions in order.
        target: The names of the target's, likewise.
    """

    map: IndexMap | None = None

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.map is None) == (self.source is None):
            raise ValueError("give either map, or source with target")
        _refuse_twice(self.map or ())
        return self

    def entries(self) -> IndexMap:
        """Returns the source's action for each of the target's."""
        entries = self.map if self.map is not None else self._by_name()
        assert entries is not None
        return entries


Model = TypeVar("Model", Inputs, Actions)


def parse_mapping(model: type[Model], value: Any, where: str) -> Model | None:
    """Returns the map that ``value`` describes: settings, a list of indexes alone, or None.

    Raises:
        ConfigError: A key or a value is wrong; the message names it after ``where``.

    >>> parse_mapping(Actions, [1, 0], "actions").entries()
    (1, 0)
    >>> parse_mapping(Inputs, {"source": "x,v", "target": "x,wind,v"}, "inputs").entries()
    (0, None, 1)
    """
    if value is None or isinstance(value, model):
        return value
    content = {"map": value} if isinstance(value, Sequence) and not isinstance(value, str) else value
    if not isinstance(content, Mapping):
        raise ConfigError(f"{where}: expected settings or a list of indexes, found {value!r}.")
    for key in content:
        if key not in model.model_fields:
            fields = sorted(model.model_fields)
            raise ConfigError(
                f"{where}: unknown key {key!r}.{did_you_mean(str(key), fields)} Known: {', '.join(fields)}."
            )
    try:
        return model.model_validate(content)
    except ValidationError as error:
        problem = error.errors()[0]
        message = problem["msg"].removeprefix("Value error, ")
        key = problem["loc"][0] if problem["loc"] else None
        raise ConfigError(f"{where}: {message}" if key is None else f"{where}: key {key!r}: {message}.") from None


def _refuse_twice(indexes: IndexMap) -> None:
    stated = [index for index in indexes if index is not None]
    if len(set(stated)) != len(stated):
        raise ValueError("an index is listed twice")
