"""What ``tune`` in a study file says, and which hyperparameters may differ between arms; nothing is run here."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PositiveInt, SerializeAsAny

from rltransfer.errors import ConfigError, did_you_mean
from rltransfer.hyperparams import settings
from rltransfer.setting_kinds import Kind

Number = int | float
Choice = str | int | float | bool | None
_FITS = "agents would no longer fit their source, or the task be another one"
_SHARED: Mapping[str, str] = {
    "n_timesteps": "all arms have one budget",
    "n_envs": "all arms are evaluated after the same steps",
    **dict.fromkeys(("policy", "policy_kwargs", "normalize", "frame_stack", "env_wrapper"), _FITS),
}
"""The hyperparameters that all arms of a task share, and why."""


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Range(_Model):
    """Numbers from ``low`` to ``high``: evenly, by their logarithms, or in steps; integers if all are."""

    low: Number
    high: Number
    log: bool = False
    step: Number | None = None

    @property
    def is_whole(self) -> bool:
        """Whether it is of integers."""
        return all(isinstance(bound, int) for bound in (self.low, self.high, self.step) if bound is not None)


Values = Range | tuple[Choice, ...]


def parse_space(value: Any) -> dict[str, Values]:
    """Returns what each hyperparameter is drawn from.

    >>> parse_space({"n_epochs": {"low": 1, "high": 20}, "gamma": [0.9, 0.99]})
    {'n_epochs': Range(low=1, high=20, log=False, step=None), 'gamma': (0.9, 0.99)}

    Raises:
        ConfigError: Something is neither a range nor a list to choose from.
    """
    if not isinstance(value, Mapping) or not value:
        raise ConfigError("expected hyperparameters, each with a range or a list to choose from")
    return {str(name): _values(str(name), item) for name, item in value.items()}


def _values(name: str, value: Any) -> Values:
    if isinstance(value, Range):
        return value
    if isinstance(value, Mapping):
        return _range(name, value)
    if not isinstance(value, list | tuple) or len(value) < 2:
        raise ConfigError(f"{name!r}: expected {{low: ..., high: ...}} or a list of at least two, found {value!r}")
    for choice in value:
        if not (choice is None or isinstance(choice, str | int | float)):
            raise ConfigError(f"{name!r}: a choice is a number, a word, true, false or null, found {choice!r}")
    if len({repr(choice) for choice in value}) < len(value):
        raise ConfigError(f"{name!r}: a choice is listed twice")
    return tuple(value)


def _range(name: str, value: Mapping[str, Any]) -> Range:
    for key in value:
        if key not in Range.model_fields:
            fields = list(Range.model_fields)
            near = did_you_mean(str(key), fields)
            raise ConfigError(f"{name!r}: unknown key {key!r}.{near} Known: {', '.join(fields)}")
    for key in ("low", "high"):
        if not _is_number(value.get(key)):
            raise ConfigError(f"{name!r}: {key!r} has to be a number, found {value.get(key)!r}")
    low, high, log, step = value["low"], value["high"], value.get("log", False), value.get("step")
    if low >= high:
        raise ConfigError(f"{name!r}: 'low' has to be below 'high', found {low!r} and {high!r}")
    if not isinstance(log, bool):
        raise ConfigError(f"{name!r}: 'log' has to be true or false, found {log!r}")
    if log and low <= 0:
        raise ConfigError(f"{name!r}: logarithms need 'low' above 0, found {low!r}")
    if step is not None:
        _check_step(name, low, high, log, step)
    return Range(low=low, high=high, log=log, step=step)


def _check_step(name: str, low: Number, high: Number, log: bool, step: Any) -> None:
    if not _is_number(step) or step <= 0:
        raise ConfigError(f"{name!r}: 'step' has to be a number above 0, found {step!r}")
    if log:
        raise ConfigError(f"{name!r}: a range is either by logarithms ('log') or in steps ('step')")
    count = (high - low) / step
    if abs(count - round(count)) > 1e-9 * max(1.0, count):
        raise ConfigError(f"{name!r}: steps of {step!r} from {low!r} do not meet {high!r}")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


class Tuning(_Model):
    """How every arm is tuned: as many ``trials`` for each task and arm, each on as many ``seeds``, in one ``space``.

    The first trial of an arm is the study's own hyperparameters.
    """

    trials: Annotated[int, Field(ge=2, le=10_000)]
    seeds: Annotated[PositiveInt, Field(le=100)] = 1
    space: Annotated[dict[str, SerializeAsAny[Values]], BeforeValidator(parse_space)]

    def check(self, algo: str) -> None:
        """Raises ConfigError if an algorithm has no such hyperparameter, or it cannot be what it is drawn from."""
        for name, values in self.space.items():
            ends = (values.low, values.high) if isinstance(values, Range) else values
            check_own(algo, {name: ends}, where="tune.space")


def check_own(algo: str, values: Mapping[str, Sequence[Any]], *, where: str) -> None:
    """Checks values that hyperparameters of one arm may take.

    Raises:
        ConfigError: There is no such hyperparameter, all arms share it, or it cannot be such a value.
    """
    for name, several in values.items():
        kind = _kind(algo, name, where)
        for value in several:
            try:
                kind.accept(value)
            except (ValueError, TypeError):
                raise ConfigError(f"{where}: key {name!r}: expected {kind.expected}, found {value!r}") from None


def _kind(algo: str, name: str, where: str) -> Kind:
    kinds = settings.agent_settings(algo)
    if name in _SHARED:
        raise ConfigError(f"{where}: {name!r} cannot differ between arms: {_SHARED[name]}")
    if name in settings.ELSEWHERE:
        raise ConfigError(f"{where}: {name!r} cannot be set here: {settings.ELSEWHERE[name]}")
    if name not in kinds:
        tunable = sorted(set(kinds) - set(_SHARED))
        near = did_you_mean(name, tunable)
        raise ConfigError(f"{where}: unknown key {name!r} for {algo}.{near} Known: {', '.join(tunable)}")
    return kinds[name]


def trial_arm(arm: str, number: int) -> str:
    """Returns the name of a trial's arm in the study of all trials; the first is the arm itself, untuned.

    >>> trial_arm("finetune", 0), trial_arm("finetune", 3)
    ('finetune', 'finetune_trial_3')
    """
    return arm if number == 0 else f"{arm}_trial_{number}"


def names_of(several: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """Returns the names that occur in any of several mappings, sorted.

    >>> names_of([{"gamma": 0.9}, {"batch_size": 8, "gamma": 0.99}])
    ('batch_size', 'gamma')
    """
    return tuple(sorted({name for item in several for name in item}))
