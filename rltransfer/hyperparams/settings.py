"""Which settings there are: of a run, of each algorithm's constructor and of its policy, without importing SB3.

The tables are written out so that reading hyperparameters costs no torch; a test compares them with SB3's signatures.
"""

from collections.abc import Mapping

from rltransfer.hyperparams import kinds
from rltransfer.hyperparams.kinds import Kind

_EVERY_ALGORITHM: Mapping[str, Kind] = {
    "learning_rate": kinds.SCHEDULE,
    "batch_size": kinds.COUNT,
    "gamma": kinds.FRACTION,
    "n_steps": kinds.COUNT,
    "policy_kwargs": kinds.MAPPING,
    "stats_window_size": kinds.COUNT,
}
_OFF_POLICY: Mapping[str, Kind] = {
    "buffer_size": kinds.COUNT,
    "learning_starts": kinds.COUNT_OR_ZERO,
    "tau": kinds.FRACTION,
    "train_freq": kinds.TRAIN_FREQ,
    "gradient_steps": kinds.COUNT_OR_MINUS_1,
    "replay_buffer_class": kinds.optional(kinds.NAME),
    "replay_buffer_kwargs": kinds.optional(kinds.MAPPING),
    "optimize_memory_usage": kinds.FLAG,
    "target_update_interval": kinds.COUNT,
}
_STATE_DEPENDENT_EXPLORATION: Mapping[str, Kind] = {
    "use_sde": kinds.FLAG,
    "sde_sample_freq": kinds.COUNT_OR_MINUS_1,
}

AGENT: Mapping[str, Mapping[str, Kind]] = {
    "ppo": {
        **_EVERY_ALGORITHM,
        **_STATE_DEPENDENT_EXPLORATION,
        "n_epochs": kinds.COUNT,
        "gae_lambda": kinds.FRACTION,
        "clip_range": kinds.SCHEDULE,
        "clip_range_vf": kinds.optional(kinds.SCHEDULE),
        "normalize_advantage": kinds.FLAG,
        "ent_coef": kinds.NUMBER,
        "vf_coef": kinds.NUMBER,
        "max_grad_norm": kinds.POSITIVE,
        "rollout_buffer_class": kinds.optional(kinds.NAME),
        "rollout_buffer_kwargs": kinds.optional(kinds.MAPPING),
        "target_kl": kinds.optional(kinds.POSITIVE),
    },
    "dqn": {
        **_EVERY_ALGORITHM,
        **_OFF_POLICY,
        "exploration_fraction": kinds.FRACTION,
        "exploration_initial_eps": kinds.FRACTION,
        "exploration_final_eps": kinds.FRACTION,
        "max_grad_norm": kinds.POSITIVE,
    },
    "sac": {
        **_EVERY_ALGORITHM,
        **_OFF_POLICY,
        **_STATE_DEPENDENT_EXPLORATION,
        "use_sde_at_warmup": kinds.FLAG,
        "ent_coef": kinds.AUTO_OR_NUMBER,
        "target_entropy": kinds.AUTO_OR_NUMBER,
    },
}
"""The constructor arguments of each algorithm that a file may set."""

NOISE: Mapping[str, Mapping[str, Kind]] = {"sac": {"noise_type": kinds.NOISE, "noise_std": kinds.POSITIVE}}
"""RL Zoo's words for the constructor argument ``action_noise``, which is an object."""

_EVERY_POLICY: Mapping[str, Kind] = {
    "net_arch": kinds.optional(kinds.NET_ARCH),
    "activation_fn": kinds.ACTIVATION,
    "features_extractor_class": kinds.NAME,
    "features_extractor_kwargs": kinds.optional(kinds.MAPPING),
    "normalize_images": kinds.FLAG,
    "optimizer_class": kinds.NAME,
    "optimizer_kwargs": kinds.optional(kinds.MAPPING),
}
_CONTINUOUS_POLICY: Mapping[str, Kind] = {
    "log_std_init": kinds.NUMBER,
    "use_expln": kinds.FLAG,
    "share_features_extractor": kinds.FLAG,
}
POLICY: Mapping[str, Mapping[str, Kind]] = {
    "ppo": {
        **_EVERY_POLICY,
        **_CONTINUOUS_POLICY,
        "ortho_init": kinds.FLAG,
        "full_std": kinds.FLAG,
        "squash_output": kinds.FLAG,
    },
    "dqn": _EVERY_POLICY,
    "sac": {**_EVERY_POLICY, **_CONTINUOUS_POLICY, "clip_mean": kinds.POSITIVE, "n_critics": kinds.COUNT},
}
"""The arguments of each algorithm's policies (``policy_kwargs``)."""

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

POLICIES = ("MlpPolicy", "CnnPolicy", "MultiInputPolicy")

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
