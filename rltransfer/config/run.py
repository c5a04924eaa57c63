"""What a run is: one agent, one seed, and everything that decides what it computes."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import (
    BaseModel,
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)

from rltransfer.config.stated import STATED, StatedOfSource, refuse_without_one_source
from rltransfer.config.values import (
    ActionsSetting,
    Algorithm,
    FeaturesSetting,
    InputsSetting,
    Randomise,
    SourcePaths,
    Threshold,
    ThresholdSetting,
    absolute,
    as_paths,
)
from rltransfer.hyperparams import Hyperparameters
from rltransfer.records import TaskFacts
from rltransfer.strategies import Scratch, with_stated_rates
from rltransfer.sweeps import StrategySetting

LATER_SETTINGS: Mapping[str, Any] = {"arms_differ_in": [], "features": None, **STATED}
"""The settings that runs may have begun without, with what stands for them there."""
_HOW = {
    "num_threads",
    "log_interval",
    "tensorboard_log",
    "verbose",
    "progress",
    "command",
    "save_freq",
    "save_at",
    "save_replay_buffer",
    "checkpoint_freq",
    "step_timeout_seconds",
    "gym_packages",
}


class Task(BaseModel, frozen=True, extra="forbid"):
    """An environment id with its arguments."""

    env: str = Field(min_length=1)
    kwargs: dict[str, Any] = {}

    @property
    def file_name(self) -> str:
        """RL Zoo's name for the environment in folders: module prefix dropped, ``/`` becomes ``-``.

        >>> Task(env="rltransfer_envs:rltransfer/CartPole-v0").file_name
        'rltransfer-CartPole-v0'
        """
        return self.env.rpartition(":")[2].replace("/", "-")

    def facts(self, hyperparams: Hyperparameters, randomise: Mapping[str, tuple[Any, ...]] | None = None) -> TaskFacts:
        """Returns what makes this task the same as another one, wrappers and what is drawn included."""
        wrappers = [item if isinstance(item, str) else next(iter(item)) for item in hyperparams.env_wrapper]
        return TaskFacts(env=self.env, kwargs=self.kwargs, wrappers=tuple(wrappers), randomise=dict(randomise or {}))


class Evaluation(BaseModel, frozen=True, extra="forbid"):
    """How the evaluation curve is made; the same in all arms.

    ``eval_freq`` are env_steps, or below 1 a share of the budget; a negative one stands for the end only, and None for
    a twentieth of the budget, as in runs and studies of version 0.1 that left it out. ``n_envs`` None stands for as
    many as ``episodes``, at most 10; ``env_kwargs`` None for the task's own; ``max_episode_steps``, after which an
    episode is cut off, None for the environment's own time limit, or 10,000 where it has none.
    """

    eval_freq: float | None = 0.1
    episodes: PositiveInt = 10
    n_envs: PositiveInt | None = None
    env_kwargs: dict[str, Any] | None = None
    max_episode_steps: PositiveInt | None = None

    @field_validator("eval_freq")
    @classmethod
    def _whole_or_share(cls, value: float | None) -> float | None:
        if value is None or 0 < value < 1:
            return value
        if not float(value).is_integer():
            raise ValueError("expected a whole number of env_steps, or a share of the budget between 0 and 1")
        return int(value)

    @model_serializer(mode="wrap")
    def _written(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # A whole number of steps is written as one.
        settings: dict[str, Any] = serialise(self) | {"eval_freq": self.eval_freq}
        if self.max_episode_steps is None:
            # A run that was begun before there was this setting has none.
            settings.pop("max_episode_steps", None)
        return settings

    def frequency(self, n_timesteps: int) -> int:
        """Returns how many env_steps lie between two evaluations in a run of ``n_timesteps``."""
        if self.eval_freq is None or 0 < self.eval_freq < 1:
            return max(1, int(n_timesteps * (self.eval_freq or 0.05)))
        return int(self.eval_freq) if self.eval_freq > 0 else n_timesteps

    @property
    def parallel(self) -> int:
        """How many environments are stepped at once."""
        return self.n_envs or min(self.episodes, 10)


class RunConfig(StatedOfSource, frozen=True, extra="forbid"):
    """One agent, one seed: everything that decides what the run computes, and how it is carried out.

    ``role`` says whether it makes a source (plain training) or is an arm with a ``strategy``. ``randomise`` are the
    arguments of the training environments that are drawn anew for each episode, and what from. ``checkpoint_freq`` is
    how many env_steps lie between two saves of the whole run, to resume it from; None goes by the clock. A step of an
    environment that takes longer than ``step_timeout_seconds`` ends the run. ``gym_packages`` are imported before it.
    ``save_at`` are the env_steps after which the agent is kept as well, under that number. ``arms_differ_in`` names the
    hyperparameters that the study gives each arm of the task its own of: runs that differ in these can be compared.
    ``features`` says whether those of a frozen image encoder are computed ``once`` per observation or in
    every pass of the policy (``recompute``); None leaves it to the plan.
    """

    role: Literal["source", "target"]
    algo: Algorithm
    task: Task
    seed: NonNegativeInt
    n_timesteps: PositiveInt
    hyperparams: Hyperparameters
    arms_differ_in: tuple[str, ...] = ()
    evaluation: Evaluation = Evaluation()
    strategy: StrategySetting = (Scratch(),)
    source: SourcePaths | None = None
    which: str = "best"
    inputs: InputsSetting = None
    actions: ActionsSetting = None
    features: FeaturesSetting = None
    randomise: Randomise = None
    task_name: str
    arm: str
    threshold: ThresholdSetting = None
    save_freq: int = -1
    save_at: tuple[PositiveInt, ...] = ()
    save_replay_buffer: bool = False
    checkpoint_freq: PositiveInt | None = None
    step_timeout_seconds: PositiveFloat | None = 300.0
    gym_packages: tuple[str, ...] = ()
    device: str = "auto"
    num_threads: int = 1
    vec_env: Literal["dummy", "subproc"] = "dummy"
    log_interval: int = -1
    tensorboard_log: str | None = None
    verbose: int = 1
    progress: bool = False
    command: str = ""

    @model_validator(mode="after")
    def _rates_are_stated(self) -> "RunConfig":
        # The model is frozen, and this is the last step of building it.
        self.__dict__["strategy"] = with_stated_rates(self.strategy, network=self.is_network(self.sources))
        return self

    @model_validator(mode="after")
    def _what_is_stated_is_of_one_source(self) -> "RunConfig":
        refuse_without_one_source(self.stated, self.sources)
        return self

    @property
    def thresholds(self) -> tuple[Threshold, ...]:
        """The thresholds that are set, as a tuple also where it is one or none."""
        if self.threshold is None:
            return ()
        return self.threshold if isinstance(self.threshold, tuple) else (self.threshold,)

    @property
    def evaluation_task(self) -> Task:
        """The task that the run is evaluated on: its own, or the same environment with other arguments."""
        kwargs = self.evaluation.env_kwargs
        return self.task if kwargs is None else Task(env=self.task.env, kwargs=kwargs)

    @property
    def sources(self) -> tuple[str, ...]:
        """The paths of the sources: none, one, or several."""
        return () if self.source is None else as_paths(self.source)

    def maps(self) -> dict[str, dict[str, Any]]:
        """Returns the maps of inputs and actions that are given, as plain data."""
        given = {"inputs": self.inputs, "actions": self.actions}
        return {
            name: value.model_dump(mode="json", exclude_defaults=True)
            for name, value in given.items()
            if value is not None
        }

    def outcome_settings(self) -> dict[str, Any]:
        """Returns the settings that decide the numbers of the run, without those of how it is carried out."""
        settings = self.model_dump(mode="json", exclude=_HOW)
        settings["normaliser"] = absolute(self.normaliser)
        for name in LATER_SETTINGS:
            if not settings[name]:
                # A run that was begun before there was this setting has none.
                del settings[name]
        return settings
