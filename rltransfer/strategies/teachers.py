"""The parts that use what the source does, and not its weights: its policy acts in the target, or teaches the agent.

They stand beside any part that says which weights move; where none is named, ``scratch`` is meant.
"""

from typing import Literal

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt

from rltransfer.strategies.weights import StrategyPart


class JumpStart(StrategyPart):
    """The source's policy plays the beginning of each training episode (JSRL; Uchendu et al. 2023).

    It acts inside ``reset`` of the training environments, so that none of its actions is in a buffer; its steps count
    as env_steps. It plays ``horizon`` steps at first; whenever the last ``window`` episodes, its own part included,
    earned what it earns alone (less ``tolerance`` of that), one of ``stages`` equal parts of the horizon is taken away.
    For targets whose reward is far away, and a source that gets near it.
    """

    kind: Literal["jump_start"] = "jump_start"
    horizon: PositiveInt | None = Field(
        default=None, description="the most steps it plays in an episode; as long as its own episodes if not given"
    )
    stages: PositiveInt = Field(default=10, description="in how many equal parts the horizon shrinks to zero")
    tolerance: float = Field(default=0.1, ge=0, description="how far below its own return still counts as reached")
    window: PositiveInt = Field(default=10, description="episodes over which the return is averaged")
    until: PositiveInt | None = Field(
        default=None, description="env_steps by which it is gone whatever the returns: a line down from the horizon"
    )
    episodes: PositiveInt = Field(default=5, description="episodes that it plays alone at first, to know its return")


class _Teaches(StrategyPart):
    """A part by which the source's policy teaches the agent."""

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


class Kickstart(_Teaches):
    """The agent is drawn to what the source's policy would do in the agent's own states (Schmitt et al. 2018).

    Adds the gradient of ``weight * KL(source || agent)`` to each step of the actor (of Q-learning: over
    ``softmax(Q / temperature)``); of a squared distance of actions where their distributions are not of one kind.
    The weight falls with the agent's lag behind the source's own return in the target, to zero when it is caught up.
    For sources that are right in much of the target, also of another architecture or algorithm.
    """

    kind: Literal["kickstart"] = "kickstart"


class QDagger(_Teaches):
    """The agent learns Q-values from what the source does, and is drawn to it (QDagger; Agarwal et al. 2022, eq. 2).

    For the first ``collect`` env_steps the source acts and the agent learns from it; then come ``offline_updates`` on
    what was collected, then the agent acts. All along it is drawn to the source as by ``kickstart``, less as it catches
    up. For agents of DQN whose source is good at the target, of whatever kind it is.
    """

    kind: Literal["qdagger"] = "qdagger"
    collect: PositiveInt = Field(default=2000, description="env_steps that the source plays into the replay buffer")
    offline_updates: NonNegativeInt = Field(default=1000, description="gradient steps before the agent acts")
    episodes: NonNegativeInt = Field(default=0, description="as of `kickstart`; what is collected tells its return too")
