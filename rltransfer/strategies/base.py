"""What the settings of every method have in common, and the fields that several methods share."""

import abc
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, NonNegativeInt, PositiveFloat, PositiveInt

SourceUse = Literal["always", "if given", "never"]
"""Whether a method needs a source."""
LearningSource = Literal["none", "norms", "values"]
"""What of the source goes on learning: nothing, the norms of its tensors, or its values."""
DefaultWeights = Literal["finetune", "scratch"]
Extra = Literal["copy", "reset"] | float
SourceBranch = Literal["own", "actor", "critic"]


class MethodSettings(BaseModel, abc.ABC):
    """The settings of one method; ``kind`` is its name in files and on the command line.

    What a method does to an agent is in the module of the same name in ``rltransfer.transfer.methods``. Each class
    names it in an annotation ``method``, which is for type checkers alone: nothing here may import torch.

    Attributes:
        reads_source: Whether it needs a source.
        uses_policy: Whether the source's policy acts in the target's environments.
        uses_replay: Whether it draws from the source's replay buffer.
        plays_source: Whether the source plays before training, to be measured.
        distils: Whether the agent is drawn to the source's policy.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    reads_source: ClassVar[SourceUse] = "always"
    uses_policy: ClassVar[bool] = False
    uses_replay: ClassVar[bool] = False
    plays_source: ClassVar[bool] = False
    distils: ClassVar[bool] = False

    kind: str

    @property
    def label(self) -> str:
        """The name of an arm of this method alone: its kind and the settings that differ from their defaults.

        >>> from rltransfer.strategies import Finetune
        >>> Finetune(lr_scale=0.3).label
        'finetune_lr_scale=0.3'
        """
        return "_".join([self.kind, *self.inner_labels, *self._labels_of_settings()])

    @property
    def source_use(self) -> SourceUse:
        """Whether it needs a source with the settings that it has."""
        return self.reads_source

    @property
    def inner_labels(self) -> tuple[str, ...]:
        """The labels of the strategies in its settings."""
        return ()

    @property
    def inner_strategies(self) -> "tuple[Strategy, ...]":
        """The strategies that it is made of, or chooses from."""
        return ()

    @property
    def control_of(self) -> "Strategy | None":
        """The strategy whose other methods act in its place, of a control that wraps one."""
        return None

    @classmethod
    def inner_values(cls, settings: Mapping[str, Any]) -> Sequence[Any]:  # noqa: ARG003
        """Returns the strategies in settings as somebody wrote them, before they are validated."""
        return ()

    @property
    def depends_on_layers(self) -> bool:
        """Whether it names or counts layers, so that not every agent has what it asks for."""
        choices = [getattr(self, name, None) for name in ("layers", "actor", "critic")]
        return any(isinstance(choice, int | tuple) for choice in choices)

    @property
    def counts_env_steps(self) -> bool:
        """Whether what it does depends on the env_steps since the transfer."""
        return getattr(self, "until", None) is not None

    @property
    def steps_before_training(self) -> int:
        """The env_steps that it takes before the agent trains, which count."""
        return 0

    @abc.abstractmethod
    def description(self) -> Sequence[str]:
        """Returns the lines of a printed plan that say what the method does beside the rows of tensors."""

    def _until_words(self) -> str:
        """Returns by which step the setting ``until`` has it gone; empty if never."""
        until: int | None = getattr(self, "until", None)
        return "" if until is None else f", gone by step {until:,}"

    def _labels_of_settings(self) -> list[str]:
        settings = self.model_dump(exclude_defaults=True, exclude={"kind", "of"})
        return [f"{key}={_setting_label(value)}" for key, value in settings.items()]


Strategy = tuple[MethodSettings, ...]
"""Methods that make a strategy; the first says which weights move."""
if TYPE_CHECKING:
    InnerStrategy = Strategy
    """The strategy inside a method's settings; pydantic reads it once all kinds are known (``kinds``)."""


class WeightsSettings(MethodSettings):
    """The settings of a method that says which weights move; a strategy has exactly one of these.

    Attributes:
        learning: What of the source goes on learning under it.
        copies_weights: Whether tensors of the source are copied.
        refuses_modifiers: What the strategy in its setting ``of`` is, where others stand there and not beside it.
    """

    learning: ClassVar[LearningSource] = "none"
    copies_weights: ClassVar[bool] = False
    refuses_modifiers: ClassVar[str] = ""


class ModifierSettings(MethodSettings):
    """The settings of a method beside the one that says which weights move; a strategy has any number, each kind once.

    Attributes:
        default_weights: The method that is meant where none says which weights move.
        needs_learning: What of the source must go on learning for it.
        excludes: The kinds that it cannot stand beside, with the reason.
        excludes_weights: Likewise of methods that say which weights move; ``{first}`` is that method's kind.
    """

    default_weights: ClassVar[DefaultWeights] = "finetune"
    needs_learning: ClassVar[LearningSource] = "none"
    excludes: ClassVar[dict[str, str]] = {}
    excludes_weights: ClassVar[dict[str, str]] = {}


def _setting_label(value: Any) -> str:
    return ",".join(str(item) for item in value) if isinstance(value, tuple) else str(value)


def _single_name_as_list(value: Any) -> Any:
    if isinstance(value, str) and value not in ("all", "none"):
        return [value]
    return value


def _critic_mode_as_layers(value: Any) -> Any:
    """Accepts ``copy`` and ``reset``, the words for a critic's start, where layers of the critic are chosen."""
    return {"copy": "all", "reset": "none"}.get(value, value) if isinstance(value, str) else value


LayerChoice = Annotated[
    Literal["all", "none"] | NonNegativeInt | tuple[str, ...],
    BeforeValidator(_single_name_as_list),
    Field(description="`all`, `none`, the first N from the observations on, or names as `rltransfer plan` prints them"),
]


class LayerSettings(WeightsSettings):
    """A method that applies to chosen encoder layers; layers that actor and critic share follow ``layers``."""

    layers: LayerChoice = "all"
    actor: LayerChoice | None = Field(default=None, description="layers of the actor, instead of `layers`")
    critic: Annotated[LayerChoice | None, BeforeValidator(_critic_mode_as_layers)] = Field(
        default=None, description="layers of the critic, instead of `layers`; `copy` is all of them, `reset` none"
    )
    source_branch: SourceBranch = Field(
        default="own", description="the source's branch that both branches' hidden layers come from, or each its own"
    )


class WarmUpSettings(WeightsSettings):
    """A method whose actor may wait for its critic: an untrained critic ruins a good actor in its first updates."""

    critic_warmup_steps: NonNegativeInt = Field(
        default=0, description="env_steps during which the actor is held while the critic learns"
    )


class DistillationSettings(ModifierSettings):
    """A method that draws the agent to the source's policy."""

    uses_policy: ClassVar[bool] = True
    distils: ClassVar[bool] = True
    default_weights: ClassVar[DefaultWeights] = "scratch"

    weight: PositiveFloat = Field(default=1.0, description="of the distillation loss at the start")
    until: PositiveInt | None = Field(default=None, description="env_steps by which the weight is zero, on a line")
    temperature: PositiveFloat = Field(default=1.0, description="what Q-values are divided by before the softmax")
    batch_size: PositiveInt = Field(default=64, description="states in each step's own minibatch")
    memory: PositiveInt = Field(
        default=10_000, description="of off-policy agents: the latest states, which are drawn from"
    )
    episodes: NonNegativeInt = Field(
        default=5,
        description="episodes that the source plays at first, to know its return; 0: the weight is not tied to it",
    )
    window: PositiveInt = Field(default=10, description="episodes over which the agent's return is averaged")
