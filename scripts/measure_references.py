"""Measures the two ends of the scale of normalised scores for tasks of our families, and writes them down.

    python scripts/measure_references.py --write      # measures, and writes rltransfer/reference_returns.yaml
    python scripts/measure_references.py --markdown   # prints the table of docs/statistics.md from that file

0 is what uniformly drawn actions score. 1 comes from one of these, which the table names:

- *limit*: the most that an episode can return by the rules of the environment;
- *threshold*: the return from which on Gymnasium calls the original environment solved, for default arguments, for
  swapped actions, and for the continuous LunarLander, which has its own with the same number;
- *controller*: what a scripted controller scores, over the same episodes as the random actions.

No agent is trained for it: a reference that depends on somebody's training would move with every library version.
"""

import argparse
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from rltransfer import yaml_file

TABLE = Path(__file__).parents[1] / "rltransfer" / "reference_returns.yaml"
PREFIX = "rltransfer_envs:rltransfer/"
SEED = 20_000
Act = Callable[[gym.Env, Any], Any]


def random_actions(env: gym.Env, _: Any) -> Any:
    return env.action_space.sample()


def swing_up(env: gym.Env, observation: np.ndarray) -> np.ndarray:
    """Pendulum: pumps energy until the pole is near the top, then holds it there."""
    pole = env.unwrapped
    cosine, sine, speed = (float(x) for x in observation)
    angle = np.arctan2(sine, cosine)
    inertia = pole.m * pole.l**2 / 3
    lack = pole.m * pole.g * pole.l / 2 * (1 - cosine) - inertia * speed**2 / 2
    is_near_the_top = abs(angle) < 0.6 and abs(speed) < 4
    torque = -14 * angle - 3.5 * speed if is_near_the_top else 6 * lack * np.sign(speed or 1.0)
    return np.array([np.clip(torque, -2, 2)], dtype=np.float32)


def with_the_velocity(_: gym.Env, observation: np.ndarray) -> int:
    """MountainCar: pushes the way that the car rolls."""
    return 2 if observation[1] >= 0 else 0


def with_the_second_link(_: gym.Env, observation: np.ndarray) -> int:
    """Acrobot: turns the second link the way that it turns."""
    return 2 if observation[5] >= 0 else 0


CONTROLLERS: dict[str, Act] = {
    "Pendulum-v0": swing_up,
    "MountainCar-v0": with_the_velocity,
    "Acrobot-v0": with_the_second_link,
}
LIMITS = {"CartPole-v0": 500.0, "Atari-v0": 21.0}
MINIGRID_LIMIT = 1.0


@dataclasses.dataclass(frozen=True)
class Row:
    """A task to measure, and where its reference comes from."""

    name: str
    kwargs: dict[str, Any] = dataclasses.field(default_factory=dict)
    by: str = "limit"
    episodes: int = 100


LONG_POLE = {"length": 1.5, "force_mag": 5, "gravity": 12}
ROWS = (
    Row("CartPole-v0"),
    Row("CartPole-v0", {"swap_actions": True}),
    Row("CartPole-v0", LONG_POLE),
    Row("CartPole-v0", {"observation_order": [2, 3, 0, 1]}),
    Row("CartPole-v0", {"distractors": 4}),
    Row("CartPole-v0", {"distractors": 4, "length": 1.5}),
    Row("Acrobot-v0", by="threshold"),
    Row("Acrobot-v0", {"swap_actions": True}, by="threshold"),
    Row("Acrobot-v0", {"link_length_1": 0.5, "link_mass_2": 2}, by="controller"),
    Row("MountainCar-v0", by="threshold"),
    Row("MountainCar-v0", {"gravity": 0.003}, by="controller"),
    Row("MountainCar-v0", {"force": 0.002}, by="controller"),
    Row("Pendulum-v0", by="controller"),
    Row("Pendulum-v0", {"mass": 1.5}, by="controller"),
    Row("LunarLander-v0", by="threshold"),
    Row("LunarLander-v0", {"continuous": True}, by="threshold"),
    Row("HalfCheetah-v0", by="threshold"),
    Row("Hopper-v0", by="threshold"),
    Row("Ant-v0", by="threshold"),
    Row("MiniGrid-Empty-v0"),
    Row("MiniGrid-FourRooms-v0"),
    Row("MiniGrid-Crossing-v0"),
    Row("MiniGrid-DoorKey-v0"),
    Row("MiniGrid-DoorKey-v0", {"size": 5}),
    Row("MiniGrid-DoorKey-v0", {"size": 6}),
    Row("MiniGrid-Unlock-v0"),
    Row("MiniGrid-UnlockPickup-v0"),
    Row("Atari-v0", episodes=20),
)


def returns(row: Row, act: Act) -> np.ndarray:
    """Returns what a policy scores in each episode of a task; episode i always begins in the same way."""
    env = gym.make(PREFIX + row.name, **row.kwargs)
    env.action_space.seed(SEED)
    results = []
    for episode in range(row.episodes):
        observation, _ = env.reset(seed=SEED + episode)
        total, ended = 0.0, False
        while not ended:
            observation, reward, terminated, truncated, _ = env.step(act(env, observation))
            total += float(reward)
            ended = terminated or truncated
        results.append(total)
    env.close()
    return np.array(results)


def reference(row: Row) -> float:
    if row.by == "controller":
        return float(returns(row, CONTROLLERS[row.name]).mean())
    if row.by == "limit":
        return LIMITS.get(row.name, MINIGRID_LIMIT)
    result = gym.spec(PREFIX.partition(":")[2] + row.name).reward_threshold
    if result is None:
        raise ValueError(f"{row.name} has no threshold")
    return float(result)


def measured(row: Row) -> dict[str, Any]:
    """Returns the entry of a task in the table."""
    random = returns(row, random_actions)
    entry = {
        "env": PREFIX + row.name,
        "kwargs": row.kwargs,
        "random": round(float(random.mean()), 4),
        "random_sd": round(float(random.std(ddof=1)), 4),
        "episodes": row.episodes,
        "reference": round(reference(row), 4),
        "reference_from": row.by,
    }
    print(entry, flush=True)
    return entry


def markdown(entries: list[dict[str, Any]]) -> str:
    lines = ["| task | random (0) | reference (1) | from |", "|---|---:|---:|---|"]
    for entry in entries:
        kwargs = " ".join(f"{name}={value}" for name, value in entry["kwargs"].items())
        name = entry["env"].removeprefix(PREFIX)
        task = f"`{name}`" + (f" `{kwargs}`" if kwargs else "")
        lines.append(f"| {task} | {entry['random']:g} | {entry['reference']:g} | {entry['reference_from']} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--write", action="store_true", help=f"write {TABLE.name} of the package")
    parser.add_argument("--markdown", action="store_true", help="print the table from that file")
    arguments = parser.parse_args()
    if arguments.markdown:
        print(markdown(yaml_file.read(TABLE)["references"]))
        return
    entries = [measured(row) for row in ROWS]
    if arguments.write:
        head = "# What normalised scores call 0 and 1: python scripts/measure_references.py --write\n"
        TABLE.write_text(head + yaml_file.dump({"references": entries}))


if __name__ == "__main__":
    main()
