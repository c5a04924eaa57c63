"""Algorithms that search at random among weights, without a gradient: ARS of sb3-contrib."""

from rltransfer import setting_kinds as kinds
from rltransfer.algorithms import settings
from rltransfer.algorithms.spec import AlgorithmSpec, Rule, ZipSignature

ARS = AlgorithmSpec(
    name="ars",
    class_path="sb3_contrib.ARS",
    hyperparams="ars.yml",
    rules=(
        Rule("features_extractor", "shared", "extractor"),
        Rule("action_net", "actor", "q_stack", gives="actions"),
    ),
    branches=(("", "action_net"),),
    action_form="linear",
    signature=ZipSignature(frozenset({"n_delta", "delta_std_schedule"}), "action_net."),
    settings={
        **settings.EVERY_ALGORITHM,
        "n_delta": kinds.COUNT,
        "n_top": kinds.optional(kinds.COUNT),
        "delta_std": kinds.SCHEDULE,
        "zero_policy": kinds.FLAG,
        "alive_bonus_offset": kinds.NUMBER,
        "n_eval_episodes": kinds.COUNT,
    },
    policy_settings={
        "net_arch": kinds.optional(kinds.NET_ARCH),
        "activation_fn": kinds.ACTIVATION,
        "with_bias": kinds.FLAG,
        "squash_output": kinds.FLAG,
    },
    policies=("LinearPolicy", "MlpPolicy"),
    is_gradient_free=True,
    draws_before_rollout=True,
    no_target=(
        "ARS changes its weights without a gradient, all at once: an agent of ARS can be a source, not a target. "
        "Choose another algorithm for the target."
    ),
)
