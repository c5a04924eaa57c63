"""Finds the agent or the network that a source means, and reads it without unpickling.

A source is an artifact, a run folder (ours or RL Zoo's), any SB3 zip, or a pretrained network. A zip brings the
statistics that lie beside it and belong to it; observation normalisation is part of an encoder's input contract
(sb3_facts.md#observation-statistics).
"""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rltransfer import yaml_file
from rltransfer.anatomy import anatomy_of_zip
from rltransfer.artifact.companion_files import (
    StatisticsOrigin,
    find_replay_buffer,
    find_statistics,
    holds_agent,
    read_statistics,
    settings_folder,
    steps_of,
)
from rltransfer.artifact.encoder import MANIFEST, Encoder, load_artifact
from rltransfer.artifact.network_source import network_encoder
from rltransfer.errors import ConfigError, RunError, SourceError, did_you_mean
from rltransfer.networks import read_network
from rltransfer.records import (
    ARGUMENTS,
    BEST_AGENT,
    ENV_KWARGS,
    OWN_FOLDER,
    RECORD,
    SETTINGS,
    RunRecord,
    SourceFacts,
    TaskFacts,
    is_network_name,
    names_network,
    parse_name,
    read_record,
)
from rltransfer.sb3_zip import UNKNOWN_ACTIVATION, Sb3Zip, read_sb3_zip
from rltransfer.setting_kinds import read_activation

# The texts that RL Zoo's files always hold: files of such names beside a zip may be anybody's.
_KEYS: Mapping[str, tuple[str, ...]] = {SETTINGS: ("policy",), ARGUMENTS: ("algo", "env"), ENV_KWARGS: ()}

_WEIGHTS = (".pth", ".pt", ".bin", ".safetensors")
_SAYS_ITSELF = "says what it is. Leave it out, or name a file of weights as the source."


@dataclasses.dataclass(frozen=True)
class _SourceFiles:
    """The zip that a source path means, with what lies beside it that tells more about it.

    Attributes:
        zip: The agent.
        which: Which agent of its training it is.
        record: The record of a run of ours.
        settings: What RL Zoo wrote down beside a zip that is none of ours, by file.
        unreadable: Why files that may be RL Zoo's cannot be read.
    """

    zip: Path
    which: str
    record: RunRecord | None = None
    settings: Mapping[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    unreadable: tuple[str, ...] = ()


def load_encoder(
    source: Path | str,
    which: str = "best",
    *,
    normaliser: Path | str | None = None,
    activation: str | None = None,
    arch: str | None = None,
    cut: str | None = None,
    pool: int | None = None,
    size: int | None = None,
) -> Encoder:
    """Returns the encoder of a trained agent, or of a pretrained network; nothing in its files is unpickled or run.

    Args:
        source: An artifact, a run folder, or an SB3 zip; a pretrained network (``torchvision:resnet18``,
            ``timm:NAME.TAG``), or a file of weights with its ``arch``.
        which: Of a run folder: ``best``, ``last``, or the number of steps of a checkpoint.
        normaliser: The file with the statistics of the source's VecNormalize, in place of what lies beside the zip.
        activation: The activation function of a source that does not tell it, such as ``ReLU``: of a policy class of
            the user's own, or of an artifact of rltransfer 0.1, which did not record the policy class.
        arch: The network that a file of weights is of, such as ``torchvision:mobilenet_v2``.
        cut: The layer of a network that its features are taken behind; None for the input of its last layer.
        pool: The side of the map of features that an image is pooled to, where the cut leaves one; 1 if not given.
        size: The side of the images that a network receives, in place of what it was trained on: images are resized to
            it and nothing is cut off.

    Raises:
        SourceError: The source is missing, damaged, or none of these; or it tells other things than those given.
        IncompatibleError: Its algorithm is not supported, or the network cannot be cut.
        UnknownNameError: There is no such activation function, network, or weights of it.
        UnknownLayerError: The network has no layer to cut behind of that name.
        MissingExtraError: The library of the network is not installed.
    """
    if arch is not None or is_network_name(str(source)):
        _refuse_settings_of_agents(str(source), which, normaliser, activation)
        return _network(str(source), arch, cut=cut, pool=1 if pool is None else pool, size=size)
    path = Path(source)
    if not path.exists():
        raise SourceError(
            f"The source {path} does not exist.{_near_misses(path)} "
            f"A source is a run folder, an artifact, or an SB3 zip."
        )
    is_artifact = path.is_dir() and (path / MANIFEST).is_file()
    if path.suffix in _WEIGHTS and not holds_agent(path):
        raise SourceError(
            f"{path} is no SB3 zip. If it is a file of weights, name the network that they are of: --arch "
            "torchvision:NAME (in a study file, arch under source). pretrain -i continues agents alone."
        )
    _refuse_settings_of_networks(path, {"cut": cut, "pool": pool, "size": size})
    if which != "best" and (is_artifact or path.is_file()):
        raise SourceError(f"--which {which} chooses among the agents of a run folder, and {path} holds one agent.")
    if normaliser == "":
        raise SourceError("normaliser: expected a file, found an empty text. Give one, or leave it out.")
    given = None if normaliser is None else Path(normaliser)
    if is_artifact:
        encoder = _with_statistics(load_artifact(path), path, given)
    else:
        files = _in_run_folder(path, which) if path.is_dir() else _single_zip(path)
        path = files.zip
        encoder = _read(files, read_sb3_zip(path), given)
    return encoder if activation is None else _with_activation(encoder, path, read_activation(activation))


def _network(source: str, arch: str | None, *, cut: str | None, pool: int, size: int | None) -> Encoder:
    if pool < 1:
        raise SourceError(f"pool: expected the side of a map, 1 or more, found {pool}.")
    if size is not None and size < 1:
        raise SourceError(f"size: expected the side of images, 1 or more, found {size}.")
    if arch is None:
        network = read_network(parse_name(source), cut=cut, pool=pool, size=size)
        return network_encoder(network, network.facts.name)
    if is_network_name(source):
        raise SourceError(f"arch: {source} {_SAYS_ITSELF}")
    path = Path(source)
    if not path.exists():
        raise SourceError(f"The file of weights {source} does not exist.{_near_misses(path)}")
    if path.is_dir() or holds_agent(path):
        raise SourceError(f"arch: {source} is no file of weights, and {_SAYS_ITSELF}")
    return network_encoder(read_network(parse_name(arch), file=Path(source), cut=cut, pool=pool, size=size), source)


def _near_misses(path: Path) -> str:
    siblings = [item.name for item in path.parent.iterdir()] if path.parent.is_dir() else []
    return did_you_mean(path.name, siblings)


def _refuse_settings_of_agents(source: str, which: str, normaliser: Path | str | None, activation: str | None) -> None:
    given = {"which": which != "best", "normaliser": normaliser is not None, "activation": activation is not None}
    names = [name for name, is_given in given.items() if is_given]
    if names:
        raise SourceError(f"{' and '.join(names)}: of an agent, and {source} is a pretrained network. Leave it out.")


def _refuse_settings_of_networks(path: Path, settings: Mapping[str, Any]) -> None:
    """Raises SourceError if it is stated how to cut what is an agent, or a network that was cut already."""
    names = [name for name, value in settings.items() if value is not None]
    if not names:
        return
    if names_network(str(path)):
        flags = " ".join(f"--{name} {settings[name]}" for name in names)
        raise SourceError(
            f"{' and '.join(names)}: the network in the artifact {path} was cut already. State it where the artifact "
            f"is made: rltransfer extract NETWORK {flags} -o {path}"
        )
    are, them = ("are", "them") if len(names) > 1 else ("is", "it")
    raise SourceError(
        f"{' and '.join(names)} {are} of a pretrained network, and {path} holds an agent: leave {them} out."
    )


def _with_statistics(encoder: Encoder, path: Path, given: Path | None) -> Encoder:
    """Returns an artifact with the statistics that are given; it is refused if it holds some."""
    if given is None:
        return encoder
    if encoder.normaliser is not None:
        raise SourceError(
            f"normaliser: the artifact {path} holds the statistics of its source already. Leave it out, or "
            f"give it where the artifact is made: rltransfer extract SOURCE --normaliser {given} -o {path}"
        )
    return dataclasses.replace(
        encoder,
        normaliser=read_statistics(given, encoder.observation_space),
        statistics=StatisticsOrigin(file=str(given)),
    )


def _with_activation(encoder: Encoder, path: Path, activation: str) -> Encoder:
    """Returns a source with the activation function that the user states, unless the file tells of another one."""
    told = encoder.anatomy.activation
    # A class of the user's own (its name has a module) may compute what one of PyTorch's does.
    is_told = not encoder.activation_is_assumed and told != UNKNOWN_ACTIVATION and "." not in told
    if is_told and told != activation:
        raise SourceError(
            f"activation: {path} states another activation function than {activation}: {told}. Leave it out."
        )
    anatomy = dataclasses.replace(encoder.anatomy, activation=activation)
    return dataclasses.replace(encoder, anatomy=anatomy, activation_is_assumed=False)


def _read(files: _SourceFiles, agent: Sb3Zip, given: Path | None) -> Encoder:
    anatomy = anatomy_of_zip(agent)
    online = dataclasses.replace(anatomy, layers=anatomy.online, aliases={})
    names = [name for layer in online.layers for name in layer.tensors]
    tensors = {**agent.variables, **agent.tensors}
    hyperparams = files.record.hyperparams if files.record else agent.hyperparams | files.settings.get(SETTINGS, {})
    normaliser, statistics = find_statistics(
        files.zip, agent.observation_space, given, frames=_stacked_frames(hyperparams)
    )
    return Encoder(
        anatomy=dataclasses.replace(
            online,
            shapes={name: anatomy.shapes[name] for name in names},
            parameters=anatomy.parameters & frozenset(names),
        ),
        tensors={name: tensors[name].detach() for name in names},
        observation_space=agent.observation_space,
        action_space=agent.action_space,
        normaliser=normaliser,
        source=_facts(files, agent),
        hyperparams=hyperparams,
        replay_buffer=find_replay_buffer(files.zip),
        policy_class=agent.dotted_policy_class,
        extractor_class=agent.extractor_class,
        statistics=statistics.model_copy(update={"unreadable": statistics.unreadable + files.unreadable}),
    )


def _stacked_frames(hyperparams: Mapping[str, Any]) -> int:
    frames = hyperparams.get("frame_stack")
    return frames if isinstance(frames, int) else 1


def _facts(files: _SourceFiles, agent: Sb3Zip) -> SourceFacts:
    record = files.record
    if record is None:
        return SourceFacts(
            path=str(files.zip),
            sha256=agent.sha256,
            algo=str(agent.algo),
            task=_zoo_task(files),
            seed=agent.seed,
            env_steps=agent.num_timesteps,
            which=files.which,
        )
    before = record.source.env_steps if record.source and record.source.env_steps else 0
    scores = {"best": record.best, "last": record.final}.get(files.which)
    whole_run = record.env_steps or agent.num_timesteps or 0
    return SourceFacts(
        path=str(files.zip),
        sha256=agent.sha256,
        algo=record.algo,
        task=record.task,
        seed=record.seed,
        env_steps=before + ((agent.num_timesteps or 0) if files.which.isdecimal() else whole_run),
        mean_return=scores.mean_return if scores else None,
        random_return=record.random.mean_return if record.random else None,
        reward_threshold=record.reward_threshold,
        which=files.which,
        is_residual=any(part.get("kind") == "residual" for part in record.strategy),
    )


def _zoo_settings(path: Path) -> tuple[dict[str, dict[str, Any]], tuple[str, ...]]:
    """Returns what RL Zoo wrote down beside a zip, by file, and why others cannot be read: they may be anybody's.

    Raises:
        SourceError: A file cannot be read in the folder that is named after the zip.
    """
    folder = settings_folder(path)
    if folder is None:
        return {}, ()
    is_named = folder == path.with_suffix("")
    settings: dict[str, dict[str, Any]] = {}
    unreadable: list[str] = []
    for name, keys in _KEYS.items():
        if not (folder / name).is_file() or (name == ENV_KWARGS and ARGUMENTS not in settings):
            continue
        try:
            content = _plain_settings(folder / name)
        except ConfigError as error:
            if is_named:
                raise SourceError(str(error)) from None
            unreadable.append(str(error))
            continue
        if is_named or all(isinstance(content.get(key), str) for key in keys):
            settings[name] = content
    return settings, tuple(unreadable)


def _plain_settings(path: Path) -> dict[str, Any]:
    """Returns the settings in a YAML file, refusing what a manifest cannot hold: bytes and sets."""
    settings = yaml_file.read(path)
    try:
        json.dumps(settings)
    except TypeError as error:
        raise ConfigError(f"{path} holds values that are no settings: {error}.") from None
    return settings


def _zoo_task(files: _SourceFiles) -> TaskFacts | None:
    arguments = files.settings.get(ARGUMENTS, {})
    env, kwargs = arguments.get("env"), arguments.get("env_kwargs") or {}
    if not isinstance(env, str) or not isinstance(kwargs, dict):
        return None
    # On the Hub this file has the last word: it also holds what was said when the agent was uploaded.
    return TaskFacts(env=env, kwargs={**kwargs, **files.settings.get(ENV_KWARGS, {})}, wrappers=())


def _in_run_folder(folder: Path, which: str) -> _SourceFiles:
    asked = which
    if which == "best" and not (folder / BEST_AGENT).is_file() and not (folder / OWN_FOLDER).is_dir():
        # RL Zoo keeps the best agent only where it was asked to.
        path, which = _last_agent(folder), "last"
        path = path if path.is_file() else folder / BEST_AGENT
    elif which == "best":
        path = folder / BEST_AGENT
    elif which == "last":
        path = _last_agent(folder)
    elif which.isdecimal():
        path = _checkpoint(folder, which)
    else:
        raise SourceError(f"--which {which!r}: expected best, last, or the number of steps of a checkpoint.")
    if not path.is_file():
        agents = sorted(item.name for item in folder.glob("*.zip"))
        there = f"It holds: {', '.join(agents)}." if agents else "It holds no agent: is it a run folder or an artifact?"
        raise SourceError(f"{folder} has no {path.name} (--which {asked}). {there}")
    return _with_company(path, which)


def _checkpoint(folder: Path, steps: str) -> Path:
    """Returns the agent after some steps; RL Zoo calls it ``rl_model``, a user of SB3 as they like."""
    usual = folder / f"rl_model_{steps}_steps.zip"
    others = sorted(folder.glob(f"*_{steps}_steps.zip"))
    if usual in others or not others:
        return usual
    if len(others) > 1:
        raise SourceError(
            f"{folder} has several agents of {steps} steps: {', '.join(item.name for item in others)}. Name one as the "
            f"source: {others[0]}"
        )
    return others[0]


def _last_agent(folder: Path) -> Path:
    others = [path for path in folder.glob("*.zip") if path.name != BEST_AGENT]
    ends = [path for path in others if steps_of(path) is None]
    if len(ends) > 1:
        # On the Hub the evaluations lie beside the agent in a zip of their own.
        ends = [path for path in ends if holds_agent(path)]
    if len(ends) == 1:
        return ends[0]
    if not ends and len(others) == 1 and not others[0].name.startswith("rl_model_"):
        return others[0]
    return folder / f"{folder.name.rsplit('_', 1)[0]}.zip"


def _single_zip(path: Path) -> _SourceFiles:
    return _with_company(path, "best" if path.name == BEST_AGENT else steps_of(path) or "last")


def _with_company(path: Path, which: str) -> _SourceFiles:
    """Returns the zip with the record and the settings that lie beside it in a run folder."""
    if (path.parent / OWN_FOLDER / RECORD).is_file():
        try:
            return _SourceFiles(path, which, record=read_record(path.parent))
        except RunError as error:
            raise SourceError(str(error)) from None
    settings, unreadable = _zoo_settings(path)
    return _SourceFiles(path, which, settings=settings, unreadable=unreadable)
