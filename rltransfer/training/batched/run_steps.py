"""One run's part in a batch: its environments, callbacks and counters, as ``OnPolicyAlgorithm`` keeps them."""

from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.preprocessing import is_image_space, preprocess_obs
from stable_baselines3.common.type_aliases import MaybeCallback

from rltransfer.errors import IncompatibleError


class UnfilledBuffer:
    """Stands in the place of an agent's ``rollout_buffer`` during a rollout: what reads it would read old numbers."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise IncompatibleError(
            "The batched trainer does not fill an agent's own rollout_buffer, and a callback, such as that of 'redo', "
            f"asks for its {name}. Use the agent's own learn."
        )


class RunSteps:
    """Steps one agent's environments with actions that are drawn elsewhere.

    Args:
        agent: The agent.
        callback: What ``agent.learn`` would get as its callback.

    Attributes:
        is_going: Whether it still trains: its budget is not used up, and no callback has stopped it.
    """

    def __init__(self, agent: Any, callback: MaybeCallback) -> None:
        self.agent = agent
        self.is_going = False
        self._buffer = agent.rollout_buffer
        self._given = callback
        self._callback: BaseCallback
        space = agent.observation_space
        self._is_plain = isinstance(space, spaces.Box) and not is_image_space(space)
        self._locals: dict[str, Any] = {}

    def begin(self, total_timesteps: int, *, reset_num_timesteps: bool, log_interval: int | None) -> None:
        """Does what ``learn`` does before its first rollout."""
        agent = self.agent
        name = type(agent).__name__
        total, self._callback = agent._setup_learn(total_timesteps, self._given, reset_num_timesteps, name, False)
        self._callback.on_training_start(
            {
                "self": agent,
                "total_timesteps": total,
                "callback": self._callback,
                "log_interval": log_interval,
                "tb_log_name": name,
                "reset_num_timesteps": reset_num_timesteps,
                "progress_bar": False,
                "iteration": 0,
            },
            {},
        )
        self.is_going = agent.num_timesteps < total

    def begin_rollout(self) -> None:
        """Does what ``collect_rollouts`` does before its first step."""
        agent = self.agent
        assert agent._last_obs is not None, "No previous observation was provided"
        agent.rollout_buffer = UnfilledBuffer()
        self._locals = {
            "self": agent,
            "env": agent.env,
            "callback": self._callback,
            "rollout_buffer": agent.rollout_buffer,
            "n_rollout_steps": agent.n_steps,
        }
        self._callback.on_rollout_start()

    def step(
        self,
        n_steps: int,
        actions: np.ndarray[Any, Any],
        clipped_actions: np.ndarray[Any, Any],
        values: torch.Tensor,
        log_probs: torch.Tensor,
    ) -> tuple[np.ndarray[Any, Any], list[tuple[int, Any]]] | None:
        """Steps the environments; returns rewards, and the last observations of episodes that were cut off.

        None stands for a callback that has stopped the run: the rollout does not count.
        """
        agent = self.agent
        new_obs, rewards, dones, infos = agent.env.step(clipped_actions)
        agent.num_timesteps += agent.env.num_envs
        self._callback.update_locals(
            self._locals
            | {
                "n_steps": n_steps,
                "actions": actions,
                "values": values,
                "log_probs": log_probs,
                "clipped_actions": clipped_actions,
                "new_obs": new_obs,
                "rewards": rewards,
                "dones": dones,
                "infos": infos,
            }
        )
        if not self._callback.on_step():
            self.end()
            return None
        agent._update_info_buffer(infos, dones)
        agent._last_obs, agent._last_episode_starts = new_obs, dones
        return rewards, list(_cut_off(dones, infos))

    def end_rollout(self) -> None:
        """Does what ``collect_rollouts`` does after its last step."""
        self._callback.update_locals(self._locals)
        self._callback.on_rollout_end()

    def put_buffer_back(self) -> None:
        """Gives the agent its own rollout buffer back, in which there is nothing."""
        self.agent.rollout_buffer = self._buffer

    def end_iteration(self) -> None:
        """Ends the run if its budget is used up; after the update that follows its last rollout."""
        if self.agent.num_timesteps >= self.agent._total_timesteps:
            self.end()

    def end(self) -> None:
        """Does what ``learn`` does at its end."""
        self.is_going = False
        self._callback.on_training_end()

    def features(self, observations: Any) -> Any:
        """Returns observations as the network reads them, ``env x feature``."""
        if self._is_plain:
            return observations.reshape(len(observations), -1)
        policy = self.agent.policy
        tensor = torch.as_tensor(observations, device=self.agent.device)
        processed = preprocess_obs(tensor, self.agent.observation_space, normalize_images=policy.normalize_images)
        return policy.features_extractor(processed).cpu().numpy()

    def features_of_one(self, observation: Any) -> Any:
        """Returns one observation as the network reads it."""
        return self.features(self.agent.policy.obs_to_tensor(observation)[0].cpu().numpy())[0]


def _cut_off(dones: np.ndarray[Any, Any], infos: list[dict[str, Any]]) -> list[tuple[int, Any]]:
    """Returns the environments whose episodes ran out of time, each with its last observation."""
    return [
        (int(index), infos[index]["terminal_observation"])
        for index in np.flatnonzero(dones)
        if infos[index].get("terminal_observation") is not None and infos[index].get("TimeLimit.truncated", False)
    ]
