"""What a run and a study are: frozen, validated models, read from YAML where a person writes them."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from rltransfer import yaml_file
from rltransfer.errors import ConfigError, did_you_mean, unknown
from rltransfer.hyperparams import Hyperparameters
from rltransfer.mapping import Actions, Inputs, parse_mapping
from rltransfer.records import TaskFacts
from rltransfer.strategies import Augment, Scratch, Shuffled, Strategy, needs_source, parse_strategy
from rltransfer.sweeps import LayerSweep, PlannedArm, SourceStepsSweep, StrategySetting, Sweeps, plan_arms
from rltransfer.tuning import Tuning, check_own, names_of, trial_arm

Algorithm = Literal[
    "ppo",
    "a2c",
    "dqn",
    "sac",
    "td3",
    "ddpg",
    "tqc",
    "qrdqn",
    "trpo",
    "crossq",
    "ppo_lstm",
    "maskable_ppo",
    "ars",
]
InputsSetting = Annotated[Inputs | None, BeforeValidator(lambda value: parse_mapping(Inputs, value, "inputs"))]
ActionsSetting = Annotated[Actions | None, BeforeValidator(lambda value: parse_mapping(Actions, value, "actions"))]
Metric = Literal["auc", "success_auc", "final"]
STUDY_FILE = "study.yaml"
SCRATCH_LONG = "scratch_long"
CONFIRM = "confirm"
"""The folder in a study's where arms that a sweep picked are run again, a study of its own."""
TUNE = "tune"
"""The folder in a study's where hyperparameters are tried, a study of its own."""
_SHARE = re.compile(r"\d+(\.\d+)?\s?%")
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
_OWN_FOLDERS = ("source", "aggregate", "hparams", "report", CONFIRM, TUNE)
_FOLDER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.=,+-]*")


def _as_paths(value: "str | tuple[str, ...]") -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else value


def _one_path_as_text(value: Any) -> Any:
    """Accepts a list of one path: one alone is a text, as it was before there were lists."""
    several = isinstance(value, list | tuple)
    if not all(isinstance(path, str) for path in (value if several else [value])) or value == []:
        raise ValueError("give a path, or a list of paths")
    return value[0] if several and len(value) == 1 else value


SourcePaths = Annotated[str | tuple[str, ...], BeforeValidator(_one_path_as_text)]


def _as_threshold(value: Any) -> Any:
    if value is None:
        return None
    several = tuple(value) if isinstance(value, list | tuple) else (value,)
    for one in several:
        is_number = isinstance(one, int | float) and not isinstance(one, bool)
        if not (is_number or (isinstance(one, str) and _SHARE.fullmatch(one))):
            raise ValueError("expected a return, a share of the way to the reference such as 90%, or a list of these")
    return several if isinstance(value, list | tuple) else value


Threshold = float | str
ThresholdSetting = Annotated[
    Threshold | tuple[Threshold, ...] | None,
    BeforeValidator(_as_threshold),
]


def parse_randomise(value: Any, where: str = "") -> dict[str, tuple[Any, ...]] | None:
    """Returns what arguments of an environment are drawn from, by name; None where there is nothing.

    >>> parse_randomise({"gravity": [5, 15], "shape": ["round", "square", "flat"]})
    {'gravity': (5, 15), 'shape': ('round', 'square', 'flat')}

    Raises:
        ConfigError: Something is neither two numbers, the smaller first, nor a list to choose from.
    """
    if not value:
        return None
    where = f"{where}: " if where else ""
    if not isinstance(value, Mapping):
        raise ConfigError(f"{where}expected an argument's name with its values, found {value!r}.")
    found = {}
    for name, values in value.items():
        if not isinstance(values, list | tuple) or len(values) < 2:
            raise ConfigError(f"{where}key {name!r}: expected [low, high], or a list to choose from, found {values!r}.")
        numbers = [one for one in values if isinstance(one, int | float) and not isinstance(one, bool)]
        if len(values) == len(numbers) == 2 and numbers[0] >= numbers[1]:
            raise ConfigError(f"{where}key {name!r}: the smaller number comes first, found {values!r}.")
        found[str(name)] = tuple(values)
    return found


Randomise = Annotated[dict[str, tuple[Any, ...]] | None, BeforeValidator(parse_randomise)]


def _as_augment(value: Any) -> Augment | None:
    if value is None or isinstance(value, Augment):
        return value
    if not isinstance(value, Mapping):
        raise ConfigError(f"expected settings such as shift: 4, found {value!r}")
    try:
        part = parse_strategy({**value, "kind": "augment"}, where="augment")[1]
    except ConfigError as error:
        raise ConfigError(str(error).removeprefix("augment: ")) from None
    assert isinstance(part, Augment)
    return part


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Task(_Model):
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


def read_thresholds(value: Threshold | Sequence[Threshold] | None) -> tuple[Threshold, ...]:
    """Returns thresholds as a tuple; text that is a number counts as one.

    Raises:
        ConfigError: One is neither a return nor a share of the reference such as "90%".

    >>> read_thresholds(["475", "90%"]), read_thresholds(None)
    ((475.0, '90%'), ())
    """
    several: Sequence[Threshold] = () if value is None else [value] if isinstance(value, float | int | str) else value
    found = []
    for one in several:
        try:
            found.append(_as_threshold(_number(one)))
        except ValueError:
            raise ConfigError(
                f"threshold: expected a return, or a share of the way to the reference such as 90%, found {one!r}."
            ) from None
    return tuple(found)


def _number(value: Threshold) -> Threshold:
    try:
        return float(value)
    except ValueError:
        return value


class Evaluation(_Model):
    """How the evaluation curve is made; the same in all arms.

    ``eval_freq`` None stands for a twentieth of the budget, a negative one for the end only; ``n_envs`` None for as
    many as ``episodes``, at most 10; ``env_kwargs`` None for the task's own.
    """

    eval_freq: int | None = None
    episodes: PositiveInt = 10
    n_envs: PositiveInt | None = None
    env_kwargs: dict[str, Any] | None = None

    def frequency(self, n_timesteps: int) -> int:
        """Returns how many env_steps lie between two evaluations in a run of ``n_timesteps``."""
        if self.eval_freq is None:
            return max(1, n_timesteps // 20)
        return self.eval_freq if self.eval_freq > 0 else n_timesteps

    @property
    def parallel(self) -> int:
        """How many environments are stepped at once."""
        return self.n_envs or min(self.episodes, 10)


class RunConfig(_Model):
    """One agent, one seed: everything that decides what the run computes, and how it is carried out.

    ``role`` says whether it makes a source (plain training) or is an arm with a ``strategy``. ``randomise`` are the
    arguments of the training environments that are drawn anew for each episode, and what from. ``checkpoint_freq`` is
    how many env_steps lie between two saves of the whole run, to resume it from; None goes by the clock. A step of an
    environment that takes longer than ``step_timeout_seconds`` ends the run. ``gym_packages`` are imported before it.
    ``save_at`` are the env_steps after which the agent is kept as well, under that number. ``arms_differ_in`` names the
    hyperparameters that the study gives each arm of the task its own of: runs that differ in these can be compared.
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
        return () if self.source is None else _as_paths(self.source)

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
        if not self.arms_differ_in:
            # A run that was begun before there was this setting has none.
            del settings["arms_differ_in"]
        return settings


class StudySource(_Model):
    """Where the arms' weights come from: agents pretrained in a task, one for each seed, or agents on disk.

    ``path`` is one agent, or a list for strategies that take several. ``tasks`` are tasks of the study that agents are
    pretrained in, or ``all``: each arm that needs a source is then made once for each of them (a transfer matrix).

    With another ``algo`` than the study's, the study's hyperparameters are not for the source: its own are.
    ``augment`` and ``randomise`` change what they see, and the arguments of their environment, while they train.
    """

    env: str | None = None
    algo: Algorithm | None = None
    kwargs: dict[str, Any] = {}
    n_timesteps: PositiveInt | None = None
    hyperparams: dict[str, Any] = {}
    augment: Annotated[Augment | None, BeforeValidator(_as_augment)] = None
    randomise: Randomise = None
    path: SourcePaths | None = None
    tasks: Literal["all"] | tuple[str, ...] | None = None
    which: str = "best"

    @property
    def paths(self) -> tuple[str, ...]:
        """The paths of the agents on disk."""
        return () if self.path is None else _as_paths(self.path)

    @model_validator(mode="after")
    def _one_of_both(self) -> "StudySource":
        if sum(one is not None for one in (self.env, self.path, self.tasks)) != 1:
            raise ValueError(
                "give either 'env' (agents are pretrained), 'path' (an agent on disk) or 'tasks' (agents are "
                "pretrained in tasks of the study)"
            )
        if self.tasks is not None and self.kwargs:
            raise ValueError("'kwargs' are those of the tasks where agents are pretrained in 'tasks'")
        trained = ("kwargs", "algo", "hyperparams", "n_timesteps", "augment", "randomise")
        if self.path is not None and any(getattr(self, name) for name in trained):
            raise ValueError(f"an agent on disk ('path') is not trained: no {', '.join(trained[:-1])} or {trained[-1]}")
        return self


class StudyTask(_Model):
    """A target task of a study with its budget.

    ``threshold`` is for time to threshold: a return, a share of the way from random policy to reference ("90%"), or a
    list of these. ``reference`` is the return that normalised scores call 1, where rltransfer has not measured one.
    ``sd`` is the standard deviation of the primary metric over seeds that power is computed from, where it is known
    before the runs, and ``effect`` the smallest difference to scratch worth finding. ``inputs`` and ``actions`` say how
    the source's meet the target's, where they are not alike. ``arm_hyperparams`` are hyperparameters of single arms, in
    place of the others.
    """

    env: str = Field(min_length=1)
    kwargs: dict[str, Any] = {}
    n_timesteps: PositiveInt | None = None
    threshold: ThresholdSetting = None
    reference: float | None = None
    sd: PositiveFloat | None = None
    effect: PositiveFloat | None = None
    hyperparams: dict[str, Any] = {}
    arm_hyperparams: dict[str, dict[str, Any]] = {}
    inputs: InputsSetting = None
    actions: ActionsSetting = None

    @property
    def arms_differ_in(self) -> tuple[str, ...]:
        """The names of the hyperparameters that some arm has its own of."""
        return names_of(self.arm_hyperparams.values())


def _as_seeds(value: Any) -> Any:
    return tuple(range(value)) if isinstance(value, int) and not isinstance(value, bool) else value


class StudyConfig(_Model):
    """Tasks x arms x seeds, and the metric that was chosen before the runs.

    ``scratch_long`` adds scratch with the budget of source and target together, for total accounting: true, or the
    env_steps that an agent on disk was trained for. ``cache`` is the folder by which studies share equal source runs.
    ``sweeps`` add arms. ``confirms`` are the arms of these that are run, with scratch, on seeds that did not pick them.
    ``tune`` says how ``rltransfer study tune`` finds hyperparameters for each arm; runs of the study do without.
    """

    algo: Algorithm
    metric: Metric = "auc"
    seeds: Annotated[tuple[NonNegativeInt, ...], BeforeValidator(_as_seeds), Field(min_length=1)]
    source: StudySource
    tasks: dict[str, StudyTask] = Field(min_length=1)
    arms: dict[str, StrategySetting] = Field(min_length=1)
    sweeps: Sweeps = Sweeps()
    confirms: tuple[str, ...] = ()
    tune: Tuning | None = None
    scratch_long: bool | PositiveInt = False
    evaluation: Evaluation = Evaluation()
    hyperparams: dict[str, Any] = {}
    device: str = "cpu"
    cache: str | None = None

    @field_validator("tasks", "arms")
    @classmethod
    def _names_are_folders(cls, value: dict[str, Any]) -> dict[str, Any]:
        for name in value:
            if not _FOLDER_NAME.fullmatch(name) or name in _OWN_FOLDERS:
                raise ValueError(f"{name!r} cannot be used as a name: letters, digits and _ . = , + - only")
        return value

    @field_validator("arms")
    @classmethod
    def _scratch_is_there(cls, value: dict[str, Strategy]) -> dict[str, Strategy]:
        if [part.kind for part in value.get("scratch", ())] != ["scratch"]:
            raise ValueError("an arm 'scratch' with the strategy 'scratch' is needed as the baseline")
        return value

    @field_validator("scratch_long")
    @classmethod
    def _source_steps_are_known(cls, value: bool | int, info: ValidationInfo) -> bool | int:
        source, arms = info.data.get("source"), info.data.get("arms", {})
        if value is True and source is not None and source.path is not None:
            raise ValueError(
                "of an agent on disk give the env_steps that it was trained for, such as 100000 (`rltransfer inspect` "
                "shows them)"
            )
        if value and SCRATCH_LONG in arms:
            raise ValueError(f"there is an arm of that name; {SCRATCH_LONG} is one that this key adds")
        return value

    @field_validator("seeds")
    @classmethod
    def _seeds_differ(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(value)) != len(value):
            raise ValueError("a seed is listed twice")
        return value

    @model_validator(mode="after")
    def _sources_are_tasks(self) -> "StudyConfig":
        for name in self.source_tasks:
            if name not in self.tasks:
                raise ConfigError(f"source.tasks: {unknown('task', name, self.tasks)}")
        if self.source.tasks is None:
            return self
        if self.sweeps.arms():
            raise ValueError("sweeps are of one source, and 'source.tasks' makes several: use 'source.env' or 'path'")
        if not any(map(needs_source, self.arms.values())):
            raise ValueError("no arm takes anything from the agents of 'source.tasks': add one, such as finetune")
        return self

    @model_validator(mode="after")
    def _sweeps_fit(self) -> "StudyConfig":
        steps = self.sweeps.source_steps
        if steps is not None and self.source.env is None:
            raise ValueError("'sweeps.source_steps' needs agents that the study pretrains: 'source.env'")
        everything = plan_arms(self.arms, self.sweeps, which=self.source.which, sources=self.source_tasks)
        self._names_are_folders(everything)
        for name in self.confirms:
            if name not in everything:
                raise ConfigError(f"confirms: {unknown('arm', name, everything)}")
        return self

    @model_validator(mode="after")
    def _own_hyperparams_fit(self) -> "StudyConfig":
        everything = plan_arms(self.arms, self.sweeps, which=self.source.which, sources=self.source_tasks)
        for task_name, task in self.tasks.items():
            for arm, own in task.arm_hyperparams.items():
                where = f"tasks.{task_name}.arm_hyperparams"
                if arm not in everything:
                    raise ConfigError(f"{where}: {unknown('arm', arm, everything)}")
                controlled = controlled_arm(arm, everything)
                if controlled is not None:
                    raise ConfigError(f"{where}: {arm!r} is a control, and has the hyperparameters of {controlled!r}")
                check_own(self.algo, {name: [value] for name, value in own.items()}, where=f"{where}.{arm}")
        return self

    @model_validator(mode="after")
    def _can_be_tuned(self) -> "StudyConfig":
        if self.tune is None:
            return self
        if self.sweeps.arms() or self.source.tasks is not None:
            raise ValueError("'tune' is of arms with a name, not of those of 'sweeps' or of a matrix ('source.tasks')")
        self.tune.check(self.algo)
        for arm in self.arms:
            if any(arm.lower().startswith(trial_arm(other, 1)[:-1].lower()) for other in self.arms):
                raise ValueError(f"arm {arm!r} has the name of a trial of 'tune': choose another one")
        return self

    def own_hyperparams(self, task: str, arm: str) -> dict[str, Any]:
        """Returns the hyperparameters of an arm alone; a shuffled control has those of its arm."""
        own = self.tasks[task].arm_hyperparams
        return own.get(controlled_arm(arm, self.planned_arms()) or arm, {}) if own else {}

    @property
    def source_tasks(self) -> tuple[str, ...]:
        """The tasks of the study that agents are pretrained in, in a transfer matrix."""
        given = self.source.tasks
        return tuple(self.tasks) if given == "all" else given or ()

    def planned_arms(self) -> dict[str, PlannedArm]:
        """Returns the arms that are run, by name: those of ``arms``, once for each source of a matrix; the sweeps'."""
        found = plan_arms(self.arms, self.sweeps, which=self.source.which, sources=self.source_tasks)
        kept = ("scratch", *self.confirms) if self.confirms else found
        return {name: arm for name, arm in found.items() if name in kept}


def controlled_arm(name: str, arms: Mapping[str, PlannedArm]) -> str | None:
    """Returns the arm that a shuffled control is of; None for other arms, and where it is not among the arms."""
    control = arms.get(name)
    if control is None or not isinstance(control.strategy[0], Shuffled):
        return None
    of = (control.strategy[0].of, control.which, control.source)
    return next((other for other, arm in arms.items() if (arm.strategy, arm.which, arm.source) == of), None)


def read_study(path: Path) -> StudyConfig:
    """Returns the study that a YAML file describes.

    Raises:
        ConfigError: The file cannot be read, or a key or value is wrong; the message names file and key.
    """
    content = yaml_file.read(path)
    arms = content.get("arms")
    if isinstance(arms, Mapping):
        content["arms"] = {name: parse_strategy(arm, where=f"{path}: arms.{name}") for name, arm in arms.items()}
    try:
        return StudyConfig.model_validate(content)
    except ValidationError as error:
        raise ConfigError(f"{path}: {_describe(error, StudyConfig)}") from None


def _describe(error: ValidationError, model: type[BaseModel]) -> str:
    # A misspelt key is unknown and leaves another one missing: the first of these says more.
    problem = min(error.errors(), key=lambda one: one["type"] != "extra_forbidden")
    where = ".".join(str(item) for item in problem["loc"])
    message = problem["msg"].removeprefix("Value error, ").rstrip(".")
    if problem["type"] == "extra_forbidden":
        known = _keys_beside(model, problem["loc"][:-1])
        return f"unknown key {where!r}.{did_you_mean(str(problem['loc'][-1]), known)} Known: {', '.join(known)}."
    if problem["type"] == "missing":
        return f"key {where!r} is missing."
    if not where:
        return f"{message}."
    found = f", found {problem['input']!r}" if not isinstance(problem["input"], Mapping) else ""
    return f"key {where!r}: {message}{found}."


def _keys_beside(model: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    nested: Mapping[str, type[BaseModel]] = {
        "source": StudySource,
        "tasks": StudyTask,
        "evaluation": Evaluation,
        "sweeps": Sweeps,
        "sweeps.layers": LayerSweep,
        "sweeps.source_steps": SourceStepsSweep,
        "tune": Tuning,
    }
    named = [".".join(map(str, location[:depth])) for depth in (2, 1)]
    return list(next((nested[name] for name in named if name in nested), model).model_fields)
