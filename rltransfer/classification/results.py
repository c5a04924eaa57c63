"""What a classification found: accuracies with intervals, and which differences may be claimed."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64

from rltransfer import stats
from rltransfer.classification.settings import Settings
from rltransfer.classification.training import Fit
from rltransfer.comparison.verdicts import Contrast, Pair, contrast_family
from rltransfer.records import NetworkFacts
from rltransfer.stats import Estimate, Hits

BASELINE = "scratch"
CONTROL = "random_frozen"
_ONE_SEED = "one seed: a verdict needs at least two"
_NO_BASELINE = "without `scratch` there is nothing to compare with"


@dataclasses.dataclass(frozen=True, eq=False)
class ArmResult:
    """What came out of one way to classify the images.

    Attributes:
        name: The network's strategy, or the baseline.
        fits: The trainings, by seed.
        hits: Whether each seed's last classifier is right about each test image.
        accuracy: The share of test images that it is right about, with the interval over these and seeds.
        against_scratch: The test against ``scratch``; None for ``scratch`` itself.
    """

    name: str
    fits: tuple[Fit, ...]
    hits: Hits
    accuracy: Estimate
    against_scratch: Contrast | None

    @property
    def verdict_word(self) -> str:
        """The verdict in a word or two, as tables show it."""
        return "baseline" if self.against_scratch is None else self.against_scratch.verdict or "no verdict"

    @property
    def train_accuracy(self) -> float:
        """The mean accuracy on the training images in the last epoch."""
        return float(np.mean([fit.train_accuracy[-1] for fit in self.fits]))


@dataclasses.dataclass(frozen=True, eq=False)
class Classification:
    """What a classification found.

    Attributes:
        folder: Where everything about it lies.
        settings: How it was made.
        network: The pretrained network.
        network_sha256: Of the file of its weights.
        image_size: The side that images are resized to.
        classes: The names of the classes.
        train_counts: How many training images each class has.
        test_files: The test images, relative to their folder.
        test_labels: Their classes.
        arms: The arms; the network asked for comes first.
        command: What was typed, where something was.
        against_control: The test of the network against itself untrained, by the larger p of this and the one against
            ``scratch``; None where ``random_frozen`` was left out.
        versions: Of the libraries.
    """

    folder: Path
    settings: Settings
    network: NetworkFacts
    network_sha256: str
    image_size: int
    classes: tuple[str, ...]
    train_counts: tuple[int, ...]
    test_files: tuple[str, ...]
    test_labels: Int64[np.ndarray, " images"]
    arms: tuple[ArmResult, ...]
    against_control: Contrast | None
    command: str | None
    versions: Mapping[str, str]

    @property
    def accuracy(self) -> Estimate:
        """The test accuracy of the network asked for."""
        return self.arms[0].accuracy

    def arm(self, name: str) -> ArmResult:
        """Returns an arm by its name."""
        return next(arm for arm in self.arms if arm.name == name)

    def confusion(self) -> Int64[np.ndarray, "classes classes"]:
        """Returns how often a test image of each class (row) was given each class, by the network, over all seeds."""
        counts = np.zeros((len(self.classes), len(self.classes)), dtype=np.int64)
        for fit in self.arms[0].fits:
            np.add.at(counts, (self.test_labels, fit.predictions), 1)
        return counts

    def to_json(self) -> dict[str, Any]:
        """Returns the numbers and what they rest on."""
        return {
            "settings": self.settings.model_dump(mode="json"),
            "network": self.network.model_dump(mode="json"),
            "network_sha256": self.network_sha256,
            "image_size": self.image_size,
            "classes": self.classes,
            "train_counts": dict(zip(self.classes, self.train_counts, strict=True)),
            "test_counts": dict(zip(self.classes, np.bincount(self.test_labels).tolist(), strict=True)),
            "arms": {arm.name: _arm(arm) for arm in self.arms},
            "against_control": None if self.against_control is None else dataclasses.asdict(self.against_control),
            "confusion": self.confusion().tolist(),
            "versions": dict(self.versions),
        }


def judge(fits: Mapping[str, tuple[Fit, ...]], labels: Int64[np.ndarray, " images"]) -> tuple[ArmResult, ...]:
    """Returns the arms with their accuracies, each tested against ``scratch``.

    A verdict needs both: a permutation test over seeds, and a t test over test images and seeds. The larger p counts,
    corrected by Holm for the number of arms.
    """
    hits = {name: np.stack([fit.predictions == labels for fit in of_arm]) for name, of_arm in fits.items()}
    others = [name for name in fits if name != BASELINE]
    if BASELINE not in fits:
        tests = contrast_family({}, dict.fromkeys(others, _NO_BASELINE), seed=0)
    else:
        tests = _family({name: (hits[name], hits[BASELINE]) for name in others})
    return tuple(ArmResult(name, fits[name], hits[name], stats.accuracy(hits[name]), tests.get(name)) for name in fits)


def against_control(arms: tuple[ArmResult, ...]) -> Contrast | None:
    """Returns the test that the network beats ``scratch`` and itself untrained."""
    network, *others = arms
    control = next((arm for arm in others if arm.name == CONTROL), None)
    if control is None:
        return None
    p_of_scratch = 1.0 if network.against_scratch is None else network.against_scratch.p_adjusted
    return _family({network.name: (network.hits, control.hits)}, also=1.0 if p_of_scratch is None else p_of_scratch)[
        network.name
    ]


def _family(pairs: Mapping[str, tuple[Hits, Hits]], *, also: float = 0.0) -> dict[str, Contrast]:
    if any(len(hits) < 2 for pair in pairs.values() for hits in pair):
        untested = contrast_family({}, dict.fromkeys(pairs, _ONE_SEED), seed=0)
        return {
            name: dataclasses.replace(test, difference=stats.accuracy_difference(*pairs[name]))
            for name, test in untested.items()
        }
    tested = {
        name: Pair(
            hits.mean(axis=1).tolist(),
            others.mean(axis=1).tolist(),
            stats.accuracy_difference(hits, others),
            (max(also, stats.accuracy_p(hits, others)), 0.0),
        )
        for name, (hits, others) in pairs.items()
    }
    return contrast_family(tested, {}, seed=0)


def _arm(arm: ArmResult) -> dict[str, Any]:
    contrast = arm.against_scratch
    return {
        "accuracy": dataclasses.asdict(arm.accuracy),
        "test_accuracy_by_seed": [fit.test_accuracy[-1] for fit in arm.fits],
        "train_accuracy": arm.train_accuracy,
        "test_accuracy_by_epoch": [fit.test_accuracy for fit in arm.fits],
        "against_scratch": None if contrast is None else dataclasses.asdict(contrast),
    }
