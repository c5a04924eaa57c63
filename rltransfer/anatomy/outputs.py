"""What the layers of a live agent give on observations, and which weights read it."""

import dataclasses
from typing import TYPE_CHECKING, Any

import torch

from rltransfer.anatomy.build import anatomy_of_agent
from rltransfer.anatomy.model import Anatomy, Layer

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm


@dataclasses.dataclass(frozen=True)
class Output:
    """What one layer gives: ``values`` [batch, units, ...] behind its ``activation`` (None: nothing follows it)."""

    values: torch.Tensor
    activation: torch.nn.Module | None


@dataclasses.dataclass(frozen=True)
class Reader:
    """A weight whose columns read the units of a layer, ``per_unit`` columns for each, from the first one on."""

    tensor: str
    per_unit: int


def layer_outputs(agent: "BaseAlgorithm", observations: Any, *, policy: Any = None) -> dict[str, Output]:
    """Returns what each online encoder layer gives, by the layer's name; layers that were not reached are left out.

    Running statistics do not move, nothing needs a gradient, and the agent is as it was.

    Args:
        agent: The agent.
        observations: [batch, ...] as its policy sees them, by key where they have keys.
        policy: A copy of its policy to look at instead.
    """
    policy = agent.policy if policy is None else policy
    outputs: dict[str, Output] = {}
    hooks = [
        module.register_forward_hook(_keeping(outputs, layer, activation))
        for layer, module, activation in _watched(policy, anatomy_of_agent(agent))
    ]
    was_training = policy.training
    policy.set_training_mode(False)
    try:
        with torch.no_grad():
            forward_on(policy, observations)
    finally:
        policy.set_training_mode(was_training)
        for hook in hooks:
            hook.remove()
    return outputs


def readers(anatomy: Anatomy, layer: Layer) -> list[Reader]:
    """Returns the weights that read a layer's units; none where that does not follow from names and shapes."""
    matrix = _matrix(anatomy, layer)
    if matrix is None:
        return []
    units = anatomy.shapes[matrix][0]
    weights = []
    for other in _following(anatomy, layer):
        tensor = _matrix(anatomy, other)
        if tensor is None:
            continue
        width = anatomy.shapes[tensor][1]
        is_q = anatomy.reads_actions(tensor) and anatomy.reads_features(other)
        if width == units or (is_q and width > units and layer.path != other.path):
            # Q(s, a) reads the actions behind the features.
            weights.append(Reader(tensor, 1))
        elif len(anatomy.shapes[matrix]) == 4 and width % units == 0:
            weights.append(Reader(tensor, width // units))
        else:
            return []
    return weights


def _following(anatomy: Anatomy, layer: Layer) -> list[Layer]:
    same_path = [other for other in anatomy.online if other.path == layer.path]
    place = same_path.index(layer)
    if place + 1 < len(same_path):
        return [same_path[place + 1]]
    is_extractor = anatomy.rule_of(layer).kind == "extractor"
    firsts = [other for other in anatomy.online if other.path != layer.path and _is_first(anatomy, other)]
    branches = ("actor", "critic", "shared") if layer.branch == "shared" else (layer.branch,)
    return [
        other
        for other in firsts
        if other.branch in branches
        and (anatomy.reads_features(other) if is_extractor else other.role == "head" or layer.branch == "shared")
    ]


def _is_first(anatomy: Anatomy, layer: Layer) -> bool:
    return anatomy.rule_of(layer).kind != "extractor" and (
        next(other for other in anatomy.online if other.path == layer.path) == layer
    )


def _matrix(anatomy: Anatomy, layer: Layer) -> str | None:
    """Returns the one tensor of a layer that is a matrix or a kernel; None where there is none or are several."""
    tensors = [tensor for tensor in layer.tensors if len(anatomy.shapes[tensor]) in (2, 4)]
    return tensors[0] if len(tensors) == 1 and not anatomy.is_log_std(tensors[0]) else None


def _watched(policy: Any, anatomy: Anatomy) -> list[tuple[str, torch.nn.Module, torch.nn.Module | None]]:
    """Returns each encoder layer with the module whose output is its own: the activation behind it, or itself."""
    layers = {tensor: layer.name for layer in anatomy.encoders() for tensor in layer.tensors}
    watched: list[tuple[str, torch.nn.Module, torch.nn.Module | None]] = []
    for name, module in policy.named_modules():
        layer = layers.get(f"{name}.weight")
        if layer is not None and isinstance(module, torch.nn.Linear | torch.nn.Conv2d):
            watched.append((layer, module, None))
        elif watched and watched[-1][2] is None and type(module).__module__ == "torch.nn.modules.activation":
            watched[-1] = (watched[-1][0], module, module)
    return watched


def _keeping(outputs: dict[str, Output], layer: str, activation: torch.nn.Module | None) -> Any:
    def hook(_: torch.nn.Module, __: Any, output: torch.Tensor) -> None:
        outputs.setdefault(layer, Output(output.detach(), activation))

    return hook


def forward_on(policy: Any, seen: Any, actions: Any = None) -> None:
    """Lets all online networks of a policy see observations, so that hooks on them are called.

    Args:
        policy: The policy.
        seen: [batch, ...] observations, by key where they have keys.
        actions: [batch, ...] that a critic of Q(s, a) reads, in an environment's units; None for the policy's own.
    """
    observations, _ = policy.obs_to_tensor(seen)
    if hasattr(policy, "lstm_actor"):
        policy.predict(seen, deterministic=True)
        if not policy.share_features_extractor:
            policy.extract_features(observations)
    elif hasattr(policy, "predict_values"):
        policy(observations)
    else:
        chosen = policy._predict(observations, deterministic=True)
        if actions is not None and hasattr(policy, "critic"):
            scaled = policy.scale_action(actions).reshape(len(actions), -1)
            chosen = torch.as_tensor(scaled, dtype=chosen.dtype, device=chosen.device)
        if hasattr(policy, "critic"):
            policy.critic(observations, chosen)
