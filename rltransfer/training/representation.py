"""Looks at what the layers of an agent represent while it trains: how far features and weights are from their start.

All of it is measured on one batch of states, drawn by a random policy before training, so that what changes is the
agent alone. Of a transfer the start is the source: its features on the target's states, its weights in their places.
"""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

from rltransfer.anatomy import agent_tensors, anatomy_of_agent, layer_outputs
from rltransfer.records import Representation, RepresentationPoint, write_representation
from rltransfer.tasks import UniformPolicy
from rltransfer.training.resume.rng_state import undisturbed
from rltransfer.transfer.methods.redo import dormant_units

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm

PROBE_STATES = 256
DORMANT = 0.025
"""The threshold of Sokar et al. 2023 below which a unit is called dormant."""


def linear_cka(features: Float[np.ndarray, "states units"], others: Float[np.ndarray, "states other_units"]) -> float:
    """Returns the linear centred kernel alignment of two sets of features of the same states, from 0 to 1.

    Kornblith et al., ICML 2019, equation 3 for linear kernels. It does not change with rotations and scale. NaN where
    features do not vary over the states.

    >>> a = np.array([[0.0, 1.0], [1.0, 0.0], [2.0, 5.0]])
    >>> round(linear_cka(a, 3 * a[:, ::-1]), 6)
    1.0
    """
    x = np.asarray(features, dtype=np.float64) - np.mean(features, axis=0)
    y = np.asarray(others, dtype=np.float64) - np.mean(others, axis=0)
    scale = np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y)
    return float(np.linalg.norm(y.T @ x) ** 2 / scale) if scale > 0 else float("nan")


def effective_rank(features: Float[np.ndarray, "states units"]) -> float:
    """Returns how many directions features spread over: the exponential of the entropy of their singular values.

    Roy & Vetterli, EUSIPCO 2007, equation 4, on features without their mean. 0 where they do not vary.

    >>> effective_rank(np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])).__round__(6)
    2.0
    """
    values = np.linalg.svd(np.asarray(features, dtype=np.float64) - np.mean(features, axis=0), compute_uv=False)
    total = values.sum()
    if total <= 0:
        return 0.0
    shares = values[values > 0] / total
    return float(np.exp(-np.sum(shares * np.log(shares))))


class Probe:
    """A fixed batch of states, and what an agent's layers gave on it when the probe was made.

    Make it when a plan is applied and nothing is trained yet.

    Args:
        agent: The agent, with its training environments.
        env: Environments of the same task, wrapped as the agent's; random actions are played in them.
        seed: From which the environments and the actions are seeded.
    """

    def __init__(self, agent: "BaseAlgorithm", env: VecEnv, *, seed: int) -> None:
        self._is_raw = isinstance(env, VecNormalize) and env.norm_obs
        with undisturbed():
            self._states = _random_states(env, seed)
            self._start = self._features(agent)
        self._weights = {name: tensor.detach().clone() for name, tensor in agent_tensors(agent).items()}
        self._is_of_features = False

    def learn_on_features(self, agent: "BaseAlgorithm", encode: Callable[[Any], np.ndarray]) -> None:
        """Goes on with features of the states: of an agent that sees them in place of observations.

        The layers in front of them are frozen, and stay where they were at the start.
        """
        self._states = encode(self._seen(agent))
        self._is_of_features, self._is_raw = True, False

    def measure(self, agent: "BaseAlgorithm") -> dict[str, RepresentationPoint]:
        """Returns where each hidden layer of an agent is now, by the layer's name."""
        with undisturbed():
            features = self._features(agent)
        anatomy, tensors = anatomy_of_agent(agent), agent_tensors(agent)
        points = {}
        if self._is_of_features:
            features = self._start | features
        for layer in anatomy.encoders():
            if layer.name not in features or layer.name not in self._start:
                continue
            now = features[layer.name]
            weights = [name for name in layer.tensors if name in anatomy.parameters]
            points[layer.name] = RepresentationPoint(
                cka=linear_cka(now.flat, self._start[layer.name].flat),
                effective_rank=effective_rank(now.flat),
                dormant=now.dormant,
                distance=_distance(weights, tensors, self._weights),
            )
        return points

    def _features(self, agent: "BaseAlgorithm") -> dict[str, "_Features"]:
        outputs = layer_outputs(agent, self._seen(agent))
        return {
            name: _Features(_per_state(output.values), float(dormant_units(output, DORMANT).float().mean()))
            for name, output in outputs.items()
        }

    def _seen(self, agent: "BaseAlgorithm") -> Any:
        normaliser = agent.get_vec_normalize_env() if self._is_raw else None
        return self._states if normaliser is None else normaliser.normalize_obs(self._states)


class RepresentationCurve:
    """What the layers of a run's agent represent at each evaluation, written into its folder.

    Args:
        folder: The run folder.
        probe: Made before training.
    """

    def __init__(self, folder: Path, probe: Probe) -> None:
        self._folder = folder
        self._probe = probe
        self._points: dict[int, dict[str, RepresentationPoint]] = {}

    def add(self, env_steps: int, agent: "BaseAlgorithm") -> dict[str, float]:
        """Measures the agent, in place of an earlier point of as many steps; returns TensorBoard's scalars."""
        points = self._probe.measure(agent)
        self._points[env_steps] = points
        self._write()
        return {
            f"representation/{measure}/{layer}": value
            for layer, point in points.items()
            for measure, value in dataclasses.asdict(point).items()
            if np.isfinite(value)
        }

    def state_dict(self) -> dict[int, dict[str, RepresentationPoint]]:
        """Returns the points so far."""
        return dict(self._points)

    def load_state_dict(self, state: dict[int, dict[str, RepresentationPoint]]) -> None:
        """Loads earlier points, and writes them."""
        self._points = dict(state)
        self._write()

    def _write(self) -> None:
        layers = tuple(next(iter(self._points.values()), {}))
        if not layers:
            return
        rows = [[dataclasses.asdict(point[layer]) for layer in layers] for point in self._points.values()]
        measures = {
            field.name: np.array([[layer_point[field.name] for layer_point in row] for row in rows])
            for field in dataclasses.fields(RepresentationPoint)
        }
        write_representation(self._folder, Representation(np.array(list(self._points)), layers, measures))


class _Features:
    """The features of one layer on the probe's states: [states, units], and the share of its dormant units."""

    def __init__(self, flat: np.ndarray, dormant: float) -> None:
        self.flat = flat
        self.dormant = dormant


def _per_state(values: torch.Tensor) -> np.ndarray:
    """Returns a vector for each state; of a convolution each channel's mean over places."""
    pooled = values.flatten(start_dim=2).mean(dim=2) if values.dim() > 2 else values
    flat: np.ndarray = pooled.cpu().numpy().astype(np.float64)
    return flat


def _distance(names: list[str], now: Mapping[str, torch.Tensor], then: Mapping[str, torch.Tensor]) -> float:
    """Returns how far weights are from their start, in units of their norm there."""
    moved = sum(float((now[name].detach() - then[name]).square().sum()) for name in names)
    norm = sum(float(then[name].square().sum()) for name in names)
    return float((moved / norm) ** 0.5) if norm > 0 else float("nan")


def _random_states(env: VecEnv, seed: int) -> Any:
    """Returns states that random actions lead to; raw under VecNormalize, whose statistics move.

    Behind stacked frames they are normalised by what the statistics were then: frames cannot be taken apart again.
    """
    uniform = UniformPolicy(env, seed)
    env.seed(seed)
    observation: Any = env.reset()
    states: list[Any] = []
    for _ in range(max(1, PROBE_STATES // env.num_envs)):
        states.append(env.get_original_obs() if isinstance(env, VecNormalize) else observation)
        observation, *_rest = env.step(uniform.predict()[0])
    if isinstance(states[0], dict):
        return {key: np.concatenate([state[key] for state in states]) for key in states[0]}
    return np.concatenate(states)
