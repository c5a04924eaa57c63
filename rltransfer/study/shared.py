"""Names source runs by their content, so that studies with one cache train equal ones once, and copies them.

A study keeps a copy: its folder can be moved, and the cache be deleted. There is no cache unless one is asked for:
versions say nothing of changes in a checkout, after which a cache still holds what the old code made.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from rltransfer import files
from rltransfer.config import RunConfig
from rltransfer.errors import ConfigError
from rltransfer.records import CLAIM, OWN_FOLDER, RECORD

# What computes the numbers of a run; of the simulators, those that are installed.
_PACKAGES = ("rltransfer", "stable-baselines3", "gymnasium", "torch", "numpy")
_SIMULATORS = ("sb3-contrib", "ale-py", "box2d", "minigrid", "mujoco")
_OWN_MODULES = ("rltransfer", "rltransfer_envs")


def shared_name(config: RunConfig) -> str:
    """Returns the name of a source run's folder in a cache: equal for equal settings and versions.

    Raises:
        ConfigError: An environment or a wrapper is from a module without a version.
    """
    # A replay buffer and agents of earlier steps do not change the agent, but only some studies need them.
    kept = {"save_replay_buffer": config.save_replay_buffer} | ({"save_at": config.save_at} if config.save_at else {})
    settings = {**config.outcome_settings(), **kept}
    content = {"settings": settings, "versions": dict(_versions(config))}
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    return f"{config.algo}-{config.task.file_name}-seed_{config.seed}-{digest[:16]}"


def copy_run(source: Path, folder: Path) -> None:
    """Copies a finished run into a claimed folder, its record last: until then the copy does not count as a run."""
    record = source / OWN_FOLDER / RECORD
    for path in sorted(source.rglob("*")):
        if path.is_file() and path not in (record, source / OWN_FOLDER / CLAIM):
            files.write_bytes(folder / path.relative_to(source), path.read_bytes())
    files.write_bytes(folder / OWN_FOLDER / RECORD, record.read_bytes())


def _versions(config: RunConfig) -> Iterator[tuple[str, str]]:
    for package in _PACKAGES:
        yield package, metadata.version(package)
    for package in _SIMULATORS:
        try:
            yield package, metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    homes = metadata.packages_distributions()
    for module in sorted(_modules(config) - set(_OWN_MODULES)):
        if module not in homes:
            raise ConfigError(
                f"cache: source runs in {config.task.env} cannot be shared: module {module!r} is not of an installed "
                f"package, so that no version tells when it has changed. Run the study without a cache."
            )
        for package in homes[module]:
            yield package, metadata.version(package)


def _modules(config: RunConfig) -> set[str]:
    """Returns the top modules of the environment, its wrappers and the agent's classes, where they are named."""
    names = [item if isinstance(item, str) else next(iter(item)) for item in config.hyperparams.env_wrapper]
    names += _classes(config.hyperparams.agent)
    if ":" in config.task.env:
        names.append(config.task.env)
    return {re.split(r"[.:]", name)[0] for name in names}


def _classes(settings: Mapping[str, Any]) -> Iterator[str]:
    for key, value in settings.items():
        if isinstance(value, Mapping):
            yield from _classes(value)
        elif key.endswith("_class") and isinstance(value, str) and "." in value:
            yield value
