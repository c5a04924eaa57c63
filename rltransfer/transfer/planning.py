"""Decides, without changing anything, what happens to every tensor of a target agent."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from stable_baselines3.common.vec_env import VecFrameStack, unwrap_vec_wrapper
from stable_baselines3.her.her_replay_buffer import HerReplayBuffer

from rltransfer.anatomy import Anatomy, agent_tensors, anatomy_of_agent, readings_of
from rltransfer.artifact import Encoder
from rltransfer.errors import IncompatibleError
from rltransfer.mapping import Actions, Inputs, parse_mapping
from rltransfer.records import Finding, InputMap, StatisticsPlan, StatisticsStart
from rltransfer.strategies import (
    Strategy,
    acting,
    needs_source,
    parse_strategy,
    progressive_settings,
    reads_source,
    strategy_label,
    uses_policy,
    uses_replay,
    weights_method,
    with_stated_rates,
)
from rltransfer.transfer.entries import entries_of
from rltransfer.transfer.freezing import frozen_by_plan, frozen_by_user, refuse_nothing_to_train
from rltransfer.transfer.layer_rules import LayerRules
from rltransfer.transfer.matching.action_bounds import clipped_actions
from rltransfer.transfer.matching.columns import (
    match_column_tensors,
    number_of_source,
    refuse_wrong_columns,
    refuse_wrong_inputs,
)
from rltransfer.transfer.matching.compatibility import refuse_misfit
from rltransfer.transfer.matching.findings import findings_of
from rltransfer.transfer.matching.layers import match_tensors
from rltransfer.transfer.matching.left_out import left_out_of, source_size
from rltransfer.transfer.matching.pair import Pair
from rltransfer.transfer.methods import Method, acting_methods, layer_rules_of, methods_of
from rltransfer.transfer.plan import Plan
from rltransfer.transfer.running_statistics import recomputed, running_statistics, steps_to_recompute
from rltransfer.transfer.statistics import normalised_keys, planned_statistics

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm


def plan_transfer(
    encoder: Encoder | Sequence[Encoder] | None,
    agent: "BaseAlgorithm",
    strategy: Any,
    *,
    inputs: Any = None,
    actions: Any = None,
) -> Plan:
    """Returns what a transfer will do to each tensor of an agent; changes nothing.

    Args:
        encoder: The source, or None for ``scratch`` and ``random_frozen``; several for ``progressive``.
        agent: The target agent, freshly built with its environment.
        strategy: A strategy, one of its parts, its kind, or its settings as a mapping.
        inputs: How the source's inputs match the target's: ``Inputs``, its settings, or the source's index for each
            entry of the target's observation. None: they are alike, or the target only adds some behind them.
        actions: Likewise, how the actions match: ``Actions``, its settings, or indexes. None: they are alike.

    Raises:
        IncompatibleError: Source and target do not fit, or the strategy cannot be applied to them.
        ConfigError: The strategy or a map is not valid.
    """
    parsed = parse_strategy(strategy)
    encoders = _sources(encoder, parsed)
    parsed = with_stated_rates(parsed, network=any(source.source.network is not None for source in encoders))
    anatomy = anatomy_of_agent(agent)
    if (reason := anatomy.spec.no_target) is not None:
        raise IncompatibleError(reason)
    columns = progressive_settings(parsed)
    refuse_wrong_columns(agent, anatomy, encoders, columns)
    pairs = _pairs(agent, anatomy, encoders, inputs, actions)
    pair = pairs[0]
    counts = [count for method in methods_of(parsed) for count in method.layer_counts()]
    rules = layer_rules_of(parsed, pair.anatomy)
    _refuse_beside_natural_gradient(pair, rules, acting_methods(parsed))
    sources: dict[str, str] = {}
    moves = pair.encoder is not None and reads_source((weights_method(parsed),))
    if columns is not None:
        sources = _match_columns(pairs, encoders, rules)
    elif pair.encoder is not None and moves:
        sources = match_tensors(pair.encoder.anatomy, anatomy, branch=rules.source_branch, keys=pair.keys)
        new = {layer.name for layer in anatomy.encoders() if pair.is_new(layer)}
        if rules.origin != "initialised":
            rules = rules.with_(chosen=rules.chosen - new)
        # Alike under random_frozen: a control freezes what its strategy does.
        behind = {layer.name for layer in anatomy.encoders() if pair.is_behind_network(layer)}
        rules = rules.with_(chosen=rules.chosen - behind)
        refuse_misfit(pair, pair.encoder, rules, sources)
    entries = tuple(entries_of(pairs, rules, sources))
    left_out = tuple(left_out_of(pairs, entries, rules, sources)) if moves else ()
    plan = Plan(
        strategy=parsed,
        algo=pair.anatomy.spec.name,
        seed=int(agent.seed or 0) if rules.seed is None else rules.seed,
        entries=entries,
        statistics=_statistics(pair, rules),
        critic_warmup_steps=rules.critic_warmup_steps,
        quiet_steps=_quiet_steps(rules, agent),
        inputs=_inputs(pair) if moves or pair.inputs is not None or uses_replay(parsed) else {},
        actions=pair.actions.entries() if pair.actions is not None else None,
        encoder=pair.encoder,
        others=encoders[1:],
        fresh=_fresh(agent) if rules.return_pull else None,
        source_values=source_size(encoders) if moves else 0,
        left_out=left_out,
    )
    plan = dataclasses.replace(plan, statistics_steps=steps_to_recompute(recomputed(plan), agent))
    planned_statistics(plan, agent)
    refuse_nothing_to_train(plan, agent)
    for method in acting_methods(parsed):
        method.refuse(plan, pair, agent)
    findings = [
        *findings_of(plan, pairs, rules, sources, counts=counts, idle=_idle_on_frozen(plan, rules)),
        *_method_warnings(plan, pair, agent),
    ]
    return dataclasses.replace(plan, findings=tuple(sorted(findings, key=lambda item: item.severity != "warning")))


def _idle_on_frozen(plan: Plan, rules: LayerRules) -> list[str]:
    """Returns the kinds of methods that would change how weights learn which the user froze."""
    frozen = [entry for entry in plan.entries if entry.frozen_by_user]
    return [method.settings.kind for method in acting_methods(plan.strategy) if method.is_idle_on(frozen, rules)]


def _method_warnings(plan: Plan, pair: Pair, agent: "BaseAlgorithm") -> Iterator[Finding]:
    if uses_policy(acting(plan.strategy)):
        yield from clipped_actions(plan, agent)
    for method in acting_methods(plan.strategy):
        yield from method.warnings(plan, pair, agent)


def _sources(encoder: Encoder | Sequence[Encoder] | None, strategy: Strategy) -> tuple[Encoder, ...]:
    """Returns the sources that a strategy reads.

    Raises:
        IncompatibleError: It needs one and there is none, or it takes one and there are several.
    """
    given = () if encoder is None else (encoder,) if isinstance(encoder, Encoder) else tuple(encoder)
    if needs_source(strategy) and not given:
        raise IncompatibleError(f"Strategy {strategy_label(strategy)!r} needs a source, and there is none.")
    if not reads_source(strategy):
        return ()
    takes_one = uses_policy(strategy) or uses_replay(strategy)
    if len(given) > 1 and (progressive_settings(strategy) is None or takes_one):
        raise IncompatibleError(
            f"Strategy {strategy_label(strategy)!r} takes one source, and {len(given)} are given: 'progressive' has a "
            "column for each of several, and `rltransfer extract A B -o AVERAGE` makes one of them."
        )
    return given


def _pairs(
    agent: "BaseAlgorithm", anatomy: Anatomy, encoders: Sequence[Encoder], inputs: Any, actions: Any
) -> list[Pair]:
    """Returns the agent with each of its sources, or without one."""
    normaliser = agent.get_vec_normalize_env()
    stack = unwrap_vec_wrapper(agent.env, VecFrameStack) if agent.env is not None else None
    alone = Pair(
        encoder=None,
        anatomy=anatomy,
        observation_space=agent.observation_space,
        action_space=agent.action_space,
        normalised_keys=normalised_keys(normaliser),
        normalises_rewards=normaliser is not None and normaliser.norm_reward,
        inputs=parse_mapping(Inputs, inputs, "inputs"),
        actions=parse_mapping(Actions, actions, "actions"),
        frames=stack.stacked_obs.n_stack if stack is not None else 1,
        squashes_actions=bool(getattr(agent.policy, "squash_output", False)),
        frozen_by_user=frozen_by_user(agent, anatomy),
        frozen_by_plan=frozen_by_plan(agent),
        running_statistics=running_statistics(agent.policy),
        readings=readings_of(agent),
    )
    return [dataclasses.replace(alone, encoder=encoder) for encoder in encoders] or [alone]


def _match_columns(pairs: Sequence[Pair], encoders: Sequence[Encoder], rules: LayerRules) -> dict[str, str]:
    """Returns the source's tensor for each of the columns' that has one.

    Raises:
        IncompatibleError: A source does not fit its column.
    """
    refuse_wrong_inputs(encoders, pairs[0].inputs)
    anatomy = pairs[0].anatomy
    sources = match_column_tensors(anatomy, encoders)
    for number, (pair, encoder) in enumerate(zip(pairs, encoders, strict=True)):
        column_layers = frozenset(layer.name for layer in anatomy.online if number_of_source(layer) == number)
        try:
            refuse_misfit(pair, encoder, rules.with_(chosen=rules.chosen & column_layers), sources)
        except IncompatibleError as error:
            where = f"{encoder.source.path}: " if len(encoders) > 1 else ""
            raise IncompatibleError(f"{where}{error}") from None
    return sources


def _fresh(agent: "BaseAlgorithm") -> dict[str, torch.Tensor]:
    return {name: tensor.detach().clone() for name, tensor in agent_tensors(agent).items()}


def _refuse_beside_natural_gradient(pair: Pair, rules: LayerRules, methods: Sequence[Method[Any]]) -> None:
    spec = pair.anatomy.spec
    if not spec.uses_natural_gradient:
        return
    actor = [layer.name for layer in pair.anatomy.encoders() if layer.branch != "critic"]
    chosen = [name for name in actor if name in rules.chosen]
    for method in methods:
        setting = method.gradient_setting(rules, chosen)
        if setting:
            critic = "use it for the critic alone (actor: none), or " if method.acts_on_chosen_layers else ""
            raise IncompatibleError(
                f"{spec.class_name} changes its actor by a search along the natural gradient, where {setting} has no "
                f"effect: {critic}use frozen, finetune at the full rate, or another algorithm."
            )


def _quiet_steps(rules: LayerRules, agent: Any) -> int | None:
    """Returns how many steps an off-policy agent would have acted at random, where it should act by what it knows.

    HER samples from whole episodes and cannot do without these steps.
    """
    starts = getattr(agent, "learning_starts", None)
    if not rules.continues or starts is None or getattr(agent, "replay_buffer_class", None) is HerReplayBuffer:
        return None
    return int(starts)


def _statistics(pair: Pair, rules: LayerRules) -> StatisticsPlan:
    normaliser = pair.encoder.normaliser if pair.encoder and rules.copies_statistics else None
    # Behind an adapter the encoder reads what the adapter gives, and not what the environment does.
    has_observation = normaliser is not None and normaliser.norm_obs and not pair.is_adapted
    has_reward = normaliser is not None and normaliser.norm_reward and rules.heads and not rules.resets_critic
    start: StatisticsStart = "fresh" if pair.normalises_observations else "none"
    if pair.normalises_observations and has_observation:
        alike = all(part.entries is None and part.source == key for key, part in pair.input_maps.items())
        start = "copied" if alike else "mapped"
    return StatisticsPlan(
        observation=start,
        hold_observation=pair.normalises_observations and has_observation and rules.frozen,
        reward=("copied" if has_reward else "fresh") if pair.normalises_rewards else "none",
    )


def _inputs(pair: Pair) -> dict[str, InputMap]:
    return {} if pair.encoder is None or pair.is_adapted else pair.input_maps
