import pytest
from reports import make_zoo_run
from synthetic import make_run

from rltransfer.cli import main
from rltransfer.comparison import compare
from rltransfer.errors import RunError
from rltransfer.metrics import Undefined

ARMS = {"scratch": "plain", "tuned": "tuned/ppo/CartPole-v1_*"}


@pytest.fixture
def logs(tmp_path):
    for seed in range(5):
        make_zoo_run(tmp_path / f"plain/ppo/CartPole-v1_{seed + 1}", seed=seed, level=50 + seed)
        make_zoo_run(tmp_path / f"tuned/ppo/CartPole-v1_{seed + 1}", seed=seed, level=90 + seed)
    return tmp_path


def test_folders_of_rl_zoo_are_compared_by_the_arms_that_are_named(logs):
    (task,) = compare(logs, arms=ARMS).tasks
    assert {arm.name: arm.verdict for arm in task.arms} == {"scratch": None, "tuned": "positive"}
    settings = task.settings
    assert (settings.algo, settings.task.env, settings.n_timesteps) == ("ppo", "CartPole-v1", 4000)
    assert settings.hyperparams == {"learning_rate": "lin_0.001", "n_envs": 8, "policy": "MlpPolicy"}
    assert (settings.evaluation.eval_freq, settings.evaluation.episodes) == (1000, 3)
    assert task.arm("tuned").runs[0].scores["training_auc"] == 9.0


def test_what_nobody_recorded_stays_open(logs):
    (task,) = compare(logs, arms=ARMS).tasks
    run = task.arm("tuned").runs[0]
    assert isinstance(run.scores["final"], Undefined)
    assert isinstance(run.scores["initial"], Undefined)
    assert task.arm("tuned").origin.cause == "undecided"
    notes = " ".join(task.notes)
    assert "a verdict says that the arms differ, not why" in notes
    assert "evaluates neither at step 0" in notes
    assert "do not span step 0 to the budget" in notes


def test_runs_that_go_on_or_lack_files_are_left_out_and_said(logs):
    make_zoo_run(logs / "tuned/ppo/CartPole-v1_6", seed=6, level=90, done=False)
    (make_zoo_run(logs / "tuned/ppo/CartPole-v1_7", seed=7, level=90) / "CartPole-v1" / "args.yml").unlink()
    (make_zoo_run(logs / "tuned/ppo/CartPole-v1_8", seed=8, level=90) / "evaluations.npz").write_bytes(b"PK")
    make_zoo_run(logs / "tuned/ppo/CartPole-v1_9", seed=9, level=90, n_timesteps="many")
    skipped = {run.folder.name[-1]: (run.seed, run.reason) for run in compare(logs, arms=ARMS).skipped}
    assert skipped["6"] == (6, "still running, or killed")
    assert "algorithm, task and seed are unknown" in skipped["7"][1]
    assert "cannot be read as an evaluation curve" in skipped["8"][1]
    assert skipped["9"][0] is None
    assert "holds something unexpected" in skipped["9"][1]


def test_settings_at_the_root_of_a_folder_are_read_as_on_the_hub(logs):
    for path in logs.rglob("CartPole-v1/*.yml"):
        path.rename(path.parent.parent / path.name)
    for path in logs.glob("*/ppo/CartPole-v1_*"):
        (path / "env_kwargs.yml").write_text("length: 1.5\n")
    (task,) = compare(logs, arms=ARMS).tasks
    assert {arm.name: arm.verdict for arm in task.arms} == {"scratch": None, "tuned": "positive"}
    assert (task.settings.task.env, task.settings.task.kwargs) == ("CartPole-v1", {"length": 1.5})
    assert task.settings.hyperparams == {"learning_rate": "lin_0.001", "n_envs": 8, "policy": "MlpPolicy"}


def test_a_curve_that_reaches_its_budget_is_done_though_no_agent_was_written(logs):
    for path in logs.rglob("CartPole-v1.zip"):
        path.unlink()
    (task,) = compare(logs, arms=ARMS).tasks
    assert {arm.name: len(arm.runs) for arm in task.arms} == {"scratch": 5, "tuned": 5}


def test_runs_that_kept_no_settings_are_compared_and_the_report_says_what_is_not_known(logs):
    for path in logs.rglob("args.yml"):
        path.unlink()
    make_zoo_run(logs / "plain/CartPole-v1_9", seed=9, level=90, done=False)
    (logs / "plain/CartPole-v1_9/CartPole-v1/args.yml").unlink()
    comparison = compare(logs, arms=ARMS)
    (task,) = comparison.tasks
    assert (task.settings.task.env, task.settings.n_timesteps) == ("CartPole-v1", 4000)
    assert {arm.name: arm.verdict for arm in task.arms} == {"scratch": None, "tuned": "positive"}
    assert len(task.arm("tuned").seeds) == 5
    assert "These runs kept no settings (`args.yml`)" in " ".join(task.notes)
    assert [run.reason for run in comparison.skipped] == ["still running, or killed"]


def test_runs_with_monitor_files_alone_have_the_curve_of_their_training(logs):
    for path in [*logs.rglob("evaluations.npz"), *logs.rglob("*.monitor.csv")]:
        path.unlink()
    for seed, folder in enumerate(sorted(path.parent.parent for path in logs.rglob("args.yml"))):
        for env in range(2):
            rows = "".join(f"{at + seed},20,{at}.5\n" for at in range(100))
            (folder / f"{env}.monitor.csv").write_text(f'#{{"t_start": 1.5, "env_id": "CartPole-v1"}}\nr,l,t\n{rows}')
    (task,) = compare(logs, arms=ARMS).tasks
    run = task.arm("scratch").runs[0]
    assert task.grid_steps[-1] == 4000
    # Two environments with 100 episodes of 20 steps each: five returns of each in a window of 200 steps.
    assert run.curve[-1] == 97.0
    assert "These runs were never evaluated" in " ".join(task.notes)


def test_where_no_named_run_can_be_compared_the_advice_is_about_runs_of_rl_zoo(logs):
    for path in [*logs.rglob("evaluations.npz"), *logs.rglob("*.monitor.csv")]:
        path.write_bytes(b"PK")
    with pytest.raises(RunError, match="None of the 10 runs of RL Zoo") as caught:
        compare(logs, arms=ARMS)
    assert "rltransfer transfer" not in str(caught.value)


def test_a_tag_that_would_run_code_is_refused(logs):
    folder = make_zoo_run(logs / "tuned/ppo/CartPole-v1_6", seed=6, level=90)
    (folder / "CartPole-v1" / "config.yml").write_text("a: !!python/object/apply:os.system ['touch owned']\n")
    (skipped,) = compare(logs, arms=ARMS).skipped
    assert "is refused" in skipped.reason


def test_the_source_of_a_run_that_went_on_is_known_by_its_file(logs):
    (logs / "agent.zip").write_bytes(b"weights")
    for seed in range(2):
        place = logs / f"more/{seed}"
        make_zoo_run(place, seed=seed, level=90, trained_agent=str(logs / "agent.zip"))
    (task,) = compare(logs, arms={"scratch": "plain", "more": "more"}).tasks
    assert "`more`: all 2 seeds start from a single source agent" in " ".join(task.notes)
    assert task.arm("more").steps.source_steps is None


def test_of_two_runs_with_one_seed_the_one_that_started_last_is_used(logs):
    make_zoo_run(logs / "tuned/ppo/CartPole-v1_10", seed=0, level=10)
    later = logs / "tuned/ppo/CartPole-v1_10" / "0.monitor.csv"
    later.write_text(later.read_text().replace("100.5", "1000.5"))
    (task,) = compare(logs, arms=ARMS).tasks
    assert "`tuned`, seed 0: 2 runs; the one that started last is used (CartPole-v1_10)." in task.notes


@pytest.mark.parametrize(
    ("arms", "words"),
    [
        ({"tuned": "nowhere"}, "no run of RL Zoo matches"),
        ({"a": "tuned", "b": "tuned/ppo/*_1"}, "belongs to both 'a' and 'b'"),
        ({"a": "/tmp"}, "not a pattern"),
        (None, "but 10 of RL Zoo"),
    ],
)
def test_arms_that_do_not_say_what_is_what_are_refused(logs, arms, words):
    with pytest.raises(RunError, match=words):
        compare(logs, arms=arms)


def test_runs_of_ours_keep_their_own_arms(logs):
    for seed in range(2):
        make_run(logs / "plain", arm="ours", seed=seed)
    names = [arm.name for task in compare(logs, arms=ARMS).tasks for arm in task.arms]
    assert sorted(names) == ["ours", "scratch", "tuned"]


def test_the_command_takes_arms(logs, capsys):
    assert main(["evaluate", str(logs), "--arm", "scratch=plain", "--arm", "tuned=tuned"]) == 0
    assert f"report: {logs}/report/report.html" in capsys.readouterr().out
    assert main(["evaluate", str(logs), "--arm", "plain"]) == 2
    assert "expected NAME=GLOB" in capsys.readouterr().err
    assert main(["evaluate", str(logs), "--arm", "a=plain", "a=tuned"]) == 2
    assert "'a' is given twice" in capsys.readouterr().err
