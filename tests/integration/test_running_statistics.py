"""Controls of networks that normalise are alive: their running statistics are those of the target's observations."""

import itertools
import json
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from agents import STEPS, Images, NormedCnn, encoder_of, make_agent, weights
from runs import pretrained, run_config
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from rltransfer import (
    Finetune,
    Frozen,
    Full,
    GradualUnfreeze,
    RandomFrozen,
    Shuffled,
    apply_plan,
    hold_plan,
    plan_transfer,
)
from rltransfer.anatomy import agent_tensors
from rltransfer.cli import main
from rltransfer.config import RunConfig
from rltransfer.errors import IncompatibleError, Stopped
from rltransfer.training import train_run
from rltransfer.transfer import read_plan
from rltransfer.transfer.running_statistics import STEPS as PLAYED


class Deep(BaseFeaturesExtractor):
    """Layers that each normalise, as those of a ResNet do; of vectors."""

    def __init__(self, observation_space: gym.spaces.Box, features_dim: int = 6) -> None:
        super().__init__(observation_space, features_dim)
        sizes = [int(np.prod(observation_space.shape)), *[features_dim] * 6]
        self.body = torch.nn.Sequential(
            torch.nn.Flatten(),
            *(
                layer
                for inside, outside in itertools.pairwise(sizes)
                for layer in (torch.nn.Linear(inside, outside, bias=False), torch.nn.BatchNorm1d(outside))
            ),
            torch.nn.Dropout(0.5),
        )
        for module in self.body:
            if isinstance(module, torch.nn.Linear):
                torch.nn.init.normal_(module.weight, std=0.01)

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        return self.body(observations)


DEEP: dict[str, Any] = {"policy_kwargs": {"features_extractor_class": Deep, "net_arch": [4]}}
CNN: dict[str, Any] = {
    "policy": "CnnPolicy",
    "policy_kwargs": {"features_extractor_class": NormedCnn, "normalize_images": False, "net_arch": [4]},
}


def deep(algo: str, env: Any = None, **settings: Any) -> Any:
    # Otherwise PPO gives every layer of the extractor orthogonal weights of its own.
    ortho = {"ortho_init": False} if algo == "ppo" else {}
    return make_agent(algo, env, **{**settings, "policy_kwargs": {**DEEP["policy_kwargs"], **ortho}})


def observations_of(agent: Any, steps: int = 200) -> Any:
    """Returns what an agent sees of other random actions."""
    env, seen = agent.get_env(), []
    env.action_space.seed(11)
    env.seed(99)
    observation = env.reset()
    for _ in range(steps):
        seen.append(np.array(observation))
        observation, *_ = env.step(np.stack([env.action_space.sample() for _ in range(env.num_envs)]))
    return np.concatenate(seen)


def features(agent: Any, seen: Any) -> torch.Tensor:
    """Returns the features of the networks that act."""
    policy = agent.policy
    policy.set_training_mode(False)
    owner = policy.actor if hasattr(policy, "actor") else policy.q_net if hasattr(policy, "q_net") else policy
    with torch.no_grad():
        return owner.extract_features(policy.obs_to_tensor(seen)[0], owner.features_extractor)


def recomputed(plan: Any) -> set[str]:
    return {entry.tensor for entry in plan.entries if entry.origin == "recomputed"}


@pytest.mark.parametrize("algo", ["ppo", "dqn", "sac", "td3"])
@pytest.mark.parametrize("strategy", [RandomFrozen(), Shuffled(of=Frozen())], ids=["random_frozen", "shuffled"])
def test_the_features_of_a_frozen_control_differ_between_observations_and_stay(
    algo: str, strategy: Any, tmp_path: Path
) -> None:
    encoder = encoder_of(deep(algo, seed=7).learn(STEPS[algo]), tmp_path)
    target = deep(algo)
    seen = observations_of(target)
    if isinstance(strategy, RandomFrozen):
        # As it would be without: dead.
        assert features(target, seen).std(dim=0).max() < 1e-6
    plan = plan_transfer(encoder, target, strategy)
    names = recomputed(plan)
    assert names
    assert all(name.endswith(("running_mean", "running_var")) for name in names)
    assert all(entry.frozen for entry in plan.entries if entry.tensor in names)
    transfer = apply_plan(plan, target)
    spread = features(target, seen).std(dim=0)
    assert float(spread.min()) > 0.3
    assert float(spread.max()) < 3.0
    start = weights(target)
    target.learn(PLAYED + STEPS[algo], callback=transfer.callbacks)
    assert all(check.passed for check in transfer.checks()), transfer.checks()
    assert any(check.name == "recomputed layers differ between observations" for check in transfer.checks())
    frozen = {entry.tensor for entry in plan.entries if entry.frozen}
    assert all(torch.equal(weights(target)[name], start[name]) for name in frozen)
    tensors = agent_tensors(target)
    twins = [entry for entry in plan.entries if entry.twin in names]
    assert bool(twins) == (algo != "ppo")
    assert all(torch.equal(tensors[entry.tensor], tensors[entry.twin]) for entry in twins)
    assert not torch.equal(start[next(iter(names))], torch.zeros_like(start[next(iter(names))]))


def test_statistics_are_those_of_each_layer_under_the_weights_that_are_there(tmp_path: Path) -> None:
    encoder = encoder_of(make_agent("ppo", Images(), seed=7, **CNN).learn(32), tmp_path)
    target = make_agent("ppo", Images(), **CNN)
    plan = plan_transfer(encoder, target, Shuffled(of=Frozen()))
    assert recomputed(plan) == {"features_extractor.body.1.running_mean", "features_extractor.body.1.running_var"}
    apply_plan(plan, target)
    body = target.policy.features_extractor.body
    images = torch.as_tensor(observations_of(target, 300)).float()
    with torch.no_grad():
        read = body[0](images).transpose(0, 1).flatten(start_dim=1)
    torch.testing.assert_close(body[1].running_mean, read.mean(dim=1), rtol=0.1, atol=0.1 * float(read.std()))
    torch.testing.assert_close(body[1].running_var, read.var(dim=1), rtol=0.1, atol=0.0)
    source = encoder.tensors["features_extractor.body.1.running_var"]
    assert not torch.equal(body[1].running_var, source)
    # The counter is no statistic, and is the source's.
    counter = "features_extractor.body.1.num_batches_tracked"
    assert torch.equal(weights(target)[counter], encoder.tensors[counter])


@pytest.mark.parametrize("strategy", [RandomFrozen(), Shuffled(of=Frozen()), Shuffled(of=Full())], ids=str)
def test_statistics_of_crossq_are_of_the_actions_that_its_buffer_holds(strategy: Any, tmp_path: Path) -> None:
    encoder = encoder_of(make_agent("crossq", seed=7).learn(40), tmp_path)
    target = make_agent("crossq")
    plan = plan_transfer(encoder, target, strategy)
    assert {name.rpartition(".")[2] for name in recomputed(plan)} == {"ra_mean", "ra_var"}
    transfer = apply_plan(plan, target)
    first = target.policy.critic.qf0[0]
    # Pendulum: cosine, sine, speed, and an action that is uniform between -1 and 1.
    assert float(first.ra_var[3]) == pytest.approx(1 / 3, rel=0.2)
    assert float(first.ra_mean[3]) == pytest.approx(0.0, abs=0.15)
    start = weights(target)
    target.learn(PLAYED + 40, callback=transfer.callbacks)
    moved = {name for name in recomputed(plan) if not torch.equal(weights(target)[name], start[name])}
    assert bool(moved) == (strategy == Shuffled(of=Full()))
    assert all(check.passed for check in transfer.checks()), transfer.checks()


def test_a_control_that_trains_starts_with_recomputed_statistics_and_goes_on(tmp_path: Path) -> None:
    encoder = encoder_of(make_agent("ppo", Images(), seed=7, **CNN).learn(32), tmp_path)
    target = make_agent("ppo", Images(), **CNN)
    plan = plan_transfer(encoder, target, Shuffled(of=Finetune()))
    transfer = apply_plan(plan, target)
    start = weights(target)
    target.learn(PLAYED + 32, callback=transfer.callbacks)
    assert not any(torch.equal(weights(target)[name], start[name]) for name in recomputed(plan))


def test_the_plan_says_what_it_costs_before_anything_is_played(tmp_path: Path) -> None:
    encoder = encoder_of(make_agent("ppo", Images(), seed=7, **CNN), tmp_path)
    target = make_agent("ppo", DummyVecEnv([Images] * 3), **CNN)
    plan = plan_transfer(encoder, target, RandomFrozen())
    steps = -(-PLAYED // 3) * 3
    assert plan.statistics_steps == steps
    text = str(plan)
    assert f"running statistics: recomputed over {steps:,} env_steps of a random policy in the target, counted" in text
    assert "note: the running statistics of features_extractor would not fit the weights there" in text
    row = next(line for line in text.splitlines() if "body.1.running_mean" in line)
    assert row.split()[-2:] == ["recomputed", "frozen"]
    (tmp_path / "plan.json").write_text(json.dumps(plan.to_json()))
    assert read_plan(tmp_path / "plan.json") == plan
    transfer = apply_plan(plan, target)
    assert target.num_timesteps == 0
    target.learn(steps + 96, callback=transfer.callbacks)
    assert target.num_timesteps == steps + 96
    before = target.num_timesteps
    # A plan that is held again recomputes nothing and counts nothing.
    start = weights(target)
    held = hold_plan(plan, target)
    assert all(torch.equal(tensor, start[name]) for name, tensor in weights(target).items())
    target.learn(96, callback=held.callbacks, reset_num_timesteps=False)
    assert target.num_timesteps == before + 96


def test_environments_generators_and_normalisation_are_as_if_nothing_had_been_played(tmp_path: Path) -> None:
    def built() -> Any:
        env = VecNormalize(DummyVecEnv([Images]), norm_obs=False)
        return make_agent("ppo", env, **CNN)

    encoder = encoder_of(make_agent("ppo", Images(), seed=7, **CNN), tmp_path)
    beginnings = []
    for strategy in (Frozen(), RandomFrozen()):
        target = built()
        target.get_env().env_method("reset", seed=1)
        generator = torch.random.get_rng_state()
        numbers = np.random.get_state()[1].copy()
        transfer = apply_plan(plan_transfer(encoder, target, strategy), target)
        assert torch.equal(torch.random.get_rng_state(), generator)
        assert np.array_equal(np.random.get_state()[1], numbers)
        wrapper = target.get_vec_normalize_env()
        assert float(wrapper.ret_rms.count) == pytest.approx(1e-4)
        assert wrapper.training
        assert transfer.plan.statistics_steps == (PLAYED if isinstance(strategy, RandomFrozen) else 0)
        beginnings.append(target.get_env().reset())
    assert np.array_equal(*beginnings)


def test_the_same_seed_gives_the_same_statistics_and_another_one_others(tmp_path: Path) -> None:
    def statistics(seed: int) -> torch.Tensor:
        target = make_agent("ppo", Images(), seed=seed, **CNN)
        # The weights are alike, and only what is seen is not.
        target.policy.load_state_dict(make_agent("ppo", Images(), seed=5, **CNN).policy.state_dict())
        apply_plan(plan_transfer(None, target, RandomFrozen()), target)
        return target.policy.features_extractor.body[1].running_mean

    assert torch.equal(statistics(0), statistics(0))
    assert not torch.equal(statistics(0), statistics(1))


def test_observations_are_normalised_as_the_agent_sees_them(tmp_path: Path) -> None:
    class Far(gym.ObservationWrapper):  # type: ignore[type-arg]
        def __init__(self, env: Any) -> None:
            super().__init__(env)
            self.observation_space = gym.spaces.Box(-np.inf, np.inf, (4,), np.float32)

        def observation(self, observation: Any) -> Any:
            return (1000.0 + 50.0 * observation).astype(np.float32)

    def env() -> Any:
        return VecNormalize(DummyVecEnv([lambda: Far(gym.make("CartPole-v1"))]))

    source = deep("ppo", env(), seed=7).learn(256)
    for encoder, strategy in ((None, RandomFrozen()), (encoder_of(source, tmp_path), Shuffled(of=Frozen()))):
        target = deep("ppo", env())
        plan = plan_transfer(encoder, target, strategy)
        transfer = apply_plan(plan, target)
        first = target.policy.features_extractor.body[2]
        inputs = first.running_var / (target.policy.features_extractor.body[1].weight ** 2).sum(dim=1)
        # Of inputs that are normalised; of raw ones these are in the thousands.
        assert float(inputs.max()) < 5.0
        count = target.get_vec_normalize_env().obs_rms.count
        assert count == pytest.approx(1e-4 if encoder is None else encoder.normaliser.observation.count)
        target.learn(PLAYED + 64, callback=transfer.callbacks)
        spread = features(target, observations_of(target)).std(dim=0)
        assert float(spread.min()) > 0.1


def test_only_layers_that_the_control_chooses_are_recomputed(tmp_path: Path) -> None:
    target = deep("ppo")
    assert not recomputed(plan_transfer(None, target, RandomFrozen(layers="none")))
    encoder = encoder_of(deep("ppo", seed=7), tmp_path)
    for strategy in (Frozen(), Finetune(), Full(), Shuffled(of=Frozen(layers="none"))):
        plan = plan_transfer(encoder, target, strategy)
        assert (recomputed(plan), plan.statistics_steps) == (set(), 0)
        assert "recomputed" not in str(plan)
    plain = encoder_of(make_agent("ppo", seed=7), tmp_path)
    assert not recomputed(plan_transfer(plain, make_agent("ppo"), Shuffled(of=Frozen())))


def test_an_agent_without_environments_is_refused() -> None:
    target = deep("ppo")
    target.env = None
    with pytest.raises(IncompatibleError, match="recomputed on observations of the agent's environments"):
        plan_transfer(None, target, RandomFrozen())


def test_a_control_that_sees_the_same_everywhere_fails_its_check() -> None:
    class Still(gym.Env[np.ndarray, Any]):
        observation_space = gym.spaces.Box(-1, 1, (4,), np.float32)
        action_space = gym.spaces.Discrete(2)

        def reset(self, *, seed: Any = None, options: Any = None) -> Any:
            super().reset(seed=seed)
            return np.ones(4, np.float32), {}

        def step(self, action: Any) -> Any:
            return np.ones(4, np.float32), 0.0, False, True, {}

    target = deep("ppo", Still())
    transfer = apply_plan(plan_transfer(None, target, RandomFrozen()), target)
    (check,) = (check for check in transfer.checks() if check.name.startswith("recomputed"))
    assert not check.passed
    assert "features_extractor.body.2" in check.detail
    assert torch.equal(target.policy.features_extractor.body[2].running_var, torch.ones(6))


@pytest.mark.parametrize("reset", [False, True])
def test_the_steps_are_no_training_of_the_actor_that_waits(reset: bool, tmp_path: Path) -> None:
    encoder = encoder_of(make_agent("ppo", Images(), seed=7, **CNN).learn(32), tmp_path)
    target = make_agent("ppo", Images(), **CNN)
    transfer = apply_plan(plan_transfer(encoder, target, Shuffled(of=Full(critic_warmup_steps=64))), target)
    moved, done = [], []
    # The first call has the steps of the statistics in its budget.
    for steps in (PLAYED + 32, 32, 32):
        before = weights(target)["action_net.weight"]
        target.learn(steps, callback=transfer.callbacks, reset_num_timesteps=reset)
        moved.append(not torch.equal(weights(target)["action_net.weight"], before))
        done.append(transfer.done_steps)
    assert (moved, done) == ([False, True, True], [32, 64, 96])
    assert target.num_timesteps == (32 if reset else PLAYED + 96)
    assert all(check.passed for check in transfer.checks()), transfer.checks()


def test_layers_are_released_at_the_steps_of_training_without_callbacks_too(tmp_path: Path) -> None:
    encoder = encoder_of(make_agent("ppo", Images(), seed=7, **CNN).learn(32), tmp_path)
    target = make_agent("ppo", Images(), **CNN)
    apply_plan(plan_transfer(encoder, target, Shuffled(of=[Finetune(), GradualUnfreeze(at=40)])), target)
    moved = []
    for _ in range(3):
        before = weights(target)["mlp_extractor.policy_net.0.weight"]
        with pytest.warns(UserWarning, match="steps are not counted"):
            target.learn(32)
        moved.append(not torch.equal(weights(target)["mlp_extractor.policy_net.0.weight"], before))
    assert moved == [False, True, True]


def first_updates(agent: Any, *calls: tuple[int, bool], callbacks: Any) -> list[int]:
    """Returns how many transitions the agent had stored at the first update of each call of ``learn``; -1 for none."""
    stored: list[int] = []
    train = agent.train

    def noted(*args: Any, **kwargs: Any) -> None:
        stored[-1] = agent.replay_buffer.pos if stored[-1] < 0 else stored[-1]
        train(*args, **kwargs)

    agent.train = noted
    for steps, reset in calls:
        stored.append(-1)
        agent.learn(steps, callback=callbacks, reset_num_timesteps=reset)
    del agent.train
    return stored


def test_an_off_policy_control_stores_as_much_before_its_first_update_as_any(tmp_path: Path) -> None:
    settings = {"learning_starts": 30, "batch_size": 4}
    target = make_agent("crossq", **settings)
    plan = plan_transfer(None, target, RandomFrozen())
    transfer = apply_plan(plan, target)
    assert target.learning_starts == 30
    # In the second call the count goes on, in the third one it begins again, as SB3's does.
    calls = [(PLAYED + 20, False), (20, False), (40, True)]
    assert first_updates(target, *calls, callbacks=transfer.callbacks) == [-1, 31, 71]
    assert target.learning_starts == 30

    stopped = make_agent("crossq", **settings)
    transfer = apply_plan(plan_transfer(None, stopped, RandomFrozen()), stopped)
    stopped.learn(PLAYED + 20, callback=transfer.callbacks)
    stopped.save(tmp_path / "agent.zip")
    stopped.save_replay_buffer(tmp_path / "buffer.pkl")
    loaded = type(stopped).load(tmp_path / "agent.zip", env=stopped.get_env())
    loaded.load_replay_buffer(tmp_path / "buffer.pkl")
    assert loaded.learning_starts == 30
    held = hold_plan(transfer.plan, loaded, done_steps=transfer.done_steps)
    assert first_updates(loaded, (20, False), callbacks=held.callbacks) == [31]
    assert (loaded.learning_starts, loaded.num_timesteps, held.done_steps) == (30, PLAYED + 40, 40)
    assert not any("counted" in check.name for check in held.checks())


def test_an_agent_that_acts_by_what_it_knows_learns_after_as_many_steps(tmp_path: Path) -> None:
    encoder = encoder_of(make_agent("crossq", seed=7).learn(40), tmp_path)
    target = make_agent("crossq", learning_starts=30)
    transfer = apply_plan(plan_transfer(encoder, target, Shuffled(of=Full())), target)
    assert transfer.plan.quiet_steps == 30
    before = weights(target)["actor.mu.weight"]
    target.learn(PLAYED + 29, callback=transfer.callbacks)
    assert torch.equal(weights(target)["actor.mu.weight"], before)
    target.learn(10, callback=transfer.callbacks, reset_num_timesteps=False)
    assert not torch.equal(weights(target)["actor.mu.weight"], before)


def test_a_run_that_they_use_up_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = run_config("crossq", strategy="random_frozen", n_timesteps=PLAYED)
    words = "Nothing would be trained: .* recomputed on 256 env_steps .* n_timesteps 256. Give it more: -n 257 at least"
    with pytest.raises(IncompatibleError, match=words):
        train_run(config, tmp_path / "run")
    line = f"transfer --algo crossq --env Pendulum-v1 --strategy random_frozen -n {PLAYED} -f {tmp_path / 'logs'}"
    assert main(line.split()) == 2
    shown = capsys.readouterr()
    assert "Nothing would be trained" in shown.err
    assert "Traceback" not in shown.err


def test_a_run_resumes_where_it_was_in_them(tmp_path: Path) -> None:
    def settings() -> RunConfig:
        control = {"kind": "shuffled", "of": {"kind": "finetune", "critic_warmup_steps": 20}}
        return run_config(
            "crossq", strategy=control, source=str(tmp_path / "source"), n_timesteps=PLAYED + 30, checkpoint_freq=4
        )

    pretrained(tmp_path / "source", algo="crossq")
    whole = train_run(settings(), tmp_path / "whole")
    asked = iter(range(10**6))
    with pytest.raises(Stopped):
        train_run(settings(), tmp_path / "cut", stop=lambda: next(asked) > 20)
    resumed = train_run(settings(), tmp_path / "cut")
    assert resumed.env_steps == whole.env_steps == PLAYED + 30
    assert resumed.n_updates == whole.n_updates
    assert resumed.final == whole.final
    assert all(check.passed for check in resumed.checks), resumed.checks
