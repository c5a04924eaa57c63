import io

import numpy as np
import pytest
from matplotlib import image
from synthetic import FROZEN, make_run, make_study, ramp, shuffled, source

from rltransfer.comparison import compare
from rltransfer.report.figures import FORMATS, draw, save_figures


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
    shapes = [image.imread(io.BytesIO(draw(one, one.tasks[0])["png"]), format="png").shape[:2] for one in (few, ten)]
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
