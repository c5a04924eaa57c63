"""The figure of what layers represented stays readable for any number of them, and drops none in silence."""

import io
import itertools
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image
from synthetic import FROZEN, SCRATCH, make_run, source

from rltransfer import compare
from rltransfer.comparison import Comparison, TaskComparison
from rltransfer.records import Representation, write_representation
from rltransfer.report import write_report
from rltransfer.report.layer_figures import draw_layers, layers_figure
from rltransfer.report.sections.layers import layer_names, layers_over_time

HIDDEN = ("mlp_extractor.policy_net.0", "mlp_extractor.policy_net.2")
CNN = tuple(f"features_extractor.cnn.{number}" for number in (0, 2, 4))
STEPS = np.linspace(0, 10_000, 6).astype(int)


def blocks(count: int) -> tuple[str, ...]:
    return tuple(f"features_extractor.network.features.{number}" for number in range(count))


def compared(root: Path, layers: dict[str, Sequence[str]]) -> tuple[Comparison, TaskComparison]:
    """Returns arms whose layers have numbers of their own, so that each is told apart."""
    for arm, names in layers.items():
        for seed in (0, 1):
            strategy = SCRATCH if arm == "scratch" else FROZEN
            run = make_run(
                root, arm=arm, seed=seed, strategy=strategy, source=None if arm == "scratch" else source(seed)
            )
            depth = np.arange(1, len(names) + 1)[None, :] * np.linspace(0, 1, 6)[:, None]
            write_representation(
                run.folder,
                Representation(
                    env_steps=STEPS,
                    layers=tuple(names),
                    measures={
                        "cka": 1 - depth / 40,
                        "effective_rank": 3 + depth,
                        "dormant": depth / 100,
                        "distance": depth / 50,
                    },
                ),
            )
    comparison = compare(root)
    (task,) = comparison.tasks
    return comparison, task


@pytest.fixture
def deep(tmp_path: Path) -> tuple[Comparison, TaskComparison]:
    return compared(tmp_path / "runs", {"scratch": (*CNN, *HIDDEN), "frozen": (*blocks(22), *HIDDEN)})


def texts(figure: Figure) -> str:
    labels = [label.get_text() for axes in figure.axes for label in axes.get_xticklabels()]
    return "\n".join([*labels, *(axes.get_title(loc="left") for axes in figure.axes)])


def drawn_layers(figure: Figure, arm: str) -> int:
    """Returns how many layers of an arm the first panel has a mark for."""
    (line,) = (line for line in figure.axes[0].get_lines() if line.get_label() == arm)
    return int(np.isfinite(np.asarray(line.get_ydata(), dtype=float)).sum())


def test_layers_of_one_arm_stand_where_it_has_them(deep: tuple[Comparison, TaskComparison]) -> None:
    assert layer_names(deep[1]) == (*CNN, *blocks(22), *HIDDEN)


@pytest.mark.parametrize("count", [7, 27, 120])
def test_the_width_is_bounded_and_all_layers_are_drawn(count: int, tmp_path: Path) -> None:
    _, task = compared(tmp_path, {"scratch": HIDDEN, "frozen": (*blocks(count - 2), *HIDDEN)})
    image = Image.open(io.BytesIO(draw_layers(task)["png"]))
    assert image.width <= 2100
    assert image.height <= 1400
    figure = layers_figure(task)
    assert drawn_layers(figure, "frozen") == count
    assert drawn_layers(figure, "scratch") == len(HIDDEN)
    assert f"all {count} layers at the end" in texts(figure)
    # Beside the first column, each measure is drawn over training for a few.
    assert len(figure.axes) == 4 * (1 + len(layers_over_time(task)))


@pytest.mark.parametrize("count", [3, 6])
def test_few_layers_have_a_column_each(count: int, tmp_path: Path) -> None:
    names = (*blocks(count - 2), *HIDDEN)
    comparison, task = compared(tmp_path / "runs", {"scratch": names, "frozen": names})
    figure = layers_figure(task)
    assert layers_over_time(task) == names
    assert len(figure.axes) == 4 * count
    page = write_report(comparison, tmp_path / "out").read_text()
    assert "layers at the end" not in page
    assert "numbered as the observation passes them" not in (tmp_path / "out/report/report.md").read_text()


def test_neither_names_nor_titles_overlap(deep: tuple[Comparison, TaskComparison]) -> None:
    figure = layers_figure(deep[1])
    figure.canvas.draw()
    names = [label.get_window_extent() for label in figure.axes[-5].get_xticklabels()]
    assert len(names) == 27
    titles = [axes._left_title.get_window_extent() for axes in figure.axes if axes.get_title(loc="left")]
    assert len(titles) == 5
    for boxes in (names, titles):
        assert all(not first.overlaps(second) for first, second in itertools.pairwise(boxes))
    assert all(label.get_fontsize() >= 6.5 for axes in figure.axes for label in axes.get_xticklabels())


def test_the_report_says_what_is_drawn_and_where_the_rest_is(
    deep: tuple[Comparison, TaskComparison], tmp_path: Path
) -> None:
    comparison, task = deep
    page = write_report(comparison, tmp_path / "out").read_text()
    text = (tmp_path / "out/report/report.md").read_text()
    said = re.search(r"The arms have 27 layers, numbered .* in TensorBoard\.", text)
    assert said is not None
    assert "and 4 of them over training: 1 (`features_extractor.cnn.0`), " in said[0]
    assert "27 (`mlp_extractor.policy_net.2`). The table has the start and the end of all" in said[0]
    for number, name in enumerate(layer_names(task), start=1):
        assert f" {number}. `{name}` |" in text
    assert page.count("of all 27 layers at the end of training") == 4
    for name in layers_over_time(task):
        assert f'aria-label="similarity to the start of {name}"' in page
    drawn = re.findall(r'aria-label="effective rank of all 27 layers.*?</svg>', page, re.DOTALL)[0]
    # Each layer of an arm is a tread: two points.
    paths = [len(re.findall("[ML]", shape)) for shape in re.findall(r' d="([^"]*)"', drawn)]
    assert sorted(paths) == [2 * 5, 2 * 24]
