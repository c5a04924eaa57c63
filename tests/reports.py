"""Renders reports for tests, and writes what they are made from beside records and curves: plans, RL Zoo's files."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from rltransfer.comparison import Comparison
from rltransfer.report import html, markdown
from rltransfer.report.provenance import read_provenance
from rltransfer.report.sections import document


def markdown_of(comparison: Comparison) -> str:
    """Returns the report as Markdown."""
    return markdown.render(document(comparison, read_provenance(comparison)))


def page_of(comparison: Comparison) -> str:
    """Returns the report as a page."""
    return html.render(comparison, document(comparison, read_provenance(comparison)))


def write_plan(run_folder: Path, *, frozen: bool = True, warning: str = "") -> None:
    """Writes the plan of a frozen or fine-tuned encoder with one hidden layer, as a run leaves it."""
    tensors = [
        ("mlp_extractor.policy_net.0.weight", "actor", "encoder", [64, 4], "copied"),
        ("mlp_extractor.policy_net.0.bias", "actor", "encoder", [64], "copied"),
        ("action_net.weight", "actor", "head", [2, 64], "initialised"),
        ("action_net.bias", "actor", "head", [2], "initialised"),
    ]
    plan = {
        "schema_version": 1,
        "strategy": [{"kind": "frozen"}],
        "algo": "ppo",
        "seed": 0,
        "inputs": {},
        "totals": {"values": 450, "moved": 320, "frozen": 320 if frozen else 0, "trained": 130 if frozen else 450},
        "statistics": {"observation": "copied", "hold_observation": frozen, "reward": "none"},
        "critic_warmup_steps": 0,
        "quiet_steps": None,
        "findings": [{"kind": "k", "severity": "warning", "words": warning}] if warning else [],
        "entries": [
            {
                "tensor": name,
                "layer": name.rpartition(".")[0],
                "branch": branch,
                "role": role,
                "shape": shape,
                "origin": origin,
                "trains": not (frozen and role == "encoder"),
                "frozen": frozen and role == "encoder",
                "lr_scale": 1.0,
            }
            for name, branch, role, shape, origin in tensors
        ],
    }
    (run_folder / "rltransfer").mkdir(parents=True, exist_ok=True)
    (run_folder / "rltransfer" / "plan.json").write_text(json.dumps(plan))


def make_zoo_run(folder: Path, *, seed: int, level: float, done: bool = True, **arguments: Any) -> Path:
    """Writes a run folder as RL Zoo does, with its tag for ordered dictionaries, and returns it.

    One that is not done has stopped half-way.
    """
    (folder / "CartPole-v1").mkdir(parents=True)
    facts = {"algo": "ppo", "env": "CartPole-v1", "env_kwargs": None, "eval_episodes": 3, "eval_freq": 1000}
    facts |= {"n_eval_envs": 1, "n_timesteps": -1, "seed": seed, "trained_agent": ""} | arguments
    settings = {"learning_rate": "lin_0.001", "n_envs": 8, "n_timesteps": 4000.0, "policy": "MlpPolicy"}
    for name, mapping in (("args.yml", facts), ("config.yml", settings)):
        pairs = "".join(f"  - - {key}\n    - {json.dumps(value)}\n" for key, value in mapping.items())
        tagged = f"!!python/object/apply:collections.OrderedDict\n- {pairs[2:]}"
        (folder / "CartPole-v1" / name).write_text(tagged)
    steps = np.array([1000, 2000, 3000, 4000])
    returns = np.linspace(10, level, 4)[:, None] + np.array([-1.0, 0.0, 1.0])
    there = slice(4 if done else 2)
    lengths = np.full((4, 3), 10)
    np.savez(folder / "evaluations.npz", timesteps=steps[there], results=returns[there], ep_lengths=lengths[there])
    (folder / "0.monitor.csv").write_text(
        f'#{{"t_start": {100 + seed}.5, "env_id": "CartPole-v1"}}\nr,l,t\n9.0,9,0.1\n'
    )
    if done:
        (folder / "CartPole-v1.zip").touch()
    return folder
