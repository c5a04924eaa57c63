"""Refuses a source and a target that do not fit, and says what differs."""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

from gymnasium import spaces

from rltransfer.anatomy import LOG_ENT_COEF, Anatomy, Layer, is_same_network
from rltransfer.artifact import Encoder
from rltransfer.artifact.architecture import policy_kwargs_text, policy_settings_of
from rltransfer.errors import IncompatibleError
from rltransfer.records import InputMap
from rltransfer.spaces import describe
from rltransfer.transfer.layer_rules import LayerRules
from rltransfer.transfer.matching.network import refuse_wrong_network_inputs
from rltransfer.transfer.matching.pair import Pair, key_of
from rltransfer.transfer.matching.unread_inputs import refuse_unread_inputs


def refuse_misfit(pair: Pair, encoder: Encoder, rules: LayerRules, sources: Mapping[str, str]) -> None:
    """Raises IncompatibleError if what a rules moves does not fit: heads, spaces, normalisation, shapes.

    Args:
        pair: Source and target.
        encoder: The pair's source.
        rules: What should move.
        sources: The source's tensor for each of the target's that has one.
    """
    if rules.heads and encoder.source.is_residual:
        raise IncompatibleError(
            "The source's heads mean nothing alone: it was trained to be added to another agent ('residual'). Use "
            "'finetune' or 'frozen', which move the encoder alone and start with new heads."
        )
    if rules.heads and not is_same_network(encoder.anatomy.algo, pair.anatomy.algo):
        raise IncompatibleError(
            f"{_both(pair, encoder)}: their heads mean different things. Use 'finetune' or 'frozen', which move the "
            "encoder alone and start with new heads."
        )
    refuse_wrong_network_inputs(pair, encoder)
    _refuse_other_observations(pair, encoder)
    pair.refuse_wrong_actions()
    if rules.heads:
        _refuse_other_actions(pair, encoder.action_space)
    if is_normalised(encoder) and not pair.normalises_observations and not pair.is_adapted:
        raise IncompatibleError(
            "The source was trained on normalised observations (VecNormalize), and the agent has no VecNormalize that "
            "normalises observations: its encoder would see inputs of another scale. Wrap the target's environments "
            "in VecNormalize, on the command line with --hyperparams normalize:True."
        )
    maps = {} if pair.is_adapted or encoder.observation_space is None else pair.input_maps
    lost = [key for key, part in maps.items() if is_normalised_part(encoder, part) and key not in pair.normalised_keys]
    if lost:
        raise IncompatibleError(
            f"The source read {', '.join(map(repr, lost))} normalised (VecNormalize), and the agent's VecNormalize "
            "does not normalise it: its encoder would see inputs of another scale. Name the same keys for the target, "
            "on the command line with --hyperparams \"normalize:{'norm_obs_keys': [...]}\"."
        )
    if rules.origin in ("copied", "rescaled"):
        if not rules.heads:
            _refuse_empty_encoder(encoder)
        _refuse_other_shapes(pair, encoder, rules, sources)


def _refuse_other_observations(pair: Pair, encoder: Encoder) -> None:
    """Works the alignment out, which raises where it cannot; checks that an adapter gives what the source reads."""
    asked = pair.inputs.adapter if pair.inputs else None
    if asked is not None and not pair.is_adapted:
        raise IncompatibleError(
            "inputs ask for an adapter, and the agent has none: build it with policy_kwargs features_extractor_class "
            f"rltransfer.extractors.LinearAdapter and features_extractor_kwargs features_dim {asked}."
        )
    if not pair.is_adapted:
        _ = pair.input_maps
        refuse_unread_inputs(pair)
        _ = pair.features
        return
    adapter = next(layer for layer in pair.anatomy.layers if layer.role == "adapter")
    gives = pair.anatomy.shapes[f"{adapter.path}.adapter.weight"][0]
    reads = None if encoder.observation_space is None else spaces.flatdim(encoder.observation_space)
    if reads is not None and gives != reads:
        raise IncompatibleError(
            f"The adapter gives {gives} inputs, and the source reads {reads}: {describe(encoder.observation_space)}. "
            f"Give inputs with adapter {reads}."
        )


def _refuse_other_actions(pair: Pair, source: spaces.Space[Any] | None) -> None:
    target = pair.action_space
    if source is None or (type(source) is type(target) and _action_facts(source) == _action_facts(target)):
        return
    if pair.actions is not None and type(source) is type(target):
        return
    mapped = ", or say which action of the source each one of the target is with actions (--actions map:[0,1,None])"
    raise IncompatibleError(
        f"'full' moves the heads, and the action spaces do not fit: the source has {describe(source)}, "
        f"the target {describe(target)}. Use 'finetune' or 'frozen', which start with new heads"
        f"{mapped if type(source) is type(target) else ''}."
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
    """Returns whether a source was trained on normalised observations."""
    return encoder.normaliser is not None and encoder.normaliser.norm_obs


def is_normalised_part(encoder: Encoder, part: InputMap) -> bool:
    """Returns whether a source read what stands for a part of the target's observation normalised."""
    observation = encoder.normaliser.observation if encoder.normaliser is not None and is_normalised(encoder) else None
    if observation is None or part.source is None:
        return False
    return part.source in observation if isinstance(observation, dict) else True


def _both(pair: Pair, encoder: Encoder) -> str:
    target = "an agent" if encoder.algo is None else "one"
    return f"The source is {encoder.source.what}, the target {target} of {pair.anatomy.algo}"


def _refuse_empty_encoder(encoder: Encoder) -> None:
    if not encoder.anatomy.encoders():
        raise IncompatibleError(
            f"The source is a linear agent of {encoder.algo}: it has no feature layers, so its encoder is empty and "
            "there is nothing to move. Choose a source with hidden layers."
        )


def _refuse_other_shapes(pair: Pair, encoder: Encoder, rules: LayerRules, sources: Mapping[str, str]) -> None:
    problems = [*_activation_problems(pair, encoder, rules), *_shape_problems(pair, encoder, rules, sources)]
    if problems:
        shown = "\n  ".join(problems[:6]) + (f"\n  and {len(problems) - 6} more" if len(problems) > 6 else "")
        agents = f"{_both(pair, encoder)}. "
        raise IncompatibleError(
            f"{'' if encoder.algo == pair.anatomy.algo else agents}"
            f"The source's layers do not fit the target agent:\n  {shown}\n"
            f"Build the target agent with the source's architecture ({_how_to_build(pair, encoder)}) or choose the "
            "layers that fit (strategy setting layers)."
        )


def _how_to_build(pair: Pair, encoder: Encoder) -> str:
    if is_same_network(encoder.algo, pair.anatomy.algo):
        with contextlib.suppress(IncompatibleError):
            return policy_kwargs_text(policy_settings_of(encoder))
    return "policy_kwargs: net_arch, activation_fn, features_extractor_class"


def _activation_problems(pair: Pair, encoder: Encoder, rules: LayerRules) -> Iterator[str]:
    """Yields the hidden layers whose activation differs, where the algorithms do; else the plan has a note of it."""
    source_activation, target_activation = encoder.anatomy.activation, pair.anatomy.activation
    if (
        encoder.algo == pair.anatomy.algo
        or source_activation == target_activation
        or "unknown" in (source_activation, target_activation)
    ):
        return
    for layer in pair.anatomy.encoders():
        if layer.name in rules.chosen and pair.anatomy.rule_of(layer).kind in ("stack", "q_stack"):
            yield f"{layer.name}: activation {source_activation} in the source, {target_activation} in the target"


def _shape_problems(pair: Pair, encoder: Encoder, rules: LayerRules, sources: Mapping[str, str]) -> Iterator[str]:
    source_layers = encoder.anatomy.layer_of()
    moved = [layer for layer in pair.anatomy.online if layer.name in rules.chosen]
    moved += [layer for layer in pair.anatomy.online if layer.role == "head" and rules.moves_head(layer)]
    for layer in moved:
        for tensor in layer.tensors:
            shape = pair.anatomy.shapes[tensor]
            source = sources.get(tensor)
            if tensor == LOG_ENT_COEF and source is None:
                continue
            if source is None:
                yield f"{tensor}: the source has no such tensor, the target has {list(shape)}"
            elif layer.role != "column" and source_layers[source].role != layer.role:
                yield f"{tensor}: {source_layers[source].role} in the source, {layer.role} in the target"
            elif _reads_other_things(pair, encoder, layer, source_layers[source]):
                yield f"{tensor}: reads what the source's {source} does not (an LSTM stands before one of them)"
            elif not _arrives(pair, layer, tensor, source):
                name = "" if source == tensor else f" {source}"
                yield f"{tensor}: source{name} {list(encoder.anatomy.shapes[source])}, target {list(shape)}"
    yield from _left_over(pair, encoder, rules, sources)


def _reads_other_things(pair: Pair, encoder: Encoder, layer: Layer, source: Layer) -> bool:
    if layer.role != "encoder" or pair.anatomy.rule_of(layer).kind == "extractor":
        return False
    return pair.anatomy.reads_features(layer) != encoder.anatomy.reads_features(source)


def _arrives(pair: Pair, layer: Layer, tensor: str, source: str) -> bool:
    """Returns whether a source's tensor fits, as it is or by the maps of inputs and actions."""
    assert pair.encoder is not None
    target_shape, source_shape = list(pair.anatomy.shapes[tensor]), list(pair.encoder.anatomy.shapes[source])
    side = min(1, len(target_shape) - 1)
    if pair.columns(layer, tensor, source) or pair.channels(layer, tensor, source):
        target_shape[side] = source_shape[side] = 0
    if pair.rows(layer, tensor, source):
        side = len(target_shape) - 1 if pair.anatomy.is_log_std(tensor) else 0
        target_shape[side] = source_shape[side] = 0
    return target_shape == source_shape


def _left_over(pair: Pair, encoder: Encoder, rules: LayerRules, sources: Mapping[str, str]) -> Iterator[str]:
    """Yields the encoder tensors that only the source has, on paths of which all layers should move."""
    encoders = pair.anatomy.encoders()
    partial = {layer.path for layer in encoders if layer.name not in rules.chosen and not pair.is_new(layer)}
    whole = {layer.path for layer in encoders} - partial
    used = set(sources.values())
    source_layers = encoder.anatomy.layer_of()
    matched_paths = {
        source_layers[source].path for tensor, source in sources.items() if _path_of(pair.anatomy, tensor) in whole
    }
    if encoder.algo == pair.anatomy.algo:
        matched_paths |= whole
    for tensor, layer in source_layers.items():
        if (
            layer.role == "encoder"
            and layer.path in matched_paths
            and tensor not in used
            and not is_of_unused_key(pair, layer)
        ):
            yield f"{tensor}: the source has {list(encoder.anatomy.shapes[tensor])}, the target has no such tensor"


def _path_of(anatomy: Anatomy, tensor: str) -> str:
    return anatomy.layer_of()[tensor].path


def is_of_unused_key(pair: Pair, layer: Layer) -> bool:
    """Returns whether a layer of the source reads a key that no key of the target stands for."""
    key = key_of(layer)
    return bool(key) and key not in {part.source for part in pair.input_maps.values()}
