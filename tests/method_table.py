"""Every method on an agent of every algorithm: how each is set up, trained, and what came of it.

``python tests/method_table.py`` writes ``tests/data/methods_by_algorithm.json``, the outcomes that must stay; a method
or an algorithm that is not in it yet has to train, or to be refused, all the same.
"""

import functools
import json
import re
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from agents import ENVS, STEPS, encoder_of, make_agent, normalised
from runs import pretrained, run_config
from stable_baselines3.common.base_class import BaseAlgorithm

from rltransfer import Encoder, Progressive, apply_plan, plan_transfer, progressive_kwargs
from rltransfer.algorithms import algorithm_names
from rltransfer.anatomy import agent_tensors
from rltransfer.errors import RLTransferError
from rltransfer.strategies import KINDS, ModifierSettings, parse_strategy
from rltransfer.training import train_run
from rltransfer.transfer.effects import TrainedRun
from rltransfer.transfer.methods import Method, acting_methods, method_of

TABLE = Path(__file__).parent / "data" / "methods_by_algorithm.json"
ALGORITHMS = algorithm_names()
SETTINGS: dict[str, dict[str, Any]] = {
    "augment": {"noise": 0.1},
    "auto": {"of": ["full"], "episodes": 1},
    "discriminative": {"decay": 0.1},
    "ewc": {"strength": 1e6, "steps": 20, "states": "target"},
    "gradual_unfreeze": {"at": [33]},
    "jump_start": {"horizon": 3, "episodes": 1},
    "kickstart": {"weight": 10.0, "episodes": 0},
    "l2_init": {"alpha": 100.0},
    "l2_sp": {"alpha": 100.0, "beta": 100.0},
    "lora": {"rank": 2},
    "progressive": {"units": 4},
    "qdagger": {"collect": 20, "offline_updates": 2},
    "redo": {"threshold": 1000.0},
    "shuffled": {"of": "finetune"},
}
"""What shows in a short run; methods that are not here have their defaults."""
_A_FILE = re.compile(r"/\S+/best_model\.zip")
_MOVES_NUMBERS = ("residual",)
_NORMALISES = ("normaliser_only",)


def environment(kind: str, algo: str) -> Any:
    """Returns the environment in which a kind can be used, if there is one for the algorithm."""
    if kind in _NORMALISES:
        return normalised(ENVS[algo])
    if kind in _MOVES_NUMBERS and algo not in ("dqn", "qrdqn", "maskable_ppo"):
        return "Pendulum-v1"
    return ENVS[algo]


def strategy_of(kind: str) -> Any:
    """Returns the strategy that a kind alone makes, with its settings in this table."""
    return {"kind": kind, **SETTINGS.get(kind, {})}


def learn(agent: BaseAlgorithm, algo: str, steps: int, callbacks: Any = None) -> None:
    """Trains an agent of an algorithm for some steps."""
    agent.learn(steps, callback=callbacks, **({"use_masking": False} if algo == "maskable_ppo" else {}))


@functools.cache
def source(kind: str, algo: str) -> Encoder:
    """Returns a source that has learned for some steps, where a kind can use it."""
    env = environment(kind, algo)
    if env == ENVS[algo] and kind != "":
        return source("", algo)
    folder = Path(tempfile.mkdtemp())
    agent = make_agent(algo, env, seed=7)
    learn(agent, algo, STEPS[algo])
    if getattr(agent, "replay_buffer", None) is not None:
        agent.save_replay_buffer(folder / "replay_buffer.pkl")  # type: ignore[attr-defined]
    return encoder_of(agent, folder)


def target(kind: str, algo: str) -> BaseAlgorithm:
    """Returns the agent that a kind is tried on."""
    settings: dict[str, Any] = {}
    if kind == "progressive":
        net = {"net_arch": [8], "lstm_hidden_size": 8} if algo == "ppo_lstm" else {"net_arch": [8, 8]}
        part = Progressive(**SETTINGS["progressive"])
        settings["policy_kwargs"] = progressive_kwargs([source(kind, algo)], algo, net, part=part)
    return make_agent(algo, environment(kind, algo), **settings)


def tensors_of(agent: BaseAlgorithm) -> dict[str, torch.Tensor]:
    """Returns copies of an agent's tensors."""
    return {name: tensor.detach().clone() for name, tensor in agent_tensors(agent).items()}


def trained(kind: str, algo: str, strategy: Any = None) -> dict[str, Any]:
    """Trains the agent of a kind, with it or another strategy; returns what a ``TrainedRun`` holds but for its control.

    Raises:
        RLTransferError: The kind refuses the agent.
    """
    agent = target(kind, algo)
    initial = tensors_of(agent)
    plan = plan_transfer(source(kind, algo), agent, strategy_of(kind) if strategy is None else strategy)
    transfer = apply_plan(plan, agent)
    applied, normaliser = tensors_of(agent), agent.get_vec_normalize_env()
    statistics = {} if normaliser is None else {"": np.copy(normaliser.obs_rms.mean)}
    learn(agent, algo, STEPS[algo] + plan.statistics_steps, transfer.callbacks)
    failed = [check for check in transfer.checks() if not check.passed]
    assert not failed, failed
    return {
        "plan": plan,
        "transfer": transfer,
        "agent": agent,
        "initial": initial,
        "applied": applied,
        "trained": tensors_of(agent),
        "statistics": statistics,
    }


def trained_by_auto(algo: str) -> Any:
    """Returns the record of a run of ``auto``."""
    folder = Path(tempfile.mkdtemp())
    pretrained(folder / "source", algo)
    return train_run(run_config(algo, strategy=strategy_of("auto"), source=str(folder / "source")), folder / "target")


@functools.cache
def measured(kind: str, algo: str) -> tuple[Method[Any], TrainedRun]:
    """Returns a method and a run in which its effect can be measured, beside one without it."""
    strategy = parse_strategy(strategy_of(kind))
    if kind == "auto":
        run: Any = dict.fromkeys(("plan", "transfer", "agent", "initial", "applied", "trained"))
        return method_of(strategy[0]), TrainedRun(**run, control={}, record=trained_by_auto(algo))
    method = next(method for method in acting_methods(strategy) if method.settings.kind == kind)
    # Columns are part of the agent: the same one without them has other tensors.
    control = trained(kind, algo) if kind == "progressive" else trained_without(kind, algo)
    return method, TrainedRun(**trained(kind, algo), control=control["trained"])


def trained_without(kind: str, algo: str) -> dict[str, Any]:
    """Trains the agent of a kind with the strategy that is left without it."""
    is_modifier = issubclass(KINDS[kind], ModifierSettings)
    return trained(kind, algo, parse_strategy(strategy_of(kind))[0] if is_modifier else "scratch")


def outcome(kind: str, algo: str) -> str:
    """Returns ``trains``, or the error by which a kind refuses an agent of an algorithm."""
    try:
        if kind == "auto":
            trained_by_auto(algo)
        else:
            run = trained(kind, algo)
            moved = any(not torch.equal(run["trained"][name], tensor) for name, tensor in run["applied"].items())
            assert moved, f"{kind} on {algo} changed no tensor"
    except RLTransferError as error:
        return f"{type(error).__name__}: {_A_FILE.sub('SOURCE', str(error))}"
    return "trains"


def main() -> None:
    """Writes the table of all kinds and algorithms."""
    rows = {kind: {algo: outcome(kind, algo) for algo in ALGORITHMS} for kind in KINDS}
    TABLE.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
