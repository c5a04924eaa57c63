"""Fits a classifier by supervised learning, and follows what it gets right."""

import dataclasses
import functools
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64
from torch import nn
from torch.nn import functional
from torch.utils.tensorboard import SummaryWriter

from rltransfer.classification.settings import Settings
from rltransfer.errors import RunError

Labels = Int64[torch.Tensor, " images"]
Batches = Callable[[Sequence[int]], torch.Tensor]
LARGEST_GRADIENT = 1.0
"""The norm that gradients are cut to, as without it fine-tuning under held running statistics diverges at times."""
_AT_ONCE = 256


@dataclasses.dataclass(frozen=True)
class Inputs:
    """What a classifier learns from, or is tested on.

    Attributes:
        batch: Gives what it reads of some images.
        labels: The classes of all of them.
        at_once: How many are read at once where nothing is learned.
    """

    batch: Batches
    labels: Labels
    at_once: int = _AT_ONCE


@dataclasses.dataclass(frozen=True)
class Fit:
    """How a training went.

    Attributes:
        test_accuracy: After each epoch.
        train_accuracy: Likewise, of the batches as they were learned from.
        predictions: The classes that the last epoch's classifier gives the test images.
    """

    test_accuracy: tuple[float, ...]
    train_accuracy: tuple[float, ...]
    predictions: Int64[np.ndarray, " images"]


def fit(
    classifier: nn.Module,
    groups: Sequence[dict[str, Any]],
    train: Inputs,
    test: Inputs,
    settings: Settings,
    *,
    seed: int,
    events: Path,
    advance: Callable[[], None],
) -> Fit:
    """Trains a classifier for all epochs; the test images decide nothing.

    Args:
        classifier: Gives logits of what ``train`` and ``test`` give.
        groups: Parameter groups of the optimizer.
        train: What it learns from.
        test: What it is tested on after each epoch.
        settings: How.
        seed: Of the order of the images.
        events: The folder of its TensorBoard curves.
        advance: Is called after each epoch.

    Raises:
        RunError: The loss became infinite or NaN.
    """
    device = next(classifier.parameters()).device
    kinds: Any = {"adam": torch.optim.Adam, "sgd": functools.partial(torch.optim.SGD, momentum=0.9)}
    optimizer = kinds[settings.optimizer](groups, lr=settings.rate)
    order = torch.Generator().manual_seed(seed)
    test_accuracy, train_accuracy = [], []
    predictions = np.empty(0, dtype=np.int64)
    with SummaryWriter(str(events)) as writer:
        for epoch in range(1, settings.epochs + 1):
            hits, losses = 0, 0.0
            classifier.train()
            for rows in _parts(torch.randperm(len(train.labels), generator=order), settings.batch_size):
                labels = train.labels[rows].to(device)
                logits = classifier(train.batch(rows.tolist()).to(device))
                loss = functional.cross_entropy(logits, labels)
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                nn.utils.clip_grad_norm_(classifier.parameters(), LARGEST_GRADIENT)
                optimizer.step()
                hits += int((logits.argmax(dim=1) == labels).sum())
                losses += loss.item() * len(rows)
            if not math.isfinite(losses):
                raise RunError(
                    f"The training of {events.name} diverged in epoch {epoch}: its loss is {losses}. Give a smaller "
                    "--learning-rate."
                )
            predictions = predict(classifier, test)
            train_accuracy.append(hits / len(train.labels))
            test_accuracy.append(float((predictions == test.labels.numpy()).mean()))
            writer.add_scalar("train/loss", losses / len(train.labels), epoch)
            writer.add_scalar("train/accuracy", train_accuracy[-1], epoch)
            writer.add_scalar("test/accuracy", test_accuracy[-1], epoch)
            advance()
    return Fit(tuple(test_accuracy), tuple(train_accuracy), predictions)


def predict(classifier: nn.Module, inputs: Inputs) -> Int64[np.ndarray, " images"]:
    """Returns the classes that a classifier gives."""
    device = next(classifier.parameters()).device
    classifier.eval()
    with torch.no_grad():
        parts = [
            classifier(inputs.batch(rows.tolist()).to(device)).argmax(dim=1).cpu()
            for rows in _parts(torch.arange(len(inputs.labels)), inputs.at_once)
        ]
    return torch.cat(parts).numpy()


def _parts(rows: torch.Tensor, size: int) -> Iterator[torch.Tensor]:
    for start in range(0, len(rows), size):
        yield rows[start : start + size]
