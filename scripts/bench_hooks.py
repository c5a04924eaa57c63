"""Measures what holding a plan costs: agents that train with each strategy's hooks against stock SB3 agents.

Both sides take the same number of env_steps and updates from the same weights, in turn, in one process with one torch
thread; without evaluations, which would only hide the cost:

    python scripts/bench_hooks.py --steps 8192 --repeats 5
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from stable_baselines3 import DQN, PPO, SAC
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm

from rltransfer import load_encoder
from rltransfer.strategies import EWC, Strategy, parse_strategy, strategy_label
from rltransfer.transfer import Transfer, apply_plan, plan_transfer

AGENTS: dict[str, tuple[type[BaseAlgorithm], str, float, dict[str, Any]]] = {
    # Of the steps, the share that this agent takes: an update after each step costs more than one after a rollout.
    "ppo": (PPO, "CartPole-v1", 1.0, {}),
    "dqn": (DQN, "CartPole-v1", 0.5, {"learning_starts": 100, "train_freq": 1}),
    "sac": (SAC, "Pendulum-v1", 0.1, {"learning_starts": 100}),
}
NEVER = 10**9
STRATEGIES: list[Any] = [
    "finetune",
    {"kind": "finetune", "lr_scale": 0.5},
    "frozen",
    "discriminative",
    {"kind": "gradual_unfreeze", "at": NEVER},
    "l2_sp",
    {"kind": "ewc", "states": "target", "steps": 64},
    "l2_init",
    "redo",
    "shrink_perturb",
    "lora",
    ["discriminative", "l2_sp", "shrink_perturb"],
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=8192, help="env_steps of PPO in each measurement")
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{'agent':<6}{'strategy':<44}{'CPU time to stock SB3':>22}  {'of each pair'}")
    for algo, (_, _, share, _) in AGENTS.items():
        for strategy in map(parse_strategy, STRATEGIES):
            ratios = [_ratio(algo, strategy, int(arguments.steps * share), seed) for seed in range(arguments.repeats)]
            pairs = " ".join(f"{ratio:.3f}" for ratio in ratios)
            print(f"{algo:<6}{strategy_label(strategy):<44}{statistics.median(ratios):>22.3f}  {pairs}", flush=True)


def _ratio(algo: str, strategy: Strategy, steps: int, seed: int) -> float:
    transferred, stock = _transferred(algo, strategy, seed), _transferred(algo, strategy, seed)
    # The stock side: the same weights in an agent that nothing is held on.
    plain = _make(algo, seed)
    plain.set_parameters(stock.agent.get_parameters())
    # What the source played before counts as steps of ours, and is not what is measured.
    counted = sum(part.steps for part in strategy if isinstance(part, EWC))
    if isinstance(plain, OffPolicyAlgorithm):
        # Both sides begin to learn after as many steps of their own.
        plain.learning_starts = max(0, plain.learning_starts - counted)
    sides = [(plain, [], steps), (transferred.agent, transferred.callbacks, steps + counted)]
    seconds = [_cpu_seconds(*side) for side in (sides if seed % 2 else sides[::-1])]
    first, second = seconds
    return second / first if seed % 2 else first / second


def _make(algo: str, seed: int) -> BaseAlgorithm:
    kind, env, _, settings = AGENTS[algo]
    return kind("MlpPolicy", env, seed=seed, device="cpu", **settings)


def _transferred(algo: str, strategy: Strategy, seed: int) -> Transfer:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "source.zip"
        _make(algo, seed + 100).save(path)
        agent = _make(algo, seed)
        return apply_plan(plan_transfer(load_encoder(path), agent, strategy), agent)


def _cpu_seconds(agent: BaseAlgorithm, callbacks: Any, steps: int) -> float:
    start = time.process_time()
    agent.learn(steps, callback=callbacks)
    return time.process_time() - start


if __name__ == "__main__":
    main()
