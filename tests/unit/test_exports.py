import csv
import io
import json

import numpy as np
import pytest
from synthetic import FROZEN, SCRATCH, TASK, make_run, ramp, source

from rltransfer.comparison import compare
from rltransfer.records import TaskFacts
from rltransfer.reference_returns import reference_of
from rltransfer.report.exports import curves_csv, rliable_arrays, runs_csv, write_exports

LONG = TaskFacts(env=TASK.env, kwargs={"length": 1.5})


def rows(text):
    return list(csv.DictReader(io.StringIO(text)))


@pytest.fixture
def two_tasks(tmp_path):
    """Two tasks with other numbers of evaluations; `frozen` lacks seed 2 in one, `only` lacks a task."""
    for name, task, points in (("short", TASK, 3), ("long", LONG, 6)):
        for seed in range(3):
            facts = {"task": task, "seed": seed, "reward_threshold": 40.0}
            make_run(tmp_path, arm="scratch", folder=f"{name}/s{seed}", returns=ramp(0, 50 + seed, points), **facts)
            if seed < 2 or name == "short":
                folder, returns = f"{name}/f{seed}", ramp(0, 90 + seed, points)
                make_run(
                    tmp_path,
                    arm="frozen",
                    strategy=FROZEN,
                    source=source(seed),
                    folder=folder,
                    returns=returns,
                    **facts,
                )
    make_run(tmp_path, arm="only", strategy=({"kind": "full"},), seed=0, task=LONG, folder="long/o")
    return compare(tmp_path)


def test_there_is_one_tidy_row_for_each_run(two_tasks):
    table = rows(runs_csv(two_tasks))
    assert len(table) == 3 + 2 + 3 + 3 + 1
    (row,) = [row for row in table if row["folder"] == "short/f1"]
    assert (row["arm"], row["kind"], row["seed"], row["source_env_steps"]) == ("frozen", "transfer", "1", "40000")
    assert float(row["auc"]) == pytest.approx(45.5)
    assert row["success_auc"] == row["source_task_return"] == ""
    assert 0 < float(row["normalised"]) < 1
    assert (row["steps_to_threshold"], row["reached_threshold"]) == ("5000.0", "True")
    assert json.loads(row["strategy"]) == list(FROZEN)


def test_curves_are_tidy_too(two_tasks):
    table = [row for row in rows(curves_csv(two_tasks)) if "swap" in row["task"] and row["arm"] == "scratch"]
    first = [(row["env_steps"], float(row["value"])) for row in table if row["seed"] == "1"]
    assert first == [("0", 0.0), ("5000", 25.5), ("10000", 51.0)]


def test_arrays_have_rliables_shape_and_no_holes(two_tasks):
    result = rliable_arrays(two_tasks)
    assert [title.partition("(")[2] for title in result["tasks"]] == ["length=1.5)", "swap_actions=True)"]
    scores = {arm: np.array(runs) for arm, runs in result["scores"].items()}
    assert {arm: array.shape for arm, array in scores.items()} == {"scratch": (3, 2), "frozen": (2, 2)}
    assert scores["frozen"] == pytest.approx(np.array([[45.0, 45.0], [45.5, 45.5]]))
    swapped = reference_of(TASK)
    expected = [(score - swapped.random) / (swapped.reference - swapped.random) for score in (45.0, 45.5)]
    assert [runs[1] for runs in result["normalised"]["frozen"]] == pytest.approx(expected)
    assert [runs[0] for runs in result["normalised"]["frozen"]] == [None, None]
    curves = {arm: np.array(runs) for arm, runs in result["curves"].items()}
    assert {arm: array.shape for arm, array in curves.items()} == {"scratch": (3, 2, 101), "frozen": (2, 2, 101)}
    assert curves["scratch"][1, 1, 50] == pytest.approx(25.5)
    assert result["left_out"] == ["arm only: not in every task", "arm frozen, seed 2: not in every task"]


def test_tasks_with_the_same_evaluations_keep_them(tmp_path):
    for task, folder in ((TASK, "a"), (LONG, "b")):
        make_run(tmp_path, arm="scratch", strategy=SCRATCH, seed=0, task=task, folder=folder)
    assert rliable_arrays(compare(tmp_path))["frames"] == [[0, 2000, 4000, 6000, 8000, 10000]] * 2


def test_undefined_scores_are_empty_and_no_json_that_others_cannot_read(tmp_path):
    make_run(tmp_path, arm='a,"b\n=1', seed=0, returns=[1.0, float("nan"), 2.0])
    table, _, arrays = write_exports(compare(tmp_path), tmp_path / "data")
    (row,) = rows(table.read_text())
    assert (row["arm"], row["auc"]) == ('a,"b\n=1', "")
    result = json.loads(arrays.read_text(), parse_constant=pytest.fail)
    assert result["scores"] == {'a,"b\n=1': [[None]]}
    assert result["curves"]['a,"b\n=1'][0][0] == [1.0, None, 2.0]
