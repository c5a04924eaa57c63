import io
import itertools

import numpy as np
import pytest
from matplotlib import image
from synthetic import FROZEN, make_run, make_study, ramp, shuffled, source

from rltransfer.comparison import compare
from rltransfer.report.figures import FORMATS, _figure, draw, save_figures
from rltransfer.report.paper import fitted, text_width
from rltransfer.report.profile_figures import _of_task


@pytest.fixture(scope="module")
def ten(tmp_path_factory):
    """Ten arms, one of them a control, with names that matplotlib would read as mathematics."""
    root = tmp_path_factory.mktemp("ten")
    for seed in range(2):
        make_run(root, arm="scratch", seed=seed, returns=ramp(0, 50 + seed))
        make_run(root, arm="frozen", strategy=FROZEN, seed=seed, source=source(seed), returns=ramp(0, 90 + seed))
        make_run(root, arm="shuffled", strategy=shuffled(FROZEN), seed=seed, source=source(seed))
        for index in range(7):
            make_run(root, arm=f"$arm_{index}", strategy=({"kind": f"a{index}"},), seed=seed, returns=ramp(0, 80))
    return compare(root)


def test_each_format_is_what_it_says_and_the_same_twice(ten):
    first, second = (draw(ten, ten.tasks[0], FORMATS) for _ in range(2))
    assert first == second
    assert first["png"].startswith(b"\x89PNG")
    assert first["svg"].startswith(b"<?xml")
    assert first["pdf"].startswith(b"%PDF")


def test_fonts_are_in_the_file(ten):
    drawn = draw(ten, ten.tasks[0], ("svg", "pdf"))
    assert b"<text" not in drawn["svg"]
    assert b"/FontFile2" in drawn["pdf"]
    assert b"/Type3" not in drawn["pdf"]


def test_many_arms_get_panels_of_their_own(ten, tmp_path):
    make_study(tmp_path, seeds=2)
    few = compare(tmp_path)
    shapes = [image.imread(io.BytesIO(draw(item, item.tasks[0])["png"]), format="png").shape[:2] for item in (few, ten)]
    assert shapes[1][0] > shapes[0][0]
    assert b"frozen / shuffled" not in draw(few, few.tasks[0], ("svg",))["svg"]
    # matplotlib writes each text into the SVG as a comment beside its shapes.
    assert b"frozen / shuffled" in draw(ten, ten.tasks[0], ("svg",))["svg"]


def test_figures_go_where_they_are_wanted(ten, tmp_path):
    paths = save_figures(ten, tmp_path, ("pdf",))
    name = ten.tasks[0].name
    assert paths == (tmp_path / f"{name}.pdf", tmp_path / f"{name}_profiles.pdf")
    assert all(path.read_bytes().startswith(b"%PDF") for path in paths)


def test_a_curve_without_numbers_is_drawn_as_a_gap(tmp_path):
    make_run(tmp_path, arm="scratch", seed=0, returns=[np.nan, np.nan, np.nan])
    assert draw(compare(tmp_path), compare(tmp_path).tasks[0])["png"].startswith(b"\x89PNG")


@pytest.fixture(scope="module")
def twenty(tmp_path_factory):
    """Returns a comparison of twenty arms with long names that differ in their ends, some of them with controls."""
    root = tmp_path_factory.mktemp("twenty")
    for seed in range(2):
        make_run(root, arm="scratch", seed=seed)
        for index in range(20):
            name = f"{'WIDE_' if index == 3 else ''}finetune_the_encoder_from_agents_after_{index}000_steps"
            strategy = ({"kind": f"a{index}"},)
            make_run(root, arm=name, strategy=strategy, seed=seed)
            if index % 5 == 0:
                make_run(root, arm=f"{name}_shuffled", strategy=shuffled(strategy), seed=seed)
    return compare(root)


def drawn(make, *arguments):
    """Returns a figure that was laid out, with what measures it."""
    figure = make(*arguments)
    figure.canvas.draw()
    return figure, figure.canvas.get_renderer()


def test_the_key_of_profiles_is_inside_the_figure_however_many_arms_there_are(twenty):
    figure, renderer = drawn(_of_task, twenty, twenty.tasks[0])
    box = figure.axes[0].get_legend().get_window_extent(renderer)
    assert box.y0 >= 0
    assert box.y1 <= figure.bbox.y1
    assert box.x1 <= figure.bbox.x1


def test_titles_of_panels_do_not_run_into_each_other_or_out_of_the_figure(twenty):
    figure, renderer = drawn(_figure, twenty, twenty.tasks[0])
    titles = {axes: axes._left_title.get_window_extent(renderer) for axes in figure.axes}
    assert len(titles) == 21
    for combination, other in itertools.combinations(titles.values(), 2):
        assert not combination.overlaps(other)
    for axes, other in itertools.permutations(titles, 2):
        assert not titles[axes].overlaps(other.get_window_extent(renderer))
    texts = [axes.get_title(loc="left").replace("\n", "") for axes in figure.axes]
    assert len(set(texts)) == len(texts)


def test_text_is_broken_where_words_end_and_cut_in_the_middle():
    assert fitted("frozen_from_10000_steps", 1.0, 9) == "frozen_from_\n10000_steps"
    assert fitted("a b", 5.0, 9) == "a b"
    assert fitted("", 1.0, 9) == ""
    assert fitted("a\n b", 5.0, 9) == "a b"
    assert len(fitted("x" * 100_000, 1.0, 9)) < 100
    cut = fitted("x" * 100 + "_1", 1.0, 9, lines=2)
    assert cut.count("\n") == 1
    assert "…" in cut
    assert cut.endswith("_1")
    assert max(text_width(line, 9) for line in cut.split("\n")) <= 1.0
