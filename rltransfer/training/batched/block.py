"""The weights, gradients and optimizer states of some stock agents, as rows of a few matrices."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.sb2_compat.rmsprop_tf_like import RMSpropTFLike

from rltransfer.training.batched.layout import Layout


class Block:
    """Agents whose tensors are views: what is computed on the matrices is at once in the agents, and the reverse.

    Blocks have a constant number of rows, those behind the last agent being zero: matrix products of one size round
    alike, so that a run's numbers depend neither on its company nor on how many there are.

    Each agent stays a stock agent, which acts, saves and loads as always. Two things put other tensors in the places of
    the views: loading an optimizer's state, and replacing a parameter's ``data``. ``restack`` takes these up.

    Args:
        agents: At most ``size`` agents that ``refuse_agents`` lets pass.
        size: The number of rows.
    """

    def __init__(self, agents: Sequence[Any], size: int) -> None:
        if len(agents) > size:
            raise ValueError(f"A block of {size} rows cannot hold {len(agents)} agents.")
        self.agents = list(agents)
        self.size = size
        self.device = agents[0].device
        self.layout = Layout.of(agents[0].policy)
        optimizer = agents[0].policy.optimizer
        self._counts_in_python = isinstance(optimizer, RMSpropTFLike)
        self._start = 1.0 if self._counts_in_python else 0.0
        self.moments = {name: self._rows() for name in _moments(optimizer)}
        for moment in self.moments.values():
            moment.fill_(self._start)
        self.parameters = self._rows()
        self.gradients = self._rows()
        # On the CPU, as torch keeps the step counts of its optimizers.
        self._steps = torch.zeros(size, len(self.layout.names))
        self.steps: np.ndarray[Any, np.dtype[np.float32]] = self._steps.numpy()
        # The parameters, and not their memory. Walking through modules takes long beside an update of A2C.
        self.tensors: list[list[torch.nn.Parameter]] = [list(agent.policy.parameters()) for agent in agents]
        self._views = [_Views(self, row) for row in range(len(self.agents))]
        self.restack()

    def restack(self) -> None:
        """Copies what has been loaded into the agents since into the rows, and makes their tensors views again."""
        with torch.no_grad():
            for agent, views in zip(self.agents, self._views, strict=True):
                views.take_up(agent)

    def publish(self) -> None:
        """Gives the agents' optimizers the states of tensors that have made their first steps, as a step would."""
        for row, (agent, views) in enumerate(zip(self.agents, self._views, strict=True)):
            for index in np.flatnonzero(self.steps[row]):
                views.publish(agent.policy.optimizer, int(index), counts_in_python=self._counts_in_python)
        # An entropy bonus without data moves the standard deviations of rows without an agent.
        for rows in (self.parameters, self.gradients):
            rows[len(self.agents) :].zero_()

    def stacked(self, name: str) -> torch.Tensor:
        """Returns a parameter of all rows."""
        return self.layout.stacked(self.parameters, name)

    def _rows(self) -> torch.Tensor:
        return torch.zeros(self.size, self.layout.width, device=self.device)

    def _take_up_state(self, row: int, index: int, state: dict[str, Any]) -> None:
        """Copies the optimizer state of one tensor into the rows; without a state it is as before the first step."""
        for name, moment in self.moments.items():
            values = self.layout.single(moment, row, index)
            if not state:
                values.fill_(self._start)
            elif values.data_ptr() != state[name].data_ptr():
                values.copy_(state[name])
        self.steps[row, index] = float(state["step"]) if state else 0.0


class _Views:
    """The views of one row of a block, which are one agent's tensors."""

    def __init__(self, block: Block, row: int) -> None:
        layout, indices = block.layout, range(len(block.layout.names))
        self._block = block
        self._row = row
        self._values = [layout.single(block.parameters, row, index) for index in indices]
        self._gradients = [layout.single(block.gradients, row, index) for index in indices]
        self._states = [
            {name: layout.single(moment, row, index) for name, moment in block.moments.items()} for index in indices
        ]
        self._counts = [torch.from_numpy(block.steps[row, index : index + 1].reshape(())) for index in indices]
        self._published: list[dict[str, Any] | None] = [None for _ in indices]

    def take_up(self, agent: Any) -> None:
        """Gathers what differs in memory from the views, and puts the views in its place."""
        states = agent.policy.optimizer.state
        for index, parameter in enumerate(self._block.tensors[self._row]):
            value = self._values[index]
            if parameter.data_ptr() != value.data_ptr():
                value.copy_(parameter)
                parameter.data = value
            gradient = self._gradients[index] if parameter.requires_grad else None
            if parameter.grad is not gradient:
                parameter.grad = gradient
            state = states.get(parameter) or {}
            if not self._is_published(index, state):
                self._block._take_up_state(self._row, index, state)
                self._published[index] = None

    def _is_published(self, index: int, state: dict[str, Any]) -> bool:
        """Returns whether an optimizer's state of a tensor consists of the views."""
        views = self._states[index].items()
        return state is self._published[index] and all(state[name] is view for name, view in views)

    def publish(self, optimizer: torch.optim.Optimizer, index: int, *, counts_in_python: bool) -> None:
        """Puts the state of a tensor in an optimizer; the count of RMSpropTFLike is a number."""
        state = self._published[index]
        if state is None:
            parameter = optimizer.param_groups[0]["params"][index]
            state = {"step": self._counts[index], **self._states[index]}
            optimizer.state[parameter] = self._published[index] = state
        if counts_in_python:
            state["step"] = int(self._block.steps[self._row, index])


def _moments(optimizer: torch.optim.Optimizer) -> tuple[str, ...]:
    return ("exp_avg", "exp_avg_sq") if isinstance(optimizer, torch.optim.Adam) else ("square_avg",)
