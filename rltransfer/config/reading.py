"""Reads a study from the YAML file in which a person wrote it, and says what is wrong there."""

from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ValidationError

from rltransfer import yaml_file
from rltransfer.config.run import Evaluation
from rltransfer.config.study import StudyConfig, StudySource, StudyTask
from rltransfer.errors import ConfigError, did_you_mean
from rltransfer.strategies import parse_strategy
from rltransfer.sweeps import LayerSweep, SourceStepsSweep, Sweeps
from rltransfer.tuning import Tuning


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
        raise ConfigError(f"{path}: {describe_problem(error, StudyConfig)}") from None


def describe_problem(error: ValidationError, model: type[BaseModel]) -> str:
    """Returns what is wrong with the first wrong key or value."""
    # A misspelt key is unknown and leaves another one missing: the first of these says more.
    problem = min(error.errors(), key=lambda detail: detail["type"] != "extra_forbidden")
    where = ".".join(str(item) for item in problem["loc"])
    message = problem["msg"].removeprefix("Value error, ").rstrip(".")
    if problem["type"] == "extra_forbidden":
        keys = _keys_beside(model, problem["loc"][:-1])
        return f"unknown key {where!r}.{did_you_mean(str(problem['loc'][-1]), keys)} Known: {', '.join(keys)}."
    if problem["type"] == "missing":
        return f"key {where!r} is missing."
    if not where:
        return f"{message}."
    given = f", found {problem['input']!r}" if not isinstance(problem["input"], Mapping) else ""
    return f"key {where!r}: {message}{given}."


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
