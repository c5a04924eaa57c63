"""Which settings a hyperparameter file may hold beside those of its algorithm, without importing SB3."""

from collections.abc import Mapping

from rltransfer import algorithms
from rltransfer import setting_kinds as kinds
from rltransfer.setting_kinds import Kind

_ACTION_NOISE: Mapping[str, Kind] = {"noise_type": kinds.NOISE, "noise_std": kinds.POSITIVE}


def agent_settings(algo: str) -> dict[str, Kind]:
    """Returns the settings of an algorithm's constructor, in RL Zoo's words: those of ``action_noise`` describe it."""
    row = algorithms.spec_of(algo)
    return {**row.settings, **(_ACTION_NOISE if row.takes_action_noise else {})}


NORMALIZE: Mapping[str, Kind] = {
    "norm_obs": kinds.FLAG,
    "norm_reward": kinds.FLAG,
    "clip_obs": kinds.POSITIVE,
    "clip_reward": kinds.POSITIVE,
    "gamma": kinds.FRACTION,
    "epsilon": kinds.POSITIVE,
}
"""The arguments of VecNormalize that a file may set."""

RUN = ("n_envs", "n_timesteps", "policy", "normalize", "frame_stack", "env_wrapper")
"""The settings of a run that are no constructor arguments."""

ELSEWHERE: Mapping[str, str] = {
    "seed": "give it with --seed, or as the study's seeds",
    "device": "give it with --device",
    "verbose": "give it with --verbose",
    "tensorboard_log": "give it with --tensorboard-log",
    "env": "give it with --env",
    "env_kwargs": "give them with --env-kwargs, or as the task's kwargs in a study",
    "eval_env_kwargs": "give them with --eval-env-kwargs",
    "callback": "a file cannot hold code; pass callbacks to your own agent in Python",
    "vec_env_wrapper": "it is not supported; env_wrapper is, and normalize and frame_stack",
    "vec_env_class": "choose one with --vec-env",
    "monitor_kwargs": "it is not supported",
    "action_noise": "it is an object; noise_type and noise_std describe it",
    "_init_setup_model": "it belongs to SB3's loading",
}
"""Keys that RL Zoo or SB3 know and a hyperparameter file of ours cannot set, and what to do instead."""
