"""Describes the layers of sources as columns of a progressive agent: the ``policy_kwargs`` that build it."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from gymnasium import spaces
from stable_baselines3.common.preprocessing import is_image_space

from rltransfer.algorithms import NetArch, all_specs, spec_of
from rltransfer.anatomy import Anatomy, Layer
from rltransfer.artifact.architecture import image_settings
from rltransfer.artifact.encoder import Encoder
from rltransfer.errors import IncompatibleError, unknown
from rltransfer.extractors import ProgressiveColumns
from rltransfer.sb3_zip import UNKNOWN_ACTIVATION
from rltransfer.setting_kinds import ACTIVATIONS
from rltransfer.strategies import Progressive

_COLOURS = 255.0


@dataclasses.dataclass(frozen=True)
class _Cnn:
    """A features extractor for images whose layers are known by the names of their modules."""

    name: str
    modules: tuple[str, ...]
    channels: tuple[int, ...]
    kernels: tuple[int, ...]
    strides: tuple[int, ...]
    pool: int | None
    features: int
    divisor: float


_CNNS = (
    _Cnn("NatureCNN", ("cnn.0", "cnn.2", "cnn.4", "linear.0"), (32, 64, 64), (8, 4, 3), (4, 2, 1), None, 512, 1.0),
    _Cnn(
        "SmallCNN",
        ("convolutions.0", "convolutions.2", "convolutions.4", "linear.0"),
        (16, 32, 64),
        (2, 2, 2),
        (1, 1, 1),
        4,
        64,
        10.0,
    ),
)


@dataclasses.dataclass(frozen=True)
class SourceColumn:
    """The layers of a source on one way from its observations up to its heads.

    Attributes:
        name: Its name among the columns: the source's number and the branch.
        layers: What ``ProgressiveColumns`` takes.
        tensors: The source's weight and bias of each layer.
        divisor: What the source's observations are divided by before its first layer.
        cnn: The name of its features extractor for images, None of vectors.
    """

    name: str
    layers: tuple[dict[str, Any], ...]
    tensors: tuple[tuple[str, str], ...]
    divisor: float
    cnn: str | None


def source_columns(encoder: Encoder, number: int = 0) -> tuple[SourceColumn, ...]:
    """Returns a source's columns: its actor's layers, and its critic's where they share none and read no actions.

    Args:
        encoder: The source.
        number: Its number among the sources.

    Raises:
        IncompatibleError: Its layers are not ones that a column can have; the message says why.
    """
    _refuse_source(encoder)
    anatomy = encoder.anatomy
    paths = {branch: _path(anatomy, branch) for branch in ("actor", "critic")}
    apart = not any(layer.branch == "shared" for layer in paths["critic"]) and not _reads_actions(anatomy)
    columns = [
        _column(encoder, f"{number}_{branch}", path)
        for branch, path in paths.items()
        if path and (branch == "actor" or apart or not paths["actor"])
    ]
    if not columns:
        raise _no_column(encoder, "it has no feature layers")
    return tuple(columns)


def progressive_kwargs(
    encoders: Encoder | Sequence[Encoder],
    algo: str,
    policy_kwargs: Mapping[str, Any] | None = None,
    *,
    part: Progressive | None = None,
) -> dict[str, Any]:
    """Returns the ``policy_kwargs`` of an agent whose own layers stand beside sources' frozen ones.

    The hidden layers that the networks of actor and critic have in common, from the observations on, become the agent's
    own column; the others follow it. Of images it is their features extractor. Q(s, a) reads the actions behind the
    column, so that the last layer of ``net_arch`` follows it there. ``plan_transfer(encoders, agent, part)`` then says
    what goes where.

    Args:
        encoders: The source, or several.
        algo: The short name of the agent's algorithm, such as ``ppo``.
        policy_kwargs: Those that the agent would have without columns; SB3's defaults where they say nothing.
        part: The strategy's settings; its defaults if not given.

    Raises:
        IncompatibleError: A source's layers, or the agent's own, cannot be columns.
        UnknownNameError: There is no such algorithm, or it trains without a gradient.
    """
    with_columns = [spec.name for spec in all_specs() if spec.default_net is not None]
    if algo not in with_columns:
        raise unknown("algorithm", algo, with_columns)
    part = part or Progressive()
    given = dict(policy_kwargs or {})
    several = [encoders] if isinstance(encoders, Encoder) else list(encoders)
    if not several:
        raise IncompatibleError("Columns need at least one source.")
    columns = [column for number, encoder in enumerate(several) for column in source_columns(encoder, number)]
    images = {column.cnn is not None for column in columns}
    if len(images) > 1:
        raise IncompatibleError("Columns read one observation, and of the sources one reads images, another a vector.")
    base = _COLOURS if _sees_colours(several[0]) and given.get("normalize_images", True) else 1.0
    new_column, nets = _own_images(columns, given, algo) if images == {True} else _own_vector(given, algo)
    arguments = {
        "sources": {old.name: {"divisor": old.divisor / base, "layers": list(old.layers)} for old in columns},
        "own": new_column,
        "units": part.units,
        "scale": part.scale,
    }
    return {
        **given,
        **nets,
        "features_extractor_class": ProgressiveColumns,
        "features_extractor_kwargs": arguments,
    }


def _refuse_source(encoder: Encoder) -> None:
    anatomy = encoder.anatomy
    reason = None
    if any(anatomy.rule_of(layer).kind == "recurrent" for layer in anatomy.layers):
        reason = "it is recurrent, and its memory has no place beside another agent"
    elif any(layer.role == "adapter" for layer in anatomy.layers):
        reason = "it reads its inputs through a learned adapter"
    elif any(layer.role == "column" for layer in anatomy.layers):
        reason = "it has columns itself: name the sources of these instead"
    elif isinstance(encoder.observation_space, spaces.Dict):
        reason = "it reads a dictionary, and columns read one vector or image"
    if reason:
        raise _no_column(encoder, reason)


def _no_column(encoder: Encoder, reason: str) -> IncompatibleError:
    return IncompatibleError(f"The source {encoder.source.path} cannot be a column: {reason}.")


def _path(anatomy: Anatomy, branch: str) -> list[Layer]:
    layers = [
        layer
        for layer in anatomy.encoders()
        if layer.branch in (branch, "shared") and not anatomy.rule_of(layer).reads_actions
    ]
    return sorted(layers, key=lambda layer: layer.depth)


def _reads_actions(anatomy: Anatomy) -> bool:
    return any(anatomy.rule_of(layer).reads_actions for layer in anatomy.layers)


def _column(encoder: Encoder, name: str, path: list[Layer]) -> SourceColumn:
    anatomy = encoder.anatomy
    seeing = [layer for layer in path if anatomy.rule_of(layer).kind == "extractor"]
    cnn = None
    layers: list[dict[str, Any]] = []
    tensors: list[tuple[str, str]] = []
    if seeing:
        modules = _modules(encoder, seeing)
        rests = tuple(module[len(seeing[0].path) + 1 :] for module in modules)
        cnn = next((candidate for candidate in _CNNS if candidate.modules == rests), None)
        if cnn is None:
            raise _no_column(encoder, "its features extractor is neither SB3's NatureCNN nor rltransfer's SmallCNN")
        shapes = [anatomy.shapes[f"{module}.weight"] for module in modules]
        layers += _images(cnn, [shape[0] for shape in shapes], [shape[-1] for shape in shapes[:-1]])
        tensors += [(f"{module}.weight", f"{module}.bias") for module in modules]
    for module in _modules(encoder, [layer for layer in path if layer not in seeing]):
        if anatomy.activation not in ACTIVATIONS:
            hint = ": state it with --activation" if anatomy.activation == UNKNOWN_ACTIVATION else ""
            raise _no_column(encoder, f"its activation function is {anatomy.activation}{hint}")
        layers.append(_linear(anatomy.shapes[f"{module}.weight"][0], anatomy.activation))
        tensors.append((f"{module}.weight", f"{module}.bias"))
    return SourceColumn(name, tuple(layers), tuple(tensors), _divisor(encoder, cnn), None if cnn is None else cnn.name)


def _modules(encoder: Encoder, layers: Sequence[Layer]) -> list[str]:
    """Returns the modules of layers in order, each a matrix or a kernel with its bias."""
    shapes = encoder.anatomy.shapes
    tensors = [tensor for layer in layers for tensor in layer.tensors]
    modules = list(dict.fromkeys(tensor.rpartition(".")[0] for tensor in tensors))
    for module in modules:
        names = {tensor.rpartition(".")[2] for tensor in tensors if tensor.rpartition(".")[0] == module}
        if names != {"weight", "bias"} or len(shapes[f"{module}.weight"]) not in (2, 4):
            raise _no_column(encoder, f"{module} is neither a linear layer nor a convolution with a bias")
    return modules


def _divisor(encoder: Encoder, cnn: _Cnn | None) -> float:
    normalises, scale = image_settings(encoder)
    divisor = _COLOURS if _sees_colours(encoder) and normalises is not False else 1.0
    return divisor * (1.0 if cnn is None else scale or cnn.divisor)


def _sees_colours(encoder: Encoder) -> bool:
    """Returns whether a source's observations are what SB3 divides by 255."""
    space = encoder.observation_space
    if space is None:
        return any(len(shape) == 4 for shape in encoder.anatomy.shapes.values())
    return is_image_space(space)


def _linear(size: int, activation: str) -> dict[str, Any]:
    return {"kind": "linear", "size": size, "activation": activation}


def _images(cnn: _Cnn, sizes: Sequence[int], kernels: Sequence[int]) -> Iterator[dict[str, Any]]:
    for size, kernel, stride in zip(sizes, kernels, cnn.strides, strict=False):
        yield {"kind": "convolution", "size": size, "kernel": kernel, "stride": stride, "activation": "ReLU"}
    pool = {} if cnn.pool is None else {"pool": cnn.pool}
    yield _linear(sizes[-1], "ReLU") | pool


def _own_images(columns: Sequence[SourceColumn], given: dict[str, Any], algo: str) -> tuple[dict[str, Any], Any]:
    """Returns the agent's own column, which is its features extractor, and what else its policy is given."""
    name = _class_name(given.pop("features_extractor_class", "NatureCNN"))
    architecture = next((candidate for candidate in _CNNS if candidate.name == name), None)
    others = sorted({str(column.cnn) for column in columns} - {name})
    if architecture is None or others:
        raise IncompatibleError(
            f"The source's images go through {' and '.join(others)}, and the agent's through {name}: columns stand "
            "beside each other level by level, so that these must be the same (features_extractor_class)."
        )
    arguments = given.pop("features_extractor_kwargs", None) or {}
    layers = list(
        _images(
            architecture,
            (*architecture.channels, int(arguments.get("features_dim", architecture.features))),
            architecture.kernels,
        )
    )
    spec = spec_of(algo)
    nets = _net_arch(given, spec.default_net_of_images if name == "NatureCNN" else spec.default_net)
    return {"divisor": float(arguments.get("scale", architecture.divisor)), "layers": layers}, {"net_arch": nets}


def _own_vector(given: dict[str, Any], algo: str) -> tuple[dict[str, Any], Any]:
    name = _class_name(given.pop("features_extractor_class", "FlattenExtractor"))
    given.pop("features_extractor_kwargs", None)
    if name != "FlattenExtractor":
        raise IncompatibleError(
            f"The agent's own column is built from net_arch, and its features extractor would be {name}: leave that "
            "out (policy_kwargs: features_extractor_class; inputs: adapter)."
        )
    spec = spec_of(algo)
    nets = _net_arch(given, spec.default_net)
    activation = _class_name(given.get("activation_fn", spec.activation))
    if activation not in ACTIVATIONS:
        raise IncompatibleError(f"Columns know the activations {', '.join(ACTIVATIONS)}; found {activation}.")
    shared, left = _split(nets, algo)
    column = {"divisor": 1.0, "layers": [_linear(size, activation) for size in shared]}
    return column, {"net_arch": left} | ({"share_features_extractor": False} if spec.critic_key else {})


def _net_arch(given: Mapping[str, Any], default: NetArch | None) -> Any:
    stated = given.get("net_arch")
    if isinstance(stated, list) and stated and isinstance(stated[0], Mapping):
        # As SB3 before 1.8 wanted it.
        stated = stated[0]
    return default if stated is None else stated


def _split(nets: Any, algo: str) -> tuple[list[int], Any]:
    """Returns the layers that all networks begin with, and what each has behind them."""
    spec = spec_of(algo)
    critic = spec.critic_key
    if critic is None:
        return list(nets), []
    sizes_of = {"pi": list(nets), critic: list(nets)} if not isinstance(nets, Mapping) else dict(nets)
    sizes_of = {branch: list(sizes_of.get(branch) or []) for branch in ("pi", critic)}
    most = 0 if spec.has_module_before_net else min(map(len, sizes_of.values()))
    if critic == "qf":
        # Q(s, a) reads the actions behind the column.
        most = max(0, most - 1)
    alike = 0
    while alike < most and sizes_of["pi"][alike] == sizes_of[critic][alike]:
        alike += 1
    return sizes_of["pi"][:alike], {branch: sizes[alike:] for branch, sizes in sizes_of.items()}


def _class_name(kind: Any) -> str:
    """Returns the name of a class that is given as such or as text, without its module."""
    return kind.rpartition(".")[2] if isinstance(kind, str) else str(kind.__name__)
