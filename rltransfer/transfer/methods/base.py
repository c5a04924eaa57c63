"""What every method can do to an agent: one shape, of which each module in this package fills what its method needs."""

import abc
import enum
from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING, ClassVar, Generic, TypeVar

import torch
from stable_baselines3.common.vec_env import VecEnv

from rltransfer.anatomy import Anatomy
from rltransfer.records import Finding, PlanEntry
from rltransfer.strategies import MethodSettings
from rltransfer.transfer.layer_counts import LayerCount
from rltransfer.transfer.layer_rules import LayerRules
from rltransfer.transfer.plan import Plan
from rltransfer.transfer.source_policy import source_policy_of

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm

    from rltransfer.transfer.effects import TrainedRun
    from rltransfer.transfer.installation import Installation
    from rltransfer.transfer.matching.pair import Pair
    from rltransfer.transfer.source_actor import SourceActorSettings

SettingsT = TypeVar("SettingsT", bound=MethodSettings)


class Stage(enum.IntEnum):
    """When a method is installed; the order is part of an agent's numbers."""

    MEASURING = 0
    """The source plays in environments in which nothing stands yet."""
    GRADIENTS = 1
    """Adds a gradient before a planned step looks at it."""
    STEPPING = 2
    """Takes part in the optimizers' steps."""
    WEIGHTS = 3
    """Changes weights between updates."""
    EXPERIENCE = 4
    """Changes what the agent does, remembers or sees."""


class Method(abc.ABC, Generic[SettingsT]):
    """What one kind of a strategy does to an agent.

    To add a method, write its settings in ``rltransfer.strategies.KIND``, a subclass of this in
    ``rltransfer.transfer.methods.KIND``, and add the settings to the list in ``rltransfer.strategies.kinds``.

    Args:
        settings: The settings.
        inner: The methods of each strategy that stands in the settings.
    """

    stage: ClassVar[Stage] = Stage.EXPERIENCE
    acts_on_chosen_layers: ClassVar[bool] = True
    """Whether what it does to gradients follows the setting ``layers``, so that it can be for the critic alone."""
    works_on_features: ClassVar[bool] = False
    """Whether it does the same to an agent that sees the features of its frozen encoder in place of observations."""

    def __init__(self, settings: SettingsT, inner: Sequence[Sequence["Method[MethodSettings]"]] = ()) -> None:
        self.settings = settings
        self.inner = inner

    @abc.abstractmethod
    def layer_rules(self, rules: LayerRules, anatomy: Anatomy) -> LayerRules:
        """Returns what the strategy means for the layers with this method, from what it means without.

        Args:
            rules: The rules so far; those of a method that says which weights move come first.
            anatomy: Of the agent.

        Raises:
            IncompatibleError: The agent lacks what the settings ask for.
        """

    @abc.abstractmethod
    def missing_effects(self, run: "TrainedRun") -> Iterator[str]:
        """Yields what the method should have done in a run and did not: what its effect is, as a measurement.

        Args:
            run: An agent before, at and after its training, beside one that was trained alike without the method.
        """

    def layer_counts(self) -> Iterator[LayerCount]:
        """Yields the numbers of layers that the settings name, which the agent must have."""
        yield from ()

    def gradient_setting(self, rules: LayerRules, layers: Collection[str]) -> str:  # noqa: ARG002
        """Returns the setting by which it changes the gradient or the rate of layers; empty if it changes neither."""
        return ""

    def is_idle_on(self, frozen: Sequence[PlanEntry], rules: LayerRules) -> bool:  # noqa: ARG002
        """Returns whether it would change how tensors learn that the user froze."""
        return False

    def refuse(self, plan: Plan, match: "Pair", agent: "BaseAlgorithm") -> None:
        """Raises IncompatibleError if the plan cannot be done with this method."""

    def warnings(self, plan: Plan, match: "Pair", agent: "BaseAlgorithm") -> Iterator[Finding]:  # noqa: ARG002
        """Yields what the user should know of the method before training."""
        yield from ()

    def source_actor_settings(self) -> "SourceActorSettings | None":
        """Returns what the source's policy is to do in the agent's training environments; None for nothing."""
        return None

    def prepare(self, plan: Plan, agent: "BaseAlgorithm") -> None:
        """Makes what ``install`` puts on an agent, without changing the agent: what may fail, fails here.

        Raises:
            IncompatibleError: The plan was read from a file without the source, or the source does not fit the agent.
            SourceError: The source cannot be read.
        """
        if self.source_actor_settings() is not None:
            source_policy_of(plan, agent)

    def equip(self, env: VecEnv, plan: Plan, device: torch.device | str) -> VecEnv:  # noqa: ARG002
        """Returns environments in which a trained agent acts as in its own."""
        return env

    @classmethod
    def strip(cls, env: VecEnv) -> VecEnv:
        """Returns environments without what ``equip`` put there."""
        return env

    def install(self, installation: "Installation") -> None:
        """Puts on the agent what acts in training: hooks, wrappers and callbacks, at the method's ``stage``.

        State that a resumed run needs is in ``state_dict`` of the callbacks.
        """

    @classmethod
    def release(cls, agent: "BaseAlgorithm") -> None:
        """Takes from an agent what an earlier installation put on it, apart from hooks of planned steps."""
