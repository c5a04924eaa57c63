"""The encoder with its contract, and the artifact that holds it: ``encoder.safetensors`` and ``manifest.json``.

The head tensors of the source agent travel in the same file, marked as heads, so that ``full`` can use an artifact too.
Target networks do not: their tensors are copies of online ones. There is no pickle in an artifact.
"""

import dataclasses
import hashlib
import json
import shlex
import shutil
import tempfile
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import torch
from gymnasium.spaces import Dict, Space
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from safetensors.torch import save as save_safetensors

from rltransfer import files
from rltransfer.anatomy import Anatomy, Branch, Layer, Role
from rltransfer.artifact.companion_files import StatisticsOrigin
from rltransfer.errors import SourceError
from rltransfer.records import SourceFacts
from rltransfer.sb3_zip import is_custom_class
from rltransfer.spaces import space_from_json, space_to_json
from rltransfer.vecnormalize_reader import Normaliser

TENSORS = "encoder.safetensors"
MANIFEST = "manifest.json"
AVERAGE_OF = "average of "
"""What stands before the paths of the sources that an artifact is the average of."""
_NO_HASH = "0" * 64


class _LayerFacts(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    branch: Branch
    role: Role
    depth: int
    path: str
    tensors: dict[str, tuple[int, ...]]


class _Manifest(BaseModel):
    """``manifest.json``; ``manifest_sha256`` is the hash of the file's bytes with 64 zeros in its own place.

    In version 1 the keys of a Dict space were sorted, whatever their order in the source.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1, 2] = 2
    algo: str | None
    activation: str
    policy_class: str | None = None
    extractor_class: str | None = None
    activation_is_assumed: bool = False
    layers: tuple[_LayerFacts, ...]
    buffers: tuple[str, ...]
    observation_space: dict[str, Any] | None
    action_space: dict[str, Any] | None
    normaliser: dict[str, Any] | None
    statistics: StatisticsOrigin | None = None
    source: SourceFacts
    hyperparams: dict[str, Any]
    versions: dict[str, str]
    tensors_sha256: str
    manifest_sha256: str = _NO_HASH


@dataclasses.dataclass(frozen=True)
class Encoder:
    """A source's online layers with their contract: an agent's, or those of a pretrained network.

    Attributes:
        anatomy: The layers, heads included, target networks not.
        tensors: The weights by name, on the CPU.
        observation_space: The source's observations, or None where a foreign zip does not tell.
        action_space: The source's actions, likewise.
        normaliser: The VecNormalize statistics that the source was trained under, or None if it saw raw observations.
        source: Where the weights came from.
        hyperparams: The source's settings, for the reader.
        replay_buffer: The file that holds what the source remembers, where a run folder has one; artifacts have none.
        policy_class: The dotted name of the policy class, ``?`` for a name that is not told, or None.
        extractor_class: The dotted name of the features extractor, where it is told.
        statistics: Which file the statistics are from, and which others lay beside it; None in artifacts of before.
        activation_is_assumed: Whether the activation function is SB3's for lack of the policy class, which rltransfer
            0.1 did not record.
    """

    anatomy: Anatomy
    tensors: Mapping[str, torch.Tensor]
    observation_space: Space[Any] | None
    action_space: Space[Any] | None
    normaliser: Normaliser | None
    source: SourceFacts
    hyperparams: Mapping[str, Any]
    replay_buffer: Path | None = None
    policy_class: str | None = None
    extractor_class: str | None = None
    statistics: StatisticsOrigin | None = None
    activation_is_assumed: bool = False

    @property
    def has_custom_policy(self) -> bool:
        """Whether the policy class is neither SB3's nor sb3-contrib's nor rltransfer's, as far as it is told."""
        return is_custom_class(self.policy_class)

    @property
    def has_custom_extractor(self) -> bool:
        """Whether the features extractor is neither SB3's nor rltransfer's, as far as it is told."""
        return is_custom_class(self.extractor_class)

    @property
    def algo(self) -> str | None:
        """The short name of the source's algorithm; None of a pretrained network."""
        return self.anatomy.algo

    def save(self, path: Path | str) -> Path:
        """Writes the artifact folder ``path`` and returns it; an artifact that is already there is replaced.

        Raises:
            SourceError: ``path`` exists and is no artifact.
        """
        target = Path(path)
        if target.exists() and not (target / MANIFEST).is_file():
            raise SourceError(f"{target} exists and is no artifact, so it is not replaced. Choose another folder.")
        target.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
        try:
            content = save_safetensors({name: tensor.contiguous().clone() for name, tensor in self.tensors.items()})
            files.write_bytes(folder / TENSORS, content)
            files.write_bytes(folder / MANIFEST, _seal(self._manifest(hashlib.sha256(content).hexdigest())))
            folder.chmod(0o755)
            if target.exists():
                shutil.rmtree(target)
            folder.replace(target)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return target

    def _manifest(self, tensors_sha256: str) -> _Manifest:
        anatomy = self.anatomy
        return _Manifest(
            algo=anatomy.algo,
            activation=anatomy.activation,
            policy_class=self.policy_class,
            extractor_class=self.extractor_class,
            activation_is_assumed=self.activation_is_assumed,
            layers=tuple(
                _LayerFacts(
                    name=layer.name,
                    branch=layer.branch,
                    role=layer.role,
                    depth=layer.depth,
                    path=layer.path,
                    tensors={name: anatomy.shapes[name] for name in layer.tensors},
                )
                for layer in anatomy.layers
            ),
            buffers=tuple(sorted(set(anatomy.shapes) - anatomy.parameters)),
            observation_space=None if self.observation_space is None else space_to_json(self.observation_space),
            action_space=None if self.action_space is None else space_to_json(self.action_space),
            normaliser=None if self.normaliser is None else self.normaliser.to_json(),
            statistics=self.statistics,
            source=self.source,
            hyperparams=dict(self.hyperparams),
            versions={name: version(name) for name in ("rltransfer", "stable-baselines3", "gymnasium", "torch")},
            tensors_sha256=tensors_sha256,
        )


def load_artifact(folder: Path) -> Encoder:
    """Returns the encoder of an artifact folder after checking every byte of it.

    Raises:
        SourceError: A file is missing or damaged; the message names it. Or the artifact was written by rltransfer 0.1,
            which lost the order of its observation's keys.
    """
    manifest = _read_manifest(folder / MANIFEST)
    observation_space = None if manifest.observation_space is None else space_from_json(manifest.observation_space)
    if manifest.schema_version == 1:
        _refuse_lost_order(folder, manifest, observation_space)
    path = folder / TENSORS
    try:
        content = path.read_bytes()
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror}.") from None
    if hashlib.sha256(content).hexdigest() != manifest.tensors_sha256:
        raise SourceError(f"{path} is damaged: its sha256 is not the one in {MANIFEST}. Extract the artifact again.")
    try:
        tensors = load_safetensors(content)
    except SafetensorError as error:
        raise SourceError(f"{path} is not a safetensors file: {error}") from None
    anatomy = _anatomy(manifest)
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if shapes != dict(anatomy.shapes):
        raise SourceError(f"{path} holds other tensors than {MANIFEST} lists. Extract the artifact again.")
    return Encoder(
        anatomy=anatomy,
        tensors=tensors,
        observation_space=observation_space,
        action_space=None if manifest.action_space is None else space_from_json(manifest.action_space),
        normaliser=None if manifest.normaliser is None else Normaliser.from_json(manifest.normaliser),
        source=manifest.source,
        hyperparams=manifest.hyperparams,
        policy_class=manifest.policy_class,
        extractor_class=manifest.extractor_class,
        statistics=manifest.statistics,
        activation_is_assumed=manifest.activation_is_assumed or manifest.schema_version == 1,
    )


def _refuse_lost_order(folder: Path, manifest: _Manifest, space: Space[Any] | None) -> None:
    if not isinstance(space, Dict) or len(space.spaces) < 2:
        return
    paths = manifest.source.path.removeprefix(AVERAGE_OF).split(", ")
    raise SourceError(
        f"{folder} was written by rltransfer 0.1, which sorted the keys of its observation "
        f"({', '.join(space.spaces)}): in which order its layers read them is lost. Extract it again: "
        f"rltransfer extract {shlex.join(paths)} -o {shlex.quote(str(folder))}"
    )


def _anatomy(manifest: _Manifest) -> Anatomy:
    shapes = {name: shape for layer in manifest.layers for name, shape in layer.tensors.items()}
    return Anatomy(
        algo=manifest.algo,
        activation=manifest.activation,
        layers=tuple(
            Layer(layer.name, layer.branch, layer.role, layer.depth, layer.path, tuple(layer.tensors))
            for layer in manifest.layers
        ),
        shapes=shapes,
        parameters=frozenset(shapes) - frozenset(manifest.buffers),
        aliases={},
    )


def _seal(manifest: _Manifest) -> bytes:
    content = (json.dumps(manifest.model_dump(mode="json"), indent=2) + "\n").encode()
    return content.replace(_NO_HASH.encode(), hashlib.sha256(content).hexdigest().encode())


def _read_manifest(path: Path) -> _Manifest:
    again = "Extract the artifact again."
    try:
        content = path.read_bytes()
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror}.") from None
    try:
        stated = json.loads(content)["manifest_sha256"]
        unsealed = content.replace(stated.encode(), _NO_HASH.encode())
    except (ValueError, KeyError, TypeError, AttributeError):
        raise SourceError(f"{path} is damaged: it is not an artifact's manifest. {again}") from None
    if hashlib.sha256(unsealed).hexdigest() != stated:
        raise SourceError(f"{path} is damaged: its sha256 is not the one that it states. {again}")
    try:
        return _Manifest.model_validate_json(content)
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(str(item) for item in problem["loc"])
        raise SourceError(f"{path}: key {where!r}: {problem['msg']}. Was it written by a newer rltransfer?") from None
