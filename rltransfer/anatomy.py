"""Says which tensor of an agent, live or read from a zip, is which layer.

An agent's tensors are named as in its policy's state dict. Each belongs to exactly one layer, a layer to one branch
(``actor``, ``critic``, ``shared`` by both, ``target`` for target networks) and one role (``encoder`` or ``head``).
Names that are aliases of other tensors (a shared features extractor has three) are resolved to the first of them.
"""

import dataclasses
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from rltransfer.errors import IncompatibleError, did_you_mean

if TYPE_CHECKING:
    import torch
    from stable_baselines3.common.base_class import BaseAlgorithm

    from rltransfer.sb3_zip import Sb3Zip

Branch = Literal["actor", "critic", "shared", "target"]
Role = Literal["encoder", "head"]
Groups = Mapping[str, Mapping[str, tuple[str, ...]]]
LOG_ENT_COEF = "log_ent_coef"
LOG_STD = "log_std"


@dataclasses.dataclass(frozen=True)
class Layer:
    """One layer: a module with tensors of its own, or a features extractor that does not name its groups.

    ``depth`` counts the encoder layers of one path from the observations on, from 0; a head's is one past them.
    ``path`` names the path (``critic.qf0`` and ``critic.qf1`` are two). ``twin`` is the online layer of a target layer.
    """

    name: str
    branch: Branch
    role: Role
    depth: int
    path: str
    tensors: tuple[str, ...]
    twin: str | None = None


@dataclasses.dataclass(frozen=True)
class Anatomy:
    """The ordered layers of one agent, with the shape of each tensor.

    ``parameters`` are the tensors that an optimizer may change, the others are buffers. ``aliases`` maps each further
    name of a tensor to the name that is used here.
    """

    algo: str
    activation: str
    layers: tuple[Layer, ...]
    shapes: Mapping[str, tuple[int, ...]]
    parameters: frozenset[str]
    aliases: Mapping[str, str]

    @property
    def online(self) -> tuple[Layer, ...]:
        """The layers without target networks."""
        return tuple(layer for layer in self.layers if layer.branch != "target")

    def layer_of(self) -> dict[str, Layer]:
        """Returns the layer of each tensor."""
        return {tensor: layer for layer in self.layers for tensor in layer.tensors}


@dataclasses.dataclass(frozen=True)
class _Rule:
    """Where a module of a policy belongs; a ``stack`` holds numbered layers, and a ``q_stack`` ends in a head."""

    module: str
    branch: Branch
    kind: Literal["extractor", "stack", "q_stack", "head"]


_ACTOR_CRITIC = (
    _Rule("features_extractor", "shared", "extractor"),
    _Rule("pi_features_extractor", "actor", "extractor"),
    _Rule("vf_features_extractor", "critic", "extractor"),
    _Rule(r"mlp_extractor\.shared_net", "shared", "stack"),
    _Rule(r"mlp_extractor\.policy_net", "actor", "stack"),
    _Rule(r"mlp_extractor\.value_net", "critic", "stack"),
    _Rule("action_net", "actor", "head"),
    _Rule(LOG_STD, "actor", "head"),
    _Rule("value_net", "critic", "head"),
)
_Q_NETWORK = (
    _Rule(r"q_net\.features_extractor", "critic", "extractor"),
    _Rule(r"q_net\.q_net", "critic", "q_stack"),
    _Rule(r"q_net_target\.features_extractor", "target", "extractor"),
    _Rule(r"q_net_target\.q_net", "target", "q_stack"),
)
_SOFT_ACTOR_CRITIC = (
    _Rule(r"actor\.features_extractor", "actor", "extractor"),
    _Rule(r"actor\.latent_pi", "actor", "stack"),
    _Rule(r"actor\.mu", "actor", "head"),
    _Rule(r"actor\.log_std", "actor", "head"),
    _Rule(LOG_ENT_COEF, "actor", "head"),
    _Rule(r"critic\.features_extractor", "critic", "extractor"),
    _Rule(r"critic\.qf\d+", "critic", "q_stack"),
    _Rule(r"critic_target\.features_extractor", "target", "extractor"),
    _Rule(r"critic_target\.qf\d+", "target", "q_stack"),
)
_RULES: dict[str, tuple[_Rule, ...]] = {"ppo": _ACTOR_CRITIC, "dqn": _Q_NETWORK, "sac": _SOFT_ACTOR_CRITIC}
ALGORITHMS = tuple(_RULES)

# The modules of SB3's NatureCNN: recognised by name, so that a zip shows its layers without running its code.
_NATURE_CNN = {"cnn.0": ("cnn.0",), "cnn.2": ("cnn.2",), "cnn.4": ("cnn.4",), "linear": ("linear",)}


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
    parameters = {name for name, _ in agent.policy.named_parameters(remove_duplicate=False)} | {LOG_ENT_COEF}
    return _build(
        algo=algorithm_of(agent),
        activation=getattr(getattr(agent.policy, "activation_fn", None), "__name__", "unknown"),
        tensors=tensors,
        parameters=parameters,
        groups=groups,
    )


def anatomy_of_zip(source: "Sb3Zip") -> Anatomy:
    """Returns the anatomy of an agent in an SB3 zip, from its tensors and the readable text beside them.

    Raises:
        IncompatibleError: The algorithm is not supported, or a tensor is one that no rule places.
    """
    if source.algo not in _RULES:
        raise IncompatibleError(
            f"{source.path}: agents of {source.algo or 'an unknown algorithm'} cannot be read yet. "
            f"Supported: {', '.join(ALGORITHMS)}."
        )
    tensors = {
        **source.tensors,
        **{name: source.variables[name] for name in (LOG_ENT_COEF,) if name in source.variables},
    }
    parameters = {name for name in tensors if not _looks_like_buffer(name)}
    return _build(source.algo, source.activation, tensors, parameters, groups={})


def algorithm_of(agent: "BaseAlgorithm") -> str:
    """Returns the short name of an agent's algorithm, such as ``ppo``, also for a subclass of it.

    Raises:
        IncompatibleError: The algorithm is not supported.
    """
    names = [base.__name__.lower() for base in type(agent).__mro__]
    for name in names:
        if name in _RULES:
            return name
    raise IncompatibleError(f"{type(agent).__name__} is not supported. Supported: {', '.join(ALGORITHMS)}.")


def agent_tensors(agent: "BaseAlgorithm") -> dict[str, "torch.Tensor"]:
    """Returns an agent's live tensors by name: its policy's state dict, and SAC's entropy coefficient.

    The tensors are references: a change in place changes the agent. SB3's ``get_parameters`` lacks the coefficient.
    """
    tensors: dict[str, torch.Tensor] = dict(agent.policy.state_dict(keep_vars=True))
    coefficient = getattr(agent, LOG_ENT_COEF, None)
    if coefficient is not None:
        tensors[LOG_ENT_COEF] = coefficient
    return tensors


def choose_layers(anatomy: Anatomy, choice: Any, branches: Iterable[Branch]) -> set[str]:
    """Returns the names of the encoder layers of ``branches`` that a strategy's layer choice means.

    Args:
        anatomy: The agent's anatomy.
        choice: ``all``, ``none``, the first N of each path, or names of layers or of modules that hold layers.
        branches: The branches to choose from.

    Raises:
        IncompatibleError: A name is no encoder layer of this agent.
    """
    wanted = tuple(branches)
    layers = [layer for layer in anatomy.layers if layer.role == "encoder" and layer.branch in wanted]
    if choice == "all":
        return {layer.name for layer in layers}
    if choice == "none":
        return set()
    if isinstance(choice, int):
        return {layer.name for layer in layers if layer.depth < choice}
    return {layer.name for layer in layers for name in choice if _within(layer.name, name)}


def refuse_unknown_layers(anatomy: Anatomy, names: Sequence[str]) -> None:
    """Raises IncompatibleError if one of ``names`` is neither an online encoder layer nor a module that holds one."""
    known = [layer.name for layer in anatomy.online if layer.role == "encoder"]
    for name in names:
        if not any(_within(layer, name) for layer in known):
            raise IncompatibleError(
                f"This agent has no encoder layer {name!r}.{did_you_mean(name, known)} Known: {', '.join(known)}."
            )


@dataclasses.dataclass
class _Module:
    """A module of the policy that a rule places, with its tensors in the order of the state dict."""

    rule: _Rule
    tensors: list[str] = dataclasses.field(default_factory=list)


def _build(
    algo: str,
    activation: str,
    tensors: Mapping[str, "torch.Tensor"],
    parameters: Iterable[str],
    groups: Groups,
) -> Anatomy:
    aliases = _aliases(tensors)
    modules: dict[str, _Module] = {}
    same_module: dict[str, str] = {}
    for name in tensors:
        rule, module = _place(algo, name)
        if name in aliases:
            same_module[module] = _place(algo, aliases[name])[1]
        else:
            modules.setdefault(module, _Module(rule)).tensors.append(name)
    order = {rule: position for position, rule in enumerate(_RULES[algo])}
    modules = dict(sorted(modules.items(), key=lambda item: (order[item[1].rule], item[0])))
    return Anatomy(
        algo=algo,
        activation=activation,
        layers=tuple(_layers(modules, same_module, groups)),
        shapes={name: tuple(tensor.shape) for name, tensor in tensors.items() if name not in aliases},
        parameters=frozenset(parameters) & (frozenset(tensors) - frozenset(aliases)),
        aliases=aliases,
    )


def _aliases(tensors: Mapping[str, "torch.Tensor"]) -> dict[str, str]:
    """Returns the further names of tensors that share their memory with an earlier one (FACTS A7)."""
    first: dict[tuple[int, tuple[int, ...]], str] = {}
    aliases: dict[str, str] = {}
    for name, tensor in tensors.items():
        key = (tensor.data_ptr(), tuple(tensor.shape))
        if tensor.numel() and first.setdefault(key, name) != name:
            aliases[name] = first[key]
    return aliases


def _place(algo: str, name: str) -> tuple[_Rule, str]:
    for rule in _RULES[algo]:
        match = re.match(rf"({rule.module})(\.|$)", name)
        if match:
            return rule, match.group(1)
    raise IncompatibleError(
        f"The {algo} policy has a tensor {name!r} that is no part of SB3's own policies, so it cannot be placed. "
        f"Put custom layers into a features extractor (policy_kwargs: features_extractor_class)."
    )


def _layers(modules: Mapping[str, _Module], same_module: Mapping[str, str], groups: Groups) -> Iterator[Layer]:
    split = {name: _split(name, module, groups) for name, module in modules.items()}
    for name, module in modules.items():
        branch = _branch(name, module.rule, same_module)
        before = sum(
            len(split[extractor]) for extractor in _feeding_extractors(name, module.rule, modules, same_module)
        )
        for position, (layer, tensors) in enumerate(split[name].items()):
            is_last_of_q = module.rule.kind == "q_stack" and position == len(split[name]) - 1
            yield Layer(
                name=layer,
                branch=branch,
                role="head" if module.rule.kind == "head" or is_last_of_q else "encoder",
                depth=before + position,
                path=name,
                tensors=tuple(tensors),
                twin=_twin(name, layer, same_module) if branch == "target" else None,
            )


def _split(name: str, module: _Module, groups: Groups) -> dict[str, list[str]]:
    """Returns the tensors of each layer of a module, by layer name, from the observations on."""
    named = _groups_of(name, module, groups) if module.rule.kind == "extractor" else {}
    layers: dict[str, list[str]] = {}
    for tensor in module.tensors:
        rest = tensor[len(name) + 1 :]
        layer = name
        if module.rule.kind in ("stack", "q_stack"):
            layer = f"{name}.{rest.split('.')[0]}"
        for group, prefixes in named.items():
            if any(_within(rest, prefix) for prefix in prefixes):
                layer = f"{name}.{group}"
        layers.setdefault(layer, []).append(tensor)
    return layers


def _groups_of(name: str, module: _Module, groups: Groups) -> Mapping[str, tuple[str, ...]]:
    if name in groups:
        return groups[name]
    rests = [tensor[len(name) + 1 :] for tensor in module.tensors]
    known = [prefix for prefixes in _NATURE_CNN.values() for prefix in prefixes]
    is_nature_cnn = all(any(_within(rest, prefix) for prefix in known) for rest in rests)
    return _NATURE_CNN if is_nature_cnn else {}


def _feeding_extractors(
    name: str, rule: _Rule, modules: Mapping[str, _Module], same_module: Mapping[str, str]
) -> list[str]:
    """Returns the features extractor with layers that feeds a module: one name, or none."""
    if rule.kind == "extractor":
        return []
    top = name.split(".", maxsplit=1)[0]
    own = {"actor": "pi_features_extractor", "critic": "vf_features_extractor"}.get(rule.branch, "features_extractor")
    for extractor in (f"{top}.features_extractor", own, "features_extractor"):
        canonical = same_module.get(extractor, extractor)
        if canonical in modules:
            return [canonical]
    return []


def _branch(name: str, rule: _Rule, same_module: Mapping[str, str]) -> Branch:
    """Returns the branch of a module, taking into account which extractors are one object.

    PPO's ``features_extractor`` is the actor's alone where the critic has its own (``share_features_extractor=False``);
    SAC's actor extractor serves the critic too where it is shared (and is then trained by the actor's loss only).
    """
    others = {alias for alias, canonical in same_module.items() if canonical == name}
    if name == "features_extractor" and others == {"pi_features_extractor"}:
        return "actor"
    if name == "actor.features_extractor" and "critic.features_extractor" in others:
        return "shared"
    return rule.branch


def _twin(module: str, layer: str, same_module: Mapping[str, str]) -> str:
    online = module.replace("q_net_target", "q_net", 1).replace("critic_target", "critic", 1)
    return same_module.get(online, online) + layer[len(module) :]


def _within(layer: str, module: str) -> bool:
    return layer == module or layer.startswith(module + ".")


def _looks_like_buffer(name: str) -> bool:
    return name.rsplit(".", 1)[-1] in ("running_mean", "running_var", "num_batches_tracked")
