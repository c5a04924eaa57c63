"""Works out, from its tensors alone, with which ``policy_kwargs`` an agent like a source is built."""

import re
from collections.abc import Mapping
from typing import Any

from gymnasium import spaces

from rltransfer.algorithms import Heads
from rltransfer.anatomy import Anatomy
from rltransfer.artifact.encoder import Encoder
from rltransfer.errors import IncompatibleError
from rltransfer.hyperparams import Hyperparameters
from rltransfer.hyperparams.build import build_agent_kwargs
from rltransfer.setting_kinds import ACTIVATIONS

_LSTM = re.compile(r"lstm_actor\.weight_ih_l\d+")
_SMALL_CNN = {"features_extractor_class": "rltransfer.extractors.SmallCNN"}
_ADAPTER = {"features_extractor_class": "rltransfer.extractors.LinearAdapter"}


def policy_kwargs_of(encoder: Encoder) -> dict[str, Any]:
    """Returns the ``policy_kwargs``, as SB3 takes them, of an agent with the source's tensors.

    Three things are no part of them: SB3's own argument ``use_sde``; a features extractor that is neither SB3's nor
    ours, whose class no tensor tells; and ``activation_fn`` where it is not told (``encoder.anatomy.activation`` is
    ``unknown``) or is a class that hyperparameters cannot name, such as one of your own: pass that one yourself, or SB3
    takes its default.

    Raises:
        IncompatibleError: No agent has the source's architecture.
    """
    arguments = build_agent_kwargs(
        Hyperparameters(policy="MlpPolicy", agent={"policy_kwargs": policy_settings_of(encoder)})
    )
    kwargs: dict[str, Any] = arguments["policy_kwargs"]
    return kwargs


def policy_settings_of(encoder: Encoder) -> dict[str, Any]:
    """Returns the ``policy_kwargs``, as hyperparameter files write them, of an agent with the source's tensors.

    An agent of the same algorithm on the same spaces that is built with them has tensors of the same names and shapes.
    What is no part of them is said at ``policy_kwargs_of``.

    Raises:
        IncompatibleError: The agent shares hidden layers of actor and critic, which SB3 can no longer build; or it has
            progressive columns.
    """
    anatomy = encoder.anatomy
    if any(layer.path == "mlp_extractor.shared_net" for layer in anatomy.layers):
        raise IncompatibleError(
            "The source's actor and critic share hidden layers (net_arch of SB3 before 1.8), which SB3 builds no more: "
            "no agent has its architecture."
        )
    if any(layer.role == "column" for layer in anatomy.layers):
        raise IncompatibleError("The source has progressive columns, which are built from its own sources.")
    spec = encoder.anatomy.spec
    sizes = {branch: _sizes(anatomy, path) for branch, path in spec.branches}
    first, *others = sizes.values()
    settings: dict[str, Any] = {"net_arch": first if all(other == first for other in others) else sizes}
    if anatomy.activation in ACTIVATIONS:
        settings["activation_fn"] = f"nn.{anatomy.activation}"
    if spec.is_gradient_free:
        return settings | {"with_bias": any(name.endswith(".bias") for name in anatomy.shapes)} if first else {}
    return settings | _extractor(encoder) | _heads(encoder) | _lstm(anatomy)


def image_settings(encoder: Encoder) -> tuple[bool | None, float | None]:
    """Returns whether SB3 divides a source's images by 255, and by what SmallCNN does; None where it is not known."""
    stated = encoder.hyperparams.get("policy_kwargs")
    stated = stated if isinstance(stated, Mapping) else {}
    normalises = stated.get("normalize_images")
    if not isinstance(normalises, bool):
        normalises = None
    if not _is_small_cnn(encoder.anatomy):
        return normalises, None
    extractor = stated.get("features_extractor_kwargs")
    scale = float(extractor["scale"]) if isinstance(extractor, Mapping) and "scale" in extractor else None
    # Symbols are no colours: agents with this extractor leave them as they are, unless they say otherwise.
    return False if normalises is None else normalises, scale


def _is_small_cnn(anatomy: Anatomy) -> bool:
    """Returns whether a features extractor is our SmallCNN, by the names of its modules."""
    return any(name.endswith("features_extractor.convolutions.0.weight") for name in anatomy.shapes)


def policy_kwargs_text(policy_kwargs: Mapping[str, Any]) -> str:
    """Returns ``policy_kwargs`` as the word that ``--hyperparams`` takes.

    >>> policy_kwargs_text({"net_arch": {"pi": [64], "vf": [32]}, "activation_fn": "nn.Tanh"})
    "policy_kwargs:dict(net_arch={'pi': [64], 'vf': [32]}, activation_fn='nn.Tanh')"
    """
    return f"policy_kwargs:dict({', '.join(f'{name}={value!r}' for name, value in policy_kwargs.items())})"


def _sizes(anatomy: Anatomy, path: str) -> list[int]:
    """Returns the width of each hidden layer on a path.

    Raises:
        IncompatibleError: One is no layer of SB3's, which has one matrix each.
    """
    layers = [layer for layer in anatomy.encoders() if layer.path == path]
    matrices = [[shape for name in layer.tensors if len(shape := anatomy.shapes[name]) > 1] for layer in layers]
    if any(len(shapes) != 1 or len(shapes[0]) != 2 for shapes in matrices):
        raise IncompatibleError(f"The layers of {path} are not those of a policy of SB3: no policy_kwargs build them.")
    return [shapes[0][0] for shapes in matrices]


def _extractor(encoder: Encoder) -> dict[str, Any]:
    anatomy = encoder.anatomy
    layers = [layer for layer in anatomy.online if anatomy.rule_of(layer).kind == "extractor"]
    if not layers:
        return {}
    paths = list(dict.fromkeys(layer.path for layer in layers))
    settings: dict[str, Any] = {}
    if "share_features_extractor" in anatomy.spec.policy_settings:
        settings["share_features_extractor"] = len(paths) == 1
    rests = {
        tensor[len(paths[0]) + 1 :]: anatomy.shapes[tensor]
        for layer in layers
        if layer.path == paths[0]
        for tensor in layer.tensors
    }
    if "adapter.weight" in rests:
        return settings | _ADAPTER | {"features_extractor_kwargs": {"features_dim": rests["adapter.weight"][0]}}
    if "convolutions.0.weight" in rests and "linear.0.weight" in rests:
        return settings | _SMALL_CNN | {"features_extractor_kwargs": {"features_dim": rests["linear.0.weight"][0]}}
    if "cnn.0.weight" in rests and "linear.0.weight" in rests:
        return settings | {"features_extractor_kwargs": {"features_dim": rests["linear.0.weight"][0]}}
    of_keys = {shape[0] for rest, shape in rests.items() if re.fullmatch(r"extractors\..+\.linear\.0\.weight", rest)}
    if len(of_keys) == 1:
        return settings | {"features_extractor_kwargs": {"cnn_output_dim": of_keys.pop()}}
    return settings


def _heads(encoder: Encoder) -> dict[str, Any]:
    anatomy, space = encoder.anatomy, encoder.action_space
    shapes = {layer.path: anatomy.shapes[layer.tensors[0]] for layer in anatomy.online if layer.role == "head"}
    rows = {path: shape[0] for path, shape in shapes.items() if shape}
    n_actions = int(space.n) if isinstance(space, spaces.Discrete) else None
    return anatomy.spec.head_settings(Heads(anatomy.shapes, rows, n_actions))


def _lstm(anatomy: Anatomy) -> dict[str, Any]:
    layers = [name for name in anatomy.shapes if _LSTM.fullmatch(name)]
    if not layers:
        return {}
    paths = {layer.path for layer in anatomy.online}
    return {
        "lstm_hidden_size": anatomy.shapes["lstm_actor.weight_hh_l0"][1],
        "n_lstm_layers": len(layers),
        "enable_critic_lstm": "lstm_critic" in paths,
        "shared_lstm": not paths & {"lstm_critic", "critic"},
    }
