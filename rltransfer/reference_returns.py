"""What a random policy and a trained reference score in an environment, so that tasks have one scale."""

import dataclasses
import functools
import json
from importlib import resources
from typing import Any

from rltransfer import yaml_file
from rltransfer.records import TaskFacts

_TABLE = "reference_returns.yaml"
_SOURCES = {
    "limit": "the most that an episode can return",
    "threshold": "Gymnasium's reward threshold",
    "controller": "a scripted controller over the same episodes",
}


@dataclasses.dataclass(frozen=True)
class Reference:
    """The two ends of a task's scale, and where they come from."""

    random: float
    reference: float
    origin: str


def reference_of(task: TaskFacts) -> Reference | None:
    """Returns the measured ends of a task's scale; None where nobody measured exactly this task.

    The table is package data, made by ``scripts/measure_references.py``: same id, same arguments, same wrappers. A task
    that was not measured, or draws arguments anew, is never given the numbers of a similar one.
    """
    if task.randomise:
        return None
    return _table().get(_key(task.env, task.kwargs, task.wrappers))


@functools.cache
def _table() -> dict[str, Reference]:
    with resources.as_file(resources.files("rltransfer").joinpath(_TABLE)) as path:
        entries = yaml_file.read(path)["references"]
    return {
        _key(entry["env"], entry.get("kwargs", {}), tuple(entry.get("wrappers", ()))): Reference(
            random=float(entry["random"]),
            reference=float(entry["reference"]),
            origin=_origin(entry),
        )
        for entry in entries
    }


def _origin(entry: dict[str, Any]) -> str:
    source = _SOURCES[entry["reference_from"]]
    return f"random: {entry['episodes']} episodes of uniformly drawn actions; reference: {source}"


def _key(env: str, kwargs: dict[str, Any], wrappers: tuple[str, ...]) -> str:
    """Returns what makes two tasks the same: the order of arguments does not, nor does 5 against 5.0."""
    return json.dumps([env, _plain(kwargs), wrappers], sort_keys=True, default=str)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
