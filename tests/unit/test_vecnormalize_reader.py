import json
import pickle
import subprocess
import sys
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from rltransfer.errors import SourceError
from rltransfer.vecnormalize_reader import Normaliser, Statistics, read_vecnormalize

FIXTURE = (
    Path(__file__).parents[3] / "shared/fixtures/rl-zoo-agents/ppo_MountainCar-v0_1_MountainCar-v0__vecnormalize.pkl"
)


class _Pictures(gym.Env):
    observation_space = spaces.Dict(
        position=spaces.Box(-5, 5, (3,)), image=spaces.Box(0, 255, (8, 8, 3), np.uint8), mode=spaces.Discrete(2)
    )
    action_space = spaces.Discrete(2)

    def reset(self, *, seed=None, **_options):
        super().reset(seed=seed)
        self.observation_space.seed(seed)
        return self.observation_space.sample(), {}

    def step(self, _action):
        return self.observation_space.sample(), 1.5, False, False, {}


def _stepped(env, steps=20):
    env.seed(0)
    env.reset()
    for _ in range(steps):
        env.step([env.action_space.sample()] * env.num_envs)
    return env


@pytest.fixture(scope="module")
def single():
    return _stepped(VecNormalize(DummyVecEnv([lambda: gym.make("Pendulum-v1")] * 2), clip_obs=7.0, gamma=0.9))


@pytest.fixture(scope="module")
def by_key():
    env = DummyVecEnv([_Pictures])
    return _stepped(VecNormalize(env, norm_reward=False, norm_obs_keys=["position", "image"]))


def _same(statistics, running):
    assert statistics.mean.dtype == np.float64
    np.testing.assert_array_equal(statistics.mean, running.mean, strict=True)
    np.testing.assert_array_equal(statistics.var, running.var, strict=True)
    assert statistics.count == running.count


def test_statistics_of_a_box(single, tmp_path):
    single.save(str(tmp_path / "vecnormalize.pkl"))
    normaliser = read_vecnormalize(tmp_path / "vecnormalize.pkl")
    assert isinstance(normaliser.observation, Statistics)
    _same(normaliser.observation, single.obs_rms)
    _same(normaliser.reward, single.ret_rms)
    assert (normaliser.epsilon, normaliser.clip_obs, normaliser.clip_reward, normaliser.gamma) == (1e-8, 7.0, 10.0, 0.9)
    assert (normaliser.norm_obs, normaliser.norm_reward) == (True, True)


def test_statistics_of_a_dictionary(by_key, tmp_path):
    by_key.save(str(tmp_path / "vecnormalize.pkl"))
    normaliser = read_vecnormalize(tmp_path / "vecnormalize.pkl")
    assert list(normaliser.observation) == ["position", "image"]
    for key, statistics in normaliser.observation.items():
        _same(statistics, by_key.obs_rms[key])
    assert not normaliser.norm_reward


def test_rewards_alone(tmp_path):
    env = _stepped(VecNormalize(DummyVecEnv([lambda: gym.make("Pendulum-v1")]), norm_obs=False))
    env.save(str(tmp_path / "vecnormalize.pkl"))
    normaliser = read_vecnormalize(tmp_path / "vecnormalize.pkl")
    assert normaliser.observation is None
    assert not normaliser.norm_obs
    _same(normaliser.reward, env.ret_rms)


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_every_protocol_that_sb3_can_have_used(single, tmp_path, protocol):
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(single, protocol))
    _same(read_vecnormalize(tmp_path / "a.pkl").observation, single.obs_rms)


@pytest.mark.skipif(not FIXTURE.exists(), reason="the public agents are not beside the repository")
def test_statistics_of_the_old_gym():
    normaliser = read_vecnormalize(FIXTURE)
    assert normaliser.observation.mean == pytest.approx([-0.463, 0.00807], abs=1e-3)
    assert normaliser.observation.count == pytest.approx(1_000_192.0001)


def test_json_keeps_every_bit(single, by_key, tmp_path):
    for env in (single, by_key):
        env.save(str(tmp_path / "a.pkl"))
        normaliser = read_vecnormalize(tmp_path / "a.pkl")
        again = Normaliser.from_json(json.loads(json.dumps(normaliser.to_json())))
        assert again.to_json() == normaliser.to_json()
        members = normaliser.observation if isinstance(normaliser.observation, dict) else {"": normaliser.observation}
        others = again.observation if isinstance(again.observation, dict) else {"": again.observation}
        for key, statistics in members.items():
            np.testing.assert_array_equal(statistics.mean, others[key].mean, strict=True)
            np.testing.assert_array_equal(statistics.var, others[key].var, strict=True)


@pytest.mark.parametrize("content", [{}, {"observation": 3}, {"observation": {"kind": "single"}}])
def test_wrong_json(content):
    with pytest.raises(SourceError, match="The data of a normaliser is wrong"):
        Normaliser.from_json(content)


def test_a_poisoned_normaliser_is_refused(tmp_path):
    env = VecNormalize(DummyVecEnv([lambda: gym.make("Pendulum-v1")]))
    env.obs_rms.update(np.full((1, 3), np.nan))
    env.save(str(tmp_path / "a.pkl"))
    with pytest.raises(SourceError, match="the statistics of observations hold NaN or infinity"):
        read_vecnormalize(tmp_path / "a.pkl")


def test_another_pickle(tmp_path):
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({"obs_rms": 1}))
    with pytest.raises(SourceError, match=r"a\.pkl is not the pickle of a VecNormalize, or it is damaged"):
        read_vecnormalize(tmp_path / "a.pkl")


def test_missing_file(tmp_path):
    with pytest.raises(SourceError, match="cannot be read: No such file"):
        read_vecnormalize(tmp_path / "a.pkl")


def test_neither_torch_nor_sb3_nor_gymnasium_is_imported(single, tmp_path):
    single.save(str(tmp_path / "a.pkl"))
    code = (
        "import sys; from rltransfer.vecnormalize_reader import read_vecnormalize; read_vecnormalize(sys.argv[1]);"
        "assert not {'torch', 'stable_baselines3', 'gymnasium'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "a.pkl")], check=True)
