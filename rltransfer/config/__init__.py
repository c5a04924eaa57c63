"""What a run and a study are: frozen, validated models, read from YAML where a person writes them."""

from rltransfer.config.reading import describe_problem, read_study
from rltransfer.config.run import LATER_SETTINGS, Evaluation, RunConfig, Task
from rltransfer.config.stated import STATED, refuse_without_one_source
from rltransfer.config.study import (
    CONFIRM,
    SCRATCH_LONG,
    STUDY_FILE,
    TUNE,
    StudyConfig,
    StudySource,
    StudyTask,
    controlled_arm,
)
from rltransfer.config.values import (
    Algorithm,
    AugmentSetting,
    Threshold,
    absolute,
    parse_randomise,
    read_thresholds,
)

__all__ = [
    "CONFIRM",
    "LATER_SETTINGS",
    "SCRATCH_LONG",
    "STATED",
    "STUDY_FILE",
    "TUNE",
    "Algorithm",
    "AugmentSetting",
    "Evaluation",
    "RunConfig",
    "StudyConfig",
    "StudySource",
    "StudyTask",
    "Task",
    "Threshold",
    "absolute",
    "controlled_arm",
    "describe_problem",
    "parse_randomise",
    "read_study",
    "read_thresholds",
    "refuse_without_one_source",
]
