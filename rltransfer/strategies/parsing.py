"""Reads strategies from their forms as data: a kind, its settings, or a list of these; and writes them as data."""

import functools
import operator
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, TypeAdapter, ValidationError

from rltransfer.errors import ConfigError, UnknownNameError, did_you_mean, unknown
from rltransfer.strategies.base import ModifierSettings, Strategy
from rltransfer.strategies.composition import compose
from rltransfer.strategies.kinds import KINDS, METHODS

_ORDER = list(KINDS)
_AnyMethod: Any = functools.reduce(operator.or_, METHODS)


def _as_methods(value: Any) -> Any:
    """Accepts ``"frozen"``, one mapping or one method where a list of methods is expected."""
    methods = list(value) if isinstance(value, Sequence) and not isinstance(value, str) else [value]
    return [{"kind": method} if isinstance(method, str) else method for method in methods]


def _in_order(strategy: Strategy) -> Strategy:
    modifiers = sorted(
        (method for method in strategy if isinstance(method, ModifierSettings)),
        key=lambda method: _ORDER.index(method.kind),
    )
    return (*(method for method in strategy if not isinstance(method, ModifierSettings)), *modifiers)


if TYPE_CHECKING:
    StrategyField = Strategy
else:
    StrategyField = Annotated[
        tuple[Annotated[_AnyMethod, Field(discriminator="kind")], ...],
        BeforeValidator(_as_methods),
        Field(min_length=1),
        AfterValidator(_in_order),
    ]
for _settings in METHODS:
    # Those with a strategy inside wait for the union of all.
    _settings.model_rebuild(_types_namespace={"InnerStrategy": StrategyField})
_ADAPTER: TypeAdapter[Strategy] = TypeAdapter(StrategyField)


def parse_strategy(value: Any, where: str = "strategy") -> Strategy:
    """Returns the strategy that ``value`` describes: a kind, a mapping with its settings, a method, or a list of these.

    Args:
        value: For example ``"frozen"``, ``{"kind": "finetune", "lr_scale": 0.3}`` or ``Finetune(lr_scale=0.3)``.
        where: The place that the error names, such as ``configs/a.yaml: arms.frozen``.

    Raises:
        UnknownNameError: A kind does not exist.
        ConfigError: A setting is unknown or has a wrong value, or the methods contradict each other.

    >>> parse_strategy({"kind": "shuffled", "of": "frozen"})[0].of[0].kind
    'frozen'
    """
    _refuse_unknown_names(value, where)
    try:
        strategy = compose(_ADAPTER.validate_python(value))
    except ValidationError as error:
        raise ConfigError(f"{where}: {_first_problem(error)}") from None
    except ValueError as error:
        raise ConfigError(f"{where}: {error}") from None
    return strategy


def _refuse_unknown_names(value: Any, where: str) -> None:
    for method in _as_methods(value):
        if isinstance(method, Mapping):
            _refuse_unknown_settings(method, where)


def _refuse_unknown_settings(method: Mapping[str, Any], where: str) -> None:
    kind = method.get("kind")
    if kind is None:
        raise ConfigError(f"{where}: key 'kind' is missing. Known kinds: {', '.join(sorted(KINDS))}.")
    if not isinstance(kind, str) or kind not in KINDS:
        error = unknown("strategy", str(kind), KINDS)
        raise UnknownNameError(f"{where}: {error}" if where != "strategy" else str(error))
    fields = [name for name in KINDS[kind].model_fields if name != "kind"]
    for key in method:
        if key not in ("kind", *fields):
            raise ConfigError(
                f"{where}: {kind} has no setting {key!r}.{did_you_mean(str(key), fields)} "
                f"Known: {', '.join(fields) or 'none'}."
            )
    for inner in KINDS[kind].inner_values(method):
        _refuse_unknown_names(inner, where)


def _first_problem(error: ValidationError) -> str:
    problem = error.errors()[0]
    fields = {name for settings in METHODS for name in settings.model_fields}
    key = ".".join(str(item) for item in problem["loc"] if item in fields)
    value = "" if problem["type"] == "missing" else f", found {problem['input']!r}"
    return f"key {key!r}: {problem['msg']}{value}" if key else f"{problem['msg']}{value}"


def dump_strategy(strategy: Strategy) -> tuple[dict[str, Any], ...]:
    """Returns the strategy as plain JSON data, every setting included."""
    return tuple(method.model_dump(mode="json") for method in strategy)
