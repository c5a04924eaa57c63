"""Measures what ``rltransfer pretrain`` costs over plain SB3 that trains, evaluates, logs and saves the same.

Both sides run in turn, each in a process of its own with one torch thread, timed after the imports:

    python scripts/bench_overhead.py --seconds 60 --repeats 3

The plain side, ``train_plainly``, is what somebody would write by hand with SB3's own callbacks. Both sides end with
the same weights, bit for bit; the table says so, which proves that they did the same training.
"""

import argparse
import dataclasses
import hashlib
import importlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

SIDES = ("rltransfer", "plain")
EVALUATIONS = 20
EPISODES = 10
SCORING_EPISODES = 20
TRIAL_STEPS = 20_000
PRELOADED = ("stable_baselines3", "torch._dynamo", "torch.utils.tensorboard", "rltransfer.cli", "rltransfer.training")


@dataclasses.dataclass(frozen=True)
class Timing:
    """What one process measured."""

    wall_seconds: float
    cpu_seconds: float
    weights: str


def main() -> None:
    arguments = _parse()
    if arguments.side:
        timing = _measure(arguments.side, arguments.env, arguments.steps, arguments.seed)
        print(json.dumps(dataclasses.asdict(timing)))
        return
    steps = _round_up(arguments.env, arguments.steps or _steps_for(arguments.env, arguments.seconds))
    print(f"PPO on {arguments.env}, {steps:,} env_steps, {EVALUATIONS + 2} evaluations of {EPISODES} episodes")
    print(f"{'pair':>4}  {'rltransfer':>20}  {'plain SB3':>20}  {'ratio wall':>10}  {'ratio CPU':>9}  same weights")
    wall_ratios, cpu_ratios = [], []
    for pair in range(arguments.repeats):
        run, plain = (_run(side, arguments.env, steps, seed=pair) for side in SIDES)
        wall_ratios.append(run.wall_seconds / plain.wall_seconds)
        cpu_ratios.append(run.cpu_seconds / plain.cpu_seconds)
        print(
            f"{pair + 1:>4}  {_seconds(run):>20}  {_seconds(plain):>20}  {wall_ratios[-1]:>10.3f}  "
            f"{cpu_ratios[-1]:>9.3f}  {'yes' if run.weights == plain.weights else 'NO'}",
            flush=True,
        )
    print(f"median ratio: wall {statistics.median(wall_ratios):.3f}, CPU {statistics.median(cpu_ratios):.3f}")


def train_with_rltransfer(env_id: str, steps: int, seed: int, folder: Path) -> Path:
    """Trains by the command and returns the last agent's zip."""
    from rltransfer.cli import main as rltransfer

    words = ["pretrain", "--algo", "ppo", "--env", env_id, "-n", str(steps), "--seed", str(seed), "--device", "cpu"]
    words += ["--eval-freq", str(steps // EVALUATIONS), "--eval-episodes", str(EPISODES), "-f", str(folder)]
    if rltransfer(words) != 0:
        raise SystemExit("rltransfer pretrain failed")
    (config,) = folder.glob("ppo/*/rltransfer/config.json")
    run_folder = config.parent.parent
    return run_folder / f"{run_folder.name.rpartition('_')[0]}.zip"


def train_plainly(env_id: str, steps: int, seed: int, folder: Path) -> Path:
    """Trains with SB3 alone and returns the last agent's zip; only the hyperparameters come from rltransfer."""
    import torch
    from stable_baselines3 import PPO
    from stable_baselines3.common.callbacks import EvalCallback
    from stable_baselines3.common.env_util import make_vec_env
    from stable_baselines3.common.evaluation import evaluate_policy

    from rltransfer.hyperparams import resolve
    from rltransfer.hyperparams.build import build_agent_kwargs

    class RandomPolicy:
        def predict(self, observations, *_, **__):
            return [eval_env.action_space.sample() for _ in observations], None

    def score(policy, episodes, *, deterministic):
        # The training goes on as if nothing had been sampled.
        with torch.random.fork_rng():
            evaluate_policy(policy, eval_env, n_eval_episodes=episodes, deterministic=deterministic)

    torch.set_num_threads(1)
    hyperparams = resolve("ppo", env_id)
    env = make_vec_env(env_id, n_envs=hyperparams.n_envs, seed=seed, monitor_dir=str(folder))
    eval_env = make_vec_env(env_id, n_envs=EPISODES, seed=seed)
    settings = build_agent_kwargs(hyperparams)
    agent = PPO(hyperparams.policy, env, seed=seed, device="cpu", tensorboard_log=str(folder / "tb"), **settings)
    score(RandomPolicy(), SCORING_EPISODES, deterministic=False)
    score(agent, SCORING_EPISODES, deterministic=False)
    score(agent, EPISODES, deterministic=True)
    evaluation = EvalCallback(
        eval_env,
        n_eval_episodes=EPISODES,
        eval_freq=steps // EVALUATIONS // hyperparams.n_envs,
        best_model_save_path=str(folder),
        log_path=str(folder),
        verbose=0,
    )
    agent.learn(steps, callback=evaluation)
    agent.save(folder / "last.zip")
    # SB3's callback saw the last step before the last update; rltransfer measures that point again.
    score(agent, EPISODES, deterministic=True)
    score(agent, SCORING_EPISODES, deterministic=True)
    score(PPO.load(folder / "best_model.zip", device="cpu"), SCORING_EPISODES, deterministic=True)
    env.close()
    eval_env.close()
    return folder / "last.zip"


TRAIN: dict[str, Callable[[str, int, int, Path], Path]] = {
    "rltransfer": train_with_rltransfer,
    "plain": train_plainly,
}


def _measure(side: str, env_id: str, steps: int, seed: int) -> Timing:
    """Runs one side in this process."""
    for module in PRELOADED:
        importlib.import_module(module)
    from stable_baselines3 import PPO

    with tempfile.TemporaryDirectory() as folder:
        wall, cpu = time.perf_counter(), time.process_time()
        zip_path = TRAIN[side](env_id, steps, seed, Path(folder))
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        weights = PPO.load(zip_path, device="cpu").policy.state_dict()
    digest = hashlib.sha256(b"".join(tensor.numpy().tobytes() for tensor in weights.values())).hexdigest()
    return Timing(wall_seconds=wall, cpu_seconds=cpu, weights=digest)


def _run(side: str, env_id: str, steps: int, seed: int) -> Timing:
    """Runs one side in a process of its own."""
    command = [sys.executable, __file__, "--side", side, "--env", env_id, "--steps", str(steps), "--seed", str(seed)]
    variables = os.environ | {"OMP_NUM_THREADS": "1"}
    result = subprocess.run(command, env=variables, stdout=subprocess.PIPE, text=True, check=True)
    return Timing(**json.loads(result.stdout.splitlines()[-1]))


def _steps_for(env_id: str, seconds: float) -> int:
    """Returns how many env_steps the plain side does in so many seconds, from a short trial."""
    steps = _round_up(env_id, TRIAL_STEPS)
    return int(steps * seconds / _run("plain", env_id, steps, seed=0).wall_seconds)


def _round_up(env_id: str, steps: int) -> int:
    """Returns a budget of whole rollouts between evaluations: SB3's callback counts calls, rltransfer counts steps."""
    from rltransfer.hyperparams import resolve

    hyperparams = resolve("ppo", env_id)
    unit = EVALUATIONS * hyperparams.n_envs * hyperparams.agent.get("n_steps", 2048)
    return unit * -(-steps // unit)


def _seconds(timing: Timing) -> str:
    return f"{timing.wall_seconds:.1f} s, CPU {timing.cpu_seconds:.1f} s"


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="What rltransfer pretrain costs over plain SB3.")
    parser.add_argument("--env", default="CartPole-v1", help="environment without normalisation or wrappers")
    parser.add_argument("--seconds", type=float, default=60, help="how long a run takes, about (default: 60)")
    parser.add_argument("--steps", type=int, help="env_steps of a run, instead of --seconds")
    parser.add_argument("--repeats", type=int, default=3, help="pairs of runs (default: 3)")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, default=0, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
