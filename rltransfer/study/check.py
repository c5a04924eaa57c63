"""Finds mistakes in a study's tasks and sources by making and reading them, before anything is trained."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from rltransfer.config import STATED, RunConfig, StudyConfig
from rltransfer.errors import ConfigError, RLTransferError, UnknownLayerError
from rltransfer.strategies import Auto, RandomFrozen, Scratch, depends_on_layers
from rltransfer.sweeps import LayerSweep

if TYPE_CHECKING:
    from rltransfer.anatomy import Anatomy, Layer


def check_study(study: StudyConfig, waiting: Sequence[RunConfig]) -> tuple[str, ...]:
    """Makes an environment of each task that still has runs to do, and reads agents on disk that arms start from.

    Returns what should be said before anything is trained: how many layers there are, where a sweep moves some.

    Args:
        study: The study.
        waiting: Its runs that are not done.

    Raises:
        RLTransferError: A task cannot be made, an agent on disk cannot be read, or an arm or a sweep moves layers that
            there are not.
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
    _refuse_architecture_of_agents(study)
    for path in study.source.paths:
        with naming("source.path: "):
            load_encoder(path, study.source.which, **study.source.stated)
    remarks = () if study.sweeps.layers is None else tuple(_check_sweep(study.sweeps.layers, waiting))
    _check_arms(waiting)
    return remarks


def _refuse_architecture_of_agents(study: StudyConfig) -> None:
    if study.source.is_network(study.source.paths):
        return
    for name, arm in study.planned_arms().items():
        first = arm.strategy[0]
        if isinstance(first, Scratch) and first.arch is not None:
            raise ConfigError(
                f"arms.{name}: scratch with arch {first.arch!r} is of a pretrained network, and the source is an "
                "agent, whose architecture 'scratch' has already. Leave arch out."
            )


def _check_arms(waiting: Sequence[RunConfig]) -> None:
    """Checks how many layers arms count; the agent of each such arm is built for that, and forgotten."""
    from rltransfer.transfer.methods import layer_rules_of

    arms = {(config.task_name, config.arm): config for config in reversed(waiting) if config.role == "target"}
    for (task, arm), config in sorted(arms.items()):
        if not depends_on_layers(config.strategy):
            continue
        anatomy = _anatomy(config, where=f"tasks.{task}: ")
        first = config.strategy[0]
        for strategy in first.candidates if isinstance(first, Auto) else (config.strategy,):
            # An arm that names a layer wrongly fails by itself, in these words, and the others finish.
            with naming(f"tasks.{task}: arms.{arm}: "), contextlib.suppress(UnknownLayerError):
                layer_rules_of(strategy, anatomy)


def _anatomy(config: RunConfig, where: str) -> "Anatomy":
    """Returns the anatomy of the agent that a run trains: with the network of its source, if that is one."""
    from rltransfer.anatomy import anatomy_of_agent
    from rltransfer.training.prepare import prepare

    is_network = config.is_network(config.sources)
    # Both copy nothing; the control is built around a network.
    changes = {"strategy": (RandomFrozen(),)} if is_network else {"strategy": (Scratch(),), "source": None, **STATED}
    with naming(where), prepare(config.model_copy(update=changes), monitor_folder=None) as prepared:
        return anatomy_of_agent(prepared.agent)


def _check_sweep(sweep: LayerSweep, waiting: Sequence[RunConfig]) -> Iterator[str]:
    """Yields how many layers the agent of each task has that a sweep can move; it is built for that, and forgotten."""
    from rltransfer.anatomy import describe_layers

    targets = {config.task_name: config for config in reversed(waiting) if config.role == "target"}
    for name in sorted(targets):
        layers = _anatomy(targets[name], where=f"tasks.{name}: ").encoders()
        for branch in sweep.branches:
            branch_layers = [layer for layer in layers if branch == "both" or layer.branch in (branch, "shared")]
            with naming(f"tasks.{name}: "):
                _refuse_missing_layers(sweep, branch, branch_layers)
            whose = "" if branch == "both" else f" of its {branch}"
            has = describe_layers(branch_layers)
            yield f"{name}: the encoder{whose} has {has}; the sweep moves {_numbers(sweep.layers)}"


def _refuse_missing_layers(sweep: LayerSweep, branch: str, layers: "Sequence[Layer]") -> None:
    from rltransfer.anatomy import depth_of, describe_layers

    there, most = depth_of(layers), max(sweep.layers)
    if most > there:
        whose, has = "agent" if branch == "both" else branch, describe_layers(layers)
        raise ConfigError(
            f"'sweeps.layers' moves the first {most} layers, and the encoder of the {whose} has {has}. "
            f"Write layers: {there}, or fewer."
            if there
            else f"'sweeps.layers' moves layers of the {whose}, and the encoder has none there. Leave {branch!r} out "
            "of 'branches'."
        )


def _numbers(layers: Sequence[int]) -> str:
    return ", ".join(str(count) for count in sorted(layers))


@contextlib.contextmanager
def naming(where: str) -> Iterator[None]:
    """Puts the place of a mistake in a study before the message of its error."""
    try:
        yield
    except RLTransferError as error:
        raise type(error)(f"{where}{error}") from None
