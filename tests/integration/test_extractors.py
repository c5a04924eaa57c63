"""Agents with features extractors of rltransfer train and load in stock SB3."""

import subprocess
import sys

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3 import DQN, PPO

from rltransfer.extractors import SmallCNN


class View(gym.Env):
    """Images as MiniGrid's symbolic view: 7x7x3, channels last, small integers."""

    observation_space = spaces.Box(0, 255, (7, 7, 3), np.uint8)
    action_space = spaces.Discrete(3)

    def reset(self, *, seed=None, **_options):
        super().reset(seed=seed)
        return self._look(), {}

    def step(self, _action):
        return self._look(), 0.0, False, False, {}

    def _look(self):
        return self.np_random.integers(0, 11, (7, 7, 3), np.uint8)


ARGUMENTS = {"features_extractor_class": SmallCNN, "normalize_images": False}
AGENTS = {
    "ppo": lambda: PPO("CnnPolicy", View(), n_steps=16, batch_size=16, n_epochs=1, seed=0, policy_kwargs=ARGUMENTS),
    "dqn": lambda: DQN("CnnPolicy", View(), buffer_size=50, learning_starts=8, seed=0, policy_kwargs=ARGUMENTS),
}


@pytest.mark.parametrize("algo", AGENTS)
def test_an_agent_trains_and_its_zip_loads_where_rltransfer_is_not_installed(algo, tmp_path):
    agent = AGENTS[algo]().learn(16)
    agent.save(tmp_path / "agent.zip")
    view = np.zeros((1, 3, 7, 7), np.uint8)
    np.save(tmp_path / "view.npy", view)
    # Isolated mode and a finder that refuses the package: the zip must hold all it needs.
    code = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "rltransfer":
            raise ImportError("rltransfer is not installed here")
sys.meta_path.insert(0, Refuse())
import numpy, stable_baselines3
agent = getattr(stable_baselines3, sys.argv[1].upper()).load(sys.argv[2] + "/agent.zip", device="cpu")
print(agent.predict(numpy.load(sys.argv[2] + "/view.npy"), deterministic=True)[0][0])
assert "rltransfer" not in sys.modules
"""
    done = subprocess.run(
        [sys.executable, "-I", "-c", code, algo, str(tmp_path)], check=True, capture_output=True, text=True
    )
    assert int(done.stdout) == agent.predict(view, deterministic=True)[0][0]
