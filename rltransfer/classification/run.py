"""Runs a classification: reads the images, trains each arm for each seed, and writes the results."""

import contextlib
import dataclasses
import functools
import re
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.utils import get_device

from rltransfer import run_folder
from rltransfer.artifact import Encoder, load_encoder
from rltransfer.classification import models, report
from rltransfer.classification.images import SMALL, Batch, Images, small
from rltransfer.classification.results import Classification, against_control, judge
from rltransfer.classification.saving import exported, save
from rltransfer.classification.settings import Settings
from rltransfer.classification.training import Fit, Inputs, fit
from rltransfer.errors import ConfigError, SourceError
from rltransfer.extractors import NetworkExtractor
from rltransfer.records import OWN_FOLDER, NetworkFacts
from rltransfer.transfer.feature_encoder import FeatureEncoder

_FOR_STATISTICS = 256
# Of augmentation while the network is trained, apart from the other draws of a seed.
_STREAM = 23
_LIBRARIES = ("rltransfer", "torch", "stable-baselines3")


@dataclasses.dataclass(frozen=True, eq=False)
class Data:
    """The images of both parts, and what is known before anything is trained.

    Attributes:
        encoder: The source.
        network: What it is.
        train: The training images.
        test: The test images.
        train_small: The training images and their copies, one behind the other, as baselines see them.
        test_small: The test images, likewise.
        train_labels: The classes of the training images and their copies.
        test_labels: The classes of the test images.
        test_files: The test images, relative to their folder.
        train_counts: How many training images each class has, without copies.
    """

    encoder: Encoder
    network: NetworkFacts
    train: Images
    test: Images
    train_small: Batch
    test_small: Batch
    train_labels: torch.Tensor
    test_labels: torch.Tensor
    test_files: tuple[str, ...]
    train_counts: tuple[int, ...]


Progress = Callable[[str, int], Callable[[], None]]
"""Begins a part of the work, by its name and number of steps, and gives what is called after each step."""


def _untold(name: str, total: int) -> Callable[[], None]:  # noqa: ARG001
    return lambda: None


def device_of(settings: Settings) -> torch.device:
    """Returns the device that networks are on.

    Raises:
        ConfigError: There is no such device.
    """
    try:
        device = torch.device("cpu") if settings.device == "cpu" else get_device(settings.device)
    except RuntimeError:
        raise ConfigError(f"device: there is no {settings.device!r}; give cpu, cuda or auto.") from None
    if settings.device not in ("auto", device.type, str(device)):
        raise ConfigError(f"device: PyTorch finds no {settings.device!r} here; give cpu or auto.")
    return device


def read_data(settings: Settings, progress: Progress = _untold) -> Data:
    """Reads the source and every image: whatever cannot be read is said here, before anything is written.

    Raises:
        ConfigError: The folder does not hold images of two classes or more, or a file is no image.
        SourceError: The source cannot be read, or is an agent.
        IncompatibleError: No classifier with this network can be saved.
    """
    device_of(settings)
    encoder = load_encoder(settings.source, **settings.stated())
    network = encoder.source.network
    if network is None:
        raise SourceError(
            f"classify starts from a pretrained network, and {settings.source} is {encoder.source.what}. Name one, "
            "such as torchvision:resnet18."
        )
    side = network.contract.resize or max(network.contract.size)
    train, test = (Images(settings, split, side) for split in ("train", "test"))
    if settings.pool is not None and not network.pool:
        raise SourceError(f"pool: {network.name} leaves no map of features at its cut. Leave it out.")
    advance = progress("reading images", len(train) + len(test))
    seen = {}
    for name, images, count in (("train", train, settings.n_copies), ("test", test, 0)):
        parts = [torch.empty((0, 3, SMALL, SMALL), dtype=torch.uint8)]
        for views in images.with_copies(count):
            if {"scratch", "pixels"} & set(settings.arms):
                parts.append(small(views))
            advance()
        seen[name] = torch.cat(parts)
    # Whether it can be saved is known before hours of training.
    extractor = models.pretrained(encoder, train.space)
    unfitted = models.Classifier(extractor, models.head((), network.features, len(train.classes)))
    exported(unfitted, train.batch([0, 1]), train.classes)
    train_labels = torch.tensor([train.facts(index)[1] for index in range(len(train))])
    test_facts = [test.facts(index) for index in range(len(test))]
    return Data(
        encoder=encoder,
        network=network,
        train=train,
        test=test,
        train_small=seen["train"],
        test_small=seen["test"],
        train_labels=train_labels.repeat_interleave(1 + settings.n_copies),
        test_labels=torch.tensor([label for _, label in test_facts]),
        test_files=tuple(file for file, _ in test_facts),
        train_counts=tuple(torch.bincount(train_labels, minlength=len(train.classes)).tolist()),
    )


def seconds_to_finetune(settings: Settings, data: Data) -> float:
    """Returns about how long ``finetune`` takes at least, from a batch that passes the network forward and back."""
    device = device_of(settings)
    extractor = models.pretrained(data.encoder, data.train.space).to(device)
    images = data.train.batch(range(min(settings.batch_size, len(data.train)))).to(device)
    started = 0.0
    for _ in range(2):
        # The first pass is slower than those behind it.
        started = time.perf_counter()
        extractor.image_features(models.unit(images)).sum().item()
        extractor.image_features(models.unit(images)).sum().backward()  # type: ignore[no-untyped-call]
    return (time.perf_counter() - started) / len(images) * len(data.train) * settings.epochs * settings.seeds


def classify(
    settings: Settings, data: Data, log_folder: Path, progress: Progress = _untold, *, command: str | None = None
) -> Classification:
    """Trains what the settings ask for and writes everything into the next free ``<log_folder>/classify/<name>_<n>``.

    Args:
        settings: What is asked for.
        data: What ``read_data`` gave for these settings.
        log_folder: Where the folder goes.
        progress: Is told what begins, and when it goes on.
        command: What was typed, for the report.

    Raises:
        RunError: A training diverged, or the saved classifier does not give the predictions that were measured.
        FileWriteError: A file cannot be written.
    """
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", settings.name).strip("-.") or "images"
    with _folder(log_folder, name) as folder:
        trained = _Trained(settings, data, folder, progress)
        fits = {arm: trained.arm(arm) for arm in settings.arms}
        arms = judge(fits, data.test_labels.numpy())
        result = Classification(
            folder=folder,
            settings=settings,
            network=data.network,
            network_sha256=data.encoder.source.sha256,
            image_size=data.train.space.shape[1],
            classes=data.train.classes,
            train_counts=data.train_counts,
            test_files=data.test_files,
            test_labels=data.test_labels.numpy(),
            arms=arms,
            against_control=against_control(arms),
            command=command,
            versions={library: version(library) for library in _LIBRARIES} | data.network.versions,
        )
    # What was measured stays from here on, whatever happens.
    report.write(result)
    save(result, trained.classifier(), data.encoder, data.test)
    return result


@contextlib.contextmanager
def _folder(log_folder: Path, name: str) -> Iterator[Path]:
    """Yields a new folder, which is gone again, with those that were made for it, if nothing is measured."""
    made = [parent for parent in (log_folder / "classify", log_folder, *log_folder.parents) if not parent.exists()]
    with run_folder.new_run_folder(log_folder, "classify", name) as folder:
        try:
            yield folder
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            for parent in made:
                with contextlib.suppress(OSError):
                    parent.rmdir()
            raise
    # Where the claim was.
    with contextlib.suppress(OSError):
        (folder / OWN_FOLDER).rmdir()


class _Trained:
    """Trains arms, and keeps what seed 0 made of the network that was asked for."""

    def __init__(self, settings: Settings, data: Data, folder: Path, progress: Progress) -> None:
        self._settings = settings
        self._data = data
        self._folder = folder
        self._progress = progress
        self._device = device_of(settings)
        self._n_classes = len(data.train.classes)
        self._asked_for: models.Classifier | None = None

    def classifier(self) -> models.Classifier:
        """Returns the network asked for with its head, as seed 0 trained it, on the CPU."""
        assert self._asked_for is not None
        return self._asked_for.cpu()

    def arm(self, name: str) -> tuple[Fit, ...]:
        """Returns the trainings of an arm, one for each seed."""
        arms = {
            "frozen": self._frozen,
            "finetune": self._finetune,
            "scratch": self._scratch,
            "random_frozen": self._random_frozen,
            "pixels": self._pixels,
        }
        return tuple(arms[name]())

    def _frozen(self) -> Iterator[Fit]:
        extractor = self._pretrained()
        features = self._features("frozen", extractor)
        for seed in range(self._settings.seeds):
            head, trained = self._fit_head("frozen", seed, *features)
            self._asked_for = self._asked_for or models.Classifier(extractor, head)
            yield trained

    def _random_frozen(self) -> Iterator[Fit]:
        data = self._data
        for seed in range(self._settings.seeds):
            some = np.random.default_rng(seed).permutation(len(data.train))[:_FOR_STATISTICS].tolist()
            with _drawn(seed):
                extractor = models.untrained(data.encoder, data.train.space, data.train.batch(some))
            features = self._features(f"random_frozen, seed {seed}", extractor.to(self._device))
            yield self._fit_head("random_frozen", seed, *features)[1]

    def _finetune(self) -> Iterator[Fit]:
        """Trains the network and its head; images, newly augmented, go through the network in each epoch."""
        data, settings = self._data, self._settings
        features = self._encoded("finetune", self._pretrained(), [(data.train, 0)])[0]
        labels = data.train_labels[:: 1 + settings.n_copies]
        test = Inputs(data.test.batch, data.test_labels, at_once=settings.batch_size)
        for seed in range(settings.seeds):
            classifier = models.Classifier(self._pretrained(), self._head(seed, features)).to(self._device)
            groups: list[dict[str, Any]] = [
                {"params": list(classifier.head.parameters())},
                {"params": list(classifier.encoder.parameters()), "lr": settings.rate * settings.lr_scale},
            ]
            batch = functools.partial(_augmented, data.train, np.random.default_rng([seed, _STREAM]))
            self._asked_for = self._asked_for or classifier
            yield self._fit("finetune", seed, classifier, groups, (Inputs(batch, labels), test))

    def _scratch(self) -> Iterator[Fit]:
        for seed in range(self._settings.seeds):
            with _drawn(seed):
                network = models.small_network(self._data.train_small, self._settings.head, self._n_classes)
            yield self._fit_small("scratch", seed, network)

    def _pixels(self) -> Iterator[Fit]:
        for seed in range(self._settings.seeds):
            with _drawn(seed):
                network = models.pixel_network(self._data.train_small, self._settings.head, self._n_classes)
            yield self._fit_small("pixels", seed, network)

    def _pretrained(self) -> NetworkExtractor:
        return models.pretrained(self._data.encoder, self._data.train.space).to(self._device)

    def _head(self, seed: int, features: torch.Tensor) -> torch.nn.Module:
        with _drawn(seed):
            layers = models.head(self._settings.head, features.shape[1], self._n_classes)
        return torch.nn.Sequential(models.Standardise([features]), layers)

    def _features(self, name: str, extractor: NetworkExtractor) -> list[torch.Tensor]:
        """Returns the features of the training images with their copies, and of the test images."""
        return self._encoded(name, extractor, [(self._data.train, self._settings.n_copies), (self._data.test, 0)])

    def _encoded(
        self, name: str, extractor: NetworkExtractor, parts: Sequence[tuple[Images, int]]
    ) -> list[torch.Tensor]:
        """Returns the features of some images, each with so many copies; each goes through the network once."""
        advance = self._progress(f"{name}: features of the images", sum(len(images) for images, _ in parts))
        encoder = FeatureEncoder(
            [extractor], self._data.train.space, normalize_images=True, device=self._device, cache_mb=0
        )
        features = []
        for images, count in parts:
            rows = []
            for views in images.with_copies(count):
                rows.append(encoder(views.numpy()))
                advance()
            features.append(torch.from_numpy(np.concatenate(rows)))
        return features

    def _fit_head(self, name: str, seed: int, train: torch.Tensor, test: torch.Tensor) -> tuple[torch.nn.Module, Fit]:
        head = self._head(seed, train).to(self._device)
        groups = [{"params": list(head.parameters())}]
        labels = self._data.train_labels, self._data.test_labels
        return head, self._fit(name, seed, head, groups, (_stored(train, labels[0]), _stored(test, labels[1])))

    def _fit_small(self, name: str, seed: int, network: torch.nn.Module) -> Fit:
        data = self._data
        network = network.to(self._device)
        groups = [{"params": list(network.parameters())}]
        train, test = _stored(data.train_small, data.train_labels), _stored(data.test_small, data.test_labels)
        return self._fit(name, seed, network, groups, (train, test))

    def _fit(
        self,
        name: str,
        seed: int,
        network: torch.nn.Module,
        groups: list[dict[str, Any]],
        inputs: tuple[Inputs, Inputs],
    ) -> Fit:
        advance = self._progress(f"{name}, seed {seed}: training", self._settings.epochs)
        events = self._folder / "tb" / f"{name}-seed{seed}"
        return fit(network, groups, *inputs, self._settings, seed=seed, events=events, advance=advance)


def _stored(values: torch.Tensor, labels: torch.Tensor) -> Inputs:
    return Inputs(values.__getitem__, labels)


def _augmented(images: Images, draws: np.random.Generator, rows: Sequence[int]) -> Batch:
    return images.augmented(images.batch(rows), int(draws.integers(2**31)))


@contextlib.contextmanager
def _drawn(seed: int) -> Iterator[None]:
    """What is drawn at random within comes from a seed, and nothing outside is disturbed."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield
