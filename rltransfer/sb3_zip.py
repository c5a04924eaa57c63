"""Reads a Stable-Baselines3 zip without running anything that is in it.

The pickles of an SB3 zip live in its ``data`` member only (sb3_facts.md#pickles). They are never decoded here: the
weights come from the ``.pth`` members through ``torch.load(weights_only=True)``, everything else from the readable text
beside the pickles. Every member is read in full, which checks its CRC, since most truncated zips open without an error.
"""

import dataclasses
import hashlib
import io
import json
import math
import re
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from gymnasium import spaces

from rltransfer.algorithms import spec_of, spec_of_zip
from rltransfer.errors import SourceError
from rltransfer.space_text import space_from_sb3_text

_DATA = "data"
_POLICY = "policy.pth"
_VARIABLES = "pytorch_variables.pth"
# What the variables were called before SB3 wrote its version into its files.
_EARLIEST_VARIABLES = "tensors.pth"
_VERSION = "_stable_baselines3_version"

_MAX_BYTES = 4 * 2**30
# SB3 stores without compression. A zip that somebody packed again is fine, one that unpacks to far more is a bomb.
_MAX_RATIO = 200
_ALWAYS_FINE_BYTES = 64 * 2**20

_CLASS = re.compile(r"<class '([\w.<>]+)'>")
_FUNCTION_OF_CLASS = re.compile(r"<function ([\w.<>]+)\.\w+ at 0x[0-9a-f]+>")
_CONSTANT = re.compile(r"ConstantSchedule\(val=([-+.\deE]+)\)")
_LINEAR = re.compile(r"LinearSchedule\(start=([-+.\deE]+), end=([-+.\deE]+), end_fraction=([-+.\deE]+)\)")
_TORCH_LAYERS = "stable_baselines3.common.torch_layers"
_NO_SETTINGS = ("num_timesteps", "seed", "verbose", "start_time", "exploration_rate", "lr_schedule")
_WORDED_SETTINGS = ("ent_coef", "target_entropy")
_MODULES_OF_CLASSES = ("stable_baselines3", "sb3_contrib", "rltransfer")
UNKNOWN_ACTIVATION = "unknown"


@dataclasses.dataclass(frozen=True)
class Sb3Zip:
    """What an SB3 zip tells without unpickling.

    Attributes:
        path: The file.
        sha256: The hash of its bytes.
        tensors: The policy's state dict, on the CPU; names that share memory in the agent share it here.
        variables: Tensors of the agent outside its policy, such as SAC's ``log_ent_coef``.
        aliases: Each further name of a tensor of ``tensors``, with the first name (sb3_facts.md#target-networks).
        algo: RL Zoo's short name of the algorithm (``ppo``, ``dqn``, ``sac``, ...), or None if it is unknown.
        policy_class: The class name of the policy, such as ``ActorCriticPolicy``, where the text tells.
        policy_module: The module that the policy class was defined in, where the text tells.
        policy_kwargs: The policy's arguments as readable text.
        activation: The class name of the activation function: as stated, or else SB3's default for the algorithm. A
            policy class that is the user's own may do as it likes, so that its activation is ``unknown``.
        extractor_class: The dotted name of the features extractor, as stated or as the policy class implies.
        observation_space: The space of observations, or None where the text does not tell.
        action_space: The space of actions, likewise.
        hyperparams: The algorithm's settings that are plain, linear schedules as RL Zoo's ``lin_x``.
        num_timesteps: For how many environment steps the agent was trained.
        seed: Its seed, where it had one.
        sb3_version: The version of SB3 that wrote the file.
    """

    path: Path
    sha256: str
    tensors: dict[str, torch.Tensor]
    variables: dict[str, torch.Tensor]
    aliases: dict[str, str]
    algo: str | None
    policy_class: str | None
    policy_module: str | None
    policy_kwargs: dict[str, str]
    activation: str
    extractor_class: str | None
    observation_space: spaces.Space[Any] | None
    action_space: spaces.Space[Any] | None
    hyperparams: dict[str, Any]
    num_timesteps: int | None
    seed: int | None
    sb3_version: str | None

    @property
    def dotted_policy_class(self) -> str | None:
        """The policy class with its module; ``?`` stands for a name that the text does not tell."""
        return None if self.policy_module is None else f"{self.policy_module}.{self.policy_class or '?'}"


def is_custom_class(dotted: str | None) -> bool:
    """Returns whether a policy class is neither SB3's nor sb3-contrib's nor rltransfer's, as far as its name is known.

    >>> is_custom_class("__main__.MyPolicy"), is_custom_class("stable_baselines3.dqn.policies.DQNPolicy")
    (True, False)
    """
    return dotted is not None and dotted.partition(".")[0] not in _MODULES_OF_CLASSES


def read_sb3_zip(path: Path | str) -> Sb3Zip:
    """Returns the weights and the readable facts of an agent that SB3 saved.

    Raises:
        SourceError: The file is missing, no zip, damaged, or lacks what an SB3 agent has; nothing in it was run.
    """
    path = Path(path)
    content = _read_file(path)
    members = _read_members(path, content)
    variables = _refuse_missing_members(path, members)
    data = _read_data(path, members[_DATA])
    tensors = dict(_read_tensors(path, _POLICY, members[_POLICY]))
    if not tensors:
        raise SourceError(f"{path}: {_POLICY} holds no tensors.")
    algo = _algorithm(data, tensors)
    policy_kwargs = _policy_kwargs(data)
    policy_class, policy_module = _policy_class(data), _policy_module(data)
    is_custom = policy_module is None or is_custom_class(policy_module)
    return Sb3Zip(
        path=path,
        sha256=hashlib.sha256(content).hexdigest(),
        tensors=tensors,
        variables=dict(_read_tensors(path, variables, members[variables])),
        aliases=_aliases(tensors),
        algo=algo,
        policy_class=policy_class,
        policy_module=policy_module,
        policy_kwargs=policy_kwargs,
        activation=UNKNOWN_ACTIVATION if is_custom else _activation(policy_kwargs, algo),
        extractor_class=_extractor_class(policy_kwargs, None if is_custom else policy_class),
        observation_space=space_from_sb3_text(data.get("observation_space")),
        action_space=space_from_sb3_text(data.get("action_space")),
        hyperparams=dict(_settings(data)),
        num_timesteps=_whole_number(data.get("num_timesteps")),
        seed=_whole_number(data.get("seed")),
        sb3_version=members.get(_VERSION, b"").decode(errors="replace").strip()[:40] or None,
    )


def _refuse_missing_members(path: Path, members: Mapping[str, bytes]) -> str:
    """Returns the name of the member with the variables; the earliest format has another one, and no version.

    Raises:
        SourceError: A member is missing that SB3 writes: one that a damaged directory hides must not go unnoticed.
    """
    is_earliest = _EARLIEST_VARIABLES in members and _VARIABLES not in members
    variables = _EARLIEST_VARIABLES if is_earliest else _VARIABLES
    for name in (_DATA, _POLICY, variables, *(() if is_earliest else (_VERSION,))):
        if name not in members:
            raise SourceError(f"{path} lacks {name}: is it an SB3 agent? It holds: {', '.join(sorted(members)[:8])}.")
    return variables


def _read_file(path: Path) -> bytes:
    try:
        size = path.stat().st_size
        if size > _MAX_BYTES:
            raise SourceError(f"{path}: {size} bytes are too many for an SB3 agent.")
        return path.read_bytes()
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror}.") from None


def _read_members(path: Path, content: bytes) -> dict[str, bytes]:
    """Returns each member of a zip, its size and name checked before and its CRC while it is read."""
    if not zipfile.is_zipfile(io.BytesIO(content)):
        raise SourceError(f"{path} is not a zip, or its end is missing: SB3 agents are saved as zips.")
    members: dict[str, bytes] = {}
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            _refuse_bombs(str(path), archive.infolist(), len(content))
            for info in archive.infolist():
                _refuse_odd_name(path, info.filename, members)
                if not info.is_dir():
                    members[info.filename] = archive.read(info)
    except SourceError:
        raise
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError, OSError) as error:
        raise SourceError(f"{path} is damaged: {error}.") from None
    return members


def _refuse_bombs(what: str, infos: Iterable[zipfile.ZipInfo], packed_bytes: int) -> None:
    # A member that unpacks to more than it declares is cut there by zipfile, and then fails its CRC.
    declared = sum(info.file_size for info in infos)
    if declared > min(_MAX_BYTES, max(_ALWAYS_FINE_BYTES, _MAX_RATIO * packed_bytes)):
        raise SourceError(f"{what} is refused: {packed_bytes} bytes would unpack to {declared}.")


def _refuse_odd_name(path: Path, name: str, seen: Iterable[str]) -> None:
    parts = PurePosixPath(name.replace("\\", "/"))
    if parts.is_absolute() or ".." in parts.parts or re.match(r"[A-Za-z]:", name):
        raise SourceError(f"{path} is refused: its member {name!r} would leave the folder that it is unpacked into.")
    if name in seen:
        raise SourceError(f"{path} is refused: it holds two members {name!r}.")


def _read_data(path: Path, content: bytes) -> dict[str, Any]:
    try:
        data = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise SourceError(f"{path}: its member {_DATA} is not JSON: {error}.") from None
    if not isinstance(data, dict):
        raise SourceError(f"{path}: its member {_DATA} is not what SB3 writes: expected attributes with values.")
    return data


def _read_tensors(path: Path, member: str, content: bytes) -> Iterator[tuple[str, torch.Tensor]]:
    what = f"{path}: {member}"
    stream = io.BytesIO(content)
    try:
        if zipfile.is_zipfile(stream):
            with zipfile.ZipFile(stream) as archive:
                _refuse_bombs(what, archive.infolist(), len(content))
        stream.seek(0)
        state = torch.load(stream, map_location="cpu", weights_only=True)
    except SourceError:
        raise
    except Exception as error:
        # Hostile or damaged bytes make torch raise anything; none of it ran code (sb3_facts.md#pickles).
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise SourceError(f"{what} does not hold plain weights: {reason}") from None
    if not isinstance(state, Mapping):
        raise SourceError(f"{what} does not hold named weights.")
    for name, tensor in state.items():
        if isinstance(name, str) and isinstance(tensor, torch.Tensor):
            yield name, _refuse_odd_tensor(f"{what}: {name}", tensor.detach())


def _refuse_odd_tensor(what: str, tensor: torch.Tensor) -> torch.Tensor:
    """Returns a tensor if it is a dense one with memory of its own for every entry.

    A tensor of stride 0 can claim any size on a few bytes, and would fill the memory when it is copied.
    """
    if tensor.layout != torch.strided or tensor.device.type != "cpu" or tensor.is_quantized:
        raise SourceError(f"{what} is refused: it is not a plain dense tensor.")
    if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        raise SourceError(f"{what} is refused: it claims more entries than it holds.")
    return tensor


def _aliases(tensors: Mapping[str, torch.Tensor]) -> dict[str, str]:
    first: dict[tuple[Any, ...], str] = {}
    aliases: dict[str, str] = {}
    for name, tensor in tensors.items():
        memory = (tensor.data_ptr(), tuple(tensor.shape), tensor.stride(), tensor.dtype)
        if tensor.numel() and first.setdefault(memory, name) != name:
            aliases[name] = first[memory]
    return aliases


def _algorithm(data: Mapping[str, Any], tensors: Iterable[str]) -> str | None:
    spec = spec_of_zip(data, tensors)
    return None if spec is None else spec.name


def _policy_class(data: Mapping[str, Any]) -> str | None:
    """Returns the class name of the policy; its text names the class only through the functions that it defines."""
    shadow = data.get("policy_class")
    if not isinstance(shadow, Mapping):
        return None
    texts = [shadow.get("__init__"), *(text for name, text in shadow.items() if name != "__doc__")]
    matches = (_FUNCTION_OF_CLASS.fullmatch(str(text)) for text in texts)
    return next((match.group(1).rpartition(".")[2] for match in matches if match), None)


def _policy_module(data: Mapping[str, Any]) -> str | None:
    shadow = data.get("policy_class")
    module = shadow.get("__module__") if isinstance(shadow, Mapping) else None
    return module if isinstance(module, str) and module.isprintable() and module else None


def _policy_kwargs(data: Mapping[str, Any]) -> dict[str, str]:
    shadow = data.get("policy_kwargs")
    if not isinstance(shadow, Mapping):
        return {}
    return {name: str(value) for name, value in shadow.items() if name not in (":type:", ":serialized:")}


def _activation(policy_kwargs: Mapping[str, str], algo: str | None) -> str:
    default = "ReLU" if algo is None else spec_of(algo).activation
    return _stated_activation(policy_kwargs) or default


def _stated_activation(policy_kwargs: Mapping[str, str]) -> str | None:
    """Returns the class that ``activation_fn`` names: bare if it is PyTorch's, with its module if it is the user's."""
    stated = policy_kwargs.get("activation_fn")
    if stated is None:
        return None
    match = _CLASS.fullmatch(stated)
    if match is None:
        return UNKNOWN_ACTIVATION
    dotted = match.group(1)
    return dotted.rpartition(".")[2] if dotted.startswith("torch.nn.") else dotted


def _extractor_class(policy_kwargs: Mapping[str, str], policy_class: str | None) -> str | None:
    stated = policy_kwargs.get("features_extractor_class")
    if stated is not None:
        match = _CLASS.fullmatch(stated)
        return match.group(1) if match else None
    if policy_class is None:
        return None
    if "MultiInput" in policy_class:
        return f"{_TORCH_LAYERS}.CombinedExtractor"
    return f"{_TORCH_LAYERS}.{'NatureCNN' if 'Cnn' in policy_class else 'FlattenExtractor'}"


def _settings(data: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in data.items():
        if name.startswith("_") or name in _NO_SETTINGS:
            continue
        if isinstance(value, str):
            if name in _WORDED_SETTINGS:
                yield name, value
        elif isinstance(value, bool | int | float):
            if math.isfinite(value):
                yield name, value
        elif isinstance(value, Mapping):
            schedule = _schedule(value)
            if schedule is not None:
                yield name, schedule


def _schedule(shadow: Mapping[str, Any]) -> float | str | None:
    """Returns a schedule as RL Zoo writes it: a number, or ``lin_x`` for one that falls from x to 0."""
    if {"start", "end", "end_fraction"} <= shadow.keys():
        text = "LinearSchedule(start={start}, end={end}, end_fraction={end_fraction})".format_map(shadow)
    else:
        text = str(shadow.get("value_schedule"))
    constant = _CONSTANT.fullmatch(text)
    linear = _LINEAR.fullmatch(text)
    try:
        if constant:
            return float(constant.group(1))
        if linear and (float(linear.group(2)), float(linear.group(3))) == (0.0, 1.0):
            return f"lin_{float(linear.group(1))}"
    except ValueError:
        return None
    return None


def _whole_number(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
