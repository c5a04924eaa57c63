"""What a study is: tasks x arms x seeds, and the metric that was chosen before the runs."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationInfo,
    field_validator,
    model_validator,
)

from rltransfer.config.run import Evaluation
from rltransfer.config.stated import StatedOfSource, refuse_without_one_source
from rltransfer.config.values import (
    ActionsSetting,
    Algorithm,
    AugmentSetting,
    FeaturesSetting,
    InputsSetting,
    Randomise,
    SourcePaths,
    ThresholdSetting,
    as_paths,
)
from rltransfer.errors import ConfigError, unknown
from rltransfer.strategies import Scratch, Shuffled, Strategy, needs_source
from rltransfer.sweeps import PlannedArm, StrategySetting, Sweeps, plan_arms
from rltransfer.tuning import Tuning, check_own, names_of, trial_arm

Metric = Literal["auc", "success_auc", "final"]
STUDY_FILE = "study.yaml"
SCRATCH_LONG = "scratch_long"
CONFIRM = "confirm"
"""The folder in a study's where arms that a sweep picked are run again, a study of its own."""
TUNE = "tune"
"""The folder in a study's where hyperparameters are tried, a study of its own."""
_OWN_FOLDERS = ("source", "aggregate", "hparams", "report", CONFIRM, TUNE)
_FOLDER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.=,+-]*")


class StudySource(StatedOfSource, frozen=True, extra="forbid"):
    """Where the arms' weights come from: agents pretrained in a task, one for each seed, or sources on disk.

    ``path`` is one agent or pretrained network, or a list for strategies that take several agents. ``tasks`` are tasks
    of the study that agents are pretrained in, or ``all``: each arm that needs a source is then made once for each of
    them (a transfer matrix).

    With another ``algo`` than the study's, the study's hyperparameters are not for the source: its own are.
    ``augment`` and ``randomise`` change what they see, and the arguments of their environment, while they train.
    Of a source on disk, what its files do not tell can be stated.
    """

    env: str | None = None
    algo: Algorithm | None = None
    kwargs: dict[str, Any] = Field(default_factory=dict)
    n_timesteps: PositiveInt | None = None
    hyperparams: dict[str, Any] = Field(default_factory=dict)
    augment: AugmentSetting = None
    randomise: Randomise = None
    path: SourcePaths | None = None
    tasks: Literal["all"] | tuple[str, ...] | None = None
    which: str = "best"

    @property
    def paths(self) -> tuple[str, ...]:
        """The paths of the agents on disk."""
        return () if self.path is None else as_paths(self.path)

    @model_validator(mode="after")
    def _one_of_both(self) -> "StudySource":
        if sum(setting is not None for setting in (self.env, self.path, self.tasks)) != 1:
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

    @model_validator(mode="after")
    def _what_is_stated_is_of_one_source(self) -> "StudySource":
        names = [repr(name) for name, value in self.stated.items() if value is not None]
        if self.path is None and names:
            are, them = ("are", "them") if len(names) > 1 else ("is", "it")
            raise ValueError(f"{' and '.join(names)} {are} of a source on disk ('path'): leave {them} out")
        refuse_without_one_source(self.stated, self.paths)
        return self


class StudyTask(BaseModel, frozen=True, extra="forbid"):
    """A target task of a study with its budget.

    ``threshold`` is for time to threshold: a return, a share of the way from random policy to reference ("90%"), or a
    list of these. ``reference`` is the return that normalised scores call 1, where rltransfer has not measured one.
    ``sd`` is the standard deviation of the primary metric over seeds that power is computed from, where it is known
    before the runs, and ``effect`` the smallest difference to scratch worth finding. ``inputs`` and ``actions`` say how
    the source's match the target's, where they are not alike. ``arm_hyperparams`` are hyperparameters of single arms,
    in place of the others.
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


class StudyConfig(BaseModel, frozen=True, extra="forbid"):
    """Tasks x arms x seeds, and the metric that was chosen before the runs.

    ``scratch_long`` adds scratch with the budget of source and target together, for total accounting: true, or the
    env_steps that an agent on disk was trained for. ``cache`` is the folder by which studies share equal source runs.
    ``sweeps`` add arms. ``confirms`` are the arms of these that are run, with scratch, on seeds that did not pick them.
    ``tune`` says how ``rltransfer study tune`` finds hyperparameters for each arm; runs of the study do without.
    ``features`` is that of its runs.
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
    features: FeaturesSetting = None
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
        if value.get("scratch") != (Scratch(),):
            raise ValueError("an arm 'scratch' with the strategy 'scratch' alone is needed as the baseline")
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
            for arm, hyperparams in task.arm_hyperparams.items():
                where = f"tasks.{task_name}.arm_hyperparams"
                if arm not in everything:
                    raise ConfigError(f"{where}: {unknown('arm', arm, everything)}")
                controlled = controlled_arm(arm, everything)
                if controlled is not None:
                    raise ConfigError(f"{where}: {arm!r} is a control, and has the hyperparameters of {controlled!r}")
                check_own(self.algo, {name: [value] for name, value in hyperparams.items()}, where=f"{where}.{arm}")
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
        by_arm = self.tasks[task].arm_hyperparams
        return by_arm.get(controlled_arm(arm, self.planned_arms()) or arm, {}) if by_arm else {}

    @property
    def source_tasks(self) -> tuple[str, ...]:
        """The tasks of the study that agents are pretrained in, in a transfer matrix."""
        given = self.source.tasks
        return tuple(self.tasks) if given == "all" else given or ()

    def planned_arms(self) -> dict[str, PlannedArm]:
        """Returns the arms that are run, by name: those of ``arms``, once for each source of a matrix; the sweeps'."""
        arms = plan_arms(self.arms, self.sweeps, which=self.source.which, sources=self.source_tasks)
        kept = ("scratch", *self.confirms) if self.confirms else arms
        return {name: arm for name, arm in arms.items() if name in kept}


def controlled_arm(name: str, arms: Mapping[str, PlannedArm]) -> str | None:
    """Returns the arm that a shuffled control is of; None for other arms, and where it is not among the arms."""
    control = arms.get(name)
    if control is None or not isinstance(control.strategy[0], Shuffled):
        return None
    of = (control.strategy[0].of, control.which, control.source)
    return next((other for other, arm in arms.items() if (arm.strategy, arm.which, arm.source) == of), None)
