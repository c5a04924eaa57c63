"""What each method does to an agent: a module for each, named as its kind, beside its settings in ``strategies``."""

import importlib
from collections.abc import Iterator
from typing import Any

from rltransfer.anatomy import Anatomy
from rltransfer.strategies import KINDS, MethodSettings, Strategy, acting
from rltransfer.transfer.layer_counts import refuse_missing_layers
from rltransfer.transfer.layer_rules import LayerRules
from rltransfer.transfer.methods.base import Method as Method
from rltransfer.transfer.methods.base import Stage as Stage


def method_class(kind: str) -> type[Method[Any]]:
    """Returns the class that does what a kind of method says.

    Raises:
        TypeError: The module of that name does not define exactly one.
    """
    module = importlib.import_module(f"{__name__}.{kind}")
    classes = [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Method) and value.__module__ == module.__name__
    ]
    if len(classes) != 1:
        raise TypeError(f"{module.__name__} defines {len(classes)} subclasses of Method, and must define one")
    return classes[0]


def method_of(settings: MethodSettings) -> Method[Any]:
    """Returns what settings stand for."""
    inner = [tuple(map(method_of, strategy)) for strategy in settings.inner_strategies]
    return method_class(settings.kind)(settings, inner)


def methods_of(strategy: Strategy) -> tuple[Method[Any], ...]:
    """Returns the methods of a strategy as they stand there."""
    return tuple(map(method_of, strategy))


def acting_methods(strategy: Strategy) -> tuple[Method[Any], ...]:
    """Returns the methods that act on an agent: those of what ``shuffled`` is a control of are among them."""
    return methods_of(acting(strategy))


def layer_rules_of(strategy: Strategy, anatomy: Anatomy) -> LayerRules:
    """Returns what a strategy means for the layers of an agent of this anatomy.

    Raises:
        IncompatibleError: It names layers that the agent lacks, more layers than it has, or steps at which no layer is
            released.
    """
    methods = methods_of(strategy)
    refuse_missing_layers([count for method in methods for count in method.layer_counts()], anatomy)
    rules = LayerRules()
    for method in methods:
        rules = method.layer_rules(rules, anatomy)
    return rules


def method_classes() -> Iterator[type[Method[Any]]]:
    """Yields the classes of all methods, in the order of their list."""
    yield from map(method_class, KINDS)
