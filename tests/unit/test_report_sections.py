"""What the report says beside the verdicts: over tasks, of power, costs, the source task, coverage."""

import dataclasses
import io
import json
import re

import pytest
from reports import markdown_of, page_of
from rich.console import Console
from synthetic import FROZEN, TASK, episodes, make_run, make_study, ramp, source

from rltransfer.comparison import compare
from rltransfer.errors import ConfigError
from rltransfer.records import TaskFacts
from rltransfer.reference_returns import Reference, reference_of
from rltransfer.report import print_comparison, save_figures
from rltransfer.report.sections import reliability
from rltransfer.stats import Coverage, measured_coverage

SWAPPED, PLAIN = TASK, TaskFacts(env=TASK.env)


def row(text, head, arm):
    """Returns the cells of an arm's row in the table with a column, by column."""
    table = next(block for block in text.split("\n\n") if block.startswith("|") and f" {head} |" in block)
    titles, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    return dict(zip(titles, next(cells for cells in rows if cells[0] == f"`{arm}`"), strict=True))


def section(text, title):
    return re.split(r"\n#+ ", text.partition(f"# {title}\n")[2])[0]


@pytest.fixture(scope="module")
def two_tasks(tmp_path_factory):
    """Two tasks that have references, with the same arms; and one that has none."""
    root = tmp_path_factory.mktemp("two")
    for name, task in (("swapped", SWAPPED), ("plain", PLAIN), ("unmeasured", TaskFacts(env="Mine-v0"))):
        for seed in range(3):
            facts = {"seed": seed, "task": task, "task_name": name}
            make_run(root, arm="scratch", folder=f"{name}/scratch/{seed}", returns=ramp(20, 200 + seed), **facts)
            for arm, level in (("frozen", 400), ("weak", 100)):
                made = {"strategy": ({"kind": arm},), "source": source(seed), "returns": ramp(20, level + 5 * seed)}
                make_run(root, arm=arm, folder=f"{name}/{arm}/{seed}", **made, **facts)
    return compare(root)


def test_arms_that_share_tasks_are_averaged_over_them(two_tasks, tmp_path):
    text = section(markdown_of(two_tasks), "Across tasks")
    results = {arm.name: arm for arm in two_tasks.across}
    cells = row(text, "optimality gap", "frozen")
    assert cells["IQM"].startswith(f"{results['frozen'].iqm.value:.3f} [")
    assert float(cells["mean, difference"].split()[0]) > 0
    assert "Mine-v0: this task has no reference return" in text
    assert "on 2 tasks" in text
    assert "![The arms over all tasks](figures/across_tasks.png)" in text
    assert (tmp_path / "across_tasks.svg") in save_figures(two_tasks, tmp_path, ("svg",))


def test_the_page_draws_all_tasks_together(two_tasks):
    page = page_of(two_tasks)
    assert page.count('class="charts"') == 4
    data = json.loads(re.search(r'id="data">(.*?)</script>', page)[1])
    assert [list(item["plots"]) for item in data] == [["curves", "profiles"]] * 3 + [["profiles"]]
    assert [arm["name"] for arm in data[3]["arms"]] == ["scratch", "frozen", "weak"]


def test_the_terminal_shows_all_tasks_together(two_tasks):
    console = Console(file=io.StringIO(), width=80)
    print_comparison(two_tasks, console)
    lines = [line for line in console.file.getvalue().partition("over 2 tasks")[2].splitlines() if "frozen" in line]
    assert f"{two_tasks.across[1].iqm.value:.3f} [" in lines[0]


def test_without_a_common_scale_it_is_said_why_there_is_no_average(tmp_path):
    for name in ("a", "b"):
        make_run(tmp_path, arm="scratch", seed=0, task=TaskFacts(env=name), folder=f"{name}/0", task_name=name)
    assert "No average over tasks: fewer than two tasks have normalised scores" in markdown_of(compare(tmp_path))


def test_the_seeds_that_a_named_effect_needs_are_told_and_no_others(tmp_path):
    make_study(tmp_path)
    text = markdown_of(compare(tmp_path, effect=10.0))
    result = compare(tmp_path, effect=10.0).tasks[0].arm("frozen").detectable
    cells = row(text, "spread over seeds", "frozen")
    assert cells["10 is found in"] == f"{round(100 * result.named.power)} %"
    assert cells["seeds for 80 %"] == f"{result.named.seeds} ({result.named.cautious_seeds})"
    assert result.named.cautious_seeds > result.named.seeds > 5
    assert "effect=10.0" in text
    silent = markdown_of(compare(tmp_path))
    assert "is found in" not in silent
    assert "`effect` in the study" in silent


def test_the_named_effect_counts_and_the_observed_one_does_not(tmp_path):
    make_study(tmp_path)
    named = [arm.detectable.named for arm in compare(tmp_path, effect=10.0).tasks[0].arms if arm.detectable]
    assert len({item.seeds for item in named}) == 1
    larger = compare(tmp_path, effect=20.0).tasks[0].arm("frozen").detectable.named
    assert larger.seeds < named[0].seeds
    assert larger.power > named[0].power


def test_damaged_runs_are_named_and_stop_nothing(tmp_path):
    make_study(tmp_path)
    study = tmp_path / "rltransfer-CartPole-v0"
    (study / "frozen" / "seed_1" / "evaluations.npz").write_bytes(b"PK half of it")
    record = study / "full" / "seed_2" / "rltransfer" / "record.json"
    record.write_bytes(record.read_bytes()[:100])
    (study / "full" / "seed_3" / "evaluations.npz").unlink()
    comparison = compare(tmp_path)
    assert [len(comparison.tasks[0].arm(name).runs) for name in ("scratch", "frozen", "full")] == [5, 4, 3]
    text = markdown_of(comparison)
    assert "3 runs are not in any table (2 cannot be read; 1 finished, but its evaluations.npz is missing" in text
    assert "`rltransfer-CartPole-v0/full/seed_2` (`full`, seed unknown): cannot be read: " in text
    assert "Not all runs are in (2 cannot be read, 1 finished" in text
    assert "`full` lacks 2, 3" in text


@pytest.mark.parametrize("effect", [0.0, -1.0, float("inf"), float("nan")])
def test_an_effect_that_is_none_is_refused(tmp_path, effect):
    with pytest.raises(ConfigError, match="effect: expected a number above 0"):
        compare(tmp_path, effect=effect)


def test_every_threshold_has_its_rows(tmp_path):
    make_study(tmp_path)
    text = section(markdown_of(compare(tmp_path, threshold=[50.0, 90.0])), "Time to threshold")
    rows = [line for line in text.splitlines() if line.startswith("| `frozen`")]
    assert [line.split("|")[2].strip() for line in rows] == ["50", "90"]
    assert "Thresholds: 50, 90, as given." in text


def test_scratch_with_as_many_steps_stands_beside_the_arm(tmp_path):
    for seed in range(3):
        made = {"seed": seed, "returns": ramp(0, 50), "n_timesteps": 10_000}
        make_run(tmp_path, arm="scratch", folder=f"s/{seed}", **made)
        make_run(tmp_path, arm="frozen", strategy=FROZEN, source=source(seed), folder=f"f/{seed}", **made)
        long = {"n_timesteps": 50_000, "returns": ramp(0, 100, 11), "env_steps": range(0, 50_001, 5_000)}
        make_run(tmp_path, arm="scratch_long", seed=seed, folder=f"l/{seed}", **long)
    text = section(markdown_of(compare(tmp_path)), "Steps, the source's included")
    cells = row(text, "AUC of scratch_long", "frozen")
    assert cells["total steps"] == "50,000"
    # From step 40,000 on scratch_long rises from 80 to 100; the arm from 0 to 50.
    assert cells["AUC of scratch_long"].startswith("90.0")
    assert cells["difference"].startswith("-65.0")


def test_scratch_of_a_networks_architecture_is_not_the_long_scratch(tmp_path):
    same = ({"kind": "scratch", "arch": "source"},)
    for seed in range(3):
        made = {"seed": seed, "returns": ramp(0, 50), "n_timesteps": 10_000}
        make_run(tmp_path, arm="scratch", folder=f"s/{seed}", **made)
        make_run(tmp_path, arm="frozen", strategy=FROZEN, source=source(seed), folder=f"f/{seed}", **made)
        long = {"n_timesteps": 50_000, "returns": ramp(0, 100, 11), "env_steps": range(0, 50_001, 5_000)}
        make_run(tmp_path, arm="same", seed=seed, strategy=same, source=source(seed), folder=f"l/{seed}", **long)
    assert "AUC of scratch_long" not in markdown_of(compare(tmp_path))


def test_what_is_left_of_the_source_task_is_told(tmp_path):
    for seed in range(3):
        before = source(seed).model_copy(update={"mean_return": 400.0 + seed})
        make_run(tmp_path, arm="scratch", seed=seed)
        made = {"strategy": FROZEN, "source": before, "retention": episodes(300.0 + seed)}
        make_run(tmp_path, arm="frozen", seed=seed, **made)
    cells = row(markdown_of(compare(tmp_path)), "return in the source task", "frozen")
    assert cells["return in the source task"].startswith("301")
    assert cells["change from the source agent"].startswith("-100")


def test_wall_time_and_updates_are_told_where_they_are_known(tmp_path):
    for seed in range(2):
        make_run(tmp_path, arm="scratch", seed=seed, wall_seconds=75.0, evaluation_seconds=15.0, n_updates=40)
        make_run(tmp_path, arm="frozen", strategy=FROZEN, seed=seed)
    text = markdown_of(compare(tmp_path))
    assert list(row(text, "wall time", "scratch").values())[1:] == ["1 min 15 s", "20%", "10,000", "40"]
    assert list(row(text, "wall time", "frozen").values())[1:] == ["–", "–", "10,000", "–"]


@pytest.mark.parametrize("seeds", [5, 20])
def test_every_kind_of_interval_that_is_weak_with_so_few_seeds_is_named(tmp_path, seeds):
    make_study(tmp_path, seeds=seeds)
    task = compare(tmp_path).tasks[0]
    weak = {coverage.method for coverage in task.coverages if coverage.least < 0.93}
    assert {coverage.method for coverage in task.coverages} > {
        "mean",
        "IQM",
        "median",
        "mean difference",
        "optimality gap",
    }
    assert {coverage.runs for coverage in task.coverages} == {seeds}
    (note,) = [note for note in task.notes if "hold the truth" in note]
    assert weak
    assert all(f"{100 * measured_coverage(method, seeds).least:.1f} %: " in note for method in weak)
    named = note.partition("(")[2].partition("; see")[0]
    assert {name.strip() for part in named.split(";") for name in part.partition(":")[2].split(",")} == weak


def test_a_coverage_below_93_percent_is_bold(tmp_path):
    make_study(tmp_path)
    task = dataclasses.replace(compare(tmp_path).tasks[0], coverages=(Coverage("mean", 5, {"a": 0.929, "b": 0.931}),))
    table, _ = reliability.coverage_blocks(task)
    assert table.rows == (("mean", "5", "**92.9 %**", "93.1 %"),)


def test_a_task_has_its_reference_whatever_the_order_and_type_of_its_arguments():
    long_pole = {"length": 1.5, "force_mag": 5, "gravity": 12}
    result = reference_of(TaskFacts(env=TASK.env, kwargs=long_pole))
    assert isinstance(result, Reference)
    assert result.reference == 500
    assert result == reference_of(TaskFacts(env=TASK.env, kwargs={"gravity": 12.0, "force_mag": 5.0, "length": 1.5}))
    assert reference_of(TaskFacts(env=TASK.env, kwargs=long_pole | {"gravity": 11})) is None
    assert reference_of(TaskFacts(env=TASK.env, kwargs=long_pole, randomise={"length": (1.0, 2.0)})) is None
