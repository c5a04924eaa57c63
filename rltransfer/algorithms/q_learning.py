"""Algorithms of discrete actions that learn Q-values: DQN of SB3 and QR-DQN of sb3-contrib."""

from typing import Any

from rltransfer import setting_kinds as kinds
from rltransfer.algorithms import settings
from rltransfer.algorithms.spec import AlgorithmSpec, Heads, Rule, ZipSignature

_QUANTILES = "quantile_net.quantile_net"


def _rules(network: str) -> tuple[Rule, ...]:
    return (
        Rule(rf"{network}\.features_extractor", "critic", "extractor"),
        Rule(rf"{network}\.{network}", "critic", "q_stack", gives="q_values"),
        Rule(rf"{network}_target\.features_extractor", "target", "extractor"),
        Rule(rf"{network}_target\.{network}", "target", "q_stack", gives="q_values"),
    )


def _q_values(policy: Any, observations: Any) -> Any:
    return policy.q_net(observations)


def _mean_of_quantiles(policy: Any, observations: Any) -> Any:
    return policy.quantile_net(observations).mean(dim=1)


def _quantiles(heads: Heads) -> dict[str, Any]:
    return {} if heads.n_actions is None else {"n_quantiles": heads.rows[_QUANTILES] // heads.n_actions}


DQN = AlgorithmSpec(
    name="dqn",
    class_path="stable_baselines3.DQN",
    hyperparams="dqn.yml",
    rules=_rules("q_net"),
    branches=(("", "q_net.q_net"),),
    action_form="q_values",
    signature=ZipSignature(frozenset({"exploration_fraction"}), "q_net."),
    settings={**settings.Q_LEARNING, "max_grad_norm": kinds.POSITIVE},
    policy_settings=settings.EVERY_POLICY,
    default_net=[64, 64],
    default_net_of_images=[],
    keeps_replay_buffer=True,
    has_dqn_loss=True,
    q_values=_q_values,
)
QRDQN = AlgorithmSpec(
    name="qrdqn",
    class_path="sb3_contrib.QRDQN",
    hyperparams="qrdqn.yml",
    rules=_rules("quantile_net"),
    branches=(("", _QUANTILES),),
    action_form="q_values",
    signature=ZipSignature(frozenset({"exploration_fraction"}), "quantile_net.", over=("dqn",)),
    settings={**settings.Q_LEARNING, "max_grad_norm": kinds.optional(kinds.POSITIVE)},
    policy_settings={**settings.EVERY_POLICY, "n_quantiles": kinds.COUNT},
    default_net=[64, 64],
    default_net_of_images=[],
    keeps_replay_buffer=True,
    q_values=_mean_of_quantiles,
    head_settings=_quantiles,
)
