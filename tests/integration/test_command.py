"""The command line as a newcomer types it, with smaller budgets."""

import json
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from runs import tree

from rltransfer import cli, load_encoder, yaml_file
from rltransfer.records import find_runs, read_curve, read_record

SCRIPTS = Path(__file__).parents[2] / "scripts"
LONG = "--env rltransfer_envs:rltransfer/CartPole-v0 --env-kwargs length:1.5 force_mag:5 gravity:12"
PRETRAIN = "pretrain --algo ppo --env CartPole-v1 -n 512 --seed 0"
TRANSFER = f"transfer --from encoders/cartpole --algo ppo {LONG} --seed 0"
# Small enough for runs of a moment: one update of eight environments.
SMALL = "-params n_steps:8 batch_size:64 n_epochs:1 -n 64 --eval-freq 32 --eval-episodes 2 --verbose 0"


def rltransfer(line: str) -> int:
    return cli.main(line.split())


def script(line: str) -> int:
    """Runs ``scripts/<verb>.py`` with its arguments, as ``python`` does."""
    verb, *arguments = line.split()
    path = SCRIPTS / f"{verb}.py"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [str(path), *arguments])
        patch.syspath_prepend(str(SCRIPTS))
        with pytest.raises(SystemExit) as caught:
            runpy.run_path(str(path), run_name="__main__")
    return int(caught.value.code or 0)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A folder in which the commands that the README shows were run, with what each of them printed."""
    folder = tmp_path_factory.mktemp("work")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert script(PRETRAIN) == 0
        assert rltransfer("extract logs/ppo/CartPole-v1_1 -o encoders/cartpole") == 0
        assert script(f"{TRANSFER} -n 512 --strategy finetune") == 0
        assert script(f"{TRANSFER} -n 512 --strategy scratch") == 0
    return folder


@pytest.fixture
def there(work: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(work)
    return work


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


class TestTheExample:
    def test_each_run_has_a_folder_with_its_facts(self, there: Path) -> None:
        results = {str(run.folder): run.record for run in find_runs(Path("logs"))}
        assert {path: (record.role, record.arm, record.status) for path, record in results.items()} == {
            "logs/ppo/CartPole-v1_1": ("source", "pretrain", "done"),
            "logs/ppo/rltransfer-CartPole-v0_1": ("target", "finetune", "done"),
            "logs/ppo/rltransfer-CartPole-v0_2": ("target", "scratch", "done"),
        }
        finetune = results["logs/ppo/rltransfer-CartPole-v0_1"]
        assert finetune.task.kwargs == {"length": 1.5, "force_mag": 5, "gravity": 12}
        assert finetune.source is not None
        assert finetune.source.env_steps == 512
        assert all(check.passed for check in finetune.checks)
        assert not list(there.rglob("claim.json"))

    def test_tensorboard_sees_each_run_under_the_name_of_its_arm(self, there: Path) -> None:
        names = {path.parent.name for path in there.glob("logs/ppo/*/tb/*/events*")}
        assert names == {"pretrain-seed0", "finetune-seed0", "scratch-seed0"}

    def test_inspect_shows_layers_contract_and_origin(self, there: Path, capsys: Any) -> None:
        assert rltransfer("inspect encoders/cartpole") == 0
        out = capsys.readouterr().out
        layers = ["mlp_extractor.policy_net.0", "encoder", "64x4", "action_net", "head", "2x64"]
        for words in [*layers, "CartPole-v1", "512 env_steps", "seed 0"]:
            assert words in out

    def test_inspect_as_json(self, there: Path, capsys: Any) -> None:
        assert rltransfer("inspect encoders/cartpole --json") == 0
        facts = json.loads(capsys.readouterr().out)
        assert facts["algo"] == "ppo"
        assert facts["source"]["env_steps"] == 512
        assert facts["normaliser"] is None
        tensors = {name: shape for layer in facts["layers"] for name, shape in layer["tensors"].items()}
        encoder = load_encoder("encoders/cartpole")
        assert tensors == {name: list(tensor.shape) for name, tensor in encoder.tensors.items()}

    def test_plan_has_a_line_for_each_tensor_and_trains_nothing(self, there: Path, capsys: Any) -> None:
        before = tree(there)
        assert rltransfer(f"plan --from encoders/cartpole --algo ppo {LONG} --strategy finetune") == 0
        out = capsys.readouterr().out
        lines = {line.split()[0]: line for line in out.splitlines() if line}
        for name, tensor in load_encoder("encoders/cartpole").tensors.items():
            assert ("copied" if "mlp_extractor" in name else "initialised") in lines[name]
            assert "x".join(map(str, tensor.shape)) in lines[name]
        assert "strategy: finetune" in out
        assert tree(there) == before

    def test_plan_as_json_has_one_entry_for_each_tensor(self, there: Path, capsys: Any) -> None:
        assert rltransfer(f"plan --from encoders/cartpole {LONG} --strategy frozen --json") == 0
        plan = json.loads(capsys.readouterr().out)
        names = [entry["tensor"] for entry in plan["entries"]]
        assert sorted(names) == sorted(load_encoder("encoders/cartpole").tensors)
        assert {entry["tensor"] for entry in plan["entries"] if entry["frozen"]} == {n for n in names if "mlp_ex" in n}

    def test_plan_of_a_control_with_settings(self, there: Path, capsys: Any) -> None:
        line = f"plan --from logs/ppo/CartPole-v1_1 --which last {LONG} --strategy shuffled --strategy-kwargs of:frozen"
        assert rltransfer(line) == 0
        assert "strategy: shuffled_frozen" in capsys.readouterr().out

    def test_evaluate_with_one_seed_gives_no_verdict_and_says_why(self, there: Path, capsys: Any) -> None:
        assert script("evaluate logs") == 0
        out = capsys.readouterr().out
        assert "finetune" in out
        assert "scratch" in out
        assert "pretrain" not in out
        assert "no verdict" in " ".join(out.split())
        assert "one seed" in " ".join(out.split())
        for word in ("positive", "negative", "inconclusive"):
            assert word not in out
        assert "report: logs/report/report.html" in out
        assert "tensorboard --logdir logs" in out
        report = Path("logs/report/report.md").read_text()
        assert "one seed" in report
        assert list(Path("logs/report").rglob("*.png"))

    def test_evaluate_writes_where_it_is_told(self, there: Path, tmp_path: Path) -> None:
        before = tree(there / "logs")
        assert rltransfer(f"evaluate logs --metric final --threshold 100 -o {tmp_path}") == 0
        assert (tmp_path / "report" / "report.md").is_file()
        assert tree(there / "logs") == before


class TestFlags:
    def run(self, line: str = "") -> Path:
        """Trains a moment with further flags and returns the run folder."""
        before = {run.folder for run in find_runs(Path())} if Path("logs").exists() else set()
        assert rltransfer(f"pretrain --seed 1 {SMALL} {line}") == 0
        (folder,) = {run.folder for run in find_runs(Path())} - before
        return folder

    def test_checkpoints_and_replay_buffers(self, here: Path) -> None:
        folder = self.run("--save-freq 32 --save-replay-buffer")
        assert {path.name for path in folder.glob("rl_model*")} == {"rl_model_32_steps.zip", "rl_model_64_steps.zip"}
        assert rltransfer(f"extract {folder} --which 32 -o encoder") == 0
        assert load_encoder("encoder").source.which == "32"

    def test_a_unique_id_a_folder_and_a_place_for_tensorboard(self, here: Path) -> None:
        folder = self.run("-uuid -f elsewhere/runs -tb board")
        assert folder.parent == Path("elsewhere/runs/ppo")
        assert len(folder.name) == len("CartPole-v1_1_") + 36
        (events,) = Path("board").rglob("events*")
        assert events.parent == Path("board/CartPole-v1") / folder.name / "pretrain-seed1"
        assert not (folder / "tb").exists()

    def test_evaluation_in_another_environment(self, here: Path) -> None:
        env = "--env rltransfer_envs:rltransfer/CartPole-v0"
        same, other = self.run(env), self.run(f"{env} --eval-env-kwargs length:9 gravity:99")
        assert not np.array_equal(read_curve(same).episode_returns, read_curve(other).episode_returns)
        arguments = yaml_file.read(other / "rltransfer-CartPole-v0" / "args.yml")
        assert arguments["eval_env_kwargs"] == {"length": 9, "gravity": 99}
        assert arguments["env_kwargs"] == {}

    def test_the_settings_that_a_run_leaves_run_it_again(self, here: Path) -> None:
        first = self.run("--hyperparams gamma:0.5 n_steps:16 policy_kwargs:dict(net_arch=[8])")
        conf = first / "CartPole-v1" / "config.yml"
        line = f"pretrain --seed 1 -n 64 --eval-freq 32 --eval-episodes 2 --verbose 0 --conf-file {conf}"
        assert rltransfer(line) == 0
        second = first.with_name("CartPole-v1_2")
        assert read_record(second).hyperparams == read_record(first).hyperparams
        assert read_record(second).hyperparams["gamma"] == 0.5
        assert (second / "evaluations.npz").read_bytes() == (first / "evaluations.npz").read_bytes()

    def test_training_goes_on_from_an_agent(self, here: Path) -> None:
        first = self.run("-n 128")
        second = self.run(f"-i {first}/CartPole-v1.zip")
        record = read_record(second)
        assert record.role == "source"
        assert record.source is not None
        assert record.source.env_steps == 128
        plan = json.loads((second / "rltransfer" / "plan.json").read_text())
        assert plan["totals"]["moved"] == plan["totals"]["values"]
        assert load_encoder(second).source.env_steps == 128 + 64

    def test_pretraining_draws_arguments_and_changes_what_is_seen(self, here: Path, capsys: Any) -> None:
        env = "--env rltransfer_envs:rltransfer/CartPole-v0 --env-kwargs masscart:2"
        plain = self.run(env)
        drawn = self.run(f"{env} --randomise length:[0.5,2] gravity:[5,15] --augment noise:0.1")
        record = read_record(drawn)
        assert record.task.randomise == {"length": (0.5, 2), "gravity": (5, 15)}
        assert record.task.kwargs == {"masscart": 2}
        assert [part["kind"] for part in record.strategy] == ["scratch", "augment"]
        # Before training both are one agent, and it is evaluated with the usual arguments.
        assert read_curve(drawn).episode_returns[0].tolist() == read_curve(plain).episode_returns[0].tolist()
        capsys.readouterr()
        assert rltransfer(f"inspect {drawn}") == 0
        label = "CartPole-v0 (masscart=2, gravity drawn from [5, 15], length drawn from [0.5, 2])"
        assert label in capsys.readouterr().out
        # The learning rate falls to zero by the last of the updates: one alone changes nothing.
        runs = [self.run(f"{env} -n 128 {draws}") for draws in ("", "--randomise length:[5,9]")]
        heads = [load_encoder(folder).tensors["action_net.weight"] for folder in runs]
        assert not heads[0].equal(heads[1]), "it learned in other environments"

    def test_a_seed_is_drawn_and_recorded_where_none_is_given(self, here: Path) -> None:
        seeds = {read_record(self.run("--seed -1")).seed for _ in range(2)}
        assert len(seeds) == 2

    @pytest.mark.parametrize(("terminal", "shown"), [(False, False), (True, True)])
    def test_the_progress_bar_is_off_when_not_a_terminal(
        self, terminal: bool, shown: bool, here: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
        seen: list[bool] = []

        def train_run(config: Any, folder: Path, *, stop: Any) -> None:
            seen.append(config.progress)

        monkeypatch.setattr("rltransfer.training.train_run", train_run)
        assert rltransfer(f"pretrain {SMALL} -P") == 0
        assert rltransfer(f"pretrain {SMALL}") == 0
        assert seen == [shown, False]

    def test_packages_that_register_environments_are_imported(self, here: Path) -> None:
        assert (
            self.run("--gym-packages rltransfer_envs --env rltransfer/CartPole-v0").name == "rltransfer-CartPole-v0_1"
        )

    def test_what_is_said_follows_verbose(self, here: Path, capsys: Any) -> None:
        self.run()
        assert capsys.readouterr().out == ""
        self.run("--verbose 1")
        out = capsys.readouterr().out
        assert "step         0  mean return" in out
        assert "written to logs/ppo/CartPole-v1_2" in out

    def test_environments_in_processes_of_their_own(self, here: Path) -> None:
        settings = "-params n_envs:2 n_steps:32 batch_size:64 n_epochs:1"
        dummy, subproc = self.run(settings), self.run(f"{settings} --vec-env subproc")
        assert (dummy / "evaluations.npz").read_bytes() == (subproc / "evaluations.npz").read_bytes()


@pytest.mark.parametrize("algo", ["dqn", "sac"])
def test_the_other_algorithms_go_the_same_way(algo: str, here: Path) -> None:
    env = {"dqn": "CartPole-v1", "sac": "Pendulum-v1"}[algo]
    small = "learning_starts:16 batch_size:8 buffer_size:100 train_freq:4 gradient_steps:1"
    line = f"--algo {algo} --env {env} -params {small} policy_kwargs:dict(net_arch=[8])"
    line += " -n 48 --eval-freq -1 --eval-episodes 1 --verbose 0 --seed 0"
    assert rltransfer(f"pretrain {line}") == 0
    assert rltransfer(f"transfer --from logs/{algo}/{env}_1 --strategy frozen {line}") == 0
    record = read_record(Path(f"logs/{algo}/{env}_2"))
    assert record.status == "done"
    assert all(check.passed for check in record.checks)


def test_ctrl_c_ends_with_130_and_the_run_says_so(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    interrupt: Callable[..., Any] = _raise_keyboard_interrupt
    monkeypatch.setattr("rltransfer.training.run._learn", interrupt)
    assert rltransfer(f"pretrain {SMALL}") == 130
    assert capsys.readouterr().err == "interrupted\n"
    (run,) = find_runs(Path("logs"))
    assert run.record.status == "failed"
    assert run.record.error == "KeyboardInterrupt"
    assert not (run.folder / "rltransfer" / "claim.json").exists()


def _raise_keyboard_interrupt(*_: Any) -> None:
    raise KeyboardInterrupt
