"""What a random policy and a trained reference score in an environment, so that tasks have one scale."""

import dataclasses
import functools
from importlib import resources
from typing import Any

from rltransfer import yaml_file
from rltransfer.records import TaskFacts

_TABLE = "references.yaml"


@dataclasses.dataclass(frozen=True)
class Reference:
    """The two ends of a task's scale, and where they come from."""

    random: float
    reference: float
    origin: str


def reference_of(task: TaskFacts) -> Reference | None:
    """Returns the measured ends of a task's scale; None where nobody measured exactly this task.

    The table is package data, made by ``scripts/measure_references.py``: same id, same arguments, same wrappers. A task
    that was not measured is never given the numbers of a similar one.
    """
    return _table().get(_key(task.env, task.kwargs, task.wrappers))


@functools.cache
def _table() -> dict[str, Reference]:
    with resources.as_file(resources.files("rltransfer").joinpath(_TABLE)) as path:
        entries = yaml_file.read(path)["references"]
    return {
        _key(entry["env"], entry.get("kwargs", {}), tuple(entry.get("wrappers", ()))): Reference(
            random=float(entry["random"]),
            reference=float(entry["reference"]),
            origin=f"measured: {entry['algo']}, {entry['n_timesteps']:,} env_steps, {entry['seeds']} seeds",
        )
        for entry in entries
    }


def _key(env: str, kwargs: dict[str, Any], wrappers: tuple[str, ...]) -> str:
    return TaskFacts(env=env, kwargs=kwargs, wrappers=wrappers).model_dump_json()
