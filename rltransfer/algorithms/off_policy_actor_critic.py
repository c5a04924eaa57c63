"""Off-policy actor-critics: SAC, TD3 and DDPG of SB3; TQC and CrossQ of sb3-contrib."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from rltransfer import setting_kinds as kinds
from rltransfer.algorithms import settings
from rltransfer.algorithms.spec import LOG_ENT_COEF, AlgorithmSpec, Branch, Heads, Rule, ZipSignature


def _critic_rules(network: str, branch: Branch) -> tuple[Rule, ...]:
    return (
        Rule(rf"{network}\.features_extractor", branch, "extractor"),
        Rule(rf"{network}\.qf\d+", branch, "q_stack", reads_actions=True),
    )


_CRITICS = (*_critic_rules("critic", "critic"), *_critic_rules("critic_target", "target"))
_SOFT_RULES = (
    Rule(r"actor\.features_extractor", "actor", "extractor"),
    Rule(r"actor\.latent_pi", "actor", "stack"),
    Rule(r"actor\.mu", "actor", "head", gives="actions"),
    Rule(r"actor\.log_std", "actor", "head", gives="log_std"),
    Rule(LOG_ENT_COEF, "actor", "head"),
    *_CRITICS,
)
_DETERMINISTIC_RULES = (
    Rule(r"actor\.features_extractor", "actor", "extractor"),
    Rule(r"actor\.mu", "actor", "q_stack", gives="actions"),
    Rule(r"actor_target\.features_extractor", "target", "extractor"),
    Rule(r"actor_target\.mu", "target", "q_stack", gives="actions"),
    *_CRITICS,
)
_SOFT_BRANCHES = (("pi", "actor.latent_pi"), ("qf", "critic.qf0"))
_DETERMINISTIC_BRANCHES = (("pi", "actor.mu"), ("qf", "critic.qf0"))
_CROSSQ_NET = {"pi": [256, 256], "qf": [1024, 1024]}


def _n_critics(heads: Heads) -> dict[str, Any]:
    return {"n_critics": sum(path.startswith("critic.qf") for path in heads.rows)}


def _critics_of_quantiles(heads: Heads) -> dict[str, Any]:
    return {**_n_critics(heads), "n_quantiles": heads.rows["critic.qf0"]}


def _normalised_critics(heads: Heads) -> dict[str, Any]:
    is_normalised = any(name.endswith("running_mean") or ".ra_" in name for name in heads.shapes)
    return {**_n_critics(heads), "batch_norm": is_normalised}


def _has_no_target_networks(data: Mapping[str, Any]) -> bool:
    return "target_update_interval" not in data


def _is_ddpg(data: Mapping[str, Any]) -> bool:
    """Returns whether TD3's settings are those that make it DDPG, which is all that tells it apart."""
    return data.get("policy_delay") == 1 and data.get("target_noise_clip") == 0.0


SAC = AlgorithmSpec(
    name="sac",
    class_path="stable_baselines3.SAC",
    hyperparams="sac.yml",
    rules=_SOFT_RULES,
    branches=_SOFT_BRANCHES,
    action_form="tanh_gaussian",
    signature=ZipSignature(frozenset({"target_entropy", "ent_coef"}), "actor.", over=("td3", "ddpg")),
    settings=settings.SOFT_ACTOR_CRITIC,
    policy_settings=settings.SOFT_POLICY,
    default_net=[256, 256],
    default_net_of_images=[256, 256],
    keeps_replay_buffer=True,
    takes_action_noise=True,
    head_settings=_n_critics,
)
TD3 = AlgorithmSpec(
    name="td3",
    class_path="stable_baselines3.TD3",
    hyperparams="td3.yml",
    rules=_DETERMINISTIC_RULES,
    branches=_DETERMINISTIC_BRANCHES,
    action_form="tanh",
    signature=ZipSignature(frozenset({"policy_delay"}), "actor."),
    settings={
        **settings.DETERMINISTIC,
        "policy_delay": kinds.COUNT,
        "target_policy_noise": kinds.NUMBER,
        "target_noise_clip": kinds.NUMBER,
    },
    policy_settings=settings.DETERMINISTIC_POLICY,
    default_net=[400, 300],
    default_net_of_images=[256, 256],
    keeps_replay_buffer=True,
    takes_action_noise=True,
    head_settings=_n_critics,
)
DDPG = dataclasses.replace(
    TD3,
    name="ddpg",
    class_path="stable_baselines3.DDPG",
    hyperparams="ddpg.yml",
    signature=ZipSignature(frozenset({"policy_delay"}), "actor.", over=("td3",), holds=_is_ddpg),
    settings={name: kind for name, kind in settings.DETERMINISTIC.items() if name != "stats_window_size"},
)
TQC = dataclasses.replace(
    SAC,
    name="tqc",
    class_path="sb3_contrib.TQC",
    hyperparams="tqc.yml",
    signature=ZipSignature(
        frozenset({"top_quantiles_to_drop_per_net"}), "actor.", over=("sac", "crossq", "td3", "ddpg")
    ),
    settings={**settings.SOFT_ACTOR_CRITIC, "top_quantiles_to_drop_per_net": kinds.COUNT_OR_ZERO},
    policy_settings={**settings.SOFT_POLICY, "n_quantiles": kinds.COUNT},
    head_settings=_critics_of_quantiles,
)
CROSSQ = dataclasses.replace(
    SAC,
    name="crossq",
    class_path="sb3_contrib.CrossQ",
    hyperparams="crossq.yml",
    signature=ZipSignature(
        frozenset({"target_entropy", "ent_coef", "policy_delay"}),
        "actor.",
        over=("sac", "td3", "ddpg"),
        holds=_has_no_target_networks,
    ),
    settings={**settings.MAXIMUM_ENTROPY, "policy_delay": kinds.COUNT},
    policy_settings={
        **settings.SOFT_POLICY,
        "batch_norm": kinds.FLAG,
        "batch_norm_momentum": kinds.FRACTION,
        "batch_norm_eps": kinds.POSITIVE,
        "renorm_warmup_steps": kinds.COUNT_OR_ZERO,
    },
    policies=("MlpPolicy",),
    default_net=_CROSSQ_NET,
    default_net_of_images=_CROSSQ_NET,
    has_module_before_net=True,
    head_settings=_normalised_critics,
)
