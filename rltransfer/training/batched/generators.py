"""The random generators of one run, in the states in which building its agent left SB3's global ones."""

import contextlib
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from rltransfer.errors import IncompatibleError
from rltransfer.training.resume.rng_state import load_rng_state_dict, rng_state_dict


@contextlib.contextmanager
def drawing_nothing() -> Iterator[None]:
    """Raises IncompatibleError at the end if anything in between drew from PyTorch's or NumPy's global generator."""
    before = _positions()
    yield
    drawn = [name for name, position in _positions().items() if position != before[name]]
    if drawn:
        raise IncompatibleError(
            f"An environment or a callback draws from {drawn[0]}'s global generator, which is one for all runs here, "
            "while each has its own where it is trained alone. Use the agents' own learn, or let it draw within "
            "RunGenerators.installed()."
        )


def _positions() -> dict[str, bytes]:
    """Returns where the global generators are."""
    kind, key, *rest = np.random.get_state()
    return {
        "PyTorch": torch.get_rng_state().numpy().tobytes(),
        "NumPy": np.asarray(key).tobytes() + repr((kind, *rest)).encode(),
    }


class RunGenerators:
    """What one run draws from: ``torch`` for actions, ``numpy`` for the order of transitions in minibatches.

    Stock SB3 draws both from the global generators, which the constructor of an agent seeds. So each agent is built
    first, and its generators are taken right after that, before the next agent is built:

        agents, generators = [], []
        for seed in seeds:
            agents.append(PPO("MlpPolicy", env, seed=seed))
            generators.append(RunGenerators.from_global())

    State dicts have the form of ``rng_state_dict``, which is how stock runs save the global generators. They pickle.
    """

    def __init__(self) -> None:
        self.torch = torch.Generator()
        self.numpy = np.random.RandomState()
        self._python = random.getstate()

    @classmethod
    def from_global(cls) -> "RunGenerators":
        """Returns generators that go on where the global ones stand, and leaves those as they are."""
        generators = cls()
        generators.load_state_dict(rng_state_dict())
        return generators

    def state_dict(self) -> dict[str, Any]:
        """Returns the states."""
        return {
            "python": self._python,
            "numpy": self.numpy.get_state(),
            "torch": self.torch.get_state(),
            "cuda": None,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Loads states, of these generators or of the global ones."""
        self._python = state["python"]
        self.numpy.set_state(state["numpy"])
        self.torch.set_state(state["torch"])

    def __getstate__(self) -> dict[str, Any]:
        return self.state_dict()

    def __setstate__(self, state: dict[str, Any]) -> None:
        RunGenerators.__init__(self)
        self.load_state_dict(state)

    @contextlib.contextmanager
    def installed(self) -> Iterator[None]:
        """Puts these in the place of the global generators, for code that draws from those; costs about 0.2 ms."""
        before = rng_state_dict()
        load_rng_state_dict(None, self.state_dict())
        try:
            yield
        finally:
            self.load_state_dict(rng_state_dict())
            load_rng_state_dict(None, before)
