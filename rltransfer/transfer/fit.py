"""Refuses a source and a target that do not fit, and says what differs."""

import dataclasses
from collections.abc import Iterator
from typing import Any

from gymnasium import spaces

from rltransfer.anatomy import LOG_ENT_COEF, Anatomy, Layer
from rltransfer.artifact import Encoder
from rltransfer.errors import IncompatibleError
from rltransfer.spaces import describe
from rltransfer.transfer.treatment import Treatment


@dataclasses.dataclass(frozen=True)
class Pair:
    """A source and a target agent, as far as a decision needs them."""

    encoder: Encoder | None
    anatomy: Anatomy
    observation_space: spaces.Space[Any]
    action_space: spaces.Space[Any]
    normalises_observations: bool
    normalises_rewards: bool

    @property
    def action_sizes(self) -> tuple[int, int] | None:
        """The lengths of the source's and the target's action vectors, if both are known Boxes that differ."""
        source = self.encoder.action_space if self.encoder else None
        if not isinstance(source, spaces.Box) or not isinstance(self.action_space, spaces.Box):
            return None
        sizes = (spaces.flatdim(source), spaces.flatdim(self.action_space))
        return sizes if sizes[0] != sizes[1] else None


def refuse_misfit(pair: Pair, encoder: Encoder, treatment: Treatment) -> None:
    """Raises IncompatibleError if what a treatment moves does not fit: algorithm, spaces, normalisation, shapes."""
    if encoder.algo != pair.anatomy.algo:
        raise IncompatibleError(
            f"The source is an agent of {encoder.algo}, the target one of {pair.anatomy.algo}. "
            f"Weights move between agents of one algorithm: use --algo {encoder.algo}."
        )
    _refuse_other_observations(encoder.observation_space, pair.observation_space)
    if treatment.heads:
        _refuse_other_actions(encoder.action_space, pair.action_space)
    if is_normalised(encoder) and not pair.normalises_observations:
        raise IncompatibleError(
            "The source was trained on normalised observations (VecNormalize), and the agent has no VecNormalize that "
            "normalises observations: its encoder would see inputs of another scale. Wrap the target's environments "
            "in VecNormalize, on the command line with --hyperparams normalize:True."
        )
    if treatment.origin in ("copied", "rescaled"):
        _refuse_other_shapes(pair, encoder, treatment)


def _refuse_other_observations(source: spaces.Space[Any] | None, target: spaces.Space[Any]) -> None:
    if source is None:
        return
    alike = type(source) is type(target) and source.shape == target.shape and source.dtype == target.dtype
    if isinstance(source, spaces.Dict) or isinstance(target, spaces.Dict):
        alike = source == target
    if not alike:
        raise IncompatibleError(
            f"The observation spaces do not fit: the source was trained on {describe(source)}, "
            f"the target has {describe(target)}. Choose a target task with the source's observations."
        )


def _refuse_other_actions(source: spaces.Space[Any] | None, target: spaces.Space[Any]) -> None:
    if source is None or (type(source) is type(target) and _action_facts(source) == _action_facts(target)):
        return
    raise IncompatibleError(
        f"'full' moves the heads, and the action spaces do not fit: the source has {describe(source)}, "
        f"the target {describe(target)}. Use 'finetune' or 'frozen', which start with new heads."
    )


def _action_facts(space: spaces.Space[Any]) -> Any:
    return str(space) if not isinstance(space, spaces.Box) else space.shape


def refuse_without_statistics(encoder: Encoder | None) -> None:
    """Raises IncompatibleError if a source has no observation statistics to move."""
    if encoder is None or not is_normalised(encoder):
        raise IncompatibleError(
            "'normaliser_only' moves observation statistics, and the source has none: it was not trained under "
            "VecNormalize, or its statistics file does not lie beside the zip."
        )


def is_normalised(encoder: Encoder) -> bool:
    """Says whether a source was trained on normalised observations."""
    return encoder.normaliser is not None and encoder.normaliser.norm_obs


def _refuse_other_shapes(pair: Pair, encoder: Encoder, treatment: Treatment) -> None:
    problems = list(_shape_problems(pair, encoder, treatment))
    if problems:
        shown = "\n  ".join(problems[:6]) + (f"\n  and {len(problems) - 6} more" if len(problems) > 6 else "")
        raise IncompatibleError(
            f"The source's layers do not fit the target agent:\n  {shown}\n"
            "Build the target agent with the source's architecture (policy_kwargs: net_arch, features_extractor_class) "
            "or choose the layers that fit (strategy setting layers)."
        )


def _shape_problems(pair: Pair, encoder: Encoder, treatment: Treatment) -> Iterator[str]:
    source_layers = encoder.anatomy.layer_of()
    moved = [layer for layer in pair.anatomy.online if layer.name in treatment.chosen]
    moved += [layer for layer in pair.anatomy.online if layer.role == "head" and treatment.heads]
    for layer in moved:
        for tensor in layer.tensors:
            shape = pair.anatomy.shapes[tensor]
            if tensor == LOG_ENT_COEF and tensor not in encoder.anatomy.shapes:
                continue
            if tensor not in encoder.anatomy.shapes:
                yield f"{tensor}: the source has no such tensor, the target has {list(shape)}"
            elif source_layers[tensor].role != layer.role:
                yield f"{tensor}: {source_layers[tensor].role} in the source, {layer.role} in the target"
            elif encoder.anatomy.shapes[tensor] != shape and copied_columns(pair, layer, tensor) is None:
                yield f"{tensor}: source {list(encoder.anatomy.shapes[tensor])}, target {list(shape)}"
    yield from _left_over(pair, encoder, treatment)


def _left_over(pair: Pair, encoder: Encoder, treatment: Treatment) -> Iterator[str]:
    """Yields the encoder tensors that only the source has, on paths of which all layers should move."""
    encoders = [layer for layer in pair.anatomy.online if layer.role == "encoder"]
    partial = {layer.path for layer in encoders if layer.name not in treatment.chosen}
    whole = {layer.path for layer in encoders} - partial
    for tensor, layer in encoder.anatomy.layer_of().items():
        if layer.role == "encoder" and layer.path in whole and tensor not in pair.anatomy.shapes:
            yield f"{tensor}: the source has {list(encoder.anatomy.shapes[tensor])}, the target has no such tensor"


def copied_columns(pair: Pair, layer: Layer, tensor: str) -> int | None:
    """Returns how many leading columns of a first layer of Q(s, a) read the observation, where the actions differ.

    SB3 concatenates features and action in this order (FACTS A13); None where the tensor is no such layer.
    """
    sizes = pair.action_sizes
    if sizes is None or pair.encoder is None or not layer.path.startswith("critic.qf"):
        return None
    source, target = pair.encoder.anatomy.shapes.get(tensor, ()), pair.anatomy.shapes[tensor]
    fits = len(source) == len(target) == 2 and source[0] == target[0] and source[1] - sizes[0] == target[1] - sizes[1]
    return target[1] - sizes[1] if fits and source != target else None
