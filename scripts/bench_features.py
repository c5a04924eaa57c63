"""Measures what computing a frozen encoder's features once per observation saves, against stock SB3.

Stock SB3 has the same frozen network inside the policy, with ``requires_grad_(False)``. Both sides see the same images,
all of them new, and take the same actions and updates, in one process with one torch thread, without evaluations:

    python scripts/bench_features.py
    python scripts/bench_features.py --weights mobilenet_v2-b0353104.pth --repeats 3

Weights are drawn at random where none are given: they cost the same.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from stable_baselines3 import DQN, PPO, SAC
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import DummyVecEnv

from rltransfer import apply_plan, load_encoder, plan_transfer
from rltransfer.artifact import Encoder, network_kwargs
from rltransfer.networks import torchvision_networks
from rltransfer.transfer.features_once import features_once

SHARED: dict[str, Any] = {"policy_kwargs": {"share_features_extractor": True}}


class Images(gym.Env[np.ndarray, Any]):
    """Images of noise, all of them new; the reward is arbitrary."""

    def __init__(self, shape: tuple[int, ...], *, continuous: bool = False) -> None:
        self.observation_space = gym.spaces.Box(0, 255, shape, np.uint8)
        self.action_space: Any = gym.spaces.Box(-1.0, 1.0, (2,)) if continuous else gym.spaces.Discrete(4)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:  # noqa: ARG002
        """Begins an episode."""
        super().reset(seed=seed)
        return self._image(), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:  # noqa: ARG002
        """Gives another image."""
        image = self._image()
        return image, float(image[0, 0, 0]) / 255.0, bool(self.np_random.random() < 0.01), False, {}

    def _image(self) -> np.ndarray:
        return self.np_random.integers(0, 256, self.observation_space.shape, dtype=np.uint8)


def _network(folder: Path, weights: Path | None) -> Encoder:
    if weights is None:
        weights = folder / "mobilenet_v2.pth"
        torch.save(torchvision_networks.build("mobilenet_v2", None, None).module.state_dict(), weights)
    return load_encoder(weights, arch="torchvision:mobilenet_v2", size=96)


def _source(folder: Path, kind: type[BaseAlgorithm], env: gym.Env[Any, Any], settings: dict[str, Any]) -> Encoder:
    kind("CnnPolicy", env, seed=1, **settings).save(folder / "source.zip")
    return load_encoder(folder / "source.zip")


def _stock(agent: Any, encoder: Encoder) -> None:
    """Puts the source's encoder into an agent and freezes it, as users of SB3 do."""
    apply_plan(plan_transfer(encoder, agent, "frozen"), agent)
    for parameter in agent.policy.parameters():
        parameter.requires_grad_(True)
    for name, module in agent.policy.named_modules():
        if name.endswith("features_extractor"):
            module.requires_grad_(False)


def _seconds(make: Any, encoder: Encoder, steps: int, *, once: bool) -> tuple[float, float]:
    """Returns the CPU seconds of training, and the bytes of a full replay buffer."""
    agent = make()
    if not once:
        _stock(agent, encoder)
        begin = time.process_time()
        agent.learn(steps)
        return time.process_time() - begin, _bytes(agent)
    plan = plan_transfer(encoder, agent, "frozen")
    transfer = apply_plan(plan, agent)
    begin = time.process_time()
    with features_once(plan, agent):
        agent.learn(steps, callback=transfer.callbacks)
        return time.process_time() - begin, _bytes(agent)


def _bytes(agent: Any) -> float:
    """Returns the bytes of all that a replay buffer holds when it is full, with as many episodes as so far."""
    buffer = getattr(agent, "replay_buffer", None)
    if buffer is None:
        return 0.0
    arrays = [value.nbytes for value in vars(buffer).values() if isinstance(value, np.ndarray)]
    apart = 0 if isinstance(buffer.next_observations, np.ndarray) else buffer.next_observations.nbytes
    return float(sum(arrays) + apart * buffer.buffer_size / buffer.size())


def main() -> None:
    """Prints a line for each agent."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, help="a file of torchvision's MobileNetV2")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", nargs="*", help="names of lines")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    frames = (4, 84, 84)
    small: dict[str, Any] = {"learning_starts": 100, "buffer_size": 2000, "device": "cpu"}
    with tempfile.TemporaryDirectory() as folder:
        network = _network(Path(folder), arguments.weights)
        in_policy = {"policy_kwargs": network_kwargs(network), "device": "cpu", "n_epochs": 10, "batch_size": 64}
        frozen = {
            kind: _source(Path(folder), kind, Images(frames, continuous=kind is SAC), small) for kind in (SAC, DQN)
        }
        frozen_shared = _source(Path(folder), SAC, Images(frames, continuous=True), {**small, **SHARED})
        lines: dict[str, tuple[Any, Encoder, int]] = {
            "PPO, MobileNetV2 at 96x96, 10 epochs, 1 environment": (
                lambda: PPO("CnnPolicy", Images((3, 96, 96)), seed=0, n_steps=512, **in_policy),
                network,
                512,
            ),
            "PPO, MobileNetV2 at 96x96, 10 epochs, 8 environments": (
                lambda: PPO(
                    "CnnPolicy", DummyVecEnv([lambda: Images((3, 96, 96))] * 8), seed=0, n_steps=64, **in_policy
                ),
                network,
                512,
            ),
            "SAC, NatureCNNs of the actor and the critic of a source, 4 frames of 84x84": (
                lambda: SAC("CnnPolicy", Images(frames, continuous=True), seed=0, **small),
                frozen[SAC],
                200,
            ),
            "SAC, one NatureCNN for actor and critic, 4 frames of 84x84": (
                lambda: SAC("CnnPolicy", Images(frames, continuous=True), seed=0, **small, **SHARED),
                frozen_shared,
                200,
            ),
            "DQN, NatureCNN of a source, 4 frames of 84x84": (
                lambda: DQN("CnnPolicy", Images(frames), seed=0, **small),
                frozen[DQN],
                1200,
            ),
        }
        for name, (make, encoder, steps) in lines.items():
            if arguments.only and not any(part in name for part in arguments.only):
                continue
            ratios, memory = [], []
            for _ in range(arguments.repeats):
                stock, features = (_seconds(make, encoder, steps, once=once) for once in (False, True))
                ratios.append(stock[0] / features[0])
                memory.append(stock[1] / features[1] if features[1] else 0.0)
            words = f"{name}: {statistics.median(ratios):.1f} x ({min(ratios):.1f} to {max(ratios):.1f})"
            print(words + (f", replay memory {memory[0]:.1f} x smaller" if memory[0] else ""), flush=True)


if __name__ == "__main__":
    main()
