"""Which settings there are: of a run, of each algorithm's constructor and of its policy, without importing SB3.

The tables are written out so that reading hyperparameters costs no torch; a test compares them with SB3's signatures.
"""

from collections.abc import Mapping

from rltransfer.hyperparams import kinds
from rltransfer.hyperparams.kinds import Kind

_EVERY_ALGORITHM: Mapping[str, Kind] = {
    "learning_rate": kinds.SCHEDULE,
    "policy_kwargs": kinds.MAPPING,
    "stats_window_size": kinds.COUNT,
}
_BY_GRADIENT: Mapping[str, Kind] = {
    **_EVERY_ALGORITHM,
    "gamma": kinds.FRACTION,
    "n_steps": kinds.COUNT,
}
_ROLLOUT_BUFFER: Mapping[str, Kind] = {
    "rollout_buffer_class": kinds.optional(kinds.NAME),
    "rollout_buffer_kwargs": kinds.optional(kinds.MAPPING),
}
_STATE_DEPENDENT_EXPLORATION: Mapping[str, Kind] = {
    "use_sde": kinds.FLAG,
    "sde_sample_freq": kinds.COUNT_OR_MINUS_1,
}
_ON_POLICY: Mapping[str, Kind] = {
    **_BY_GRADIENT,
    "gae_lambda": kinds.FRACTION,
    "normalize_advantage": kinds.FLAG,
}
_CLIPPED: Mapping[str, Kind] = {
    **_ON_POLICY,
    "batch_size": kinds.COUNT,
    "n_epochs": kinds.COUNT,
    "clip_range": kinds.SCHEDULE,
    "clip_range_vf": kinds.optional(kinds.SCHEDULE),
    "ent_coef": kinds.NUMBER,
    "vf_coef": kinds.NUMBER,
    "max_grad_norm": kinds.POSITIVE,
    "target_kl": kinds.optional(kinds.POSITIVE),
}
_OFF_POLICY: Mapping[str, Kind] = {
    **_BY_GRADIENT,
    "batch_size": kinds.COUNT,
    "buffer_size": kinds.COUNT,
    "learning_starts": kinds.COUNT_OR_ZERO,
    "train_freq": kinds.TRAIN_FREQ,
    "gradient_steps": kinds.COUNT_OR_MINUS_1,
    "replay_buffer_class": kinds.optional(kinds.NAME),
    "replay_buffer_kwargs": kinds.optional(kinds.MAPPING),
    "optimize_memory_usage": kinds.FLAG,
}
_Q_LEARNING: Mapping[str, Kind] = {
    **_OFF_POLICY,
    "tau": kinds.FRACTION,
    "target_update_interval": kinds.COUNT,
    "exploration_fraction": kinds.FRACTION,
    "exploration_initial_eps": kinds.FRACTION,
    "exploration_final_eps": kinds.FRACTION,
}
_ENTROPY: Mapping[str, Kind] = {
    **_OFF_POLICY,
    **_STATE_DEPENDENT_EXPLORATION,
    "use_sde_at_warmup": kinds.FLAG,
    "ent_coef": kinds.AUTO_OR_NUMBER,
    "target_entropy": kinds.AUTO_OR_NUMBER,
}
_SOFT: Mapping[str, Kind] = {**_ENTROPY, "tau": kinds.FRACTION, "target_update_interval": kinds.COUNT}
_DETERMINISTIC: Mapping[str, Kind] = {**_OFF_POLICY, "tau": kinds.FRACTION}

AGENT: Mapping[str, Mapping[str, Kind]] = {
    "ppo": {**_CLIPPED, **_STATE_DEPENDENT_EXPLORATION, **_ROLLOUT_BUFFER},
    "a2c": {
        **_ON_POLICY,
        **_STATE_DEPENDENT_EXPLORATION,
        **_ROLLOUT_BUFFER,
        "ent_coef": kinds.NUMBER,
        "vf_coef": kinds.NUMBER,
        "max_grad_norm": kinds.POSITIVE,
        "rms_prop_eps": kinds.POSITIVE,
        "use_rms_prop": kinds.FLAG,
    },
    "dqn": {**_Q_LEARNING, "max_grad_norm": kinds.POSITIVE},
    "sac": _SOFT,
    "td3": {
        **_DETERMINISTIC,
        "policy_delay": kinds.COUNT,
        "target_policy_noise": kinds.NUMBER,
        "target_noise_clip": kinds.NUMBER,
    },
    "ddpg": {name: kind for name, kind in _DETERMINISTIC.items() if name != "stats_window_size"},
    "tqc": {**_SOFT, "top_quantiles_to_drop_per_net": kinds.COUNT_OR_ZERO},
    "qrdqn": {**_Q_LEARNING, "max_grad_norm": kinds.optional(kinds.POSITIVE)},
    "trpo": {
        **_ON_POLICY,
        **_STATE_DEPENDENT_EXPLORATION,
        **_ROLLOUT_BUFFER,
        "batch_size": kinds.COUNT,
        "cg_max_steps": kinds.COUNT,
        "cg_damping": kinds.NUMBER,
        "line_search_shrinking_factor": kinds.FRACTION,
        "line_search_max_iter": kinds.COUNT,
        "n_critic_updates": kinds.COUNT,
        "target_kl": kinds.POSITIVE,
        "sub_sampling_factor": kinds.COUNT,
    },
    "crossq": {**_ENTROPY, "policy_delay": kinds.COUNT},
    "ppo_lstm": {**_CLIPPED, **_STATE_DEPENDENT_EXPLORATION},
    "maskable_ppo": {**_CLIPPED, **_ROLLOUT_BUFFER},
    "ars": {
        **_EVERY_ALGORITHM,
        "n_delta": kinds.COUNT,
        "n_top": kinds.optional(kinds.COUNT),
        "delta_std": kinds.SCHEDULE,
        "zero_policy": kinds.FLAG,
        "alive_bonus_offset": kinds.NUMBER,
        "n_eval_episodes": kinds.COUNT,
    },
}
"""The constructor arguments of each algorithm that a file may set."""

_ACTION_NOISE: Mapping[str, Kind] = {"noise_type": kinds.NOISE, "noise_std": kinds.POSITIVE}
NOISE: Mapping[str, Mapping[str, Kind]] = {algo: _ACTION_NOISE for algo in ("sac", "td3", "ddpg", "tqc", "crossq")}
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
_SHARING: Mapping[str, Kind] = {"share_features_extractor": kinds.FLAG}
_NOISY: Mapping[str, Kind] = {"log_std_init": kinds.NUMBER, "use_expln": kinds.FLAG}
_ACTOR_CRITIC: Mapping[str, Kind] = {
    **_EVERY_POLICY,
    **_SHARING,
    **_NOISY,
    "ortho_init": kinds.FLAG,
    "full_std": kinds.FLAG,
    "squash_output": kinds.FLAG,
}
_DETERMINISTIC_POLICY: Mapping[str, Kind] = {**_EVERY_POLICY, **_SHARING, "n_critics": kinds.COUNT}
_SOFT_POLICY: Mapping[str, Kind] = {**_DETERMINISTIC_POLICY, **_NOISY, "clip_mean": kinds.POSITIVE}
POLICY: Mapping[str, Mapping[str, Kind]] = {
    "ppo": _ACTOR_CRITIC,
    "a2c": _ACTOR_CRITIC,
    "trpo": _ACTOR_CRITIC,
    "maskable_ppo": {**_EVERY_POLICY, **_SHARING, "ortho_init": kinds.FLAG},
    "ppo_lstm": {
        **_ACTOR_CRITIC,
        "lstm_hidden_size": kinds.COUNT,
        "n_lstm_layers": kinds.COUNT,
        "shared_lstm": kinds.FLAG,
        "enable_critic_lstm": kinds.FLAG,
        "lstm_kwargs": kinds.optional(kinds.MAPPING),
    },
    "dqn": _EVERY_POLICY,
    "qrdqn": {**_EVERY_POLICY, "n_quantiles": kinds.COUNT},
    "sac": _SOFT_POLICY,
    "tqc": {**_SOFT_POLICY, "n_quantiles": kinds.COUNT},
    "crossq": {
        **_SOFT_POLICY,
        "batch_norm": kinds.FLAG,
        "batch_norm_momentum": kinds.FRACTION,
        "batch_norm_eps": kinds.POSITIVE,
        "renorm_warmup_steps": kinds.COUNT_OR_ZERO,
    },
    "td3": _DETERMINISTIC_POLICY,
    "ddpg": _DETERMINISTIC_POLICY,
    "ars": {
        "net_arch": kinds.optional(kinds.NET_ARCH),
        "activation_fn": kinds.ACTIVATION,
        "with_bias": kinds.FLAG,
        "squash_output": kinds.FLAG,
    },
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

_USUAL_POLICIES = ("MlpPolicy", "CnnPolicy", "MultiInputPolicy")
POLICIES: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(AGENT, _USUAL_POLICIES),
    "crossq": ("MlpPolicy",),
    "ppo_lstm": ("MlpLstmPolicy", "CnnLstmPolicy", "MultiInputLstmPolicy"),
    "ars": ("LinearPolicy", "MlpPolicy"),
}
"""The policies of each algorithm, by SB3's names."""

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
