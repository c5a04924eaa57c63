"""Finds mistakes in a study's tasks and sources by making and reading them, before anything is trained."""

import contextlib
from collections.abc import Iterator, Sequence

from rltransfer.config import RunConfig, StudyConfig
from rltransfer.errors import RLTransferError


def check_study(study: StudyConfig, waiting: Sequence[RunConfig]) -> None:
    """Makes an environment of each task that still has runs to do, and reads agents on disk that arms start from.

    Args:
        study: The study.
        waiting: Its runs that are not done.

    Raises:
        RLTransferError: A task cannot be made, or an agent on disk cannot be read.
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
            load_encoder(path, study.source.which)


@contextlib.contextmanager
def naming(where: str) -> Iterator[None]:
    """Puts the place of a mistake in a study before the message of its error."""
    try:
        yield
    except RLTransferError as error:
        raise type(error)(f"{where}{error}") from None
