"""Reads the transitions of a pickled replay buffer of SB3 without running what a pickle can run."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
from jaxtyping import Float, Shaped

from rltransfer.errors import SourceError
from rltransfer.safe_unpickler import Inert, RefusedNameError, array_of, load_inert


@dataclasses.dataclass(frozen=True)
class Transitions:
    """What an off-policy agent of SB3 remembers, environment by environment, the latest last.

    Attributes:
        observations: Raw, by key; the key is empty where they are no dictionary.
        next_observations: Likewise; at the end of an episode its last observation, where ``has_last`` says so.
        actions: As SB3 stores them: entries of a Box from -1 to 1 between its bounds.
        rewards: Raw.
        dones: Whether an episode ended there in the task itself, 1 or 0: not so where time ran out.
        has_last: Whether the last observations of episodes are there; a memory-optimised buffer has the next first one.
    """

    observations: Mapping[str, Shaped[np.ndarray, "transitions ..."]]
    next_observations: Mapping[str, Shaped[np.ndarray, "transitions ..."]]
    actions: Shaped[np.ndarray, "transitions entries"]
    rewards: Float[np.ndarray, " transitions"]
    dones: Float[np.ndarray, " transitions"]
    has_last: bool = True

    def __len__(self) -> int:
        return len(self.rewards)


class _ReplayBuffer(Inert):
    pass


class _Goals(Inert):
    """SB3's enumeration of the ways in which HER chooses goals."""


class _Member(Inert):
    """``getattr``, by which early versions of Python 3.11 pickle a member of an enumeration, and of nothing else."""

    def __new__(cls, *arguments: Any, **_named: Any) -> Self:
        """Returns a stand-in for a member of SB3's enumeration.

        Raises:
            RefusedNameError: It is asked for something else.
        """
        if arguments[:1] != (_Goals,):
            raise RefusedNameError("builtins.getattr")
        return super().__new__(cls, *arguments)


_NAMES: dict[tuple[str, str], type] = {
    **{
        ("stable_baselines3.common.buffers", name): _ReplayBuffer
        for name in ("ReplayBuffer", "DictReplayBuffer", "NStepReplayBuffer")
    },
    ("stable_baselines3.her.her_replay_buffer", "HerReplayBuffer"): _ReplayBuffer,
    ("stable_baselines3.her.goal_selection_strategy", "GoalSelectionStrategy"): _Goals,
    ("builtins", "getattr"): _Member,
    ("torch", "device"): Inert,
}


def read_replay_buffer(path: Path | str, size: int | None = None) -> Transitions:
    """Returns the transitions of a pickled replay buffer: SB3's plain one, for dictionaries, for n steps, or HER's.

    Args:
        path: The file.
        size: How many of the latest transitions; all if not given.

    Raises:
        SourceError: The file cannot be read, is no such pickle, holds no transition or numbers that are not finite, or
            names something that a replay buffer does not need; nothing in it was run.
    """
    try:
        with Path(path).open("rb") as stream:
            unpickled = load_inert(stream, _NAMES)
        if not isinstance(unpickled, _ReplayBuffer):
            raise ValueError("it holds something else")
        transitions = _transitions(unpickled.state, size)
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror}.") from None
    except RefusedNameError as refused:
        raise SourceError(
            f"{path} is refused: it names {refused}, which the transitions of a replay buffer do not need. "
            "Unpickling it could run code."
        ) from None
    except Exception as error:
        # A hostile or damaged pickle drives the unpickler into any error.
        raise SourceError(f"{path} is not the pickle of a replay buffer, or it is damaged: {error!r:.200}.") from None
    _refuse_unusable(path, transitions)
    return transitions


def _transitions(state: Mapping[str, Any], size: int | None) -> Transitions:
    dones = _block(state["dones"])
    moments, n_envs = dones.shape
    is_full, position = bool(state["full"]), int(state["pos"])
    if not 0 <= position <= moments:
        raise ValueError(f"the next of {moments} places is {position}")
    is_optimised = bool(state.get("optimize_memory_usage", False))
    # The oldest place of a full memory-optimised buffer has lost its observation to the latest transition.
    oldest = position + int(is_optimised)
    order = (np.arange(oldest, position + moments) % moments) if is_full else np.arange(position)
    if size is not None:
        order = order[max(0, len(order) - max(1, size // n_envs)) :]

    def flat(value: Any, places: np.ndarray = order) -> np.ndarray:
        block = _block(value)
        if block.shape[:2] != dones.shape:
            raise ValueError(f"{block.shape[:2]} entries beside {dones.shape}")
        taken: np.ndarray = block[places]
        return taken.reshape(len(places) * n_envs, *block.shape[2:])

    # Buffers of SB3 before 1.1 do not tell time-outs apart.
    timeouts = flat(state["timeouts"]) if "timeouts" in state else np.zeros(len(order) * n_envs)
    observations = _by_key(state["observations"])
    following = observations if is_optimised else _by_key(state["next_observations"])
    places = (order + 1) % moments if is_optimised else order
    if observations.keys() != following.keys():
        raise ValueError(f"observations {list(observations)}, next ones {list(following)}")
    return Transitions(
        observations={key: flat(value) for key, value in observations.items()},
        next_observations={key: flat(value, places) for key, value in following.items()},
        actions=flat(state["actions"]),
        rewards=flat(state["rewards"]).astype(np.float32),
        dones=(flat(state["dones"]) * (1 - timeouts)).astype(np.float32),
        has_last=not is_optimised,
    )


def _block(value: Any) -> np.ndarray:
    block = array_of(value)
    if block.ndim < 2:
        raise ValueError(f"an array of shape {block.shape}")
    return block


def _by_key(value: Any) -> dict[str, Any]:
    return {str(key): part for key, part in value.items()} if isinstance(value, dict) else {"": value}


def _refuse_unusable(path: Path | str, transitions: Transitions) -> None:
    if len(transitions) == 0:
        raise SourceError(f"{path} holds no transition: the agent that it is of never acted.")
    named = {
        "rewards": transitions.rewards,
        "actions": transitions.actions,
        **{f"observations {key}".strip(): part for key, part in transitions.observations.items()},
        **{f"next observations {key}".strip(): part for key, part in transitions.next_observations.items()},
    }
    for name, values in named.items():
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            raise SourceError(f"{path}: the {name} hold NaN or infinity, so nothing can be learned from them.")
