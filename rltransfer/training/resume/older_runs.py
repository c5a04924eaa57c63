"""Refuses to go on with runs in which rltransfer 0.1 gave a source's weights to the wrong keys of an observation.

It took the keys of the source's Dict observation in sorted order, and those of the target in their own.
"""

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gymnasium import spaces

from rltransfer import tasks
from rltransfer.artifact import Encoder
from rltransfer.config import RunConfig
from rltransfer.errors import RunError
from rltransfer.records import read_record
from rltransfer.strategies import reads_source
from rltransfer.training.prepare import read_sources


def refuse_misread_run(folder: Path, encoders: Sequence[Encoder], observation_space: spaces.Space[Any]) -> None:
    """Raises RunError if a run that is to go on began with its source's weights at the wrong keys.

    Args:
        folder: The run folder, with the record of what was begun.
        encoders: The run's sources.
        observation_space: The observations of its agent.
    """
    is_old = read_record(folder).is_of_version_0_1
    for encoder in encoders:
        if is_old and _is_misread(encoder.observation_space, observation_space):
            raise RunError(f"{_misread(folder, encoder)} Delete {folder}, and train it again.")


def refuse_misread_study(folders: Sequence[Path], configs: Sequence[RunConfig]) -> None:
    """Raises RunError if runs of a study that goes on began with their source's weights at the wrong keys.

    Args:
        folders: The folders of runs that rltransfer 0.1 began.
        configs: Their settings.
    """
    checked: list[tuple[Any, ...]] = []
    for folder, config in zip(folders, configs, strict=True):
        what = (config.sources, config.which, config.task)
        if what in checked or not reads_source(config.strategy):
            continue
        checked.append(what)
        with contextlib.closing(tasks.make_eval_env(config.task, config.hyperparams, seed=0, n_envs=1)) as env:
            for encoder in read_sources(config):
                if _is_misread(encoder.observation_space, env.observation_space):
                    raise RunError(
                        f"{_misread(folder, encoder)} The same holds for every run of this study that starts from a "
                        "source; the others stand. Delete the folders of those arms (for example "
                        f"{folder.parent}), and run the study again."
                    )


def _misread(folder: Path, encoder: Encoder) -> str:
    keys = ", ".join(encoder.observation_space.spaces) if isinstance(encoder.observation_space, spaces.Dict) else ""
    return (
        f"{folder} was begun by rltransfer 0.1, which took the keys of the source's observation ({keys}) in sorted "
        "order: weights went to the wrong inputs."
    )


def _is_misread(source: spaces.Space[Any] | None, target: spaces.Space[Any]) -> bool:
    """Returns whether rltransfer 0.1 gave the source's weights to other keys than the ones that they belong to."""
    if not isinstance(source, spaces.Dict) or not isinstance(target, spaces.Dict):
        return False
    order = sorted(source.spaces)
    return list(source.spaces) != order or [key for key in target.spaces if key in order] != [
        key for key in order if key in target.spaces
    ]
