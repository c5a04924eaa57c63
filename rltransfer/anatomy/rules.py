"""Where each module of SB3's and sb3-contrib's policies belongs: its branch, and what kind of layers it holds."""

import dataclasses
import re
from typing import Literal

from rltransfer.errors import IncompatibleError

Branch = Literal["actor", "critic", "shared", "target"]
Role = Literal["encoder", "head", "adapter", "column", "lateral"]
Kind = Literal["extractor", "recurrent", "stack", "q_stack", "head"]
LOG_ENT_COEF = "log_ent_coef"
LOG_STD = "log_std"


@dataclasses.dataclass(frozen=True)
class Rule:
    """Where a module of a policy belongs.

    An ``extractor`` reads observations, a ``recurrent`` module what it gives; a ``stack`` holds numbered layers, and a
    ``q_stack`` ends in a head.
    """

    module: str
    branch: Branch
    kind: Kind


_ACTOR_CRITIC = (
    Rule("features_extractor", "shared", "extractor"),
    Rule("pi_features_extractor", "actor", "extractor"),
    Rule("vf_features_extractor", "critic", "extractor"),
    Rule(r"mlp_extractor\.shared_net", "shared", "stack"),
    Rule(r"mlp_extractor\.policy_net", "actor", "stack"),
    Rule(r"mlp_extractor\.value_net", "critic", "stack"),
    Rule("action_net", "actor", "head"),
    Rule(LOG_STD, "actor", "head"),
    Rule("value_net", "critic", "head"),
)
_RECURRENT_ACTOR_CRITIC = (
    *_ACTOR_CRITIC[:3],
    Rule("lstm_actor", "actor", "recurrent"),
    Rule("lstm_critic", "critic", "recurrent"),
    # A linear layer in the place of the critic's LSTM (enable_critic_lstm=False).
    Rule("critic", "critic", "recurrent"),
    *_ACTOR_CRITIC[3:],
)
_LINEAR_SEARCH = (
    Rule("features_extractor", "shared", "extractor"),
    Rule("action_net", "actor", "q_stack"),
)


def _q_network(name: str) -> tuple[Rule, ...]:
    return (
        Rule(rf"{name}\.features_extractor", "critic", "extractor"),
        Rule(rf"{name}\.{name}", "critic", "q_stack"),
        Rule(rf"{name}_target\.features_extractor", "target", "extractor"),
        Rule(rf"{name}_target\.{name}", "target", "q_stack"),
    )


def _critics(network: str, branch: Branch) -> tuple[Rule, ...]:
    return (
        Rule(rf"{network}\.features_extractor", branch, "extractor"),
        Rule(rf"{network}\.qf\d+", branch, "q_stack"),
    )


_SOFT_ACTOR_CRITIC = (
    Rule(r"actor\.features_extractor", "actor", "extractor"),
    Rule(r"actor\.latent_pi", "actor", "stack"),
    Rule(r"actor\.mu", "actor", "head"),
    Rule(r"actor\.log_std", "actor", "head"),
    Rule(LOG_ENT_COEF, "actor", "head"),
    *_critics("critic", "critic"),
    *_critics("critic_target", "target"),
)
_DETERMINISTIC_ACTOR_CRITIC = (
    Rule(r"actor\.features_extractor", "actor", "extractor"),
    Rule(r"actor\.mu", "actor", "q_stack"),
    Rule(r"actor_target\.features_extractor", "target", "extractor"),
    Rule(r"actor_target\.mu", "target", "q_stack"),
    *_critics("critic", "critic"),
    *_critics("critic_target", "target"),
)
RULES: dict[str, tuple[Rule, ...]] = {
    "ppo": _ACTOR_CRITIC,
    "a2c": _ACTOR_CRITIC,
    "trpo": _ACTOR_CRITIC,
    "maskable_ppo": _ACTOR_CRITIC,
    "ppo_lstm": _RECURRENT_ACTOR_CRITIC,
    "dqn": _q_network("q_net"),
    "qrdqn": _q_network("quantile_net"),
    "sac": _SOFT_ACTOR_CRITIC,
    "tqc": _SOFT_ACTOR_CRITIC,
    "crossq": _SOFT_ACTOR_CRITIC,
    "td3": _DETERMINISTIC_ACTOR_CRITIC,
    "ddpg": _DETERMINISTIC_ACTOR_CRITIC,
    "ars": _LINEAR_SEARCH,
}
ALGORITHMS = tuple(RULES)
# The names of SB3's classes where they are not the short name.
CLASSES = {"recurrentppo": "ppo_lstm", "maskableppo": "maskable_ppo"}


def place(algo: str, name: str) -> tuple[Rule, str]:
    """Returns the rule that places a tensor of an algorithm's policy, and the name of the module that it is in.

    Raises:
        IncompatibleError: No rule places it.
    """
    for rule in RULES[algo]:
        match = re.match(rf"({rule.module})(\.|$)", name)
        if match:
            return rule, match.group(1)
    raise IncompatibleError(
        f"The {algo} policy has a tensor {name!r} that is no part of SB3's own policies, so it cannot be placed. "
        f"Put custom layers into a features extractor (policy_kwargs: features_extractor_class)."
    )


def is_same_network(algo: str, other: str) -> bool:
    """Says whether two algorithms build networks of the same names, heads included."""
    return RULES[algo] is RULES[other]
