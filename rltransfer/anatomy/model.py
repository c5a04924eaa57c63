"""The ordered layers of an agent as data, and how a strategy's choice of layers is read."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rltransfer.algorithms import AlgorithmSpec, Branch, ModuleKind, Role, Rule, spec_of
from rltransfer.anatomy.rules import place
from rltransfer.errors import IncompatibleError, UnknownLayerError, did_you_mean


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
    """The ordered layers of one agent, or of a pretrained network that is no agent, with the shape of each tensor.

    ``algo`` is the agent's algorithm, None of a network: all of its layers are those of a features extractor.
    ``parameters`` are the tensors that an optimizer may change, the others are buffers. ``aliases`` maps each further
    name of a tensor to the name that is used here.
    """

    algo: str | None
    activation: str
    layers: tuple[Layer, ...]
    shapes: Mapping[str, tuple[int, ...]]
    parameters: frozenset[str]
    aliases: Mapping[str, str]

    @property
    def spec(self) -> AlgorithmSpec:
        """The row of the agent's algorithm.

        Raises:
            IncompatibleError: It is a pretrained network, which is no agent.
        """
        if self.algo is None:
            raise IncompatibleError(
                "The source is a pretrained network, which gives features and no actions: this needs an agent as its "
                "source. Strategies that move features alone are finetune, frozen and what composes with them."
            )
        return spec_of(self.algo)

    @property
    def online(self) -> tuple[Layer, ...]:
        """The layers without target networks."""
        return tuple(layer for layer in self.layers if layer.branch != "target")

    def rule_of(self, layer: Layer) -> Rule:
        """Returns the rule that places a layer."""
        return place(self.algo, layer.tensors[0])[0]

    def reads_actions(self, tensor: str) -> bool:
        """Returns whether a tensor belongs to a network of Q(s, a), which reads the action behind the features."""
        return place(self.algo, tensor)[0].reads_actions

    def is_log_std(self, tensor: str) -> bool:
        """Returns whether a tensor is a deviation of actions by itself and no layer: with gSDE, [features, actions]."""
        rule, module = place(self.algo, tensor)
        return rule.gives == "log_std" and tensor == module

    def encoders(self) -> tuple[Layer, ...]:
        """Returns the online encoder layers."""
        return tuple(layer for layer in self.online if layer.role == "encoder")

    def reads_features(self, layer: Layer) -> bool:
        """Returns whether a layer reads what the features extractor gives: the observation, where that is empty."""
        kind = self.rule_of(layer).kind
        if kind == "extractor" or next(other for other in self.layers if other.path == layer.path) != layer:
            return False
        if kind == "recurrent":
            return True
        before = [
            other
            for other in self.online
            if other.path != layer.path and self.rule_of(other).kind in ("recurrent", "stack")
        ]
        if kind == "head":
            # log_std and log_ent_coef are numbers of their own; other heads follow the layers of their branch.
            has_matrix = any(len(self.shapes[tensor]) == 2 for tensor in layer.tensors)
            return has_matrix and not any(other.branch in (layer.branch, "shared") for other in before)
        return not any(self.rule_of(other).kind == "recurrent" or _is_shared_net(other) for other in before)

    def before(self, layer: Layer) -> tuple[Layer, ...]:
        """Returns the online layers that a layer's input has gone through; of a Dict extractor, those of its key."""
        stage = _stage(self.rule_of(layer).kind, layer)
        key = layer.name[: layer.name.rfind(".")]
        layers = []
        for other in self.online:
            if other.path == layer.path:
                is_before = other.depth < layer.depth and (stage or within(other.name, key))
            else:
                is_before = other.branch in (layer.branch, "shared") and _stage(self.rule_of(other).kind, other) < stage
            if is_before:
                layers.append(other)
        return tuple(layers)

    def layer_of(self) -> dict[str, Layer]:
        """Returns the layer of each tensor."""
        return {tensor: layer for layer in self.layers for tensor in layer.tensors}


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
    return {layer.name for layer in layers for name in choice if within(layer.name, name)}


def refuse_unknown_layers(anatomy: Anatomy, names: Sequence[str]) -> None:
    """Raises IncompatibleError if one of ``names`` is neither an online encoder layer nor a module that holds one."""
    layers = [layer.name for layer in anatomy.online if layer.role == "encoder"]
    for name in names:
        if not any(within(layer, name) for layer in layers):
            raise UnknownLayerError(
                f"This agent has no encoder layer {name!r}.{did_you_mean(name, layers)} Known: {', '.join(layers)}."
            )


def depth_of(layers: Sequence[Layer]) -> int:
    """Returns how many encoder layers follow each other; networks side by side (actor and critic) count once."""
    return max((layer.depth + 1 for layer in layers), default=0)


def describe_layers(layers: Sequence[Layer]) -> str:
    """Returns in words how many layers follow each other, and which they are."""
    names = [
        f"{depth + 1}: {' and '.join(layer.name for layer in layers if layer.depth == depth)}"
        for depth in range(depth_of(layers))
        if any(layer.depth == depth for layer in layers)
    ]
    if not names:
        return "no encoder layers"
    count = depth_of(layers)
    return f"{count} layer{'' if count == 1 else 's'} ({'; '.join(names)})"


def _stage(kind: ModuleKind, layer: Layer) -> int:
    """Returns the place of a layer's module on the way from the observations to the heads."""
    if kind in ("extractor", "recurrent"):
        return ("extractor", "recurrent").index(kind)
    if _is_shared_net(layer):
        return 2
    return 4 if kind == "head" else 3


def _is_shared_net(layer: Layer) -> bool:
    return layer.path == "mlp_extractor.shared_net"


def within(layer: str, module: str) -> bool:
    """Returns whether a dotted name is a module's or lies inside it."""
    return layer == module or layer.startswith(module + ".")
