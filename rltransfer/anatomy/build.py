"""Builds the anatomy of an agent that is live, or in a zip."""

import dataclasses
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

import torch

from rltransfer.algorithms import (
    LOG_ENT_COEF,
    AlgorithmSpec,
    Branch,
    Role,
    Rule,
    algorithm_names,
    spec_of,
    spec_of_class,
)
from rltransfer.anatomy.model import Anatomy, Layer, within
from rltransfer.anatomy.rules import place
from rltransfer.errors import IncompatibleError

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm

    from rltransfer.sb3_zip import Sb3Zip

Groups = Mapping[str, Mapping[str, tuple[str, ...]]]

# The modules of SB3's NatureCNN: recognised by name, so that a zip shows its layers without running its code.
_NATURE_CNN = {"cnn.0": ("cnn.0",), "cnn.2": ("cnn.2",), "cnn.4": ("cnn.4",), "linear": ("linear",)}
_KEY = re.compile(r"extractors\.([^.]+)\.")
_ADAPTER = frozenset({"adapter.weight", "adapter.bias"})
# The modules of our ProgressiveColumns: layers of sources, what is taken from them, the new column.
_COLUMNS: Mapping[Role, re.Pattern[str]] = {
    "column": re.compile(r"columns\.[^.]+\.(\d+)(?=\.layer\.)"),
    "lateral": re.compile(r"laterals\.[^.]+\.(\d+)(?=\.(?:scale|reduce|project)\b)"),
    "encoder": re.compile(r"own\.(\d+)(?=\.layer\.)"),
}
_BUFFERS = ("running_mean", "running_var", "num_batches_tracked", "ra_mean", "ra_var", "steps")


def anatomy_of_agent(agent: "BaseAlgorithm") -> Anatomy:
    """Returns the anatomy of a live agent.

    A features extractor that has a method ``layer_groups() -> dict[str, tuple[str, ...]]`` (group name to module
    prefixes, in order) is split into these groups; SB3's NatureCNN is known; any other is one layer.

    Raises:
        IncompatibleError: The algorithm is not supported, or its policy has a tensor that no rule places.
    """
    tensors = agent_tensors(agent)
    groups = {
        name: dict(module.layer_groups())
        for name, module in agent.policy.named_modules(remove_duplicate=False)
        if callable(getattr(module, "layer_groups", None))
    }
    # Not the policy's own method: it may be the one that holds a plan (see transfer.hold).
    named = torch.nn.Module.named_parameters(agent.policy, remove_duplicate=False)
    return _build(
        algo=algorithm_of(agent),
        activation=_activation_of(agent),
        tensors=tensors,
        parameters={name for name, _ in named} | {LOG_ENT_COEF},
        groups=groups,
    )


def _activation_of(agent: "BaseAlgorithm") -> str:
    """Returns the activation function's class, with its module where it is not PyTorch's: as a zip states it."""
    activation = getattr(agent.policy, "activation_fn", None)
    if not isinstance(activation, type):
        return "unknown"
    is_torchs = activation.__module__.startswith("torch.nn.")
    return activation.__name__ if is_torchs else f"{activation.__module__}.{activation.__qualname__}"


def anatomy_of_zip(source: "Sb3Zip") -> Anatomy:
    """Returns the anatomy of an agent in an SB3 zip, from its tensors and the readable text beside them.

    Raises:
        IncompatibleError: The algorithm is not supported, or a tensor is one that no rule places.
    """
    if source.algo not in algorithm_names():
        raise IncompatibleError(
            f"{source.path}: agents of {source.algo or 'an unknown algorithm'} cannot be read yet. "
            f"Supported: {', '.join(algorithm_names())}."
        )
    tensors = {
        **source.tensors,
        **{name: source.variables[name] for name in (LOG_ENT_COEF,) if name in source.variables},
    }
    parameters = {name for name in tensors if name.rsplit(".", 1)[-1] not in _BUFFERS}
    return _build(source.algo, source.activation, tensors, parameters, groups={})


def algorithm_of(agent: "BaseAlgorithm") -> str:
    """Returns the short name of an agent's algorithm, such as ``ppo``, also for a subclass of it.

    Raises:
        IncompatibleError: The algorithm is not supported.
    """
    return spec_of_agent(agent).name


def spec_of_agent(agent: "BaseAlgorithm") -> AlgorithmSpec:
    """Returns the row of an agent's algorithm, also for a subclass of it.

    Raises:
        IncompatibleError: The algorithm is not supported.
    """
    spec = spec_of_class(type(agent))
    if spec is None:
        raise IncompatibleError(f"{type(agent).__name__} is not supported. Supported: {', '.join(algorithm_names())}.")
    return spec


def agent_tensors(agent: "BaseAlgorithm") -> dict[str, torch.Tensor]:
    """Returns an agent's live tensors by name: its policy's state dict, and SAC's entropy coefficient.

    The tensors are references: a change in place changes the agent. SB3's ``get_parameters`` lacks the coefficient.
    """
    tensors: dict[str, torch.Tensor] = dict(agent.policy.state_dict(keep_vars=True))
    coefficient = getattr(agent, LOG_ENT_COEF, None)
    if coefficient is not None:
        tensors[LOG_ENT_COEF] = coefficient
    return tensors


@dataclasses.dataclass
class _Module:
    """A module of the policy that a rule places, with its tensors in the order of the state dict."""

    rule: Rule
    tensors: list[str] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True)
class _Part:
    """One layer of a module, ``position`` layers behind the module's input."""

    name: str
    position: int
    tensors: tuple[str, ...]
    role: Role = "encoder"


def _build(
    algo: str,
    activation: str,
    tensors: Mapping[str, torch.Tensor],
    parameters: Iterable[str],
    groups: Groups,
) -> Anatomy:
    aliases = _aliases(tensors)
    modules: dict[str, _Module] = {}
    same_module: dict[str, str] = {}
    for name in tensors:
        rule, module = place(algo, name)
        if name in aliases:
            same_module[module] = place(algo, aliases[name])[1]
        else:
            modules.setdefault(module, _Module(rule)).tensors.append(name)
    order = {rule: position for position, rule in enumerate(spec_of(algo).rules)}
    modules = dict(sorted(modules.items(), key=lambda item: (order[item[1].rule], item[0])))
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items() if name not in aliases}
    parts = {name: list(_parts(name, module, groups, shapes)) for name, module in modules.items()}
    return Anatomy(
        algo=algo,
        activation=activation,
        layers=tuple(_layers(modules, parts, same_module)),
        shapes=shapes,
        parameters=frozenset(parameters) & (frozenset(tensors) - frozenset(aliases)),
        aliases=aliases,
    )


def _aliases(tensors: Mapping[str, torch.Tensor]) -> dict[str, str]:
    """Returns the further names of tensors that share the memory of an earlier one (sb3_facts.md#target-networks)."""
    first: dict[tuple[int, tuple[int, ...]], str] = {}
    aliases: dict[str, str] = {}
    for name, tensor in tensors.items():
        key = (tensor.data_ptr(), tuple(tensor.shape))
        if tensor.numel() and first.setdefault(key, name) != name:
            aliases[name] = first[key]
    return aliases


def _layers(
    modules: Mapping[str, _Module], parts: Mapping[str, list[_Part]], same_module: Mapping[str, str]
) -> Iterator[Layer]:
    for name, module in modules.items():
        branch = _branch(name, module.rule, same_module, modules)
        before = sum(_length(parts[feeding]) for feeding in _feeding(name, module.rule, modules, same_module))
        for part in parts[name]:
            yield Layer(
                name=part.name,
                branch=branch,
                role=part.role,
                depth=before + part.position,
                path=name,
                tensors=part.tensors,
                twin=_twin(name, part.name, same_module) if branch == "target" else None,
            )


def _length(parts: list[_Part]) -> int:
    """Returns how many layers follow each other in a module; an adapter in front of the encoder is none of them."""
    return max((part.position + 1 for part in parts if part.role != "adapter"), default=0)


def _parts(name: str, module: _Module, groups: Groups, shapes: Mapping[str, tuple[int, ...]]) -> Iterator[_Part]:
    match module.rule.kind:
        case "extractor":
            yield from _parts_of_extractor(name, module, groups)
        case "stack" | "q_stack":
            layers = list(_numbered(name, module, shapes).items())
            for position, (layer, tensors) in enumerate(layers):
                is_head = module.rule.kind == "q_stack" and position == len(layers) - 1
                yield _Part(layer, position, tuple(tensors), "head" if is_head else "encoder")
        case "recurrent":
            yield _Part(name, 0, tuple(module.tensors))
        case "head":
            yield _Part(name, 0, tuple(module.tensors), "head")


def _numbered(name: str, module: _Module, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, list[str]]:
    """Returns the tensors of each layer of a stack, by the name of its matrix.

    What stands between two matrices (CrossQ's BatchRenorm) belongs to the one before it, so that the statistics of
    the last features belong to the encoder; what stands before the first one belongs to that.
    """
    layers: dict[str, list[str]] = {}
    waiting: list[str] = []
    for tensor in module.tensors:
        number = tensor[len(name) + 1 :].split(".")[0]
        layer = f"{name}.{number}"
        if len(shapes[tensor]) > 1:
            # Blocks of a policy class that is the user's own hold several matrices.
            layers.setdefault(layer, []).extend([*waiting, tensor])
            waiting = []
        elif layer in layers:
            layers[layer].append(tensor)
        elif layers:
            layers[list(layers)[-1]].append(tensor)
        else:
            waiting.append(tensor)
    return layers


def _parts_of_extractor(name: str, module: _Module, groups: Groups) -> Iterator[_Part]:
    """Yields the layers of a features extractor; of a Dict observation, those of each key's own extractor."""
    rests = {tensor[len(name) + 1 :]: tensor for tensor in module.tensors}
    if rests.keys() == _ADAPTER:
        yield _Part(name, 0, tuple(module.tensors), "adapter")
        return
    beside = list(_columns(name, rests))
    if beside:
        yield from beside
        return
    keys = dict.fromkeys(match.group(1) for rest in rests if (match := _KEY.match(rest)))
    if name in groups or not keys or not all(_KEY.match(rest) for rest in rests):
        yield from _grouped(name, rests, groups.get(name, {}))
        return
    for key in keys:
        prefix = f"extractors.{key}"
        key_tensors = {rest[len(prefix) + 1 :]: tensor for rest, tensor in rests.items() if within(rest, prefix)}
        yield from _grouped(f"{name}.{prefix}", key_tensors, groups.get(f"{name}.{prefix}", {}))


def _columns(name: str, rests: Mapping[str, str]) -> Iterator[_Part]:
    """Yields the layers of progressive columns, the new one's last; none if this is another extractor."""
    layers: dict[str, tuple[Role, int, list[str]]] = {}
    for rest, tensor in rests.items():
        for role, pattern in _COLUMNS.items():
            match = pattern.match(rest)
            if match:
                layers.setdefault(match.group(), (role, int(match.group(1)), []))[2].append(tensor)
    if sum(len(tensors) for _, _, tensors in layers.values()) < len(rests):
        return
    order = list(_COLUMNS)
    for layer, (role, position, tensors) in sorted(layers.items(), key=lambda item: order.index(item[1][0])):
        yield _Part(f"{name}.{layer}", position, tuple(tensors), role)


def _grouped(name: str, rests: Mapping[str, str], named: Mapping[str, tuple[str, ...]]) -> Iterator[_Part]:
    if not named:
        prefixes_of_cnn = [prefix for prefixes in _NATURE_CNN.values() for prefix in prefixes]
        is_nature_cnn = all(any(within(rest, prefix) for prefix in prefixes_of_cnn) for rest in rests)
        named = _NATURE_CNN if is_nature_cnn else {}
    layers: dict[str, list[str]] = {}
    for rest, tensor in rests.items():
        layer = name
        for group, prefixes in named.items():
            if any(within(rest, prefix) for prefix in prefixes):
                layer = f"{name}.{group}"
        layers.setdefault(layer, []).append(tensor)
    for position, (layer, tensors) in enumerate(layers.items()):
        yield _Part(layer, position, tuple(tensors))


def _feeding(name: str, rule: Rule, modules: Mapping[str, _Module], same_module: Mapping[str, str]) -> Iterator[str]:
    """Yields the modules with layers that a module's input has gone through."""
    if rule.kind == "extractor":
        return
    top = name.split(".", maxsplit=1)[0]
    branch_extractor = {"actor": "pi_features_extractor", "critic": "vf_features_extractor"}.get(
        rule.branch, "features_extractor"
    )
    for extractor in (f"{top}.features_extractor", branch_extractor, "features_extractor"):
        canonical = same_module.get(extractor, extractor)
        if canonical in modules:
            yield canonical
            break
    if rule.kind == "recurrent":
        return
    yield from (
        other
        for other, module in modules.items()
        if module.rule.kind == "recurrent" and (module.rule.branch == rule.branch or _is_shared_lstm(other, modules))
    )
    if name != "mlp_extractor.shared_net" and "mlp_extractor.shared_net" in modules:
        yield "mlp_extractor.shared_net"


def _branch(name: str, rule: Rule, same_module: Mapping[str, str], modules: Mapping[str, _Module]) -> Branch:
    """Returns the branch of a module, taking into account which extractors are one object.

    PPO's ``features_extractor`` is the actor's alone where the critic has its own (``share_features_extractor=False``);
    SAC's actor extractor serves the critic too where it is shared (and is then trained by the actor's loss only).
    """
    others = {alias for alias, canonical in same_module.items() if canonical == name}
    if name == "features_extractor" and others == {"pi_features_extractor"}:
        return "actor"
    if name == "actor.features_extractor" and "critic.features_extractor" in others:
        return "shared"
    return "shared" if _is_shared_lstm(name, modules) else rule.branch


def _is_shared_lstm(name: str, modules: Mapping[str, _Module]) -> bool:
    return name == "lstm_actor" and not {"lstm_critic", "critic"} & modules.keys()


def _twin(module: str, layer: str, same_module: Mapping[str, str]) -> str:
    network, dot, rest = module.partition(".")
    online = network.removesuffix("_target") + dot + rest
    return same_module.get(online, online) + layer[len(module) :]
