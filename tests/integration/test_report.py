import datetime
import io
import time

import numpy as np
import pytest
from reports import markdown_of, write_plan
from rich.console import Console
from sweeping import LAYERS
from sweeping import make as make_sweep
from synthetic import FROZEN, FULL, SCRATCH, TASK, episodes, make_run, make_study, ramp, shuffled
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.hparams import metadata

from rltransfer import report
from rltransfer.comparison import compare
from rltransfer.metrics import Undefined
from rltransfer.records import (
    Check,
    RaceFacts,
    Representation,
    TaskFacts,
    Trial,
    write_record,
    write_representation,
)
from rltransfer.report import print_comparison, wording, write_aggregates, write_report
from rltransfer.report.figures import draw_layers
from rltransfer.report.provenance import read_provenance
from rltransfer.report.scales import spread
from rltransfer.report.sweep_figures import draw_sweep
from rltransfer.stats import Estimate

PNG = b"\x89PNG"


@pytest.fixture(scope="module")
def reported(tmp_path_factory):
    root = tmp_path_factory.mktemp("study")
    make_study(root)
    comparison = compare(root)
    write_report(comparison, root)
    return root, comparison


def scalars(folder):
    events = EventAccumulator(str(folder))
    events.Reload()
    return events


def test_the_report_its_figure_and_the_aggregates_are_written(reported):
    root, comparison = reported
    text = (root / "report" / "report.md").read_text()
    page = (root / "report" / "report.html").read_text()
    assert page.startswith("<!doctype html>")
    assert text.startswith("# Does transfer help?")
    assert "](figures/rltransfer-CartPole-v0.png)" in text
    assert (root / "report" / "figures" / "rltransfer-CartPole-v0.png").read_bytes().startswith(PNG)
    arms = {path.name for path in (root / "aggregate" / "rltransfer-CartPole-v0").iterdir()}
    assert arms == {arm.name for arm in comparison.tasks[0].arms}


def test_the_verdict_comes_before_any_table(reported):
    text = markdown_of(reported[1])
    assert text.index("**`full` hurts.**") < text.index("| arm")


@pytest.fixture
def undrawn(monkeypatch):
    """Leaves the figures out, which take longer than the rest."""
    monkeypatch.setattr(report, "save_figures", lambda *_: ())


@pytest.mark.long
def test_a_report_is_written_the_same_twice(tmp_path):
    make_study(tmp_path)
    first = write_report(compare(tmp_path), tmp_path)
    before = {path: path.read_bytes() for path in first.parent.rglob("*") if path.is_file()}
    write_report(compare(tmp_path), tmp_path)
    assert {path: path.read_bytes() for path in first.parent.rglob("*") if path.is_file()} == before


def test_tensorboard_reads_mean_and_band_and_a_margin_chart(reported):
    root, comparison = reported
    events = scalars(root / "aggregate" / "rltransfer-CartPole-v0" / "frozen")
    task = comparison.tasks[0]
    points = [(event.step, event.value) for event in events.Scalars("rltransfer-CartPole-v0/iqm")]
    assert [step for step, _ in points] == task.grid_steps.tolist()
    assert [value for _, value in points] == pytest.approx(task.arm("frozen").band.middle)
    low = [event.value for event in events.Scalars("rltransfer-CartPole-v0/low")]
    assert low == pytest.approx(task.arm("frozen").band.low)
    (layout,) = events.Tensors("custom_scalars__config__")
    parsed = layout_pb2.Layout.FromString(layout.tensor_proto.string_val[0])
    (series,) = parsed.category[0].chart[0].margin.series
    assert (series.value, series.lower) == ("rltransfer-CartPole-v0/iqm", "rltransfer-CartPole-v0/low")


def rows(folder):
    """Returns each row of HParams below a folder: its settings, its metrics, and where it lies."""
    for path in sorted(folder.rglob("events.out.tfevents.*.rltransfer")):
        events = scalars(path.parent)
        content = (
            events.SummaryMetadata(metadata.SESSION_START_INFO_TAG).plugin_data.content
            if (metadata.SESSION_START_INFO_TAG in events.Tags()["tensors"])
            else b""
        )
        if content:
            result = metadata.parse_session_start_info_plugin_data(content).hparams
            values = {tag: events.Scalars(tag)[-1].value for tag in events.Tags()["scalars"] if tag.startswith("run/")}
            yield (
                {name: value.string_value or value.number_value for name, value in result.items()},
                values,
                path.parent,
            )


def test_tensorboard_has_a_row_for_each_run_with_its_settings_and_final_metrics(reported):
    root, comparison = reported
    table = list(rows(root))
    assert len(table) == 30
    (row,) = [item for item in table if (item[0]["arm"], item[0]["seed"]) == ("frozen", 3)]
    assert row[0] == {
        "task": comparison.tasks[0].title,
        "arm": "frozen",
        "strategy": "frozen",
        "seed": 3,
        "algo": "ppo",
        "source": "CartPole-v1",
    }
    scores = comparison.tasks[0].arm("frozen").runs[3].scores
    assert row[1] == pytest.approx(
        {f"run/{name}": scores[name] for name in ("auc", "final", "initial", "training_auc")}
    )
    columns = scalars(root / "hparams").SummaryMetadata(metadata.EXPERIMENT_TAG).plugin_data.content
    experiment = metadata.parse_experiment_plugin_data(columns)
    assert [metric_info.name.tag for metric_info in experiment.metric_infos][:2] == ["run/auc", "run/success_auc"]


def test_rows_go_into_the_runs_own_tensorboard_folders(tmp_path):
    run = make_run(tmp_path, arm="scratch", seed=0, folder="a/scratch/seed_0")
    events = run.folder / "tb" / "scratch-seed0" / "events.out.tfevents.0000000001.host"
    events.parent.mkdir(parents=True)
    events.touch()
    for _ in range(2):
        write_aggregates(compare(tmp_path), read_provenance(compare(tmp_path)), tmp_path)
        assert [place for _, _, place in rows(tmp_path)] == [events.parent]
    elsewhere = tmp_path.with_name("elsewhere")
    write_aggregates(compare(tmp_path), read_provenance(compare(tmp_path)), elsewhere)
    assert [place.relative_to(elsewhere).parts[0] for _, _, place in rows(elsewhere)] == ["hparams"]


def test_tensorboard_shows_verdicts_and_plans_as_text(tmp_path):
    for seed in range(2):
        make_run(tmp_path, arm="scratch", seed=seed)
        write_plan(make_run(tmp_path, arm="frozen", strategy=FROZEN, seed=seed).folder)
    write_aggregates(compare(tmp_path), read_provenance(compare(tmp_path)), tmp_path)
    name = compare(tmp_path).tasks[0].name
    for folder, tag, words_of_it in (
        ("", "verdict", "**`frozen`: inconclusive.**"),
        (f"{name}/frozen", "what_moved", "| copied"),
    ):
        (event,) = scalars(tmp_path / "aggregate" / folder).Tensors(f"{name}/{tag}")
        assert words_of_it in event.tensor_proto.string_val[0].decode()


def test_a_second_report_replaces_the_aggregates_and_leaves_foreign_files_alone(tmp_path, undrawn):
    make_study(tmp_path, seeds=2)
    write_report(compare(tmp_path), tmp_path)
    aggregate = tmp_path / "aggregate" / "rltransfer-CartPole-v0"
    for path in list(aggregate.rglob("events*")):
        path.replace(path.with_name("events.out.tfevents.0000000001.rltransfer"))
    stale = aggregate / "an_arm_of_before" / "events.out.tfevents.0000000001.rltransfer"
    foreign = aggregate / "frozen" / "events.out.tfevents.0000000001.somehost"
    stale.parent.mkdir()
    stale.touch()
    foreign.touch()
    write_report(compare(tmp_path), tmp_path)
    assert not stale.parent.exists()
    assert foreign.exists()
    assert len(list((aggregate / "scratch").iterdir())) == 1


def event_files(folder):
    """Returns our event files by their place, each with its content and when it was written."""
    return {
        path: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.rglob("events.out.tfevents.*.rltransfer")
    }


def test_event_files_depend_on_the_runs_and_not_on_the_clock(tmp_path, undrawn, monkeypatch):
    make_study(tmp_path / "study", seeds=2)
    write_report(compare(tmp_path / "study"), tmp_path / "study")
    before = event_files(tmp_path / "study")
    assert len(before) == 2 + 6 + 12
    monkeypatch.setattr(time, "time", lambda: 4e9)
    write_report(compare(tmp_path / "study"), tmp_path / "study")
    assert event_files(tmp_path / "study") == before
    make_study(tmp_path / "again", seeds=2)
    write_report(compare(tmp_path / "again"), tmp_path / "again")
    again = event_files(tmp_path / "again")
    assert {path.relative_to(tmp_path / "again"): content for path, (content, _) in again.items()} == {
        path.relative_to(tmp_path / "study"): content for path, (content, _) in before.items()
    }


def test_an_event_file_that_changes_gets_a_later_name_than_all_that_tensorboard_may_have_read(tmp_path):
    run = make_run(tmp_path, arm="scratch", seed=0, folder="a/scratch/seed_0", wall_seconds=5.0)
    events = run.folder / "tb" / "scratch-seed0"
    events.mkdir(parents=True)
    foreign = events / "events.out.tfevents.4000000000.somehost.1.0"
    foreign.touch()
    for name, wall_seconds in (("4000000001", 5.0), ("4000000001", 5.0), ("4000000002", 6.0)):
        make_run(tmp_path, arm="scratch", seed=0, folder="a/scratch/seed_0", wall_seconds=wall_seconds)
        write_aggregates(compare(tmp_path), read_provenance(compare(tmp_path)), tmp_path)
        assert sorted(events.iterdir()) == [foreign, events / f"events.out.tfevents.{name}.rltransfer"]
    (aggregate,) = (tmp_path / "aggregate").glob("*.rltransfer")
    start = datetime.datetime.fromisoformat(run.record.started).timestamp()
    assert aggregate.name == f"events.out.tfevents.{int(start) + 7}.rltransfer"


def test_tasks_and_arms_whose_names_are_alike_get_files_of_their_own(tmp_path):
    for length in (1.5, 2.5):
        task = TaskFacts(env=TASK.env, kwargs={"length": length})
        make_run(tmp_path, arm="a/b", strategy=SCRATCH, seed=0, task=task, folder=f"{length}/0")
        make_run(tmp_path, arm="a b", strategy=FROZEN, seed=0, task=task, folder=f"{length}/1")
    write_report(compare(tmp_path), tmp_path)
    assert len(list((tmp_path / "report" / "figures").glob("*.png"))) == 2
    assert len(list((tmp_path / "aggregate").rglob("events*"))) == 1 + 4
    assert len(list((tmp_path / "hparams").rglob("events*"))) == 1 + 4


def test_failed_checks_stand_at_the_top(tmp_path):
    make_study(tmp_path, seeds=2)
    make_run(tmp_path, arm="full", strategy=FROZEN, seed=0, checks=(Check(name="c", passed=False, detail="moved"),))
    comparison = compare(tmp_path)
    text = markdown_of(comparison)
    assert text.index("Failed self-checks") < text.index("Primary metric")
    assert "`rltransfer-CartPole-v0/full/seed_0`" in text
    console = Console(file=io.StringIO(), width=100)
    print_comparison(comparison, console)
    assert console.file.getvalue().startswith("Failed self-check in")


@pytest.mark.parametrize(
    "returns", [[1.0, float("nan"), 2.0], [float("nan")] * 3, [5.0, 5.0, 5.0], [0.0, 0.0, 0.0], [1e-9, 1e9, 1e9]]
)
def test_curves_that_are_broken_flat_or_wide_are_reported(tmp_path, returns):
    for seed in range(2):
        make_run(tmp_path, arm="scratch", seed=seed, returns=ramp(0, 10, 3))
        make_run(tmp_path, arm="frozen", strategy=FROZEN, seed=seed, returns=returns)
    assert "`frozen`" in markdown_of(compare(tmp_path))


def test_a_report_on_one_seed_says_why_there_is_no_verdict(tmp_path):
    make_study(tmp_path, seeds=1)
    text = markdown_of(compare(tmp_path))
    assert "**`frozen`: no verdict.** AUC 67.2 against 41.8 of `scratch`, difference +25.4." in text
    assert "`frozen` has one seed" in text
    assert "p =" not in text


def test_unfinished_runs_and_source_runs_are_named(tmp_path):
    make_run(tmp_path, arm="scratch", seed=0)
    make_run(tmp_path, arm="scratch", seed=1, status="failed", error="NaN reward")
    make_run(tmp_path, arm="s", seed=0, role="source")
    text = markdown_of(compare(tmp_path))
    assert "- `rltransfer-CartPole-v0/scratch/seed_1` (`scratch`, seed 1): failed: NaN reward" in text
    assert "1 source run: " in text


def test_the_terminal_table_fits_eighty_columns(reported):
    console = Console(file=io.StringIO(), width=80)
    print_comparison(reported[1], console)
    text = console.file.getvalue()
    assert all(len(line) <= 80 for line in text.splitlines())
    for word in ("frozen", "+25.4 [19.6, 31.3]", "0.040", "positive", "features", "negative", "inconclusive"):
        assert word in text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (-0.0001, "0.000"), (0.05, "0.050"), (9.99, "9.99"), (-412.6, "-413"), (1e6, "1,000,000")],
)
def test_numbers_have_about_three_digits(value, text):
    assert wording.number(value) == text


def test_an_undefined_estimate_is_a_dash():
    assert wording.estimate(Undefined("why")) == wording.steps(Undefined("why")) == wording.steps(None) == "–"
    assert wording.steps(Estimate(-1234.5, -2000.0, 10.0), sign=True) == "-1,234 [-2,000, 10]"


def test_labels_are_pushed_apart_and_stay_inside():
    heights = spread([0.0, 0.1, 0.1, 9.9, 10.0], gap=1.0, low=0.0, high=10.0)
    assert np.diff(heights).min() >= 1.0 - 1e-9
    assert heights[0] >= 0
    assert heights[-1] <= 10


def test_the_report_tells_what_auto_tried(tmp_path):
    auto = ({"kind": "auto", "of": None, "share": 0.3, "episodes": 3},)
    stopped = {"env_steps": 2048, "evaluation_steps": 60, "scores": (20.5,), "end": "stopped as 2 of 2"}
    won = {"env_steps": 9000, "evaluation_steps": 600, "scores": (200.0, 480.0), "end": "went on"}
    trials = (
        Trial(label="scratch", strategy=SCRATCH, **stopped),
        Trial(label="frozen", strategy=FROZEN, **won),
        Trial(label="full", strategy=FULL, end="does not fit: the heads | differ"),
    )
    for seed in range(2):
        make_run(tmp_path, arm="scratch", seed=seed)
        run = make_run(tmp_path, arm="auto", seed=seed, strategy=auto)
        write_record(run.folder, run.record.model_copy(update={"race": RaceFacts(trials=trials)}))
    text = markdown_of(compare(tmp_path))
    assert "### What auto tried" in text
    rows = [line.replace(" ", "") for line in text.splitlines() if line.startswith("|")]
    assert "|0|`frozen`|9,000|600|200,480|**wenton**|" in rows
    assert "|1|`full`|0|0|–|doesnotfit|" in rows
    assert "`scratch`" in text


def test_a_race_is_placed_between_a_random_policy_and_the_best_arm(tmp_path):
    auto = ({"kind": "auto", "of": None, "share": 0.3, "episodes": 3},)
    trials = (Trial(label="scratch", strategy=SCRATCH, env_steps=1, scores=(1.0,), end="went on"),)
    for seed in range(2):
        make_run(tmp_path, arm="scratch", seed=seed, returns=[30.0] * 6, random=episodes(20.0))
        make_run(tmp_path, arm="full", seed=seed, strategy=FULL, returns=[120.0] * 6, random=episodes(20.0))
        best = shuffled(FULL)
        make_run(tmp_path, arm="shuffled", seed=seed, strategy=best, returns=[500.0] * 6, random=episodes(20.0))
        run = make_run(tmp_path, arm="auto", seed=seed, strategy=auto, returns=[95.0] * 6, random=episodes(20.0))
        write_record(run.folder, run.record.model_copy(update={"race": RaceFacts(trials=trials)}))
    text = markdown_of(compare(tmp_path))
    assert "to the best arm without a race, `full` (1), of AUC, `auto` is at 0.75 and `scratch` is at 0.10." in text


def test_the_heat_map_and_what_the_layers_represent_are_files_of_their_own(tmp_path):
    make_sweep(tmp_path, LAYERS, {})
    seen = dict.fromkeys(("cka", "effective_rank", "dormant", "distance"), np.ones((2, 1)))
    for run in (tmp_path / "swapped").glob("*/*"):
        write_representation(run, Representation(np.array([0, 10_000]), ("actor.0",), seen))
    comparison = compare(tmp_path)
    write_report(comparison, tmp_path)
    (sweep,) = comparison.sweeps
    figures = tmp_path / "report" / "figures"
    text = (tmp_path / "report" / "report.md").read_text()
    for drawn, name in (
        (draw_layers(comparison.tasks[0])["png"], "swapped_layers"),
        (draw_sweep(comparison, sweep)["png"], sweep.name),
    ):
        assert (figures / f"{name}.png").read_bytes() == drawn
        assert f"(figures/{name}.png)" in text
