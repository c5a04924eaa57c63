"""Agents that are trained as one network learn what each would learn alone in stock SB3."""

import copy
import functools
import io
import pickle
import warnings
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from sb3_contrib import TRPO
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.sb2_compat.rmsprop_tf_like import RMSpropTFLike
from stable_baselines3.common.vec_env import VecNormalize

from rltransfer import load_encoder
from rltransfer.errors import IncompatibleError
from rltransfer.training.batched import BatchedTrainer, RunGenerators, learn_together
from rltransfer.transfer import apply_plan, plan_transfer

torch.set_num_threads(1)

_PPO = {"n_steps": 32, "batch_size": 16, "n_epochs": 2}
_STEPS = 3 * 32 * 2
"""Three rollouts of two environments: 24 updates of PPO."""


class Spaces(gym.Env[Any, Any]):
    """Rewards that depend on action and observation, in any spaces; episodes end or run out of time."""

    def __init__(self, observation_space: spaces.Space[Any], action_space: spaces.Space[Any]) -> None:
        self.observation_space = observation_space
        self.action_space = action_space
        self._steps = 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed, options=options)
        if seed is not None:
            self.observation_space.seed(seed)
        self._steps = 0
        return self._observe(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self._steps += 1
        reward = float(np.sum(action)) / 3 - float(np.mean(self._seen))
        return self._observe(), reward, self._steps % 11 == 0, self._steps >= 17, {}

    def _observe(self) -> Any:
        self._seen = self.observation_space.sample()
        return self._seen


_VECTOR = spaces.Box(-1, 1, (3,), np.float32)


def _with_spaces(
    observation_space: spaces.Space[Any], action_space: spaces.Space[Any]
) -> Callable[[], gym.Env[Any, Any]]:
    return lambda: Spaces(copy.deepcopy(observation_space), copy.deepcopy(action_space))


def _make(
    seed: int,
    kind: type[Any] = PPO,
    *,
    env: Any = "CartPole-v1",
    n_envs: int = 2,
    normalise: bool = False,
    max_episode_steps: int | None = None,
    **settings: Any,
) -> Any:
    kwargs = {"max_episode_steps": max_episode_steps} if max_episode_steps else None
    venv = make_vec_env(env, n_envs, seed=seed, env_kwargs=kwargs)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="You have specified a mini-batch size")
        return kind(
            "MlpPolicy",
            VecNormalize(venv) if normalise else venv,
            seed=seed,
            device="cpu",
            **{**(_PPO if kind is PPO else {}), **settings},
        )


def _make_all(seeds: Any, **settings: Any) -> tuple[list[Any], list[RunGenerators]]:
    agents, generators = [], []
    for seed in seeds:
        agents.append(_make(seed, **settings))
        generators.append(RunGenerators.from_global())
    return agents, generators


def _learn_together(agents: Any, generators: Any, steps: int = _STEPS, **settings: Any) -> None:
    for _ in learn_together(agents, generators, steps, **{"block_size": 4, **settings}):
        pass


def _differences(agent: Any, other: Any) -> dict[str, float]:
    others = dict(other.policy.named_parameters())
    return {
        name: float((value - others[name]).detach().norm() / others[name].detach().norm().clamp(min=1e-3))
        for name, value in agent.policy.named_parameters()
    }


def _assert_alike(agent: Any, stock: Any) -> None:
    for name, difference in _differences(agent, stock).items():
        assert difference <= 1e-5, (name, difference)
    for name, value in _state(stock).items():
        np.testing.assert_allclose(_state(agent)[name], value, rtol=1e-2, atol=1e-5, err_msg=name)
    for name in ("num_timesteps", "_n_updates", "_current_progress_remaining", "_episode_num"):
        assert getattr(agent, name) == getattr(stock, name), name
    returns = [info["r"] for info in stock.ep_info_buffer]
    assert [info["r"] for info in agent.ep_info_buffer] == pytest.approx(returns, rel=1e-5)
    logged, expected = agent.logger.name_to_value, stock.logger.name_to_value
    assert logged.keys() == expected.keys()
    for name, value in expected.items():
        assert logged[name] == pytest.approx(value, rel=1e-3, abs=2e-5), name


def _state(agent: Any) -> dict[str, Any]:
    """Returns an optimizer's state, tensor by tensor."""
    names = {parameter: name for name, parameter in agent.policy.named_parameters()}
    return {
        f"{names[parameter]} {key}": torch.as_tensor(value).numpy()
        for parameter, state in agent.policy.optimizer.state.items()
        for key, value in state.items()
    }


def _assert_same_bits(agent: Any, other: Any) -> None:
    for name, value in agent.policy.state_dict().items():
        assert torch.equal(value, other.policy.state_dict()[name]), name
    state, others = _state(agent), _state(other)
    assert state.keys() == others.keys()
    for name, values in state.items():
        np.testing.assert_array_equal(values, others[name], err_msg=name)


class Record(BaseCallback):
    """Writes down what it is called with."""

    def __init__(self, stop_at: int | None = None) -> None:
        super().__init__()
        self.events: list[Any] = []
        self.steps: list[dict[str, Any]] = []
        self._stop_at = stop_at

    def _on_training_start(self) -> None:
        self.events.append("training_start")

    def _on_rollout_start(self) -> None:
        self.events.append(("rollout_start", self.num_timesteps))

    def _on_step(self) -> bool:
        names = ("n_steps", "actions", "clipped_actions", "new_obs", "rewards", "dones", "values", "log_probs")
        self.steps.append({name: torch.as_tensor(self.locals[name]).numpy().copy() for name in names})
        self.events.append(("step", self.num_timesteps, self.n_calls))
        return self.num_timesteps != self._stop_at

    def _on_rollout_end(self) -> None:
        self.events.append(("rollout_end", self.num_timesteps))

    def _on_training_end(self) -> None:
        self.events.append(("training_end", self.num_timesteps))


_CASES: dict[str, dict[str, Any]] = {
    "defaults": {},
    "one env": {"n_envs": 1},
    "truncated": {"max_episode_steps": 7},
    "target_kl": {"target_kl": 0.001, "learning_rate": 3e-3, "n_epochs": 4},
    "advantages as they are": {"normalize_advantage": False},
    "clip_range_vf": {"clip_range_vf": 0.05},
    "schedules": {"learning_rate": lambda left: 3e-3 * (0.2 + left), "clip_range": lambda left: 0.01 + 0.05 * left},
    "max_grad_norm": {"max_grad_norm": 0.01},
    "five envs": {"n_envs": 5},
    "VecNormalize": {"normalise": True, "max_episode_steps": 20},
    "batch of 48": {"batch_size": 48},
    "batch of one left": {"batch_size": 21},
    "entropy": {"ent_coef": 0.05},
    "values of little weight": {"vf_coef": 0.1, "gamma": 0.9, "gae_lambda": 0.8},
    "pendulum": {"env": "Pendulum-v1", "ent_coef": 0.01},
    "pendulum truncated": {"env": "Pendulum-v1", "max_episode_steps": 9, "normalise": True},
    "pendulum five envs": {"env": "Pendulum-v1", "n_envs": 5, "policy_kwargs": {"log_std_init": -1.0}},
    "relu": {"policy_kwargs": {"activation_fn": torch.nn.ReLU, "net_arch": {"pi": [16], "vf": [32, 8]}}},
    "elu": {"policy_kwargs": {"activation_fn": torch.nn.ELU, "ortho_init": False}},
    "gelu": {"policy_kwargs": {"activation_fn": torch.nn.GELU}},
    "no hidden layers": {"policy_kwargs": {"net_arch": []}},
    "two extractors": {"policy_kwargs": {"share_features_extractor": False}},
    "multi-discrete": {"env": _with_spaces(_VECTOR, spaces.MultiDiscrete([3, 2, 4])), "ent_coef": 0.02},
    "multi-binary": {"env": _with_spaces(_VECTOR, spaces.MultiBinary(3)), "ent_coef": 0.02},
    "two-dimensional actions": {"env": _with_spaces(_VECTOR, spaces.Box(-0.5, 2, (2, 2), np.float32))},
    "matrices": {"env": _with_spaces(spaces.Box(-1, 1, (2, 3), np.float64), spaces.Discrete(5))},
    "discrete observations": {"env": _with_spaces(spaces.Discrete(6), spaces.Discrete(3))},
    "multi-discrete observations": {"env": _with_spaces(spaces.MultiDiscrete([3, 4]), spaces.Discrete(3))},
    "images": {"env": _with_spaces(spaces.Box(0, 255, (36, 36, 1), np.uint8), spaces.Discrete(2))},
    "a2c rmsprop": {"kind": A2C, "n_steps": 16},
    "a2c adam": {"kind": A2C, "n_steps": 16, "use_rms_prop": False, "normalize_advantage": True, "ent_coef": 0.01},
    "a2c as tensorflow": {
        "kind": A2C,
        "n_steps": 16,
        "policy_kwargs": {
            "optimizer_class": RMSpropTFLike,
            "optimizer_kwargs": {"alpha": 0.99, "eps": 1e-5, "weight_decay": 0},
        },
    },
    "a2c pendulum": {"kind": A2C, "env": "Pendulum-v1", "n_steps": 8, "learning_rate": lambda left: 1e-3 * left},
}


_QUICK = {
    "truncated",
    "target_kl",
    "advantages as they are",
    "clip_range_vf",
    "schedules",
    "max_grad_norm",
    "VecNormalize",
    "batch of 48",
    "pendulum truncated",
    "relu",
    "multi-discrete",
    "a2c rmsprop",
    "a2c as tensorflow",
}


@pytest.mark.parametrize(
    "case", [pytest.param(case, marks=[pytest.mark.long] * (case not in _QUICK)) for case in _CASES]
)
def test_learns_what_stock_sb3_learns(case: str) -> None:
    settings = _CASES[case]
    agents, generators = _make_all(range(2), **settings)
    _learn_together(agents, generators)
    for seed, agent in enumerate(agents):
        stock = _make(seed, **settings)
        stock.learn(_STEPS, log_interval=None)
        _assert_alike(agent, stock)
    if case == "schedules":
        assert all(agent.logger.name_to_value["train/clip_fraction"] > 0 for agent in agents)
    if case == "target_kl":
        # Each run has stopped early, and not as the other one.
        counts = [agent._n_updates for agent in agents]
        assert max(counts) < 3 * settings["n_epochs"]
        assert len(set(counts)) == 2


@pytest.mark.parametrize(
    "case",
    ["defaults", "pendulum", *(pytest.param(case, marks=pytest.mark.long) for case in ("multi-discrete", "five envs"))],
)
def test_first_rollout_is_that_of_stock_sb3(case: str) -> None:
    settings = _CASES[case]
    agents, generators = _make_all(range(3), **settings)
    records = [Record() for _ in agents]
    _learn_together(agents, generators, steps=1, callbacks=records)
    for seed, record in enumerate(records):
        expected = Record()
        _make(seed, **settings).learn(1, callback=expected)
        assert record.events == expected.events
        for step, stock in zip(record.steps, expected.steps, strict=True):
            assert {name: value.shape for name, value in step.items()} == {n: v.shape for n, v in stock.items()}
            is_discrete = stock["actions"].dtype != np.float32
            np.testing.assert_allclose(step["actions"], stock["actions"], atol=0 if is_discrete else 1e-5)
            assert step["actions"].dtype == stock["actions"].dtype
            for name in ("clipped_actions", "new_obs", "rewards", "dones", "values", "log_probs"):
                np.testing.assert_allclose(step[name], stock[name], atol=1e-4 if name == "rewards" else 1e-5)


@functools.cache
def _alone(case: str) -> tuple[Any, RunGenerators]:
    agents, generators = _make_all([3], **_CASES[case])
    _learn_together(agents, generators)
    return agents[0], generators[0]


@pytest.mark.parametrize("seeds", [pytest.param([3, 5], marks=pytest.mark.long), [*range(4, 9), 3]])
@pytest.mark.parametrize(
    "case",
    [
        "defaults",
        "a2c rmsprop",
        *(pytest.param(c, marks=pytest.mark.long) for c in ("pendulum truncated", "target_kl")),
    ],
)
def test_bits_do_not_depend_on_company(case: str, seeds: list[int]) -> None:
    alone, generators_alone = _alone(case)
    agents, generators = _make_all(seeds, **_CASES[case])
    _learn_together(agents, generators)
    place = seeds.index(3)
    _assert_same_bits(agents[place], alone)
    assert torch.equal(generators[place].torch.get_state(), generators_alone.torch.get_state())
    assert agents[place].logger.name_to_value == alone.logger.name_to_value


def test_bits_do_not_depend_on_company_that_is_frozen_or_stops() -> None:
    agents, generators = _make_all([0, 3, 1])
    agents[0].policy.mlp_extractor.policy_net.requires_grad_(False)
    _learn_together(agents, generators, callbacks=[None, None, Record(stop_at=100)])
    _assert_same_bits(agents[1], _alone("defaults")[0])


@pytest.mark.parametrize("company", [pytest.param([], marks=pytest.mark.long), [2]])
@pytest.mark.parametrize("case", ["defaults", pytest.param("pendulum", marks=pytest.mark.long), "a2c rmsprop"])
def test_frozen_tensors_keep_every_bit(case: str, company: list[int]) -> None:
    settings = _CASES[case]

    def make() -> Any:
        agent = _make(1, **settings)
        agent.policy.mlp_extractor.requires_grad_(False)
        agent.policy.action_net.bias.requires_grad_(False)
        return agent

    agent = make()
    generators = RunGenerators.from_global()
    start = copy.deepcopy(agent.policy.state_dict())
    other, others = _make_all(company, **settings)
    _learn_together([agent, *other], [generators, *others])
    for name, parameter in agent.policy.named_parameters():
        assert torch.equal(parameter, start[name]) == (not parameter.requires_grad), name
        assert (parameter in agent.policy.optimizer.state) == parameter.requires_grad, name
    stock = make()
    stock.learn(_STEPS, log_interval=None)
    _assert_alike(agent, stock)


_STRATEGIES: dict[str, Any] = {
    "frozen": "frozen",
    "slower": {"kind": "finetune", "lr_scale": 0.3},
    "discriminative": "discriminative",
    "released later": {"kind": "gradual_unfreeze", "at": 100},
    "pulled": "l2_sp",
    "pulled to the start": ["finetune", "l2_init"],
}


@pytest.mark.parametrize("strategy", _STRATEGIES)
def test_plans_are_held(strategy: str, tmp_path: Any) -> None:
    _make(50).save(tmp_path / "source.zip")
    encoder = load_encoder(tmp_path / "source.zip")

    def make(seed: int) -> tuple[Any, Any, RunGenerators]:
        agent = _make(seed)
        generators = RunGenerators.from_global()
        transfer = apply_plan(plan_transfer(encoder, agent, _STRATEGIES[strategy]), agent)
        return agent, transfer, generators

    agent, transfer, generators = make(0)
    (scratch,), (own,) = _make_all([3])
    _learn_together([agent, scratch], [generators, own], callbacks=[transfer.callbacks, None])
    stock, held, generators = make(0)
    with generators.installed():
        stock.learn(_STEPS, callback=held.callbacks, log_interval=None)
    _assert_alike(agent, stock)
    assert all(check.passed for check in transfer.checks())
    _assert_same_bits(scratch, _alone("defaults")[0])
    # The plan has an effect.
    without, _, generators = make(0)
    plain = _make(0)
    plain.set_parameters(without.get_parameters())
    with generators.installed():
        plain.learn(_STEPS, log_interval=None)
    assert max(_differences(agent, plain).values()) > 1e-4


def test_saves_stock_zips_of_one_agent_between_updates() -> None:
    agents, generators = _make_all(range(3))
    trainer = learn_together(agents, generators, _STEPS, block_size=4)
    next(trainer)
    alone = _make(1)
    alone.learn(1)
    stock, batched = io.BytesIO(), io.BytesIO()
    alone.save(stock)
    agents[1].save(batched)
    assert abs(len(stock.getvalue()) - len(batched.getvalue())) < 1000
    loaded = PPO.load(batched, env=agents[1].env)
    _assert_same_bits(loaded, agents[1])
    observations = agents[1].env.reset()
    assert np.array_equal(
        loaded.predict(observations, deterministic=True)[0], agents[1].predict(observations, deterministic=True)[0]
    )


class Reload(BaseCallback):
    """Loads an agent's own weights and optimizer into it, in the places of other ones."""

    def __init__(self, when: str) -> None:
        super().__init__()
        self._when = when

    def _reload(self, when: str) -> None:
        if when != self._when:
            return
        agent, kept = self.model, io.BytesIO()
        agent.save(kept)
        with torch.no_grad():
            for parameter, state in agent.policy.optimizer.state.items():
                for value in (parameter, state.get("exp_avg"), state.get("square_avg")):
                    if value is not None:
                        value.zero_()
        agent.policy.optimizer.state.clear()
        agent.set_parameters(type(agent).load(kept).get_parameters())

    def _on_rollout_start(self) -> None:
        self._reload("start")

    def _on_rollout_end(self) -> None:
        self._reload("end")

    def _on_step(self) -> bool:
        return True


@pytest.mark.parametrize("when", ["start", "end"])
@pytest.mark.parametrize("case", ["defaults", "a2c rmsprop", "a2c as tensorflow"])
def test_goes_on_with_what_is_loaded(case: str, when: str) -> None:
    agents, generators = _make_all([3, 4], **_CASES[case])
    _learn_together(agents, generators, callbacks=[Reload(when), Reload(when)])
    others, other_generators = _make_all([3, 4], **_CASES[case])
    _learn_together(others, other_generators)
    for agent, other in zip(agents, others, strict=True):
        _assert_same_bits(agent, other)


def test_another_trainer_goes_on_where_one_stopped() -> None:
    agents, generators = _make_all(range(3))
    _learn_together(agents, generators)
    _learn_together(agents, generators, reset_num_timesteps=False)
    others, other_generators = _make_all(range(3))
    _learn_together(others, other_generators, steps=_STEPS)
    copies = pickle.loads(pickle.dumps(other_generators))
    _learn_together(others[1:], copies[1:], steps=_STEPS, reset_num_timesteps=False)
    _assert_same_bits(agents[2], others[2])
    assert agents[2].num_timesteps == others[2].num_timesteps == 2 * _STEPS
    assert np.array_equal(generators[2].numpy.permutation(9), copies[2].numpy.permutation(9))


def test_a_callback_stops_its_own_run_alone() -> None:
    agents, generators = _make_all(range(3))
    records = [Record(), Record(stop_at=100), Record()]
    _learn_together(agents, generators, callbacks=records)
    for seed, (agent, record) in enumerate(zip(agents, records, strict=True)):
        stock, expected = _make(seed), Record(stop_at=100 if seed == 1 else None)
        stock.learn(_STEPS, callback=expected, log_interval=None)
        assert record.events == expected.events
        _assert_alike(agent, stock)
        assert torch.equal(generators[seed].torch.get_state(), torch.get_rng_state())
        assert np.array_equal(generators[seed].numpy.get_state()[1], np.random.get_state()[1])


class Reads(BaseCallback):
    """Does in a rollout what cannot be as in stock SB3."""

    def __init__(self, read: Callable[[Any], Any]) -> None:
        super().__init__()
        self._read = read

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        self._read(self.model)


@pytest.mark.parametrize(
    ("read", "words"),
    [
        (lambda agent: agent.rollout_buffer.observations, "rollout_buffer, and a callback, .* its observations"),
        (lambda _: torch.rand(1), "PyTorch's global generator"),
        (lambda _: np.random.normal(), "NumPy's global generator"),
    ],
)
def test_a_callback_that_would_read_other_numbers_than_in_stock_sb3_is_refused(read: Any, words: str) -> None:
    agents, generators = _make_all(range(2))
    with pytest.raises(IncompatibleError, match=words):
        _learn_together(agents, generators, callbacks=[None, Reads(read)])
    agents[1].learn(1)


def test_logs_are_dumped_as_by_learn() -> None:
    agents, generators = _make_all(range(2))
    dumps: list[list[int]] = [[], []]
    for agent, own in zip(agents, dumps, strict=True):
        agent.dump_logs = own.append
    _learn_together(agents, generators, log_interval=2)
    assert dumps == [[2], [2]]


def test_generators_stand_in_for_the_global_ones() -> None:
    torch.manual_seed(0)
    np.random.seed(0)
    generators = RunGenerators.from_global()
    first = torch.rand(3), np.random.rand(3)
    torch.manual_seed(1)
    outside = torch.get_rng_state()
    with generators.installed():
        assert torch.equal(torch.rand(3), first[0])
        assert np.array_equal(np.random.rand(3), first[1])
    assert torch.equal(torch.get_rng_state(), outside)
    second = torch.rand(2, generator=generators.torch)
    torch.manual_seed(0)
    assert torch.equal(torch.rand(5)[3:], second)


class OwnPolicy(ActorCriticPolicy):
    """A user's own policy."""


class OwnBuffer(RolloutBuffer):
    """A user's own rollout buffer."""


_REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "gSDE": ({"env": "Pendulum-v1", "use_sde": True}, "gSDE"),
    "other algorithm": ({"kind": TRPO}, "the agent is TRPO"),
    "AdamW": ({"policy_kwargs": {"optimizer_class": torch.optim.AdamW}}, "the optimizer is AdamW"),
    "weight decay": ({"policy_kwargs": {"optimizer_kwargs": {"weight_decay": 0.1}}}, "weight_decay=0.1"),
    "activation with parameters": ({"policy_kwargs": {"activation_fn": torch.nn.PReLU}}, "PReLU"),
    "rollout buffer": ({"rollout_buffer_class": OwnBuffer}, "OwnBuffer"),
}


@pytest.mark.parametrize("case", _REFUSED)
def test_refuses_what_it_does_not_compute(case: str) -> None:
    settings, words = _REFUSED[case]
    agents, generators = _make_all(range(2), **settings)
    with pytest.raises(IncompatibleError, match=words):
        BatchedTrainer(agents, generators)


@pytest.mark.parametrize(
    ("policy", "space", "words"),
    [
        ("CnnPolicy", spaces.Box(0, 255, (36, 36, 1), np.uint8), "ActorCriticCnnPolicy"),
        ("MultiInputPolicy", spaces.Dict({"a": _VECTOR}), "MultiInputActorCriticPolicy"),
        (OwnPolicy, _VECTOR, "OwnPolicy"),
    ],
)
def test_refuses_other_policies(policy: Any, space: Any, words: str) -> None:
    agent = PPO(policy, make_vec_env(_with_spaces(space, spaces.Discrete(2)), 2), device="cpu", **_PPO)
    with pytest.raises(IncompatibleError, match=words):
        BatchedTrainer([agent], [RunGenerators.from_global()])


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"gamma": 0.5}, "different gamma.*0.99 and 0.5"),
        ({"n_envs": 3}, "different number of environments"),
        ({"policy_kwargs": {"net_arch": [8]}}, "different network"),
        ({"kind": A2C}, "different algorithm"),
        ({"env": "Acrobot-v1"}, "different observation space"),
    ],
)
def test_refuses_agents_that_differ(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(IncompatibleError, match=words):
        BatchedTrainer([_make(0), _make(1, **settings)], [RunGenerators.from_global()] * 2)


def test_refuses_what_takes_part_in_steps() -> None:
    agents, generators = _make_all(range(1))
    agents[0].policy.optimizer.register_step_pre_hook(lambda *_: None)
    with pytest.raises(IncompatibleError, match="takes part in the steps"):
        BatchedTrainer(agents, generators)


@pytest.mark.long
@pytest.mark.parametrize("env", ["CartPole-v1", "Pendulum-v1"])
def test_twenty_runs_learn_what_stock_sb3_learns_in_ten_updates(env: str) -> None:
    settings = {"env": env, "n_envs": 8, "n_steps": 64, "batch_size": 64, "n_epochs": 2, "normalise": True}
    steps = 5 * 64 * 8
    agents, generators = _make_all(range(20), **settings)
    _learn_together(agents, generators, steps, block_size=8)
    for seed in (0, 7, 8, 19):
        stock = _make(seed, **settings)
        stock.learn(steps, log_interval=None)
        _assert_alike(agents[seed], stock)
