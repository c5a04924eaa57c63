"""A source's replay buffer is mixed into an agent's minibatches: which share, which numbers, and what is saved."""

import json
import pickle
import sys
import types
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from agents import ENVS, encoder_of, make_agent, weights
from gymnasium import spaces
from runs import pretrained, run_config
from stable_baselines3.common.buffers import NStepReplayBuffer, ReplayBuffer
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from rltransfer import Augment, Encoder, Replay, apply_plan, hold_plan, load_encoder, plan_transfer
from rltransfer.errors import ConfigError, IncompatibleError, SourceError
from rltransfer.training import train_run
from rltransfer.transfer import Plan, Transfer, read_plan

OFF_POLICY = ["dqn", "qrdqn", "sac", "td3", "ddpg", "tqc", "crossq"]
MARK = 1000.0


class World(gym.Env[Any, Any]):
    """Shows zeros and rewards nothing, so that what comes from elsewhere is seen; spaces as asked for."""

    def __init__(self, observations: spaces.Space[Any], actions: spaces.Space[Any]) -> None:
        self.observation_space, self.action_space = observations, actions
        self._step = 0

    def _show(self) -> Any:
        shown = self.observation_space.sample()
        if isinstance(shown, dict):
            return {key: np.zeros_like(value) for key, value in shown.items()}
        return np.zeros_like(shown)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self._step = 0
        return self._show(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self._step += 1
        return self._show(), 0.0, self._step % 5 == 0, False, {}


def box(*shape: int, bound: float = 1e6) -> spaces.Box:
    return spaces.Box(-bound, bound, shape, np.float32)


def env(observations: spaces.Space[Any], actions: spaces.Space[Any] | None = None) -> DummyVecEnv:
    return DummyVecEnv([lambda: World(observations, actions or box(2, bound=2.0))])


def source(
    folder: Path,
    observations: spaces.Space[Any],
    actions: spaces.Space[Any] | None = None,
    n: int = 30,
    **settings: Any,
) -> Encoder:
    """Returns a source whose buffer holds transitions that tell their number, in each entry another one."""
    policy = "MultiInputPolicy" if isinstance(observations, spaces.Dict) else "MlpPolicy"
    algo = "dqn" if isinstance(actions, spaces.Discrete) else "sac"
    agent: Any = make_agent(algo, env(observations, actions), policy=policy, policy_kwargs={}, seed=7, **settings)
    rng = np.random.default_rng(0)
    for number in range(n):
        sides = [_numbered(observations, number, shift) for shift in (0.0, 0.5)]
        action = np.array([number % actions.n]) if isinstance(actions, spaces.Discrete) else rng.uniform(-1, 1, (1, 2))
        agent.replay_buffer.add(*sides, action, np.array([MARK + number]), np.array([number % 3 == 0]), [{}])
    agent.save_replay_buffer(folder / "replay_buffer.pkl")
    return encoder_of(agent, folder)


def _numbered(space: spaces.Space[Any], number: int, shift: float) -> Any:
    if isinstance(space, spaces.Dict):
        return {key: _numbered(part, number, shift) for key, part in space.spaces.items()}
    size = int(np.prod(space.shape))  # type: ignore[arg-type]
    values = 100.0 * (number + 1) + np.arange(size) + shift
    return np.asarray(values % 256 if space.dtype == np.uint8 else values).reshape(1, *space.shape).astype(space.dtype)  # type: ignore[misc]


def mixed(encoder: Encoder, target: Any, part: Replay | None = None, algo: str = "sac", **settings: Any) -> Transfer:
    maps = {name: settings.pop(name) for name in ("inputs", "actions") if name in settings}
    agent = make_agent(algo, target, **settings)
    return apply_plan(plan_transfer(encoder, agent, part or Replay(), **maps), agent)


def drawn(transfer: Transfer, size: int = 64) -> Any:
    agent: Any = transfer.agent
    return agent.replay_buffer.sample(size, env=agent.get_vec_normalize_env())


@pytest.mark.parametrize("ratio", [0.0, 0.1, 0.25, 0.5, 0.75, 1.0])
@pytest.mark.parametrize("size", [1, 8, 100])
def test_minibatches_hold_the_share_that_is_named(ratio: float, size: int, tmp_path: Path) -> None:
    transfer = mixed(source(tmp_path, box(3)), env(box(3)), Replay(ratio=ratio))
    transfer.agent.learn(30, callback=transfer.callbacks)
    for _ in range(3):
        batch = drawn(transfer, size)
        assert int((batch.rewards >= MARK).sum()) == round(ratio * size)
        assert {len(part) for part in batch if part is not None} == {size}


@pytest.mark.parametrize("reset", [False, True])
def test_the_share_falls_on_a_line_to_zero(reset: bool, tmp_path: Path) -> None:
    transfer = mixed(source(tmp_path, box(3)), env(box(3)), Replay(ratio=0.5, until=200))
    shares = []
    for _ in range(6):
        transfer.agent.learn(40, callback=transfer.callbacks, reset_num_timesteps=reset)
        shares.append(int((drawn(transfer, 100).rewards >= MARK).sum()))
    assert shares == [40, 30, 20, 10, 0, 0]


def test_every_transition_is_drawn_and_each_number_is_the_sources(tmp_path: Path) -> None:
    encoder = source(tmp_path, box(3))
    transfer = mixed(encoder, env(box(3)), Replay(ratio=1.0))
    with (tmp_path / "replay_buffer.pkl").open("rb") as stream:
        buffer: ReplayBuffer = pickle.load(stream)
    batch = drawn(transfer, 2000)
    numbers = (batch.rewards.numpy().reshape(-1) - MARK).astype(int)
    counts = np.bincount(numbers, minlength=30)
    assert (counts > 30).all(), "uniformly"
    for part, expected in (
        (batch.observations, buffer.observations),
        (batch.next_observations, buffer.next_observations),
        (batch.actions, buffer.actions),
        (batch.dones, buffer.dones),
        (batch.rewards, buffer.rewards),
    ):
        np.testing.assert_array_equal(part.numpy(), expected[numbers, 0].reshape(part.shape))
    actions = transfer.agent.replay_buffer.to_torch(buffer.actions)  # type: ignore[attr-defined]
    assert batch.actions.dtype == actions.dtype


@pytest.mark.parametrize("algo", OFF_POLICY)
def test_no_share_at_all_trains_bit_for_bit_the_agent_that_plain_training_does(algo: str, tmp_path: Path) -> None:
    origin: Any = make_agent(algo, seed=7).learn(40)
    origin.save_replay_buffer(tmp_path / "replay_buffer.pkl")
    encoder = encoder_of(origin, tmp_path)
    after = {}
    for name, strategy in (("plain", "scratch"), ("none", Replay(ratio=0.0)), ("some", Replay(ratio=0.5))):
        agent = make_agent(algo)
        transfer = apply_plan(plan_transfer(encoder, agent, strategy), agent)
        agent.learn(60, callback=transfer.callbacks)
        assert all(check.passed for check in transfer.checks()), transfer.checks()
        after[name] = weights(agent)
    assert all(torch.equal(after["none"][name], tensor) for name, tensor in after["plain"].items())
    assert not all(torch.equal(after["some"][name], tensor) for name, tensor in after["plain"].items())


def test_the_latest_transitions_alone_where_a_number_is_named(tmp_path: Path) -> None:
    transfer = mixed(source(tmp_path, box(3)), env(box(3)), Replay(ratio=1.0, size=4))
    assert set(drawn(transfer, 200).rewards.flatten().tolist()) == {MARK + number for number in range(26, 30)}


def test_inputs_come_into_the_targets_places_and_new_ones_are_zero(tmp_path: Path) -> None:
    transfer = mixed(source(tmp_path, box(3)), env(box(4)), Replay(ratio=1.0), inputs=[2, None, 0, 1])
    batch = drawn(transfer)
    numbers = batch.rewards.numpy() - MARK
    first = 100.0 * (numbers + 1)
    for part, shift in ((batch.observations, 0.0), (batch.next_observations, 0.5)):
        expected = np.hstack([first + 2, 0 * first - shift, first, first + 1]) + shift
        np.testing.assert_allclose(part.numpy(), expected)


def test_inputs_that_the_target_adds_behind_the_sources_are_new(tmp_path: Path) -> None:
    batch = drawn(mixed(source(tmp_path, box(3)), env(box(5)), Replay(ratio=1.0)))
    assert torch.equal(batch.observations[:, 1], batch.observations[:, 0] + 1)
    assert not batch.observations[:, 3:].any()


def test_observations_are_seen_through_the_agents_own_statistics(tmp_path: Path) -> None:
    """And new inputs are at its mean, rewards divided as its own."""
    encoder = source(tmp_path, box(3))
    target = VecNormalize(env(box(4)), clip_obs=1e6, clip_reward=1e6)
    transfer = mixed(encoder, target, Replay(ratio=1.0), inputs=[0, 1, None, 2])
    target.obs_rms.mean, target.obs_rms.var = np.array([1.0, 2.0, 500.0, 4.0]), np.array([4.0, 9.0, 16.0, 25.0])
    target.ret_rms.var = np.array(100.0)
    batch = drawn(transfer)
    numbers = batch.rewards.numpy() * 10.0 - MARK
    first = 100.0 * (np.round(numbers) + 1)
    expected = np.hstack([(first - 1) / 2, (first + 1 - 2) / 3, 0 * first, (first + 2 - 4) / 5])
    np.testing.assert_allclose(batch.observations.numpy(), expected, rtol=1e-4, atol=1e-4)
    assert not batch.observations[:, 2].any()
    np.testing.assert_allclose(numbers, np.round(numbers), atol=1e-2)
    # What is remembered stays raw: other statistics, other numbers.
    target.obs_rms.mean = np.zeros(4)
    assert not np.allclose(drawn(transfer).observations[:, 0].numpy().min(), batch.observations[:, 0].numpy().min())


def test_dictionaries_meet_by_key_and_new_keys_are_zero(tmp_path: Path) -> None:
    encoder = source(tmp_path, spaces.Dict(near=box(2), far=box(3)))
    target = env(spaces.Dict(near=box(2), wind=box(1), distant=box(3)))
    agent = make_agent("sac", target, policy="MultiInputPolicy", policy_kwargs={})
    plan = plan_transfer(encoder, agent, Replay(ratio=0.5), inputs={"keys": {"distant": "far"}})
    transfer = apply_plan(plan, agent)
    agent.learn(20, callback=transfer.callbacks)
    batch = drawn(transfer, 40)
    is_source = batch.rewards.flatten() >= MARK
    first = 100.0 * (batch.rewards[is_source] - MARK + 1)
    assert int(is_source.sum()) == 20
    torch.testing.assert_close(batch.observations["near"][is_source], first + torch.arange(2.0))
    torch.testing.assert_close(batch.next_observations["distant"][is_source], first + torch.arange(3.0) + 0.5)
    assert not batch.observations["wind"].any()
    assert not batch.observations["near"][~is_source].any()
    assert all(check.passed for check in transfer.checks()), transfer.checks()


def test_channels_of_images_follow_the_map(tmp_path: Path) -> None:
    image, wider = spaces.Box(0, 255, (3, 36, 36), np.uint8), spaces.Box(0, 255, (4, 36, 36), np.uint8)
    cnn: dict[str, Any] = {"policy": "CnnPolicy", "policy_kwargs": {}}
    agent: Any = make_agent("dqn", env(image, spaces.Discrete(2)), seed=7, **cnn)
    shown = np.random.default_rng(0).integers(1, 256, (1, 3, 36, 36), np.uint8)
    agent.replay_buffer.add(shown, shown, np.array([1]), np.array([MARK]), np.array([0.0]), [{}])
    agent.save_replay_buffer(tmp_path / "replay_buffer.pkl")
    encoder = encoder_of(agent, tmp_path)
    transfer = mixed(encoder, env(wider, spaces.Discrete(2)), Replay(ratio=1.0), "dqn", inputs=[2, 0, None, 1], **cnn)
    result = drawn(transfer, 3).observations[0].numpy()
    assert result.dtype == np.uint8
    assert np.array_equal(result[[0, 1, 3]], shown[0][[2, 0, 1]])
    assert not result[2].any()


def test_actions_follow_the_map_and_what_the_target_cannot_do_is_left_out(tmp_path: Path) -> None:
    encoder = source(tmp_path, box(3), spaces.Discrete(3))
    transfer = mixed(encoder, env(box(3), spaces.Discrete(3)), Replay(ratio=1.0), "dqn", actions=[2, None, 0])
    batch = drawn(transfer, 300)
    numbers = (batch.rewards.flatten() - MARK).long()
    assert set((numbers % 3).tolist()) == {0, 2}, "action 1 of the source is none of the target's"
    assert torch.equal(batch.actions.flatten(), torch.where(numbers % 3 == 0, 2, 0))
    finding = next(finding for finding in transfer.plan.findings if finding.kind == "replay")
    assert finding.numbers == {"transitions": 20, "left_out": 10}
    assert "10 more are left out, since the target does not have their actions" in finding.words


def test_actions_between_other_bounds_are_what_the_environment_received(tmp_path: Path) -> None:
    """Of a Box, SB3 stores them from -1 to 1; those out of the target's reach are left out."""
    source_space, target_space = box(2, bound=2.0), spaces.Box(np.float32([-1, -4]), np.float32([3, 4]))
    encoder = source(tmp_path, box(3), source_space, n=200)
    transfer = mixed(encoder, env(box(3), target_space), Replay(ratio=1.0))
    with (tmp_path / "replay_buffer.pkl").open("rb") as stream:
        stored = pickle.load(stream).actions[:200, 0]
    batch = drawn(transfer, 500)
    numbers = (batch.rewards.flatten() - MARK).long().numpy()
    performed = 2.0 * stored
    fits = performed[:, 0] >= -1.0
    assert fits[numbers].all()
    assert len(set(numbers)) > 0.9 * fits.sum()
    expected = np.stack([(performed[:, 0] + 1) / 2 - 1, performed[:, 1] / 4], axis=1)
    np.testing.assert_allclose(batch.actions.numpy(), expected[numbers], atol=1e-5)


def test_an_action_that_is_new_was_not_used(tmp_path: Path) -> None:
    encoder = source(tmp_path, box(3))
    target = env(box(3), spaces.Box(np.float32([-2, -2, 1]), np.float32([2, 2, 3])))
    batch = drawn(mixed(encoder, target, Replay(ratio=1.0), actions=[1, 0, None]))
    # Zero is out of reach of the third: its lower bound is next to it.
    assert torch.equal(batch.actions[:, 2], -torch.ones(64))
    assert batch.actions[:, :2].abs().min() > 0


@pytest.fixture
def rewards(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    module = types.ModuleType("their_rewards")
    monkeypatch.setitem(sys.modules, "their_rewards", module)
    return module


def test_rewards_are_the_targets_where_its_function_is_named(rewards: Any, tmp_path: Path) -> None:
    def reward(observations: Any, actions: Any, following: Any) -> Any:
        assert (observations.shape, actions.shape, following.shape) == ((30, 3), (30, 2), (30, 3))
        assert np.abs(actions).max() > 1.5, "as the environment receives them, from -2 to 2"
        return observations[:, 0] + 1000 * actions[:, 1] + following[:, 2]

    rewards.reward = reward
    transfer = mixed(source(tmp_path, box(3)), env(box(3)), Replay(ratio=1.0, reward="their_rewards:reward"))
    batch = drawn(transfer)
    expected = batch.observations[:, 0] + 2000 * batch.actions[:, 1] + batch.next_observations[:, 2]
    torch.testing.assert_close(batch.rewards.flatten(), expected)
    assert not any(finding.kind == "source_rewards" for finding in transfer.plan.findings)
    plain = plan_transfer(load_encoder(tmp_path / "best_model.zip"), transfer.agent, "replay")
    (warning,) = [finding for finding in plain.findings if finding.kind == "source_rewards"]
    assert warning.severity == "warning"
    assert "name the target's function with reward" in str(plain)


def test_a_reward_function_of_discrete_actions_and_dictionaries(rewards: Any, tmp_path: Path) -> None:
    rewards.reward = lambda observation, actions, other: (
        observation["near"][:, 0] * 0 + actions + other["near"][:, 1] * 0
    )
    both = spaces.Dict(near=box(2))
    encoder = source(tmp_path, both, spaces.Discrete(2))
    agent = make_agent("dqn", env(both, spaces.Discrete(2)), policy="MultiInputPolicy", policy_kwargs={})
    transfer = apply_plan(plan_transfer(encoder, agent, Replay(ratio=1.0, reward="their_rewards:reward")), agent)
    batch = drawn(transfer)
    assert torch.equal(batch.rewards, batch.actions.float())


@pytest.mark.parametrize(
    ("path", "function", "words"),
    [
        ("no_such_module:reward", None, "cannot be imported: .*no_such_module.*PYTHONPATH"),
        ("their_rewards:rewrad", None, r"has no function 'rewrad'. Did you mean 'reward'\?"),
        ("their_rewards:constant", None, "has no function 'constant'"),
        ("their_rewards:reward", lambda *_: 1.0, r"expected 30 finite numbers, .* of shape \[\]"),
        (
            "their_rewards:reward",
            lambda observation, *_: observation,
            r"expected 30 finite numbers, .* of shape \[30, 3\]",
        ),
        ("their_rewards:reward", lambda observation, *_: observation[:, 0] * np.nan, "with NaN or infinity"),
        (
            "their_rewards:reward",
            lambda observation, *_: observation["height"],
            "fails on the source's transitions: IndexError",
        ),
    ],
)
def test_reward_functions_that_cannot_be_used(
    path: str, function: Any, words: str, rewards: Any, tmp_path: Path
) -> None:
    rewards.reward, rewards.constant = function or (lambda *_: 0.0), 3.0
    encoder = source(tmp_path, box(3))
    with pytest.raises(ConfigError, match=f"reward {path!r}.*{words}"):
        plan_transfer(encoder, make_agent("sac", env(box(3))), Replay(reward=path))


def test_memory_optimised_buffers_are_mixed_in_and_not_relabelled(rewards: Any, tmp_path: Path) -> None:
    settings = {"optimize_memory_usage": True, "replay_buffer_kwargs": {"handle_timeout_termination": False}}
    encoder = source(tmp_path, box(3), **settings)
    batch = drawn(mixed(encoder, env(box(3)), Replay(ratio=1.0)))
    assert batch.rewards.min() >= MARK
    rewards.reward = lambda observation, *_: observation[:, 0]
    with pytest.raises(IncompatibleError, match="was memory-optimised"):
        plan_transfer(encoder, make_agent("sac", env(box(3))), Replay(reward="their_rewards:reward"))


def test_an_agent_that_learns_from_several_steps_gets_single_ones_with_their_discount(tmp_path: Path) -> None:
    transfer = mixed(source(tmp_path, box(3)), env(box(3)), n_steps=3, gamma=0.9)
    agent: Any = transfer.agent
    assert isinstance(agent.replay_buffer, NStepReplayBuffer)
    agent.learn(40, callback=transfer.callbacks)
    batch = drawn(transfer, 40)
    is_source = batch.rewards.flatten() >= MARK
    assert torch.allclose(batch.discounts[is_source], torch.tensor(0.9))
    assert batch.discounts[~is_source].min() < 0.8


def test_nothing_of_it_is_in_what_is_saved_and_the_agents_own_buffer_holds_its_own(tmp_path: Path) -> None:
    transfer = mixed(source(tmp_path, box(3)), env(box(3)))
    agent: Any = transfer.agent
    agent.learn(40, callback=transfer.callbacks)
    agent.save_replay_buffer(tmp_path / "own.pkl")
    agent.save(tmp_path / "agent.zip")
    for name in ("own.pkl", "agent.zip"):
        assert b"rltransfer" not in (tmp_path / name).read_bytes()
    stock = type(agent).load(tmp_path / "agent.zip", env=env(box(3)))
    stock.load_replay_buffer(tmp_path / "own.pkl")
    assert float(stock.replay_buffer.sample(200).rewards.max()) == 0.0
    assert agent.replay_buffer.size() == 40


def test_an_agent_goes_on_with_the_draws_that_come_next(tmp_path: Path) -> None:
    encoder = source(tmp_path, box(3))
    first, other = (mixed(encoder, env(box(3)), Replay(ratio=1.0)) for _ in range(2))
    drawn(first)
    other.load_state_dict(first.state_dict())
    assert torch.equal(drawn(first).rewards, drawn(other).rewards)
    elsewhere = mixed(encoder, env(box(3)), Replay(ratio=1.0), seed=1)
    assert not torch.equal(drawn(mixed(encoder, env(box(3)), Replay(ratio=1.0))).rewards, drawn(elsewhere).rewards)


def test_it_stands_beside_moved_weights_controls_and_augmentation(tmp_path: Path) -> None:
    origin: Any = make_agent("sac", seed=7).learn(60)
    origin.save_replay_buffer(tmp_path / "replay_buffer.pkl")
    encoder = encoder_of(origin, tmp_path)
    for strategy in (
        ["full", "replay"],
        ["frozen", Replay(ratio=0.25), Augment(noise=0.1)],
        {"kind": "shuffled", "of": ["finetune", "replay"]},
        ["replay", "kickstart"],
    ):
        agent = make_agent("sac")
        transfer = apply_plan(plan_transfer(encoder, agent, strategy), agent)
        agent.learn(60, callback=transfer.callbacks)
        assert all(check.passed for check in transfer.checks()), transfer.checks()
        assert "of each minibatch from the source" in str(transfer.plan)


def test_a_plan_from_a_file_needs_its_source_and_holding_again_mixes_once(tmp_path: Path) -> None:
    transfer = mixed(source(tmp_path, box(3)), env(box(3)), Replay(ratio=0.5))
    (tmp_path / "plan.json").write_text(json.dumps(transfer.plan.to_json()))
    read: Plan = read_plan(tmp_path / "plan.json")
    with pytest.raises(IncompatibleError, match="needs the source's replay buffer, and was read from a file"):
        hold_plan(read, transfer.agent)
    again = hold_plan(transfer.plan, transfer.agent)
    transfer.agent.learn(30, callback=again.callbacks)
    assert int((drawn(again, 40).rewards >= MARK).sum()) == 20


@pytest.mark.parametrize("algo", ["ppo", "a2c", "trpo", "ppo_lstm", "maskable_ppo"])
def test_agents_without_a_replay_buffer_are_refused_with_the_reason(algo: str, tmp_path: Path) -> None:
    encoder = source(tmp_path, box(3))
    with pytest.raises(IncompatibleError, match=f"An agent of {algo} .*keeps no replay buffer.*'replay' is for dqn"):
        plan_transfer(encoder, make_agent(algo, env(box(3), spaces.Discrete(2))), "replay")


def test_sources_whose_memory_does_not_fit_are_refused_with_the_reason(tmp_path: Path) -> None:
    def refused(words: str, target: Any, algo: str = "sac", **maps: Any) -> None:
        with pytest.raises(IncompatibleError, match=words):
            plan_transfer(encoder, make_agent(algo, target), "replay", **maps)

    encoder = encoder_of(make_agent("sac", env(box(3)), seed=7), tmp_path)
    refused("No replay buffer lies beside the source .*--save-replay-buffer", env(box(3)))
    encoder = source(tmp_path, box(3))
    refused("observation spaces do not fit", env(box(2)))
    refused("its actions are Box .*Both must be Discrete, or both Box", env(box(3), spaces.Discrete(2)), "dqn")
    refused("it knows 2 actions, and the target has 3", env(box(3), box(3, bound=2.0)))
    other = tmp_path / "other"
    other.mkdir()
    source(other, box(4))
    (tmp_path / "replay_buffer.pkl").write_bytes((other / "replay_buffer.pkl").read_bytes())
    refused("is not the source's: its observations are of shape", env(box(3)))
    (tmp_path / "replay_buffer.pkl").write_bytes(b"words")
    with pytest.raises(SourceError, match=r"replay_buffer\.pkl is not the pickle of a replay buffer"):
        plan_transfer(encoder, make_agent("sac", env(box(3))), "replay")
    encoder = source(tmp_path, box(3), spaces.Discrete(2))
    refused(
        "None of the source's transitions can be used", env(box(3), spaces.Discrete(2)), "dqn", actions=[None, None]
    )


def test_a_buffer_that_draws_in_a_way_of_its_own_is_refused(tmp_path: Path) -> None:
    class Prioritised(ReplayBuffer):
        pass

    agent = make_agent("sac", env(box(3)), replay_buffer_class=Prioritised)
    with pytest.raises(IncompatibleError, match="is a Prioritised, which may draw in a way of its own"):
        plan_transfer(source(tmp_path, box(3)), agent, "replay")


@pytest.mark.parametrize("which", ["best", "last", "32"])
def test_a_run_finds_its_sources_buffer(which: str, tmp_path: Path) -> None:
    pretrained(tmp_path / "source", "sac", save_replay_buffer=True, save_freq=32)
    config = run_config("sac", env=ENVS["sac"].replace("Pendulum-v1", "ShortPendulum-v0"), strategy="replay")
    config = config.model_copy(update={"source": str(tmp_path / "source"), "which": which})
    record = train_run(config, tmp_path / "target")
    assert all(check.passed for check in record.checks), record.checks
    plan = json.loads((tmp_path / "target/rltransfer/plan.json").read_text())
    (finding,) = [item for item in plan["findings"] if item["kind"] == "replay"]
    assert finding["numbers"]["transitions"] == (31 if which == "32" else 96)
    encoder = load_encoder(tmp_path / "source", which)
    assert encoder.replay_buffer is not None
    encoder.save(tmp_path / "artifact")
    with pytest.raises(IncompatibleError, match="an artifact holds none, so name the run folder"):
        plan_transfer(load_encoder(tmp_path / "artifact"), make_agent("sac", "ShortPendulum-v0"), "replay")
