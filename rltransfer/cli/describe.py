"""Describes an encoder in words and as JSON data, for ``inspect`` and ``extract``."""

from typing import Any

from rltransfer.artifact import Encoder, policy_kwargs_of
from rltransfer.artifact.architecture import policy_kwargs_text
from rltransfer.errors import IncompatibleError
from rltransfer.spaces import describe, space_to_json


def encoder_facts(encoder: Encoder) -> dict[str, Any]:
    """Returns what an encoder holds as plain JSON data, without the weights."""
    anatomy = encoder.anatomy
    return {
        "algo": anatomy.algo,
        "activation": anatomy.activation,
        "source": encoder.source.model_dump(mode="json"),
        "observation_space": None if encoder.observation_space is None else space_to_json(encoder.observation_space),
        "action_space": None if encoder.action_space is None else space_to_json(encoder.action_space),
        "normaliser": None if encoder.normaliser is None else encoder.normaliser.to_json(),
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
    anatomy = encoder.anatomy
    rows = [("layer", "branch", "role", "tensors")]
    for layer in anatomy.layers:
        shapes = ", ".join(
            f"{name[len(layer.name) + 1 :] or 'value'} {'x'.join(map(str, anatomy.shapes[name])) or 'scalar'}"
            for name in layer.tensors
        )
        rows.append((layer.name, layer.branch, layer.role, shapes))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join([*lines, "", *_contract(encoder)])


def _contract(encoder: Encoder) -> list[str]:
    source = encoder.source
    facts = {
        "algorithm": f"{encoder.algo}, activation {encoder.anatomy.activation}",
        "built with": _built_with(encoder),
        "observations": "not told" if encoder.observation_space is None else describe(encoder.observation_space),
        "actions": "not told" if encoder.action_space is None else describe(encoder.action_space),
        "normalisation": _normalisation(encoder),
        "task": "not told" if source.task is None else source.task.label(),
        "trained": _training(encoder),
        "read from": f"{source.path} ({source.which})" if source.which else source.path,
    }
    width = max(map(len, facts)) + 1
    return [f"{(name + ':').ljust(width)} {text}" for name, text in facts.items()]


def _policy_kwargs(encoder: Encoder) -> dict[str, Any] | None:
    try:
        return policy_kwargs_of(encoder)
    except IncompatibleError:
        return None


def _built_with(encoder: Encoder) -> str:
    """Returns the flag that builds an agent of the source's architecture, ready to be typed, or why there is none."""
    try:
        return f'--hyperparams "{policy_kwargs_text(policy_kwargs_of(encoder))}"'
    except IncompatibleError as error:
        return str(error)


def _normalisation(encoder: Encoder) -> str:
    normaliser = encoder.normaliser
    if normaliser is None:
        return "none: the source saw raw observations, or no statistics lie beside it"
    parts = [name for name, on in (("observations", normaliser.norm_obs), ("rewards", normaliser.norm_reward)) if on]
    return f"statistics of {' and '.join(parts) or 'nothing'}"


def _training(encoder: Encoder) -> str:
    source = encoder.source
    words = [
        "env_steps not told" if source.env_steps is None else f"{source.env_steps:,} env_steps",
        "seed not told" if source.seed is None else f"seed {source.seed}",
    ]
    if source.mean_return is not None:
        words.append(f"mean return {source.mean_return:.1f} on fresh seeds")
    return ", ".join(words)
