"""What a report makes of sweeps: pictures, one level for a whole matrix, candidates and their confirmation."""

import shutil
from pathlib import Path

import pytest
from reports import markdown_of, page_of
from sweeping import LAYERS, MATRIX, SOURCE_STEPS, make

from rltransfer.comparison import Arm, Comparison, EffectGrid, EffectLine, best_candidates, compare, judged
from rltransfer.config import CONFIRM, StudyConfig
from rltransfer.report import wording
from rltransfer.report.html.sweeps import effect
from rltransfer.report.sections.sweeps import cell_words
from rltransfer.report.sweep_figures import draw_sweep, save_sweep_figures
from rltransfer.stats import holm

GAINS = {"finetune_2": 100.0, "frozen_2": 90.0, "frozen_1": 15.0}


def confirm(root: Path, levels: dict[str, float], *names: str, first: int = 1000, seeds: int = 6) -> None:
    """Writes the confirmation of arms, as ``study confirm`` runs it."""
    study = StudyConfig.model_validate({**LAYERS, "seeds": list(range(first, first + seeds)), "confirms": list(names)})
    make(root / CONFIRM, study, levels)


def arm(comparison: Comparison, name: str) -> Arm:
    return comparison.tasks[0].arm(name)


class TestPictures:
    def test_a_layer_sweep_is_a_grid_with_scratch_at_no_layers_and_controls_in_rows_of_their_own(
        self, tmp_path: Path
    ) -> None:
        make(tmp_path, LAYERS, GAINS)
        (grid,) = compare(tmp_path).sweeps
        assert isinstance(grid, EffectGrid)
        assert grid.rows == ("frozen", "frozen, shuffled", "finetune", "finetune, shuffled")
        assert grid.columns == ("0 (scratch)", "1", "2")
        names = [[cell.arm.name if cell.arm else None for cell in row] for row in grid.cells]
        assert names[0] == ["scratch", "frozen_1", "frozen_2"]
        assert names[3] == ["scratch", "finetune_1_shuffled", "finetune_2_shuffled"]

    def test_a_cell_without_a_finished_run_is_a_gap(self, tmp_path: Path) -> None:
        make(tmp_path, LAYERS, GAINS)
        shutil.rmtree(tmp_path / "swapped" / "finetune_1")
        comparison = compare(tmp_path)
        (grid,) = comparison.sweeps
        assert isinstance(grid, EffectGrid)
        assert grid.cells[2][1].arm is None
        assert 'class="gap"' in page_of(comparison)
        assert len(comparison.missing) == 6
        draw_sweep(comparison, grid)

    def test_source_budgets_are_a_line_for_each_strategy_with_the_cost_of_all(self, tmp_path: Path) -> None:
        make(tmp_path, SOURCE_STEPS, {"finetune_from_40000_steps": 95.0})
        comparison = compare(tmp_path)
        (line,) = comparison.sweeps
        assert isinstance(line, EffectLine)
        assert {name: [steps for steps, _ in points] for name, points in line.points.items()} == {
            "finetune": [10_000, 40_000],
            "frozen": [10_000, 40_000],
        }
        text = markdown_of(comparison)
        assert "together took 240,000 steps (6 of 40,000)" in text
        cells = [[cell.strip() for cell in row.split("|")[1:]] for row in text.splitlines()]
        costs = {row[0]: row[1:3] for row in cells if len(row) == 8 and row[1:2] in (["10,000"], ["40,000"])}
        assert costs["`finetune_from_10000_steps`"] == ["10,000", "20,000"]
        assert costs["`frozen_from_40000_steps`"] == ["40,000", "50,000"]

    def test_a_matrix_has_its_sources_as_rows_and_its_targets_as_columns(self, tmp_path: Path) -> None:
        make(tmp_path, MATRIX, {"short/finetune_from_long": 95.0})
        comparison = compare(tmp_path)
        (grid,) = comparison.sweeps
        assert isinstance(grid, EffectGrid)
        assert (grid.rows, grid.columns) == (("short", "long"), ("short", "long"))
        names = [[cell.arm.name if cell.arm else None for cell in row] for row in grid.cells]
        assert names == [["finetune_from_short"] * 2, ["finetune_from_long"] * 2]
        page = page_of(comparison)
        assert "In a matrix both families are over all its targets together" in page
        assert page.count('class="own ') == 2
        assert "Which source helps which target: finetune" in page

    @pytest.mark.parametrize("content", [LAYERS, SOURCE_STEPS, MATRIX])
    def test_figures_are_written_in_each_format_and_are_the_same_each_time(
        self, content: dict[str, object], tmp_path: Path
    ) -> None:
        make(tmp_path / "study", content, GAINS)
        comparison = compare(tmp_path / "study")
        paths = save_sweep_figures(comparison, tmp_path / "figures", ("png", "svg"))
        assert {path.suffix for path in paths} == {".png", ".svg"}
        assert all(path.stat().st_size > 5000 for path in paths)
        before = [path.read_bytes() for path in paths]
        save_sweep_figures(comparison, tmp_path / "figures", ("png", "svg"))
        assert [path.read_bytes() for path in paths] == before
        assert f"figures/{paths[0].name}" in markdown_of(comparison)


class TestLevel:
    def test_the_tests_of_all_tasks_of_a_matrix_share_the_level(self, tmp_path: Path) -> None:
        make(tmp_path, MATRIX, {"short/finetune_from_long": 72.0})
        tasks = compare(tmp_path).tasks
        tested = [arm for task in tasks for arm in task.arms if arm.p_value is not None]
        assert len(tested) == 4
        adjusted = holm([item.p_value for item in tested if item.p_value is not None])
        assert [item.p_adjusted for item in tested] == pytest.approx(adjusted)
        assert all(
            "corrected for the 4 tests of the 2 tasks of the matrix together" in " ".join(t.notes) for t in tasks
        )

    def test_a_matrix_keeps_its_level_where_another_study_has_runs_of_one_of_its_tasks(self, tmp_path: Path) -> None:
        make(tmp_path / "b_matrix", MATRIX, {"short/finetune_from_long": 72.0})
        # "a_full" comes before the matrix's arms, and "a" before the matrix's folder.
        other = {**MATRIX, "source": {"path": "agent.zip"}, "arms": {"scratch": "scratch", "a_full": "full"}}
        make(tmp_path / "a", {**other, "tasks": {"short": MATRIX["tasks"]["short"]}, "seeds": [7, 8, 9, 10]}, {})
        both = compare(tmp_path).tasks
        tested = [arm for task in both for arm in task.arms if arm.p_value is not None]
        assert len(tested) == 5
        assert [len(task.arms) for task in both] == [4, 3]
        assert [item.p_adjusted for item in tested] == pytest.approx(
            holm([float(str(item.p_value)) for item in tested])
        )
        assert all("corrected for the 5 tests of the 2 tasks of the matrix" in " ".join(task.notes) for task in both)

    def test_a_task_beside_a_matrix_is_corrected_on_its_own_and_the_notes_of_both_say_so(self, tmp_path: Path) -> None:
        make(tmp_path / "matrix", MATRIX, {"short/finetune_from_long": 72.0})
        make(tmp_path / "other", LAYERS, GAINS)
        notes = {task.settings.task_name: " ".join(task.notes) for task in compare(tmp_path).tasks}
        assert "4 tests of the 2 tasks of the matrix together, not for the other 1 of this report" in notes["short"]
        assert "corrected for the arms of this task, not for the 3 tasks of this report" in notes["swapped"]

    def test_tasks_of_another_study_are_corrected_each_on_its_own(self, tmp_path: Path) -> None:
        make(tmp_path, {**MATRIX, "source": {"path": "agent.zip"}}, {"short/finetune": 72.0})
        for task in compare(tmp_path).tasks:
            (tested,) = [arm for arm in task.arms if arm.p_value is not None]
            assert tested.p_adjusted == tested.p_value

    def test_cells_of_a_matrix_are_verdicts_and_not_candidates(self, tmp_path: Path) -> None:
        make(tmp_path, MATRIX, {"finetune_from_long": 100.0})
        for task in compare(tmp_path).tasks:
            assert task.arm("finetune_from_long").verdict == "positive"


class TestCandidates:
    def test_an_arm_of_a_sweep_that_gains_is_a_candidate_and_not_called_positive(self, tmp_path: Path) -> None:
        make(tmp_path, LAYERS, GAINS)
        comparison = compare(tmp_path)
        result = arm(comparison, "finetune_2")
        assert result.verdict is None
        assert result.origin is None
        assert "picked among 4 arms of a sweep" in result.reason
        text = markdown_of(comparison)
        assert "**`finetune_2`: candidate, not confirmed.**" in text
        assert "*Candidate*: an arm of a sweep" in text
        assert "In a matrix" not in text
        assert "positive" not in {arm.verdict for arm in comparison.tasks[0].arms}
        assert arm(comparison, "frozen_1").verdict == "negative"
        assert arm(comparison, "finetune_1").verdict == "inconclusive"
        assert best_candidates(comparison) == {"swapped": "finetune_2"}

    def test_it_is_one_too_where_a_folder_above_the_study_is_reported_on(self, tmp_path: Path) -> None:
        make(tmp_path / "deep" / "study", LAYERS, GAINS)
        assert arm(compare(tmp_path), "finetune_2").verdict is None

    def test_arms_that_the_study_names_itself_are_no_candidates(self, tmp_path: Path) -> None:
        make(tmp_path, {**LAYERS, "arms": {"scratch": "scratch", "full": "full"}}, {**GAINS, "full": 100.0})
        assert arm(compare(tmp_path), "full").verdict == "positive"

    @pytest.mark.parametrize(("level", "verdict"), [(95.0, "positive"), (60.0, "inconclusive"), (20.0, "negative")])
    def test_after_the_confirmation_its_verdict_is_that_of_the_fresh_seeds_alone(
        self, level: float, verdict: str, tmp_path: Path
    ) -> None:
        make(tmp_path, LAYERS, GAINS)
        confirm(tmp_path, {"finetune_2": level}, "finetune_2", "finetune_2_shuffled")
        comparison = compare(tmp_path)
        fresh = compare(tmp_path / CONFIRM).tasks[0].arm("finetune_2")
        result = arm(comparison, "finetune_2")
        assert (result.verdict, result.p_adjusted) == (verdict, fresh.p_adjusted)
        assert result.seeds == (0, 1, 2, 3, 4, 5)
        assert fresh.seeds == (1000, 1001, 1002, 1003, 1004, 1005)
        assert (result.origin is not None and result.origin.cause == "features") == (verdict == "positive")
        assert arm(comparison, "frozen_2").verdict is None
        assert "of the fresh seeds 1000, 1001" in comparison.tasks[0].notes[0]
        assert best_candidates(comparison) == {"swapped": "frozen_2"}

    def test_numbers_stand_beside_the_verdict_of_the_same_seeds(self, tmp_path: Path) -> None:
        make(tmp_path, LAYERS, {**GAINS, "frozen_1": 60.0})
        confirm(tmp_path, {"finetune_2": 64.0}, "finetune_2", "finetune_2_shuffled", seeds=8)
        comparison = compare(tmp_path)
        result, fresh = arm(comparison, "finetune_2"), compare(tmp_path / CONFIRM).tasks[0].arm("finetune_2")
        assert (judged(result).name, judged(result).seeds) == ("finetune_2", fresh.seeds)
        difference = fresh.scores["auc"].difference
        assert difference is not None
        assert fresh.verdict == "inconclusive"
        shown = wording.estimate(difference, sign=True)
        (grid,) = comparison.sweeps
        cell = grid.cells[2][2]
        assert cell_words(comparison, cell) == f"finetune_2: {shown}, inconclusive on fresh seeds"
        assert effect(comparison, cell.arm) == difference
        text = markdown_of(comparison)
        rows = [row for row in text.splitlines() if row.startswith("| `finetune_2` (fresh seeds)")]
        cells = [[item.strip() for item in row.split("|")[2:-1]] for row in rows]
        assert (cells[0][0], cells[0][2], cells[0][4]) == ("8", shown, "inconclusive")
        assert fresh.detectable is not None
        assert (cells[1][0], cells[1][-1]) == ("8", f"{fresh.detectable.level:.2g}")
        assert f"{shown} inconclusive |" in text
        assert f"{shown} (inconclusive on fresh seeds)" in page_of(comparison)
        # Not shown to differ on fresh seeds, it is not among those that the sweep's seeds could tell nothing about.
        missed = next(note for note in comparison.tasks[0].notes if "would have been missed" in note)
        assert "`finetune_2`" in missed

    def test_runs_of_the_confirmation_are_not_counted_among_those_of_the_sweep(self, tmp_path: Path) -> None:
        make(tmp_path / "study", LAYERS, GAINS)
        confirm(tmp_path / "study", {"finetune_2": 20.0}, "finetune_2")
        for root in (tmp_path, tmp_path / "study"):
            (task,) = compare(root).tasks
            assert {arm.seeds for arm in task.arms} == {(0, 1, 2, 3, 4, 5)}

    def test_a_confirmation_that_is_not_finished_confirms_nothing(self, tmp_path: Path) -> None:
        make(tmp_path, LAYERS, GAINS)
        confirm(tmp_path, {"finetune_2": 95.0}, "finetune_2")
        shutil.rmtree(tmp_path / CONFIRM / "swapped" / "scratch" / "seed_1003")
        result = arm(compare(tmp_path), "finetune_2")
        assert result.verdict is None
        assert "1 runs of its confirmation are not finished" in result.reason

    def test_seeds_that_the_study_has_run_since_confirm_nothing(self, tmp_path: Path) -> None:
        make(tmp_path, LAYERS, GAINS)
        confirm(tmp_path, {"finetune_2": 95.0}, "finetune_2", first=5)
        result = arm(compare(tmp_path), "finetune_2")
        assert result.verdict is None
        assert "not fresh any more" in result.reason

    def test_a_confirmation_with_other_settings_confirms_nothing(self, tmp_path: Path) -> None:
        make(tmp_path, LAYERS, GAINS)
        confirm(tmp_path, {"finetune_2": 95.0}, "finetune_2")
        for path in (tmp_path / CONFIRM).rglob("record.json"):
            path.write_text(path.read_text().replace('"n_steps": 2048', '"n_steps": 1024'))
        assert "other settings" in arm(compare(tmp_path), "finetune_2").reason
