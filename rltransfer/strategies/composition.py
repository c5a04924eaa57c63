"""How methods make a strategy: which may stand together, what is meant where none says which weights move."""

import itertools
from collections.abc import Sequence

from rltransfer.strategies.base import MethodSettings, ModifierSettings, Strategy, WeightsSettings
from rltransfer.strategies.finetune import Finetune
from rltransfer.strategies.scratch import Scratch

NETWORK_LR_SCALE = 0.1
"""What ``lr_scale`` is under a pretrained network if not stated: at the rate of new layers its features are lost."""
_LEARNING = ("none", "norms", "values")


def compose(methods: Sequence[MethodSettings]) -> Strategy:
    """Returns the strategy that methods make together, the one that says which weights move first.

    Where none says so, ``finetune`` is meant; ``scratch`` if no other method is about weights that move.

    Raises:
        ValueError: The methods contradict each other.
    """
    weights = [method for method in methods if isinstance(method, WeightsSettings)]
    others = [method for method in methods if isinstance(method, ModifierSettings)]
    if len(weights) > 1 or not methods:
        kinds = ", ".join(method.kind for method in weights) or "none"
        raise ValueError(f"a strategy needs exactly one part that says which weights move; got {kinds}")
    for method, following in itertools.pairwise(others):
        if method.kind == following.kind:
            raise ValueError(f"{method.kind!r} stands twice in one strategy")
    first = weights[0] if weights else default_weights(others)
    if first.refuses_modifiers and others:
        raise ValueError(f"{first.refuses_modifiers} stands inside it: put the other parts under 'of'")
    for method in others:
        _refuse_contradiction(method, first)
    _refuse_opposites(others)
    return (first, *others)


def _refuse_contradiction(method: ModifierSettings, first: WeightsSettings) -> None:
    reason = method.excludes_weights.get(first.kind)
    if reason is None and _LEARNING.index(first.learning) < _LEARNING.index(method.needs_learning):
        reason = "needs weights of the source that learn, and {first} leaves none"
    if reason is not None:
        raise ValueError(f"{method.kind!r} {reason.format(first=repr(first.kind))}")


def _refuse_opposites(others: Sequence[ModifierSettings]) -> None:
    for method, following in itertools.combinations(others, 2):
        reason = method.excludes.get(following.kind) or following.excludes.get(method.kind)
        if reason is not None:
            raise ValueError(f"{method.kind!r} and {following.kind!r} contradict each other: {reason}")


def default_weights(others: Sequence[MethodSettings]) -> WeightsSettings:
    """Returns the method that is meant where none says which weights move."""
    defaults = {method.default_weights for method in others if isinstance(method, ModifierSettings)}
    return Finetune() if "finetune" in defaults else Scratch()


def weights_method(strategy: Strategy) -> WeightsSettings:
    """Returns the method that says which weights move."""
    first = strategy[0]
    assert isinstance(first, WeightsSettings)
    return first


def modifiers(strategy: Strategy) -> tuple[ModifierSettings, ...]:
    """Returns the methods behind the one that says which weights move."""
    return tuple(method for method in strategy if isinstance(method, ModifierSettings))


def acting(strategy: Strategy) -> Strategy:
    """Returns the methods that act on an agent: those of what ``shuffled`` is a control of are among them."""
    first, *others = strategy
    return (first, *(modifiers(first.control_of) if first.control_of else ()), *others)


def strategy_label(strategy: Strategy) -> str:
    """Returns the arm's name that a strategy gets when nobody names it: its kinds and the settings that differ.

    >>> from rltransfer.strategies import parse_strategy
    >>> strategy_label(parse_strategy("frozen"))
    'frozen'
    >>> strategy_label(parse_strategy({"kind": "shuffled", "of": {"kind": "finetune", "lr_scale": 0.3}}))
    'shuffled_finetune_lr_scale=0.3'
    >>> strategy_label(parse_strategy(["l2_sp", "discriminative"]))
    'discriminative+l2_sp'
    >>> strategy_label(parse_strategy("jump_start"))
    'jump_start'
    """
    is_default = len(strategy) > 1 and strategy[0] == default_weights(strategy[1:])
    return "+".join(method.label for method in (strategy[1:] if is_default else strategy))


def depends_on_layers(strategy: Strategy) -> bool:
    """Returns whether a strategy names or counts layers, so that not every agent has what it asks for."""
    inner = [part for method in strategy for part in method.inner_strategies]
    return any(method.depends_on_layers for method in strategy) or any(map(depends_on_layers, inner))


def uses_replay(strategy: Strategy) -> bool:
    """Returns whether a strategy needs the source's replay buffer; ``auto`` does if one that it tries does."""
    inner = [part for method in strategy for part in method.inner_strategies]
    return any(method.uses_replay for method in strategy) or any(map(uses_replay, inner))


def uses_policy(strategy: Strategy) -> bool:
    """Returns whether the source's policy acts in the target's environments."""
    return any(method.uses_policy for method in strategy)


def needs_source(strategy: Strategy) -> bool:
    """Returns whether a strategy cannot do without a source."""
    return any(method.source_use == "always" for method in strategy)


def with_stated_rates(strategy: Strategy, *, network: bool) -> Strategy:
    """Returns a strategy in which ``lr_scale`` is stated: 1, or a tenth where the source is a pretrained network.

    Low-rank updates learn at the full rate there, too: the network's own weights stay.

    >>> from rltransfer.strategies import Finetune
    >>> with_stated_rates((Finetune(),), network=True)[0].label
    'finetune_lr_scale=0.1'
    >>> with_stated_rates((Finetune(lr_scale=1.0),), network=True)[0].label
    'finetune'
    """
    is_low_rank = any(method.kind == "lora" for method in strategy)
    scale = NETWORK_LR_SCALE if network and not is_low_rank else 1.0
    return tuple(_with_stated_rate(method, scale, network=network) for method in strategy)


def _with_stated_rate(method: MethodSettings, scale: float, *, network: bool) -> MethodSettings:
    if "lr_scale" in type(method).model_fields and "lr_scale" not in method.model_fields_set:
        return method.model_copy(update={"lr_scale": scale})
    if method.control_of is not None:
        return method.model_copy(update={"of": with_stated_rates(method.control_of, network=network)})
    return method


def reads_source(strategy: Strategy) -> bool:
    """Returns whether a strategy reads a source where there is one."""
    return any(method.source_use != "never" for method in strategy)
