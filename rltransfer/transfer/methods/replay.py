"""A share of each minibatch comes from the source's replay buffer (as in RLPD; Ball et al. 2023)."""

import dataclasses
import importlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from gymnasium import spaces
from jaxtyping import Float, Int
from stable_baselines3.common.buffers import DictReplayBuffer, NStepReplayBuffer, ReplayBuffer
from stable_baselines3.common.type_aliases import DictReplayBufferSamples, ReplayBufferSamples
from stable_baselines3.common.vec_env import VecNormalize
from stable_baselines3.her.her_replay_buffer import HerReplayBuffer

from rltransfer.algorithms import off_policy_names
from rltransfer.anatomy import Anatomy
from rltransfer.artifact import Encoder
from rltransfer.errors import ConfigError, IncompatibleError, did_you_mean
from rltransfer.records import Finding
from rltransfer.replay_file import Transitions, read_replay_buffer
from rltransfer.strategies import Replay
from rltransfer.transfer.layer_rules import LayerRules
from rltransfer.transfer.methods.base import Method
from rltransfer.transfer.minibatches import Minibatches, remove_minibatches
from rltransfer.transfer.plan import Plan
from rltransfer.transfer.translate import Translation, in_environment, translated

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm

    from rltransfer.transfer.effects import TrainedRun
    from rltransfer.transfer.installation import Installation
    from rltransfer.transfer.matching.pair import Pair

Samples = ReplayBufferSamples | DictReplayBufferSamples
_SAMPLED = 64
_KNOWN_BUFFERS = (ReplayBuffer, DictReplayBuffer, NStepReplayBuffer, HerReplayBuffer)


class ReplayMethod(Method[Replay]):
    """Mixes the source's transitions into the minibatches of an off-policy agent."""

    def layer_rules(self, rules: LayerRules, anatomy: Anatomy) -> LayerRules:  # noqa: ARG002
        """Returns the rules as they are."""
        return rules

    def refuse(self, plan: Plan, match: "Pair", agent: "BaseAlgorithm") -> None:  # noqa: ARG002
        """Raises an error if the source's transitions cannot be read, or do not fit the agent."""
        source_replay_of(plan, agent, self.settings)

    def warnings(self, plan: Plan, match: "Pair", agent: "BaseAlgorithm") -> Iterator[Finding]:  # noqa: ARG002
        """Yields how much the source remembers, and whose rewards these are."""
        replay = source_replay_of(plan, agent, self.settings)
        size, left_out = len(replay.transitions), replay.n_left_out
        words = f"the source remembers {size:,} transitions that are mixed in"
        if left_out:
            words += f"; {left_out:,} more are left out, since the target does not have their actions"
        yield Finding(kind="replay", severity="note", words=words, numbers={"transitions": size, "left_out": left_out})
        if self.settings.reward is None:
            words = (
                "the rewards of the source's transitions are the source's own: right only where both tasks reward "
                "alike, otherwise name the target's function with reward"
            )
            yield Finding(kind="source_rewards", severity="warning", words=words)

    def prepare(self, plan: Plan, agent: "BaseAlgorithm") -> None:
        """Reads the source's transitions."""
        self._replay = source_replay_of(plan, agent, self.settings)

    def install(self, installation: "Installation") -> None:
        """Mixes the source's transitions into each minibatch."""
        installation.minibatches().replay = self._replay

    @classmethod
    def release(cls, agent: "BaseAlgorithm") -> None:
        """Gives the agent its own minibatches back."""
        remove_minibatches(agent)

    def missing_effects(self, run: "TrainedRun") -> Iterator[str]:
        """Yields that minibatches do not hold the source's share of its transitions."""
        minibatches, buffer = run.callback(Minibatches), getattr(run.agent, "replay_buffer", None)
        if minibatches is None or minibatches.replay is None or buffer is None:
            yield "nothing is mixed into minibatches"
            return
        expected = round(minibatches.replay.share(run.transfer.done_steps) * _SAMPLED)
        source_rewards = {row.tobytes() for row in _rounded(minibatches.replay.transitions.rewards.reshape(-1, 1))}
        drawn = buffer.sample(_SAMPLED, env=run.agent.get_vec_normalize_env()).rewards
        shared = sum(row.tobytes() in source_rewards for row in _rounded(drawn.cpu().numpy()))
        if shared < expected:
            yield f"{shared} of {_SAMPLED} transitions are the source's, expected {expected}"


class SourceReplay:
    """The source's transitions in the target's terms, and the generator that draws from them."""

    def __init__(self, part: Replay, translation: Translation, *, seed: int) -> None:
        self.transitions = translation.transitions
        self.n_left_out = translation.n_left_out
        self._is_new = translation.is_new
        self._part = part
        self._rng = np.random.default_rng([seed, 13])

    def share(self, steps: int) -> float:
        """Returns the source's share of a minibatch, so many env_steps after the transfer."""
        left = 1.0 if self._part.until is None else max(0.0, 1.0 - steps / self._part.until)
        return self._part.ratio * left

    def mixed(self, buffer: Any, batch_size: int, env: VecNormalize | None, steps: int) -> Samples:
        """Returns a minibatch of which the source's share comes from its transitions, and the rest from a buffer."""
        n_source = round(self.share(steps) * batch_size)
        if n_source == batch_size:
            return self._drawn(n_source, buffer, env)
        samples: Samples = type(buffer).sample(buffer, batch_size - n_source, env=env)
        return _joined(samples, self._drawn(n_source, buffer, env)) if n_source else samples

    def state_dict(self) -> dict[str, Any]:
        """Returns the generator's state."""
        return dict(self._rng.bit_generator.state)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Loads the state of the generator."""
        self._rng.bit_generator.state = state

    def _drawn(self, size: int, buffer: Any, env: VecNormalize | None) -> Samples:
        transitions = self.transitions
        chosen = self._rng.integers(len(transitions), size=size)
        # Where the agent learns from several steps at once, those of the source are single steps.
        is_n_step = isinstance(buffer, NStepReplayBuffer)
        arrays: dict[str, Any] = {
            "observations": self._seen(transitions.observations, chosen, buffer, env),
            "actions": transitions.actions[chosen],
            "next_observations": self._seen(transitions.next_observations, chosen, buffer, env),
            "dones": transitions.dones[chosen].reshape(-1, 1),
            "rewards": buffer._normalize_reward(transitions.rewards[chosen].reshape(-1, 1), env),
            "discounts": np.full((size, 1), buffer.gamma, np.float32) if is_n_step else None,
        }
        kind: Any = DictReplayBufferSamples if "" not in transitions.observations else ReplayBufferSamples
        drawn: Samples = kind(**{name: _as_tensors(buffer, values) for name, values in arrays.items()})
        return drawn

    def _seen(
        self, observations: Mapping[str, np.ndarray], chosen: Int[np.ndarray, " batch"], buffer: Any, env: Any
    ) -> Any:
        """Returns observations as the agent sees them now; new inputs are zero there, which is a normaliser's mean."""
        raw = {key: values[chosen] for key, values in observations.items()}
        seen = buffer._normalize_obs(raw.get("", raw), env)
        for key, values in (seen if isinstance(seen, dict) else {"": seen}).items():
            values[:, self._is_new[key]] = 0
        return seen


def _rounded(rewards: np.ndarray) -> np.ndarray:
    return rewards.astype(np.float32).round(4) + 0.0


def _as_tensors(buffer: Any, values: Any) -> Any:
    if isinstance(values, dict):
        return {key: buffer.to_torch(array) for key, array in values.items()}
    return None if values is None else buffer.to_torch(values)


def _joined(samples: Any, drawn: Any) -> Any:
    return type(samples)(*(_cat(*pair) for pair in zip(samples, drawn, strict=True)))


def _cat(values: Any, drawn: Any) -> Any:
    if isinstance(values, dict):
        return {key: torch.cat([value, drawn[key]]) for key, value in values.items()}
    return None if values is None else torch.cat([values, drawn])


def source_replay_of(plan: Plan, agent: Any, part: Replay) -> SourceReplay:
    """Returns what a plan's source remembers, for an agent.

    Raises:
        IncompatibleError: The source left no replay buffer, or it does not fit the agent.
        SourceError: The file cannot be read as a replay buffer.
        ConfigError: The reward function cannot be used.
    """
    _refuse_agent(plan, agent)
    if plan.encoder is None:
        raise IncompatibleError(
            "The plan needs the source's replay buffer, and was read from a file without it: hold "
            "dataclasses.replace(plan, encoder=load_encoder(SOURCE)) instead."
        )
    recorded = read_replay_buffer(_file_of(plan.encoder), part.size)
    replay = translated(recorded, plan, plan.encoder, agent.observation_space, agent.action_space)
    rewards = replay.transitions.rewards
    if part.reward is not None:
        rewards = _relabelled(part.reward, replay.transitions, agent.action_space)
    actions = replay.transitions.actions.astype(agent.replay_buffer.actions.dtype)
    transitions = dataclasses.replace(replay.transitions, actions=actions, rewards=rewards)
    return SourceReplay(part, dataclasses.replace(replay, transitions=transitions), seed=int(agent.seed or 0))


def _refuse_agent(plan: Plan, agent: Any) -> None:
    buffer = getattr(agent, "replay_buffer", None)
    if buffer is None:
        raise IncompatibleError(
            f"An agent of {plan.algo} learns from what it has just done and keeps no replay buffer, so that nothing "
            f"can be mixed in: 'replay' is for {', '.join(off_policy_names())}."
        )
    if type(buffer) not in _KNOWN_BUFFERS:
        raise IncompatibleError(
            f"The agent's replay buffer is a {type(buffer).__name__}, which may draw in a way of its own: 'replay' is "
            f"for SB3's {', '.join(kind.__name__ for kind in _KNOWN_BUFFERS)}."
        )
    if any(entry.role == "adapter" for entry in plan.entries):
        raise IncompatibleError(
            "'replay' brings the source's observations into the target's places, and behind an adapter they have none: "
            "say which input is which with inputs (--inputs map:[0,1,None])."
        )


def _file_of(encoder: Encoder) -> Path:
    if encoder.source.is_residual:
        raise IncompatibleError(
            "What the source remembers cannot be used: it was trained to be added to another agent ('residual'), and "
            "its actions are not those that the environment received."
        )
    if encoder.replay_buffer is None:
        path = Path(encoder.source.path)
        others = sorted(item.name for item in path.parent.glob("*replay_buffer*.pkl"))
        beside = (
            f"Beside {path} lie {', '.join(others)}, and none has the name of its own replay buffer: rename the right "
            f"one to {path.stem}_replay_buffer.pkl."
            if others
            else f"No replay buffer lies beside the source {path}."
        )
        raise IncompatibleError(
            f"{beside} An off-policy agent leaves one in its run folder (replay_buffer.pkl) when it is trained with "
            "--save-replay-buffer; an artifact holds none, so name the run folder."
        )
    return encoder.replay_buffer


def _relabelled(path: str, transitions: Transitions, space: spaces.Space[Any]) -> Float[np.ndarray, " transitions"]:
    """Returns what the target's own reward function gives for each transition."""
    if not transitions.has_last:
        raise IncompatibleError(
            "The source's replay buffer was memory-optimised (optimize_memory_usage): it does not hold the last "
            "observations of episodes, which a reward function needs. Leave 'reward' out, or train the source without."
        )
    reward = _imported(path)
    sides = [side.get("", side) for side in (transitions.observations, transitions.next_observations)]
    try:
        rewards = np.asarray(reward(sides[0], in_environment(transitions.actions, space), sides[1]), dtype=np.float32)
    except Exception as error:
        # Whatever the user's own function raises.
        raise ConfigError(f"reward {path!r} fails on the source's transitions: {error!r}.") from error
    if rewards.shape != (len(transitions),) or not np.isfinite(rewards).all():
        raise ConfigError(
            f"reward {path!r}: expected {len(transitions)} finite numbers, one for each transition, "
            f"found an array of shape {list(rewards.shape)}"
            f"{'' if rewards.shape != (len(transitions),) else ' with NaN or infinity'}."
        )
    return rewards


def _imported(path: str) -> Callable[[Any, Any, Any], Any]:
    module, _, name = path.partition(":")
    try:
        imported = importlib.import_module(module)
    except Exception as error:
        # Whatever the user's own module raises.
        raise ConfigError(
            f"reward {path!r}: the module cannot be imported: {error!r}. It must be on Python's path (PYTHONPATH)."
        ) from error
    if not callable(getattr(imported, name, None)):
        raise ConfigError(f"reward {path!r}: the module has no function {name!r}.{did_you_mean(name, vars(imported))}")
    reward: Callable[[Any, Any, Any], Any] = getattr(imported, name)
    return reward
