import numpy as np
import pytest
from synthetic import FROZEN, make_run, source

from rltransfer import records
from rltransfer.errors import RunError


def test_a_run_reads_back_as_it_was_written(tmp_path):
    run = make_run(tmp_path, arm="frozen", strategy=FROZEN, seed=3, source=source(3), successes=[0, 0, 0.5, 1, 1, 1])
    again = records.read_run(run.folder)
    assert again.record == run.record
    assert again.record.source.env_steps == 40_000
    assert again.curve.success_rates.tolist() == [0, 0, 0.5, 1, 1, 1]
    assert np.array_equal(again.curve.mean_returns, [10, 20, 30, 40, 50, 60])


def test_runs_are_found_in_the_order_of_their_paths(tmp_path):
    for seed in (2, 0, 1):
        make_run(tmp_path, arm="scratch", seed=seed)
    assert [run.record.seed for run in records.find_runs(tmp_path)] == [0, 1, 2]


def test_training_episodes_of_all_environments_are_read(tmp_path):
    run = make_run(tmp_path, arm="scratch", seed=0, training=[(1.5, 10), (-2.0, 20)])
    (run.folder / "1.monitor.csv").write_text('#{"t_start": 0.0}\nr,l,t\n7.0,30,2.0\n')
    episodes = records.read_training_episodes(run.folder)
    assert episodes.episode_returns.tolist() == [1.5, -2.0, 7.0]
    assert episodes.episode_lengths.tolist() == [10, 20, 30]


def test_a_run_without_monitor_files_has_no_training_episodes(tmp_path):
    assert len(records.read_training_episodes(tmp_path).episode_returns) == 0


@pytest.mark.parametrize("row", ["1.0,ten,2.0", "1.0", "x,10,2.0"])
def test_a_damaged_monitor_file_is_named(tmp_path, row):
    (tmp_path / "0.monitor.csv").write_text(f"#{{}}\nr,l,t\n{row}\n")
    with pytest.raises(RunError, match=r"0\.monitor\.csv cannot be read as a monitor file"):
        records.read_training_episodes(tmp_path)


def test_a_record_with_an_unknown_key_is_refused(tmp_path):
    run = make_run(tmp_path, arm="scratch", seed=0)
    path = run.folder / "rltransfer" / "record.json"
    path.write_text(path.read_text().replace('"arm"', '"arms"'))
    with pytest.raises(RunError, match=r"record\.json cannot be read as a run record"):
        records.read_run(run.folder)


def test_a_curve_that_is_no_npz_is_named(tmp_path):
    run = make_run(tmp_path, arm="scratch", seed=0)
    (run.folder / "evaluations.npz").write_bytes(b"no zip")
    with pytest.raises(RunError, match=r"evaluations\.npz cannot be read as an evaluation curve"):
        records.read_run(run.folder)


STEPS, RETURNS, LENGTHS = np.array([0, 5_000, 10_000]), np.arange(12.0).reshape(3, 4), np.full((3, 4), 10)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"timesteps": STEPS[:2]}, r"results has the shape \(3, 4\); expected \(2, episodes\)"),
        ({"timesteps": STEPS[:0]}, r"results has the shape \(3, 4\); expected \(0, episodes\)"),
        ({"timesteps": STEPS[:, None]}, "timesteps is not a row"),
        ({"timesteps": STEPS[::-1]}, "whole numbers that rise from 0 on"),
        ({"timesteps": STEPS - 1}, "whole numbers that rise from 0 on"),
        ({"timesteps": np.array([0, np.nan, 1])}, "whole numbers that rise from 0 on"),
        ({"timesteps": np.array([0, 1, 1e300])}, "whole numbers that rise from 0 on"),
        ({"results": RETURNS[:, 0]}, r"results has the shape \(3,\)"),
        ({"results": RETURNS[:, :0]}, r"results has the shape \(3, 0\)"),
        ({"results": RETURNS.astype(str)}, "results holds no numbers"),
        ({"ep_lengths": LENGTHS[:2]}, r"ep_lengths has the shape \(2, 4\), and results \(3, 4\)"),
        ({"successes": np.ones((2, 4), bool)}, r"successes has the shape \(2, 4\), and results \(3, 4\)"),
    ],
)
def test_a_curve_whose_arrays_do_not_belong_together_is_named(tmp_path, change, words):
    np.savez(tmp_path / "evaluations.npz", **{"timesteps": STEPS, "results": RETURNS, "ep_lengths": LENGTHS, **change})
    with pytest.raises(RunError, match=rf"evaluations\.npz cannot be read as an evaluation curve: .*{words}"):
        records.read_curve(tmp_path)


def test_a_curve_of_other_kinds_of_numbers_and_one_without_evaluations_are_read(tmp_path):
    np.savez(
        tmp_path / "evaluations.npz", timesteps=STEPS.astype(float), results=RETURNS.astype(int), ep_lengths=LENGTHS
    )
    curve = records.read_curve(tmp_path)
    assert (curve.env_steps.dtype.kind, curve.episode_returns.dtype.kind) == ("i", "f")
    np.savez(tmp_path / "evaluations.npz", timesteps=np.array([]), results=np.array([]), ep_lengths=np.array([]))
    assert records.read_curve(tmp_path).episode_returns.shape == (0, 0)


@pytest.mark.parametrize("measure", [np.ones((1, 2)), np.array([["a"], ["b"]]), np.ones(2)])
def test_representations_that_do_not_belong_together_are_named(tmp_path, measure):
    seen = {name: np.ones((2, 1)) for name in ("effective_rank", "dormant", "distance")}
    records.write_representation(tmp_path, records.Representation(STEPS[:2], ("actor.0",), {"cka": measure, **seen}))
    with pytest.raises(RunError, match="cannot be read as a record of representations"):
        records.read_representation(tmp_path)
