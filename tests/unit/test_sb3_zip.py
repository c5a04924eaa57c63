import hashlib
import re
import zipfile
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import stable_baselines3
import torch
from gymnasium import spaces
from stable_baselines3 import A2C, DDPG, DQN, PPO, SAC, TD3
from stable_baselines3.common.utils import LinearSchedule

from rltransfer.errors import SourceError
from rltransfer.extractors import SmallCNN
from rltransfer.sb3_zip import read_sb3_zip

FIXTURES = Path(__file__).parents[3] / "shared/fixtures/rl-zoo-agents"
public_agents = pytest.mark.skipif(not FIXTURES.is_dir(), reason="the public agents are not beside the repository")


class Pictures(gym.Env):
    observation_space = spaces.Box(0, 255, (40, 40, 3), np.uint8)
    action_space = spaces.Discrete(3)


class Views(Pictures):
    observation_space = spaces.Box(0, 255, (7, 7, 3), np.uint8)


class Mixed(Pictures):
    observation_space = spaces.Dict(a=spaces.Box(-1, 1, (3,)), b=spaces.Discrete(4))
    action_space = spaces.MultiDiscrete([2, 3])


_OWN = {"features_extractor_class": SmallCNN, "normalize_images": False}


def _small():
    # A new dictionary each time: SB3's SAC writes into it.
    return {"buffer_size": 10, "policy_kwargs": {"net_arch": [8]}}


AGENTS = {
    "ppo": lambda: PPO("MlpPolicy", "CartPole-v1", seed=3),
    "ppo cnn": lambda: PPO("CnnPolicy", Pictures()),
    "ppo own extractor": lambda: PPO("CnnPolicy", Views(), policy_kwargs=_OWN),
    "ppo mixed": lambda: PPO("MultiInputPolicy", Mixed()),
    "a2c": lambda: A2C("MlpPolicy", "CartPole-v1"),
    "dqn": lambda: DQN("MlpPolicy", "CartPole-v1", **_small()),
    "dqn cnn": lambda: DQN("CnnPolicy", Pictures(), buffer_size=10),
    "sac": lambda: SAC("MlpPolicy", "Pendulum-v1", **_small()),
    "td3": lambda: TD3("MlpPolicy", "Pendulum-v1", **_small()),
    "ddpg": lambda: DDPG("MlpPolicy", "Pendulum-v1", **_small()),
}


@pytest.fixture(scope="module", params=AGENTS)
def saved(request, tmp_path_factory):
    agent = AGENTS[request.param]()
    path = tmp_path_factory.mktemp("agents") / "agent.zip"
    agent.save(path)
    return request.param, agent, path


def test_weights_are_the_agents(saved):
    _, agent, path = saved
    content = read_sb3_zip(path)
    expected = agent.policy.state_dict()
    assert list(content.tensors) == list(expected)
    assert all(torch.equal(content.tensors[name], tensor) for name, tensor in expected.items())
    assert content.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_facts_are_the_agents(saved):
    name, agent, path = saved
    content = read_sb3_zip(path)
    assert content.algo == name.split()[0]
    assert content.policy_class == type(agent.policy).__name__
    assert content.observation_space == agent.observation_space
    assert content.action_space == agent.action_space
    assert content.sb3_version == stable_baselines3.__version__
    assert content.seed == agent.seed
    assert content.num_timesteps == 0
    assert content.hyperparams["gamma"] == agent.gamma
    assert content.hyperparams["learning_rate"] == agent.learning_rate


def test_activation_and_extractor_are_the_agents(saved):
    _, agent, path = saved
    content = read_sb3_zip(path)
    policy = agent.policy
    extractor = policy.features_extractor_class
    assert content.activation == policy.activation_fn.__name__
    assert content.extractor_class == f"{extractor.__module__}.{extractor.__name__}"


def test_shared_tensors_stay_shared(saved):
    _, agent, path = saved
    content = read_sb3_zip(path)
    live = agent.policy.state_dict()
    for name, tensor in live.items():
        others = [other for other in live if live[other].data_ptr() == tensor.data_ptr()]
        assert content.aliases.get(name, name) == others[0]
    for alias, name in content.aliases.items():
        assert content.tensors[alias].data_ptr() == content.tensors[name].data_ptr()


def test_sac_has_its_entropy_coefficient(tmp_path):
    agent = AGENTS["sac"]()
    with torch.no_grad():
        agent.log_ent_coef.fill_(-0.5)
    agent.save(tmp_path / "agent.zip")
    content = read_sb3_zip(tmp_path / "agent.zip")
    assert content.variables["log_ent_coef"].item() == -0.5
    assert content.hyperparams["ent_coef"] == "auto"


def test_stated_facts(tmp_path):
    arguments = {"activation_fn": torch.nn.ELU, "net_arch": [8]}
    agent = PPO("MlpPolicy", "CartPole-v1", learning_rate=LinearSchedule(1e-3, 0, 1), policy_kwargs=arguments)
    agent.save(tmp_path / "agent.zip")
    content = read_sb3_zip(str(tmp_path / "agent.zip"))
    assert content.activation == "ELU"
    assert content.policy_kwargs["net_arch"] == "[8]"
    assert content.hyperparams["learning_rate"] == "lin_0.001"
    assert content.hyperparams["clip_range"] == 0.2
    assert "lr_schedule" not in content.hyperparams


@public_agents
@pytest.mark.parametrize("path", sorted(FIXTURES.glob("[pd]*__*.zip")), ids=lambda path: path.stem)
def test_public_agents_of_the_old_gym(path):
    content = read_sb3_zip(path)
    algo, env = re.match(r"(\w+?)__(\w+)-v", path.name).groups()
    assert content.algo == algo
    assert content.activation == {"ppo": "Tanh", "dqn": "ReLU"}[algo]
    assert content.sb3_version == "1.0rc0"
    expected = {"CartPole": ((4,), 2), "LunarLander": ((8,), 4), "MountainCar": ((2,), 3)}[env]
    assert (content.observation_space.shape, content.action_space.n) == expected
    assert content.num_timesteps > 50_000


def test_missing_and_wrong_files(tmp_path):
    with pytest.raises(SourceError, match=r"none\.zip cannot be read: No such file"):
        read_sb3_zip(tmp_path / "none.zip")
    with pytest.raises(SourceError, match="cannot be read: Is a directory"):
        read_sb3_zip(tmp_path)
    (tmp_path / "words.zip").write_text("words")
    with pytest.raises(SourceError, match=r"words\.zip is not a zip, or its end is missing"):
        read_sb3_zip(tmp_path / "words.zip")
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("data", "{}")
        archive.writestr("readme.txt", "hello")
    with pytest.raises(
        SourceError, match=r"other\.zip lacks policy\.pth: is it an SB3 agent\? It holds: data, readme\.t"
    ):
        read_sb3_zip(tmp_path / "other.zip")
