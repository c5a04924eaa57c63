"""Finds mistakes in a study's tasks and sources by making and reading them, before anything is trained."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from rltransfer.config import RunConfig, StudyConfig
from rltransfer.errors import ConfigError, RLTransferError
from rltransfer.strategies import Scratch
from rltransfer.sweeps import LayerSweep

if TYPE_CHECKING:
    from rltransfer.anatomy import Layer


def check_study(study: StudyConfig, waiting: Sequence[RunConfig]) -> tuple[str, ...]:
    """Makes an environment of each task that still has runs to do, and reads agents on disk that arms start from.

    Returns what should be said before anything is trained: how many layers there are, where a sweep moves some.

    Args:
        study: The study.
        waiting: Its runs that are not done.

    Raises:
        RLTransferError: A task cannot be made, an agent on disk cannot be read, or a sweep moves layers that there
            are not.
    """
    from rltransfer import tasks
    from rltransfer.artifact import load_encoder

    for index, config in enumerate(waiting):
        if config.task not in [earlier.task for earlier in waiting[:index]]:
            name = config.task_name if config.role == "source" else f"tasks.{config.task_name}"
            with naming(f"{name}: "):
                tasks.check_task(config.task)
                tasks.check_task(config.evaluation_task)
                tasks.check_randomise(config.task, config.randomise or {})
    for path in study.source.paths:
        with naming("source.path: "):
            load_encoder(
                path, study.source.which, normaliser=study.source.normaliser, activation=study.source.activation
            )
    return () if study.sweeps.layers is None else tuple(_check_layers(study.sweeps.layers, waiting))


def _check_layers(sweep: LayerSweep, waiting: Sequence[RunConfig]) -> Iterator[str]:
    """Yields how many layers the agent of each task has that a sweep can move; it is built for that, and forgotten."""
    from rltransfer.anatomy import anatomy_of_agent
    from rltransfer.training.prepare import prepare

    targets = {config.task_name: config for config in reversed(waiting) if config.role == "target"}
    for name in sorted(targets):
        no_source = {"strategy": (Scratch(),), "source": None, "normaliser": None, "activation": None}
        scratch = targets[name].model_copy(update=no_source)
        with naming(f"tasks.{name}: "), prepare(scratch, monitor_folder=None) as prepared:
            layers = anatomy_of_agent(prepared.agent).encoders()
            for branch in sweep.branches:
                own = [layer for layer in layers if branch == "both" or layer.branch in (branch, "shared")]
                _refuse_missing_layers(sweep, branch, own)
                whose = "" if branch == "both" else f" of its {branch}"
                yield f"{name}: the encoder{whose} has {_described(own)}; the sweep moves {_numbers(sweep.layers)}"


def _refuse_missing_layers(sweep: LayerSweep, branch: str, layers: "Sequence[Layer]") -> None:
    there, most = _depth(layers), max(sweep.layers)
    if most > there:
        whose = "agent" if branch == "both" else branch
        raise ConfigError(
            f"'sweeps.layers' moves the first {most} layers, and the encoder of the {whose} has {_described(layers)}. "
            f"Write layers: {there}, or fewer."
            if there
            else f"'sweeps.layers' moves layers of the {whose}, and the encoder has none there. Leave {branch!r} out "
            "of 'branches'."
        )


def _depth(layers: "Sequence[Layer]") -> int:
    """Returns how many layers follow each other; networks side by side (actor and critic) count once."""
    return max((layer.depth + 1 for layer in layers), default=0)


def _described(layers: "Sequence[Layer]") -> str:
    names = [
        f"{depth + 1}: {' and '.join(layer.name for layer in layers if layer.depth == depth)}"
        for depth in range(_depth(layers))
    ]
    return f"{len(names)} layer{'' if len(names) == 1 else 's'} ({'; '.join(names)})"


def _numbers(layers: Sequence[int]) -> str:
    return ", ".join(str(count) for count in sorted(layers))


@contextlib.contextmanager
def naming(where: str) -> Iterator[None]:
    """Puts the place of a mistake in a study before the message of its error."""
    try:
        yield
    except RLTransferError as error:
        raise type(error)(f"{where}{error}") from None
