"""The state of an agent's environments: of SB3's vector wrappers, and of the environments where it can be taken."""

import copy
from typing import Any

from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper, VecFrameStack, VecNormalize

from rltransfer import tasks

_WRAPPERS = {
    VecNormalize: ("obs_rms", "ret_rms", "returns", "old_obs", "old_reward"),
    VecFrameStack: ("stacked_obs",),
}


def env_state_dict(env: VecEnv) -> dict[str, Any]:
    """Returns the state of vector wrappers, and that of the environments where it can be taken."""
    return {
        "wrappers": [
            {name: getattr(layer, name) for name in names if hasattr(layer, name)} for layer, names in _layers(env)
        ],
        "states": tasks.dump_states(env),
    }


def load_env_state_dict(env: VecEnv, state: dict[str, Any]) -> None:
    """Loads what ``env_state_dict`` returned; environments whose state was not taken stay as they are."""
    for (layer, _), attributes in zip(_layers(env), state["wrappers"], strict=True):
        for name, value in copy.deepcopy(attributes).items():
            running = getattr(layer, name, None)
            if isinstance(value, RunningMeanStd):
                # Statistics that a plan holds stay held, and are copied as SB3's own class.
                vars(running).update(vars(value))
            else:
                setattr(layer, name, value)
    if state["states"] is not None:
        tasks.load_states(env, state["states"])


def _layers(env: VecEnv) -> list[tuple[VecEnvWrapper, tuple[str, ...]]]:
    wrappers = []
    while isinstance(env, VecEnvWrapper):
        wrappers += [(env, names) for kind, names in _WRAPPERS.items() if isinstance(env, kind)]
        env = env.venv
    return wrappers
