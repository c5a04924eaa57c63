"""``rltransfer classify``: what it measures, what it leaves behind, and what it refuses before it leaves anything."""

import csv
import importlib.util
import json
import math
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from agents import make_agent
from gymnasium import spaces
from PIL import Image
from pretrained import ARCH, real_weights, write_weights

from rltransfer import load_encoder
from rltransfer.classification import models
from rltransfer.classification.results import against_control, judge
from rltransfer.classification.training import Fit
from rltransfer.cli import main
from rltransfer.transfer.feature_encoder import FeatureEncoder

SIDE = 32
LAST_LINE = re.compile(r"test accuracy: (\d\.\d\d) \[(\d\.\d\d), (\d\.\d\d)\]")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_weights(tmp_path_factory.mktemp("weights") / "weights.pth")


def write_images(folder: Path, n_each: int = 10) -> Path:
    """Writes noise, dark in one class and bright in the other: easy for anything that looks."""
    rng = np.random.default_rng(0)
    for name, brightness in (("day", 150), ("night", 0)):
        (folder / name).mkdir(parents=True)
        for number in range(n_each):
            pixels = rng.integers(brightness, brightness + 100, (SIDE, SIDE, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
    return folder


def classify(weights: Path, folder: Path, logs: Path, *flags: str, source: tuple[str, ...] = ("--arch", ARCH)) -> int:
    always = ["--size", str(SIDE), "--seeds", "2", "--epochs", "3", "-f", str(logs)]
    return main(["classify", str(folder), "--from", str(weights), *source, *always, *flags])


def result_of(logs: Path) -> tuple[Path, dict[str, Any]]:
    (folder,) = (logs / "classify").iterdir()
    return folder, json.loads((folder / "result.json").read_text())


@pytest.mark.long
def test_what_a_frozen_network_leaves_behind(weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = write_images(tmp_path / "images")
    assert classify(weights, images, tmp_path / "logs", "--head", "8") == 0
    folder, result = result_of(tmp_path / "logs")
    said = LAST_LINE.fullmatch(capsys.readouterr().out.splitlines()[-1])
    assert said is not None
    accuracy = result["arms"]["frozen"]["accuracy"]
    assert [float(number) for number in said.groups()] == [
        pytest.approx(accuracy[name], abs=0.005) for name in ("value", "low", "high")
    ]
    assert list(result["arms"]) == ["frozen", "scratch", "random_frozen", "pixels"]

    # Every prediction is there, and the accuracy is theirs.
    rows = list(csv.DictReader((folder / "predictions.csv").read_text().splitlines()))
    assert len(rows) == 10
    right = [[row["class"] == row[f"frozen_seed{seed}"] for row in rows] for seed in range(2)]
    assert np.mean(right) == pytest.approx(accuracy["value"])
    assert np.sum(result["confusion"]) == 20
    assert np.trace(result["confusion"]) == np.sum(right)

    # The saved classifier needs nothing of ours, and gives these predictions for any number of images.
    shown = np.stack([np.asarray(Image.open(images / row["file"])) for row in rows]).transpose(0, 3, 1, 2)
    np.save(tmp_path / "images.npy", shown)
    script = (
        "import sys, json, numpy, torch\n"
        "for name in ('rltransfer', 'torchvision', 'timm', 'stable_baselines3'): sys.modules[name] = None\n"
        "extra = {'classes.json': ''}\n"
        "network = torch.export.load(sys.argv[1], extra_files=extra).module()\n"
        "images = torch.from_numpy(numpy.load(sys.argv[2]))\n"
        "classes = json.loads(extra['classes.json'])\n"
        "print(json.dumps([classes[int(i)] for part in (images[:3], images[3:4], images[4:])"
        " for i in network(part).argmax(1)]))"
    )
    run_alone = subprocess.run(
        [sys.executable, "-c", script, str(folder / "classifier.pt2"), str(tmp_path / "images.npy")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(run_alone.stdout) == [row["frozen_seed0"] for row in rows]

    # The encoder is the source's, bit for bit.
    source, saved = load_encoder(weights, arch=ARCH, size=SIDE), load_encoder(folder / "encoder")
    assert saved.source == source.source
    assert all(torch.equal(saved.tensors[name], tensor) for name, tensor in source.tensors.items())

    curves = sorted(path.name for path in (folder / "tb").iterdir())
    assert curves == sorted(f"{arm}-seed{seed}" for arm in result["arms"] for seed in range(2))
    assert not (folder / "rltransfer").exists()


@pytest.mark.long
def test_a_fine_tuned_network_is_where_agents_start_from(
    weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = write_images(tmp_path / "images", 6)
    flags = ("--strategy", "finetune", "--augment", "flip:0.5", "shift:2", "--baselines")
    assert classify(weights, images, tmp_path / "logs", *flags) == 0
    # 6 images, 2 seeds, 3 epochs.
    assert "36 images pass the network forward and back" in capsys.readouterr().out
    folder, result = result_of(tmp_path / "logs")
    assert list(result["arms"]) == ["finetune"]
    source, tuned = load_encoder(weights, arch=ARCH, size=SIDE), load_encoder(folder / "encoder")
    for name, tensor in source.tensors.items():
        is_statistic = name.endswith(("running_mean", "running_var", "num_batches_tracked"))
        assert torch.equal(tuned.tensors[name], tensor) == is_statistic, name
    # It does not pass for the network that it was made from.
    assert tuned.source.network is not None
    assert tuned.source.network.weights is None
    assert tuned.source.network.url is None
    assert main(["inspect", str(folder / "encoder")]) == 0
    shown = capsys.readouterr().out
    assert f"fine-tuned: {ARCH} on the images of {images}" in shown
    assert "left out:  nothing" in shown
    assert tuned.source.sha256 != source.source.sha256
    assert tuned.source.path == str(folder / "classifier.pt2")
    env = ["--env", "rltransfer_envs:rltransfer/ImageFolder-v0", "--env-kwargs", f"folder:{images}"]
    capsys.readouterr()
    assert (
        main(["plan", "--from", str(folder / "encoder"), "--strategy", "frozen", *env, "-params", "policy:CnnPolicy"])
        == 0
    )
    assert "frozen" in capsys.readouterr().out


@pytest.mark.long
def test_the_frozen_network_sees_each_image_once_whatever_the_epochs(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = write_images(tmp_path / "images", 6)
    counts = []
    computed = FeatureEncoder.__call__

    def counted(encoder: FeatureEncoder, observations: Any) -> Any:
        counts.append(len(observations))
        return computed(encoder, observations)

    monkeypatch.setattr(FeatureEncoder, "__call__", counted)
    flags = ("--baselines", "--augment", "flip:0.5", "--copies", "3", "--epochs", "4")
    assert classify(weights, images, tmp_path / "logs", *flags) == 0
    # Training images with their copies, then the test images, for both seeds together.
    assert counts == [4] * 6 + [1] * 6
    folder, _ = result_of(tmp_path / "logs")
    assert "3 copies beside each image" in (folder / "report" / "report.md").read_text()


@pytest.mark.long
def test_the_same_settings_give_the_same_numbers(weights: Path, tmp_path: Path) -> None:
    images = write_images(tmp_path / "images", 5)
    flags = ("--augment", "crop:0.7", "--copies", "1", "--baselines", "random_frozen", "scratch")
    for logs in ("first", "second"):
        torch.rand(3)
        assert classify(weights, images, tmp_path / logs, *flags) == 0
    (_, first), (_, second) = result_of(tmp_path / "first"), result_of(tmp_path / "second")
    assert first["arms"] == second["arms"]


def test_untrained_networks_differ_by_seed_and_tell_images_apart(weights: Path, tmp_path: Path) -> None:
    encoder = load_encoder(weights, arch=ARCH, size=SIDE)
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (16, 3, SIDE, SIDE), dtype=np.uint8))
    space = spaces.Box(0, 255, (3, SIDE, SIDE), np.uint8)
    features = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        network = models.untrained(encoder, space, images)
        with torch.no_grad():
            features.append(network.image_features(models.unit(images)))
        assert float(features[-1].std(dim=0).median()) > 1e-3
    assert not torch.allclose(*features)
    with torch.no_grad():
        own = models.pretrained(encoder, space).image_features(models.unit(images))
    assert not torch.allclose(own, features[0])


def test_standardised_values_have_mean_0_and_deviation_1_and_constants_stay_finite() -> None:
    values = torch.from_numpy(np.random.default_rng(0).normal(5, 3, (40, 3))).float()
    values[:, 1] = 7.0
    standardised = models.Standardise(iter([values[:10], values[10:]]))(values)
    np.testing.assert_allclose(standardised.mean(dim=0), 0, atol=1e-5)
    np.testing.assert_allclose(standardised.std(dim=0, correction=0), [1, 0, 1], atol=1e-5)
    images = torch.rand(4, 3, 5, 5) * torch.tensor([1.0, 2.0, 3.0])[:, None, None]
    by_channel = models.Standardise([images])(images)
    np.testing.assert_allclose(by_channel.std(dim=(0, 2, 3), correction=0), 1, atol=1e-5)


def broken(folder: Path) -> None:
    path = folder / "night" / "3.png"
    path.write_bytes(path.read_bytes()[:200])


def one_class(folder: Path) -> None:
    (folder / "night").rename(folder.parent / "elsewhere")


def empty_class(folder: Path) -> None:
    (folder / "dusk").mkdir()


def in_parts(folder: Path) -> None:
    for part in ("train", "test"):
        shutil.copytree(folder.parent / "images", folder.parent / part)
    for part in ("train", "test"):
        (folder.parent / part).rename(folder / part)


@pytest.mark.parametrize(
    ("change", "flags", "message"),
    [
        (broken, (), r"Image file '.*night/3.png' cannot be read"),
        (one_class, (), r"has one class folder, 'day', where at least two are needed"),
        (empty_class, (), r"class 'dusk' has no images"),
        (None, ("--copies", "3"), r"copies: they are augmented ones"),
        (None, ("--augment", "noise:0.1"), r"augment: 'noise' is not for images"),
        (None, ("--augment", "flip:2"), r"flip"),
        (None, ("--baselines", "scratc"), r"'scratch', 'random_frozen' or 'pixels'"),
        (None, ("--lr-scale", "0.1"), r"lr_scale: it is of finetune"),
        (None, ("--seeds", "0"), r"key 'seeds': .*greater than 0"),
        (None, ("--head", "0"), r"key 'head.0': .*greater than 0"),
        (None, ("--cut", "featurs.3"), r"features.3"),
        (None, ("--pool", "3"), r"pool: .* leaves no map of features"),
        (None, ("--device", "foo"), r"device: there is no 'foo'"),
        (None, ("--learning-rate", "inf"), r"key 'learning_rate': .*finite"),
        (None, ("--learning-rate", "1e30"), r"The training of frozen-seed0 diverged in epoch \d"),
        (in_parts, ("--test-share", "0.2"), r"test_share: the folder is split into train/ and test/ already"),
    ],
)
def test_mistakes_are_said_in_one_line_and_nothing_is_written(
    change: Callable[[Path], None] | None,
    flags: tuple[str, ...],
    message: str,
    weights: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    images = write_images(tmp_path / "images", 6)
    if change is not None:
        change(images)
    assert classify(weights, images, tmp_path / "logs", *flags) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if not line.endswith(")")]
    assert re.search(message, line)
    assert line.startswith("error: ")
    assert not (tmp_path / "logs").exists()


def test_an_agent_is_no_network_to_classify_with(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_agent("ppo", "CartPole-v1").save(tmp_path / "agent.zip")
    images = write_images(tmp_path / "images", 3)
    arguments = ["classify", str(images), "--from", str(tmp_path / "agent.zip"), "-f", str(tmp_path / "logs")]
    assert main(arguments) == 2
    assert "classify starts from a pretrained network, and" in capsys.readouterr().err
    assert not (tmp_path / "logs").exists()


@pytest.mark.long
def test_what_is_stopped_in_the_middle_leaves_nothing(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = write_images(tmp_path / "images", 4)

    def stopped(*_: Any, **__: Any) -> None:
        assert (tmp_path / "logs" / "classify" / "images_1" / "tb").is_dir()
        raise KeyboardInterrupt

    monkeypatch.setattr(models, "untrained", stopped)
    flags = ("--epochs", "1", "--baselines", "random_frozen")
    assert classify(weights, images, tmp_path / "logs", *flags) == 130
    assert not (tmp_path / "logs").exists()
    # But what was there before.
    (tmp_path / "logs").mkdir()
    assert classify(weights, images, tmp_path / "logs", *flags) == 130
    assert list((tmp_path / "logs").iterdir()) == []


@pytest.mark.long
def test_with_one_seed_there_is_no_verdict(weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = write_images(tmp_path / "images", 4)
    assert classify(weights, images, tmp_path / "logs", "--seeds", "1", "--epochs", "1", "--baselines", "scratch") == 0
    folder, result = result_of(tmp_path / "logs")
    contrast = result["arms"]["frozen"]["against_scratch"]
    assert (contrast["verdict"], contrast["reason"]) == (None, "one seed: a verdict needs at least two")
    assert "**`frozen`: no verdict**, one seed" in (folder / "report" / "report.md").read_text()
    assert "no verdict" in capsys.readouterr().out


LABELS = np.arange(100) % 2


def trained(*accuracies: float) -> tuple[Fit, ...]:
    """Returns trainings, one for each seed, that are right about the first so many of 100 test images."""
    return tuple(
        Fit((accuracy,), (1.0,), np.where(np.arange(100) < 100 * accuracy, LABELS, 1 - LABELS))
        for accuracy in accuracies
    )


def test_a_verdict_needs_seeds_and_test_images() -> None:
    low, high = trained(0.60, 0.61, 0.62, 0.60, 0.61), trained(0.90, 0.91, 0.92, 0.90, 0.91)
    arms = judge({"frozen": high, "scratch": low, "random_frozen": low, "pixels": low}, LABELS)
    verdicts = {arm.name: arm.against_scratch and arm.against_scratch.verdict for arm in arms}
    expected = {"frozen": "positive", "scratch": None, "random_frozen": "inconclusive", "pixels": "inconclusive"}
    assert verdicts == expected
    assert against_control(arms).verdict == "positive"  # type: ignore[union-attr]
    # All seeds are better, but about one image of a hundred: with other images it may be otherwise.
    arms = judge({"frozen": trained(*[0.61] * 5), "scratch": trained(*[0.60] * 5)}, LABELS)
    test = arms[0].against_scratch
    assert test is not None
    assert test.p_value == pytest.approx(2 / 252)
    assert test.verdict == "inconclusive"
    # Images by the hundred, but seeds differ as much as arms.
    arms = judge({"frozen": trained(0.5, 0.95, 0.6), "scratch": trained(0.6, 0.5, 0.55)}, LABELS)
    assert arms[0].against_scratch is not None
    assert arms[0].against_scratch.verdict == "inconclusive"
    # A network that beats scratch as its untrained twin does owes it to its architecture, as far as is shown.
    arms = judge({"frozen": high, "scratch": low, "random_frozen": high}, LABELS)
    assert against_control(arms).verdict == "inconclusive"  # type: ignore[union-attr]
    (alone,) = judge({"frozen": high}, LABELS)
    assert alone.against_scratch is not None
    assert alone.against_scratch.reason == "without `scratch` there is nothing to compare with"
    assert against_control((alone,)) is None


@pytest.mark.long
def test_real_weights_tell_grass_from_gravel(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    package = importlib.util.find_spec("skimage")
    if package is None or not package.submodule_search_locations:
        pytest.skip("scikit-image, which carries the photographs, is not installed: use scripts/test.sh")
    photographs = Path(package.submodule_search_locations[0]) / "data"
    for name in ("grass", "gravel"):
        photograph = np.asarray(Image.open(photographs / f"{name}.png").convert("RGB"))
        for part, left in (("train", 0), ("test", 256)):
            folder = tmp_path / "textures" / part / name
            folder.mkdir(parents=True)
            for top in range(0, 449, 32):
                for x in range(left, left + 193, 32):
                    Image.fromarray(photograph[top : top + 64, x : x + 64]).save(folder / f"{top}_{x}.png")
    weights, arch = real_weights(), "torchvision:mobilenet_v2"
    arguments = ["classify", str(tmp_path / "textures"), "--from", str(weights), "--arch", arch, "--head", "256"]
    assert main([*arguments, "--seeds", "1", "--size", "64", "-f", str(tmp_path / "logs")]) == 0
    said = LAST_LINE.fullmatch(capsys.readouterr().out.splitlines()[-1])
    assert said is not None
    assert float(said.group(1)) >= 0.9
    _, result = result_of(tmp_path / "logs")
    accuracies = {name: arm["accuracy"]["value"] for name, arm in result["arms"].items()}
    assert math.isclose(accuracies["frozen"], max(accuracies.values()))
    assert accuracies["frozen"] > accuracies["pixels"]
    assert accuracies["frozen"] > accuracies["scratch"]
    assert accuracies["frozen"] > accuracies["random_frozen"]
