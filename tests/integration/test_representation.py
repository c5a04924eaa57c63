"""What the layers of an agent represent: measures with oracles, and the curve of them beside the evaluations."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from runs import SMALL, pretrained, run_config

from rltransfer.comparison import compare
from rltransfer.errors import RunError
from rltransfer.records import OWN_FOLDER, REPRESENTATION, read_curve, read_representation
from rltransfer.report import write_report
from rltransfer.training import train_run
from rltransfer.training.representation import effective_rank, linear_cka


def by_kernels(x: np.ndarray, y: np.ndarray) -> float:
    """Returns CKA by its definition: centred kernel matrices, Kornblith et al. 2019, equations 1 and 3."""
    n = len(x)
    centre = np.eye(n) - np.ones((n, n)) / n
    k, m = centre @ (x @ x.T) @ centre, centre @ (y @ y.T) @ centre
    return float(np.sum(k * m) / np.sqrt(np.sum(k * k) * np.sum(m * m)))


def test_cka_is_that_of_its_definition() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(40, 7)), rng.normal(size=(40, 3))
    y[:, 0] += x[:, 0]
    assert linear_cka(x, y) == pytest.approx(by_kernels(x, y), abs=1e-12)
    rotation = np.linalg.qr(rng.normal(size=(7, 7)))[0]
    assert linear_cka(x, 3 * x @ rotation + 5) == pytest.approx(1.0, abs=1e-12)
    assert np.isnan(linear_cka(x, np.ones((40, 2))))


def test_the_effective_rank_counts_directions() -> None:
    rng = np.random.default_rng(0)
    basis = np.linalg.qr(rng.normal(size=(50, 6)))[0]
    even = basis - basis.mean(axis=0)
    assert effective_rank(np.outer(rng.normal(size=50), np.ones(4))) == pytest.approx(1.0)
    assert 5.9 < effective_rank(even) <= 6.0
    assert effective_rank(np.ones((50, 3))) == 0.0


@pytest.mark.parametrize("algo", [algo for algo in SMALL if algo != "ars"])
def test_every_algorithm_leaves_a_curve_beside_its_evaluations(algo: str, tmp_path: Path) -> None:
    train_run(run_config(algo, n_timesteps=64, eval_freq=32), tmp_path / "run")
    points = read_representation(tmp_path / "run")
    assert points is not None
    assert points.env_steps.tolist() == read_curve(tmp_path / "run").env_steps.tolist()
    assert points.layers
    start, end = ({name: values[row] for name, values in points.measures.items()} for row in (0, -1))
    assert start["cka"] == pytest.approx(np.ones(len(points.layers)))
    assert start["distance"].tolist() == [0.0] * len(points.layers)
    assert (end["distance"] > 0).any(), "it has learned"
    assert ((end["dormant"] >= 0) & (end["dormant"] <= 1)).all()


def test_frozen_layers_stay_where_they_were_and_others_leave(tmp_path: Path) -> None:
    pretrained(tmp_path / "source", "ppo")
    config: dict[str, Any] = {"source": str(tmp_path / "source"), "n_timesteps": 64, "eval_freq": 32}
    train_run(run_config("ppo", strategy="frozen", **config), tmp_path / "frozen")
    train_run(run_config("ppo", strategy="finetune", **config), tmp_path / "finetune")
    frozen, tuned = (read_representation(tmp_path / name) for name in ("frozen", "finetune"))
    assert frozen is not None
    assert tuned is not None
    assert np.abs(frozen.measures["cka"] - 1).max() < 1e-12
    assert not frozen.measures["distance"].any()
    assert (tuned.measures["distance"][-1] > 0).all()
    assert (tuned.measures["cka"][-1] < 1).all()


def test_looking_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run whose layers are looked at ends with the weights and the curve of one whose layers are not."""
    settings: dict[str, Any] = {"n_timesteps": 96, "eval_freq": 32, "hyperparams": {"normalize": True}}
    train_run(run_config("ppo", **settings), tmp_path / "seen")
    monkeypatch.setattr("rltransfer.training.representation.RepresentationCurve.add", lambda *_: {})
    monkeypatch.setattr("rltransfer.training.representation.Probe.__init__", lambda *_, **__: None)
    train_run(run_config("ppo", **settings), tmp_path / "unseen")
    assert (tmp_path / "seen/evaluations.npz").read_bytes() == (tmp_path / "unseen/evaluations.npz").read_bytes()
    assert read_representation(tmp_path / "unseen") is None


def test_states_are_normalised_as_the_agent_sees_them_now(tmp_path: Path) -> None:
    record = train_run(
        run_config("sac", n_timesteps=64, eval_freq=32, hyperparams={"normalize": True}), tmp_path / "run"
    )
    points = read_representation(tmp_path / "run")
    assert record.status == "done"
    assert points is not None
    assert np.isfinite(points.measures["effective_rank"]).all()


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / OWN_FOLDER / REPRESENTATION
    path.parent.mkdir()
    path.write_bytes(b"nothing")
    with pytest.raises(RunError, match=r"representation\.npz"):
        read_representation(tmp_path)


def test_the_report_draws_the_layers_of_all_arms(tmp_path: Path) -> None:
    root = tmp_path / "study"
    pretrained(tmp_path / "source", "ppo")
    for arm, strategy in (("scratch", "scratch"), ("frozen", "frozen")):
        for seed in (0, 1):
            config = run_config(
                "ppo", strategy=strategy, arm=arm, seed=seed, source=str(tmp_path / "source"), n_timesteps=64
            )
            train_run(config, root / "target" / arm / f"seed_{seed}")
    (root / "target/scratch/seed_1" / OWN_FOLDER / REPRESENTATION).write_bytes(b"damaged")
    comparison = compare(root)
    (task,) = comparison.tasks
    scratch, frozen = task.arm("scratch").layers, task.arm("frozen").layers
    assert scratch is not None
    assert frozen is not None
    assert (scratch.n_runs, frozen.n_runs) == (1, 2)
    alone = read_representation(root / "target/scratch/seed_0")
    assert alone is not None
    assert np.array_equal(scratch.measures["distance"], alone.measures["distance"])
    assert not frozen.measures["distance"].any()
    page = write_report(comparison, tmp_path / "out").read_text()
    for name in frozen.names:
        assert f'aria-label="similarity to the start of {name}"' in page
    assert f"figures/{task.name}_layers.png" in (tmp_path / "out/report/report.md").read_text()
    assert (tmp_path / f"out/report/figures/{task.name}_layers.png").is_file()
