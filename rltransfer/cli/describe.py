"""Describes an encoder in words and as JSON data, for ``inspect`` and ``extract``."""

import math
from collections.abc import Mapping
from typing import Any

from rltransfer.anatomy import Layer
from rltransfer.artifact import Encoder
from rltransfer.artifact.architecture import policy_kwargs_text, policy_settings_of
from rltransfer.artifact.companion_files import StatisticsOrigin
from rltransfer.errors import IncompatibleError
from rltransfer.records import NetworkFacts
from rltransfer.sb3_zip import UNKNOWN_ACTIVATION
from rltransfer.setting_kinds import ACTIVATIONS
from rltransfer.spaces import describe, space_to_json


def encoder_facts(encoder: Encoder) -> dict[str, Any]:
    """Returns what an encoder holds as plain JSON data, without the weights."""
    anatomy = encoder.anatomy
    return {
        "algo": anatomy.algo,
        "activation": anatomy.activation,
        "activation_is_assumed": encoder.activation_is_assumed,
        "policy_class": encoder.policy_class,
        "extractor_class": encoder.extractor_class,
        "source": encoder.source.model_dump(mode="json"),
        "observation_space": None if encoder.observation_space is None else space_to_json(encoder.observation_space),
        "action_space": None if encoder.action_space is None else space_to_json(encoder.action_space),
        "normaliser": None if encoder.normaliser is None else encoder.normaliser.to_json(),
        "statistics": None if encoder.statistics is None else encoder.statistics.model_dump(mode="json"),
        "hyperparams": dict(encoder.hyperparams),
        "policy_kwargs": _policy_kwargs(encoder),
        "layers": [
            {
                "name": layer.name,
                "branch": layer.branch,
                "role": layer.role,
                "tensors": {name: list(anatomy.shapes[name]) for name in layer.tensors},
            }
            for layer in anatomy.layers
        ],
    }


def describe_encoder(encoder: Encoder) -> str:
    """Returns what an encoder holds in lines: a line for each layer, then the contract and the origin."""
    rows = [("layer", "branch", "role", "tensors")]
    rows += [(layer.name, layer.branch, layer.role, _tensors(encoder, layer)) for layer in encoder.anatomy.layers]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join([*lines, "", *_contract(encoder)])


def _tensors(encoder: Encoder, layer: Layer) -> str:
    shapes = encoder.anatomy.shapes
    if encoder.source.network is not None:
        # A block has up to a hundred.
        return f"{len(layer.tensors)} with {sum(math.prod(shapes[name]) for name in layer.tensors):,} values"
    return ", ".join(
        f"{name[len(layer.name) + 1 :] or 'value'} {'x'.join(map(str, shapes[name])) or 'scalar'}"
        for name in layer.tensors
    )


def _contract(encoder: Encoder) -> list[str]:
    source = encoder.source
    if source.network is not None:
        return _lines(_network_facts(source.network, len(encoder.anatomy.layers)))
    facts = {
        "algorithm": f"{encoder.algo}, activation {encoder.anatomy.activation}",
        "policy class": _policy_class(encoder),
        "built with": _built_with(encoder),
        "observations": "not told" if encoder.observation_space is None else describe(encoder.observation_space),
        "actions": "not told" if encoder.action_space is None else describe(encoder.action_space),
        "normalisation": _normalisation(encoder),
        "task": "not told" if source.task is None else source.task.label(),
        "trained": _training(encoder),
        "read from": f"{source.path} ({source.which})" if source.which else source.path,
    }
    return _lines(facts)


def _lines(facts: Mapping[str, str]) -> list[str]:
    width = max(map(len, facts)) + 1
    return [f"{(name + ':').ljust(width)} {text}" for name, text in facts.items()]


def _network_facts(network: NetworkFacts, n_blocks: int) -> dict[str, str]:
    cut = f"before {network.cut}, its last layer" if network.is_default_cut else f"behind {network.cut}"
    pooled = f", each map pooled to {network.pool}x{network.pool}" if network.pool else ""
    layers = list(dict.fromkeys(name.rpartition(".")[0] for name in network.left_out))
    left_out = f", behind the cut: {' to '.join(dict.fromkeys((layers[0], layers[-1])))}" if layers else ""
    assumed = " (of the library's default weights: the file does not tell)" if network.contract_is_assumed else ""
    return {
        "network": f"{network.library}'s {network.architecture}, {n_blocks} blocks",
        "weights": f"fine-tuned: {network.finetuned}" if network.finetuned else network.weights or "a file",
        "cut": f"{cut}: {network.features:,} features{pooled}",
        "left out": f"{len(network.left_out)} tensors of the file{left_out}" if network.left_out else "nothing",
        "images": network.contract.words() + (", no other size" if network.contract.is_fixed else "") + assumed,
        "licence": network.licence or "not told by the library",
        "read from": network.file if network.url is None else f"{network.file}, from {network.url}",
        "versions": ", ".join(f"{name} {version}" for name, version in network.versions.items()),
    }


def _policy_kwargs(encoder: Encoder) -> dict[str, Any] | None:
    try:
        return policy_settings_of(encoder)
    except IncompatibleError:
        return None


def _policy_class(encoder: Encoder) -> str:
    """Returns whose class the policy is, and what is unknown if it is not SB3's."""
    if encoder.activation_is_assumed:
        return "not recorded by rltransfer 0.1: if it is your own, the activation is SB3's guess (--activation ReLU)"
    if encoder.policy_class is None:
        return "not told"
    if not encoder.has_custom_policy:
        return encoder.policy_class
    if encoder.anatomy.activation == UNKNOWN_ACTIVATION:
        return f"{encoder.policy_class}, not SB3's: activation and structure unknown (state it: --activation ReLU)"
    return f"{encoder.policy_class}, not SB3's: activation as stated, structure taken to be SB3's"


def _built_with(encoder: Encoder) -> str:
    """Returns the flag that builds an agent of the source's architecture, ready to be typed, or why there is none."""
    try:
        flag = f'--hyperparams "{policy_kwargs_text(policy_settings_of(encoder))}"'
    except IncompatibleError as error:
        return str(error)
    activation = encoder.anatomy.activation
    if activation == UNKNOWN_ACTIVATION:
        return f"{flag} (activation_fn not told)"
    if activation not in ACTIVATIONS:
        return f"{flag} (without activation_fn, which no hyperparameter can name: {activation})"
    return flag


def _normalisation(encoder: Encoder) -> str:
    normaliser = encoder.normaliser
    origin = encoder.statistics or StatisticsOrigin()
    unused = f"; not taken, beside it: {', '.join(origin.unused)} (--normaliser FILE)" if origin.unused else ""
    unused += f"; unreadable, beside it (--normaliser FILE): {' '.join(origin.unreadable)}" if origin.unreadable else ""
    if normaliser is None:
        return "none: the source saw raw observations, or its statistics " + (
            f"were not recognised{unused}" if unused else "are elsewhere (--normaliser FILE)"
        )
    parts = [name for name, on in (("observations", normaliser.norm_obs), ("rewards", normaliser.norm_reward)) if on]
    told = "" if origin.file is None else f", from {origin.file}"
    told += " (it may be of another moment than the agent)" if origin.is_of_another_moment else ""
    return f"statistics of {' and '.join(parts) or 'nothing'}{told}{unused}"


def _training(encoder: Encoder) -> str:
    source = encoder.source
    words = [
        "env_steps not told" if source.env_steps is None else f"{source.env_steps:,} env_steps",
        "seed not told" if source.seed is None else f"seed {source.seed}",
    ]
    if source.mean_return is not None:
        words.append(f"mean return {source.mean_return:.1f} on fresh seeds")
    return ", ".join(words)
