"""The words of a whole report. After a wanted change: `UPDATE_GOLDEN=1 pytest tests/golden`, and read the diff."""

import os
from pathlib import Path

import pytest
from reports import make_zoo_run, markdown_of, write_plan
from synthetic import FROZEN, make_run, make_study, source

from rltransfer import yaml_file
from rltransfer.comparison import compare
from rltransfer.records import Check, TaskFacts

GOLDEN = Path(__file__).parent


def a_study(root):
    """Every verdict and both origins, with a source run and a failed run."""
    make_study(root)
    make_run(root, arm="source", seed=0, role="source", folder="sources/0")
    make_run(root, arm="frozen", strategy=FROZEN, seed=5, status="failed", error="NaN reward at step 1,200")


def a_beginning(root):
    """What a first try leaves behind: one seed, no threshold, a failed self-check."""
    make_run(root, arm="scratch", seed=0)
    broken = Check(name="frozen tensors are bit-identical", passed=False, detail="policy_net.0.weight moved by 0.01")
    make_run(root, arm="frozen", strategy=FROZEN, seed=0, source=source(0), returns=[10, 40, 80, 90])
    make_run(root, arm="held", strategy=({"kind": "frozen", "layers": 1},), seed=0, source=source(0), checks=(broken,))


def a_study_that_goes_on(root):
    """Two tasks, a study file, plans, and runs that have not been started."""
    for task in ("short", "long"):
        for seed in range(3):
            facts = {"task_name": task, "seed": seed, "task": TaskFacts(env="CartPole-v1", kwargs={"name": task})}
            make_run(root, arm="scratch", folder=f"{task}/scratch/seed_{seed}", **facts)
            if task == "short" or seed == 0:
                folder = f"{task}/frozen/seed_{seed}"
                level = [10, 30 + seed, 50, 60, 70, 80]
                run = make_run(
                    root, arm="frozen", strategy=FROZEN, source=source(seed), folder=folder, returns=level, **facts
                )
                write_plan(run.folder, warning="12 of 64 units are dead" if seed == 0 else "")
    study = {"algo": "ppo", "seeds": 3, "source": {"path": "encoders/a"}}
    study |= {"tasks": {"short": {"env": "CartPole-v1"}, "long": {"env": "CartPole-v1"}}}
    study |= {"arms": {"scratch": "scratch", "frozen": "frozen"}}
    (root / "study.yaml").write_text(yaml_file.dump(study))


def runs_of_rl_zoo(root):
    """Folders that rltransfer did not write: two arms, a run that was stopped, one without its arguments."""
    for seed in range(5):
        make_zoo_run(root / f"plain/ppo/CartPole-v1_{seed + 1}", seed=seed, level=50 + seed)
        make_zoo_run(
            root / f"tuned/ppo/CartPole-v1_{seed + 1}", seed=seed, level=90 + seed, trained_agent=f"agents/{seed}.zip"
        )
    make_zoo_run(root / "tuned/ppo/CartPole-v1_6", seed=6, level=90, done=False)
    broken = make_zoo_run(root / "tuned/ppo/CartPole-v1_7", seed=7, level=90)
    (broken / "CartPole-v1" / "args.yml").unlink()


@pytest.mark.parametrize(
    ("make", "arms"),
    [
        (a_study, None),
        (a_beginning, None),
        (a_study_that_goes_on, None),
        (runs_of_rl_zoo, {"scratch": "plain", "tuned": "tuned/ppo/CartPole-v1_*"}),
    ],
)
def test_the_report_reads_as_agreed(make, arms, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    root = Path("logs")
    make(root)
    text = markdown_of(compare(root, arms=arms))
    golden = GOLDEN / f"report_{make.__name__}.md"
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_text(text)
    assert text == golden.read_text()
