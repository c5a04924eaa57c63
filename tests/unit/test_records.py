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
