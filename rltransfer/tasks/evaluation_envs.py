"""Steps the environments of evaluations, one after another in this process."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import gymnasium as gym
from stable_baselines3.common.vec_env import DummyVecEnv
from stable_baselines3.common.vec_env.util import dict_to_obs


class EvaluationEnvs(DummyVecEnv):
    """SB3's environments of one process, whose infos are not copied: an evaluation reads them before the next step.

    Copying takes as long as a small environment's step. What else a step does is what SB3's does, but for environments
    that ``rest`` until the next reset: their episodes are played, and nobody looks at what comes after.
    """

    def __init__(self, env_fns: list[Callable[[], gym.Env[Any, Any]]]) -> None:
        super().__init__(env_fns)
        self._resting: set[int] = set()

    def rest(self, index: int) -> None:
        """Leaves one environment where it is, until all are reset."""
        self._resting.add(index)
        self.buf_rews[index], self.buf_dones[index], self.buf_infos[index] = 0.0, False, {}

    def reset(self) -> Any:
        """Resets the environments."""
        self._resting.clear()
        return super().reset()

    def step_wait(self) -> Any:
        """Steps the environments that do not rest; one whose episode has ended begins the next."""
        for index, env in enumerate(self.envs):
            if index in self._resting:
                continue
            observation, self.buf_rews[index], terminated, truncated, info = env.step(self.actions[index])
            self.buf_dones[index] = terminated or truncated
            info["TimeLimit.truncated"] = truncated and not terminated
            if self.buf_dones[index]:
                info["terminal_observation"] = observation
                observation, self.reset_infos[index] = env.reset()
            self.buf_infos[index] = info
            self._save_obs(index, observation)
        return self._obs_from_buf(), self.buf_rews.copy(), self.buf_dones.copy(), list(self.buf_infos)

    def _obs_from_buf(self) -> Any:
        """Returns a copy of the observations."""
        copies = OrderedDict((key, values.copy()) for key, values in self.buf_obs.items())
        return dict_to_obs(self.observation_space, copies)
