"""What ``rltransfer classify`` does: arguments in, library calls, lines out."""

import argparse
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pydantic import ValidationError

from rltransfer.config import describe_problem
from rltransfer.errors import ConfigError

if TYPE_CHECKING:
    from rltransfer.classification import Classification, Settings
    from rltransfer.classification.run import Data, Progress
    from rltransfer.stats import Estimate

_BAR_WIDTH = 30


def classify(arguments: argparse.Namespace) -> None:
    """Trains a classifier of the images in a folder on a pretrained network, and reports whether that helped."""
    from rltransfer.classification import Settings
    from rltransfer.classification import classify as run
    from rltransfer.classification.report import FOLDER as REPORT
    from rltransfer.classification.report import PAGE
    from rltransfer.classification.run import read_data
    from rltransfer.classification.saving import CLASSIFIER, ENCODER

    settings = _settings(Settings, arguments)
    with _progress() as progress:
        data = read_data(settings, progress)
    print(describe(settings, data), flush=True)
    command = shlex.join(["rltransfer", *arguments.argv])
    with _progress() as progress:
        result = run(settings, data, arguments.log_folder, progress, command=command)
    print_result(result)
    print(f"report: {result.folder / REPORT / PAGE}")
    print(f"curves: tensorboard --logdir {shlex.quote(str(result.folder))}")
    print(f"classifier: {result.folder / CLASSIFIER}")
    print(f"agents start from: --from {shlex.quote(str(result.folder / ENCODER))}")
    print(f"test accuracy: {_two_decimals(result.accuracy)}")


def describe(settings: "Settings", data: "Data") -> str:
    """Returns what is about to be done, and what it takes."""
    from rltransfer.classification.run import device_of, seconds_to_finetune
    from rltransfer.report.wording import duration

    network, copies = data.network, settings.n_copies
    counts = [(len(part), name) for part, name in ((data.train, "for training"), (data.test, "for the test"))]
    lines = [
        f"images: {', '.join(f'{count:,} {name}' for count, name in counts)}, {len(data.train.classes)} classes, "
        f"resized to {data.train.space.shape[1]}x{data.train.space.shape[2]}",
        f"network: {network.name}, {network.features:,} features of {network.contract.words()}",
    ]
    if copies:
        of_whom = " for the baselines; newly augmented images for finetune" if settings.strategy == "finetune" else ""
        lines.append(f"augmentation: {copies} augmented copies beside each training image{of_whom}")
    passes = (1 + copies) * len(data.train) + len(data.test)
    if settings.strategy == "finetune":
        lines.append(
            f"{settings.seeds * settings.epochs * len(data.train):,} images pass the network forward and back "
            f"(seeds: {settings.seeds}, epochs: {settings.epochs}), at least "
            f"{duration(seconds_to_finetune(settings, data))} on {device_of(settings)}"
        )
    if "random_frozen" in settings.arms:
        lines.append(f"random_frozen: {settings.seeds * passes:,} images pass an untrained network, one for each seed")
    return "\n".join(lines)


def print_result(result: "Classification") -> None:
    """Prints the accuracies and verdicts as a table."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from rltransfer.report.wording import p_value

    table = Table(box=SIMPLE_HEAD, padding=0, show_edge=False)
    table.add_column("arm", no_wrap=True)
    for column in ("train", "test accuracy", "to scratch", "p"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    for arm in result.arms:
        contrast = arm.against_scratch
        table.add_row(
            Text(arm.name),
            f"{arm.train_accuracy:.2f}",
            _two_decimals(arm.accuracy),
            "–" if contrast is None or contrast.difference is None else _two_decimals(contrast.difference, sign="+"),
            p_value(None if contrast is None else contrast.p_adjusted),
            arm.verdict_word,
        )
    console = Console()
    console.print(table)
    seeds = result.settings.seeds
    over = f"test images and {seeds} seeds" if seeds > 1 else "test images; one seed"
    console.print(Text(f"brackets: 95 % intervals over {over}; p: after Holm"), style="dim")


def _two_decimals(value: "Estimate", sign: str = "") -> str:
    return f"{value.value:{sign}.2f} [{value.low:.2f}, {value.high:.2f}]"


def _settings(kind: "type[Settings]", arguments: argparse.Namespace) -> "Settings":
    given = {name: value for name in kind.model_fields if (value := getattr(arguments, name)) is not None}
    try:
        return kind.model_validate(given)
    except ValidationError as error:
        raise ConfigError(describe_problem(error, kind)) from None


@contextmanager
def _progress() -> "Iterator[Progress]":
    """Yields what is told of progress: bars in a terminal, and elsewhere a line for each part."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    if not console.is_terminal:

        def begin_line(name: str, total: int) -> Callable[[], None]:
            print(f"{name} ({total:,})", file=sys.stderr, flush=True)
            return lambda: None

        yield begin_line
        return
    columns = (TextColumn("{task.description}"), BarColumn(_BAR_WIDTH), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, redirect_stdout=False) as bars:

        def begin_bar(name: str, total: int) -> Callable[[], None]:
            for task in bars.task_ids:
                bars.remove_task(task)
            bar = bars.add_task(name, total=total)
            return lambda: bars.advance(bar)

        yield begin_bar
