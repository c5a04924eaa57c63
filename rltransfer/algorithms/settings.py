"""The settings that several algorithms share: of their constructors and of their policies.

The tables are written out so that reading hyperparameters costs no torch; a test compares them with SB3's signatures.
"""

from collections.abc import Mapping

from rltransfer import setting_kinds as kinds
from rltransfer.setting_kinds import Kind

EVERY_ALGORITHM: Mapping[str, Kind] = {
    "learning_rate": kinds.SCHEDULE,
    "policy_kwargs": kinds.MAPPING,
    "stats_window_size": kinds.COUNT,
}
BY_GRADIENT: Mapping[str, Kind] = {
    **EVERY_ALGORITHM,
    "gamma": kinds.FRACTION,
    "n_steps": kinds.COUNT,
}
ROLLOUT_BUFFER: Mapping[str, Kind] = {
    "rollout_buffer_class": kinds.optional(kinds.NAME),
    "rollout_buffer_kwargs": kinds.optional(kinds.MAPPING),
}
STATE_DEPENDENT_EXPLORATION: Mapping[str, Kind] = {
    "use_sde": kinds.FLAG,
    "sde_sample_freq": kinds.COUNT_OR_MINUS_1,
}
ON_POLICY: Mapping[str, Kind] = {
    **BY_GRADIENT,
    "gae_lambda": kinds.FRACTION,
    "normalize_advantage": kinds.FLAG,
}
CLIPPED_OBJECTIVE: Mapping[str, Kind] = {
    **ON_POLICY,
    "batch_size": kinds.COUNT,
    "n_epochs": kinds.COUNT,
    "clip_range": kinds.SCHEDULE,
    "clip_range_vf": kinds.optional(kinds.SCHEDULE),
    "ent_coef": kinds.NUMBER,
    "vf_coef": kinds.NUMBER,
    "max_grad_norm": kinds.POSITIVE,
    "target_kl": kinds.optional(kinds.POSITIVE),
}
OFF_POLICY: Mapping[str, Kind] = {
    **BY_GRADIENT,
    "batch_size": kinds.COUNT,
    "buffer_size": kinds.COUNT,
    "learning_starts": kinds.COUNT_OR_ZERO,
    "train_freq": kinds.TRAIN_FREQ,
    "gradient_steps": kinds.COUNT_OR_MINUS_1,
    "replay_buffer_class": kinds.optional(kinds.NAME),
    "replay_buffer_kwargs": kinds.optional(kinds.MAPPING),
    "optimize_memory_usage": kinds.FLAG,
}
Q_LEARNING: Mapping[str, Kind] = {
    **OFF_POLICY,
    "tau": kinds.FRACTION,
    "target_update_interval": kinds.COUNT,
    "exploration_fraction": kinds.FRACTION,
    "exploration_initial_eps": kinds.FRACTION,
    "exploration_final_eps": kinds.FRACTION,
}
MAXIMUM_ENTROPY: Mapping[str, Kind] = {
    **OFF_POLICY,
    **STATE_DEPENDENT_EXPLORATION,
    "use_sde_at_warmup": kinds.FLAG,
    "ent_coef": kinds.AUTO_OR_NUMBER,
    "target_entropy": kinds.AUTO_OR_NUMBER,
}
SOFT_ACTOR_CRITIC: Mapping[str, Kind] = {
    **MAXIMUM_ENTROPY,
    "tau": kinds.FRACTION,
    "target_update_interval": kinds.COUNT,
}
DETERMINISTIC: Mapping[str, Kind] = {**OFF_POLICY, "tau": kinds.FRACTION}

EVERY_POLICY: Mapping[str, Kind] = {
    "net_arch": kinds.optional(kinds.NET_ARCH),
    "activation_fn": kinds.ACTIVATION,
    "features_extractor_class": kinds.NAME,
    "features_extractor_kwargs": kinds.optional(kinds.MAPPING),
    "normalize_images": kinds.FLAG,
    "optimizer_class": kinds.NAME,
    "optimizer_kwargs": kinds.optional(kinds.MAPPING),
}
SHARED_EXTRACTOR: Mapping[str, Kind] = {"share_features_extractor": kinds.FLAG}
POLICY_NOISE: Mapping[str, Kind] = {"log_std_init": kinds.NUMBER, "use_expln": kinds.FLAG}
ACTOR_CRITIC_POLICY: Mapping[str, Kind] = {
    **EVERY_POLICY,
    **SHARED_EXTRACTOR,
    **POLICY_NOISE,
    "ortho_init": kinds.FLAG,
    "full_std": kinds.FLAG,
    "squash_output": kinds.FLAG,
}
DETERMINISTIC_POLICY: Mapping[str, Kind] = {**EVERY_POLICY, **SHARED_EXTRACTOR, "n_critics": kinds.COUNT}
SOFT_POLICY: Mapping[str, Kind] = {**DETERMINISTIC_POLICY, **POLICY_NOISE, "clip_mean": kinds.POSITIVE}
