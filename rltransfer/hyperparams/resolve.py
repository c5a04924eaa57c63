"""Finds the hyperparameters for an algorithm and an environment, and checks every key and value of them.

A file is RL Zoo's ``hyperparams/<algo>.yml`` (an entry for each environment id) or the ``config.yml`` that it saves
beside a run (one entry without an id). Nothing in a file is evaluated or imported.
"""

import dataclasses
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from rltransfer import setting_kinds as kinds
from rltransfer import yaml_file
from rltransfer.algorithms import spec_of
from rltransfer.errors import ConfigError, did_you_mean
from rltransfer.hyperparams import settings
from rltransfer.setting_kinds import Kind

_VERSION = re.compile(r"-v\d+$")


class Hyperparameters(BaseModel):
    """The settings of one run, as plain data.

    Attributes:
        n_envs: How many environments are stepped at once.
        n_timesteps: The training budget in environment steps, where the entry has one.
        policy: SB3's name of the policy, such as ``MlpPolicy``, ``CnnPolicy`` or ``MultiInputPolicy``.
        normalize: Whether VecNormalize wraps the environments, or its arguments.
        frame_stack: How many observations are stacked.
        env_wrapper: Wrappers around each environment, first the innermost: ``module.Class``, or that with arguments.
        agent: The arguments of the algorithm's constructor; classes by name, schedules as ``lin_x``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    n_envs: int = 1
    n_timesteps: int | None = None
    policy: str
    normalize: bool | dict[str, Any] = False
    frame_stack: int | None = None
    env_wrapper: tuple[str | dict[str, dict[str, Any]], ...] = ()
    agent: dict[str, Any] = {}

    def with_extractor(self, name: str, **arguments: Any) -> "Hyperparameters":
        """Returns these settings with a features extractor (``module.Class``) of the policy and its arguments."""
        policy = {
            **self.agent.get("policy_kwargs", {}),
            "features_extractor_class": name,
            "features_extractor_kwargs": arguments,
        }
        return self.model_copy(update={"agent": {**self.agent, "policy_kwargs": policy}})

    def flat(self) -> dict[str, Any]:
        """Returns the settings as one mapping in RL Zoo's format, which ``conf_file`` reads again."""
        settings = self.model_dump(mode="json", exclude={"agent"}, exclude_defaults=True)
        return {**settings, "policy": self.policy, **self.agent}


def resolve(
    algo: str,
    env_id: str,
    *,
    conf_file: Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    overrides_from: str = "hyperparams",
) -> Hyperparameters:
    """Returns the hyperparameters of ``algo`` for ``env_id``.

    The entry is the first of: the id; the id without its module; the id without version, then without the last of its
    parts (``MiniGrid-DoorKey-5x5``, ``MiniGrid-DoorKey``, ``MiniGrid``), each with and without its namespace, entries
    being compared without their versions; ``ALE``, then ``atari`` for Atari's ids; ``default``.

    Args:
        algo: The short name of the algorithm.
        env_id: The environment id.
        conf_file: A file in RL Zoo's format; None for our defaults.
        overrides: Settings that replace those of the entry.
        overrides_from: Where the overrides were written, for messages.

    Raises:
        UnknownNameError: There is no such algorithm.
        ConfigError: A key or a value is wrong; the message names file and key.
    """
    spec = spec_of(algo)
    entry = _find_entry(algo, env_id, conf_file)
    checked = dict(_check(algo, entry.settings, entry.place))
    checked |= dict(_check(algo, overrides or {}, _Place(overrides_from)))
    if "policy" not in checked:
        raise ConfigError(f"{entry.place.key('policy')} is missing: expected {' or '.join(spec.policies)}.")
    if ("noise_type" in checked) != ("noise_std" in checked):
        raise ConfigError(
            f"{entry.place.key('noise_type')}: noise_type and noise_std are given together or not at all."
        )
    agent = {name: value for name, value in checked.items() if name not in settings.RUN}
    return Hyperparameters(agent=agent, **{name: checked[name] for name in settings.RUN if name in checked})


@dataclasses.dataclass(frozen=True)
class _Place:
    """Where keys are written."""

    file: str
    prefix: tuple[str, ...] = ()

    def key(self, name: str) -> str:
        return f"{self.file}: key {self._dotted(name)}"

    def unknown_key(self, name: str, owner: str, options: Mapping[str, Any] | list[str]) -> ConfigError:
        names = sorted(options)
        near = did_you_mean(name, names)
        return ConfigError(
            f"{self.file}: unknown key {self._dotted(name)} for {owner}.{near} Known: {', '.join(names)}."
        )

    def below(self, name: str) -> "_Place":
        return _Place(self.file, (*self.prefix, name))

    def _dotted(self, name: str) -> str:
        return repr(".".join([*self.prefix, name]))


@dataclasses.dataclass(frozen=True)
class _Entry:
    settings: Mapping[str, Any]
    place: _Place


def _find_entry(algo: str, env_id: str, conf_file: Path | None) -> _Entry:
    if conf_file is None:
        file_name = spec_of(algo).hyperparams
        path, shown = Path(__file__).with_name(file_name), f"rltransfer/hyperparams/{file_name}"
    else:
        path, shown = _conf_path(Path(conf_file)), str(conf_file)
    content = yaml_file.read(path)
    keys = {*settings.RUN, *spec_of(algo).settings, *settings.ELSEWHERE}
    if keys & content.keys():
        return _Entry(content, _Place(shown))
    name = next((name for name in _entry_names(env_id, content) if name in content), None)
    if name is None:
        near = did_you_mean(env_id.rpartition(":")[2], content)
        raise ConfigError(f"{shown}: no entry for {env_id!r} and no 'default'.{near}")
    if not isinstance(content[name], dict):
        raise ConfigError(f"{shown}: key {name!r}: expected settings with values, found {content[name]!r}.")
    return _Entry(content[name], _Place(shown, (name,)))


def _conf_path(path: Path) -> Path:
    if path.suffix not in (".yml", ".yaml"):
        raise ConfigError(
            f"{path}: hyperparameters are read from YAML files (.yml, .yaml). RL Zoo also takes Python files and "
            f"modules; those would run code, so they are refused: write their values as YAML."
        )
    return path


def _entry_names(env_id: str, entries: Mapping[str, Any]) -> Iterator[str]:
    """Yields the names that the entry for an environment may have, the best first."""
    yield env_id
    name = env_id.rpartition(":")[2]
    yield name
    without_version = {_VERSION.sub("", entry): entry for entry in reversed(list(entries))}
    namespace, slash, family = _VERSION.sub("", name).rpartition("/")
    while family:
        for candidate in dict.fromkeys((f"{namespace}{slash}{family}", family)):
            if candidate in without_version:
                yield without_version[candidate]
        family = family.rpartition("-")[0]
    if name.startswith("ALE/"):
        yield "ALE"
    if name.startswith("ALE/") or "NoFrameskip" in name:
        yield "atari"
    yield "default"


def _check(algo: str, content: Mapping[str, Any], place: _Place) -> Iterator[tuple[str, Any]]:
    """Yields each setting with its value made plain."""
    arguments = settings.agent_settings(algo)
    for name, value in content.items():
        if name == "policy":
            yield name, _policy(algo, value, place, name)
        elif name in _RUN_CHECKS:
            yield name, _RUN_CHECKS[name](value, place, name)
        elif name == "policy_kwargs":
            yield name, _check_mapping(value, place, name, spec_of(algo).policy_settings, f"the policies of {algo}")
        elif name in arguments:
            yield name, _accept(arguments[name], value, place, name)
        elif name in settings.ELSEWHERE:
            raise ConfigError(f"{place.key(name)} cannot be set here: {settings.ELSEWHERE[name]}.")
        else:
            raise place.unknown_key(name, algo, [*arguments, *settings.RUN])


def _accept(kind: Kind, value: Any, place: _Place, name: str) -> Any:
    try:
        return kind.accept(value)
    except (ValueError, TypeError):
        raise ConfigError(f"{place.key(name)}: expected {kind.expected}, found {value!r}.") from None


def _check_mapping(
    value: Any, place: _Place, name: str, kinds_by_key: Mapping[str, Kind], owner: str
) -> dict[str, Any]:
    settings = _accept(kinds.MAPPING, value, place, name)
    inner = place.below(name)
    for key in settings:
        if key not in kinds_by_key:
            raise inner.unknown_key(key, owner, kinds_by_key)
    return {key: _accept(kinds_by_key[key], item, inner, key) for key, item in settings.items()}


def _normalize(value: Any, place: _Place, name: str) -> bool | dict[str, Any]:
    if isinstance(value, bool):
        return value
    return _check_mapping(value, place, name, settings.NORMALIZE, "VecNormalize")


def _policy(algo: str, value: Any, place: _Place, name: str) -> str:
    policies = spec_of(algo).policies
    if value not in policies:
        near = did_you_mean(str(value), policies)
        raise ConfigError(f"{place.key(name)}: expected {' or '.join(policies)}, found {value!r}.{near}")
    return str(value)


def _env_wrapper(value: Any, place: _Place, name: str) -> tuple[Any, ...]:
    if value is None:
        return ()
    items = value if isinstance(value, list) else [value]
    return tuple(_wrapper(item, place, name) for item in items)


def _wrapper(item: Any, place: _Place, name: str) -> str | dict[str, dict[str, Any]]:
    if isinstance(item, str):
        return str(_accept(_WRAPPER_NAME, item, place, name))
    if not isinstance(item, dict) or len(item) != 1:
        raise ConfigError(f"{place.key(name)}: expected {_WRAPPER_NAME.expected}, found {item!r}.")
    ((wrapper, arguments),) = item.items()
    _accept(_WRAPPER_NAME, wrapper, place, name)
    return {wrapper: _accept(kinds.MAPPING, {} if arguments is None else arguments, place.below(name), wrapper)}


def _wrapper_name(value: Any) -> str:
    if "." not in kinds.NAME.accept(value):
        raise ValueError
    return str(value)


_WRAPPER_NAME = Kind("a wrapper as module.Class, or that with arguments, or a list of them", _wrapper_name)
_RUN_CHECKS = {
    "n_envs": lambda *where: _accept(kinds.COUNT, *where),
    "n_timesteps": lambda *where: _accept(kinds.COUNT, *where),
    "frame_stack": lambda *where: _accept(kinds.optional(kinds.COUNT), *where),
    "normalize": _normalize,
    "env_wrapper": _env_wrapper,
}
