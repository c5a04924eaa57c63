"""Atari: each argument reaches the console or SB3's wrapper, and ALE's own ids work beside the family."""

from typing import Any

import ale_py
import gymnasium as gym
import numpy as np
import pytest
from rltransfer_envs.atari import SeededAtariWrapper
from stable_baselines3.common.atari_wrappers import AtariWrapper

from rltransfer import tasks
from rltransfer.config import Task
from rltransfer.errors import UnknownNameError
from rltransfer.hyperparams import resolve
from rltransfer.tasks import UniformPolicy
from rltransfer.training import evaluate

OURS = "rltransfer_envs:rltransfer/Atari-v0"
BREAKOUT = "ale_py:ALE/Breakout-v5"


def make(**kwargs: Any) -> gym.Env:
    return gym.make(OURS, **kwargs)


def raw(game: str) -> gym.Env:
    return ale_py.AtariEnv(game, frameskip=1, repeat_action_probability=0.0)


def screens(env: gym.Env, actions: list[int], seed: int = 0) -> list[bytes]:
    return [env.reset(seed=seed)[0].tobytes(), *(env.step(action)[0].tobytes() for action in actions)]


def frame(env: gym.Env) -> int:
    return int(env.unwrapped.console.ale.getEpisodeFrameNumber())


def test_games_are_named_as_ale_names_them() -> None:
    with pytest.raises(UnknownNameError, match=r"'SpaceInvaders'\. Did you mean 'space_invaders'\? Known: adventure, "):
        make(game="SpaceInvaders")


def test_a_game_for_two_is_refused_before_ale_ends_the_process() -> None:
    with pytest.raises(UnknownNameError, match="Unknown Atari game 'combat'"):
        make(game="combat")


def test_switches_outlive_a_seeded_reset() -> None:
    switched = make(mode=1, difficulty=1)
    first, again = screens(switched, [2] * 40), screens(switched, [2] * 40)
    assert first == again
    assert first != screens(make(mode=1), [2] * 40)
    assert first != screens(make(difficulty=1), [2] * 40)


def test_all_games_have_the_same_actions_with_the_full_space() -> None:
    spaces = [
        make(game=game, full_action_space=full).action_space for game in ("pong", "freeway") for full in (False, True)
    ]
    assert [space.n for space in spaces] == [6, 18, 3, 18]
    make(game="backgammon", full_action_space=True).reset(seed=0)


@pytest.mark.parametrize("frameskip", [1, 4])
def test_an_action_lasts_as_many_frames_as_the_frameskip(frameskip: int) -> None:
    env = make(frameskip=frameskip)
    env.reset(seed=0)
    before = frame(env)
    env.step(0)
    assert frame(env) - before == frameskip


def test_noops_are_drawn_from_the_seed() -> None:
    with_noops, without = make(), make(noop_max=0)
    frames = []
    for env in (with_noops, without):
        for seed in (0, 1, 2):
            env.reset(seed=seed)
            frames.append(frame(env))
    # Two actions of four frames follow, which start the games that wait for it.
    assert len(set(frames[:3])) > 1
    assert all(9 <= count <= 38 for count in frames[:3])
    assert frames[3:] == [8, 8, 8]


def test_the_side_of_the_screen() -> None:
    env = make(screen_size=40)
    assert env.observation_space.shape == env.reset(seed=0)[0].shape == (40, 40, 1)


def test_repeated_actions_ignore_the_new_ones() -> None:
    stuck, free = make(action_repeat_probability=1), make()
    assert screens(stuck, [2] * 20) == screens(stuck, [3] * 20)
    assert screens(free, [2] * 20) != screens(free, [3] * 20)


def test_points_and_whole_games_for_evaluation() -> None:
    env = make(game="assault", terminal_on_life_loss=False, clip_reward=False)
    env.action_space.seed(0)
    env.reset(seed=0)
    lives, points, ended = set(), set(), False
    while not ended:
        _, reward, terminated, truncated, info = env.step(env.action_space.sample())
        ended = terminated or truncated
        lives.add(info["lives"])
        points.add(reward)
    assert len(lives) > 2
    assert max(points) > 1


@pytest.mark.parametrize("wrapped", [lambda: make(game="breakout"), lambda: SeededAtariWrapper(raw("breakout"))])
def test_a_seed_starts_a_new_game_where_lives_are_left(wrapped: Any) -> None:
    env = wrapped()
    start, _ = env.reset(seed=0)
    assert play_until_a_life_is_lost(env) == 4
    again, _ = env.reset()
    assert not np.array_equal(start, again)
    assert play_until_a_life_is_lost(env) == 3
    np.testing.assert_array_equal(start, env.reset(seed=0)[0])


def test_without_seeds_lives_follow_each_other_as_in_sb3s_wrapper() -> None:
    variant, reference = make(game="breakout"), AtariWrapper(raw("breakout"))
    np.testing.assert_array_equal(variant.reset(seed=1)[0], reference.reset(seed=1)[0])
    lives = set()
    for action in np.random.default_rng(0).integers(0, 4, size=250):
        actual, original = variant.step(action), reference.step(action)
        np.testing.assert_array_equal(actual[0], original[0])
        assert actual[1:] == original[1:]
        lives.add(actual[4]["lives"])
        if actual[2]:
            np.testing.assert_array_equal(variant.reset()[0], reference.reset()[0])
    assert len(lives) > 3


def test_sb3s_own_wrapper_goes_on_with_the_game_whatever_the_seed() -> None:
    env = AtariWrapper(raw("breakout"))
    start, _ = env.reset(seed=0)
    play_until_a_life_is_lost(env)
    assert not np.array_equal(start, env.reset(seed=0)[0])


def play_until_a_life_is_lost(env: gym.Env) -> int:
    for _ in range(300):
        _, _, terminated, _, info = env.step(1)
        if terminated:
            return int(info["lives"])
    pytest.fail("no life lost in 300 steps")


def test_a_spec_makes_the_same_game() -> None:
    env = make(game="freeway", mode=1)
    assert env.spec is not None
    again = gym.make(gym.envs.registration.EnvSpec.from_json(env.spec.to_json()))
    assert screens(env, [1] * 5) == screens(again, [1] * 5)


# As tasks of the library


@pytest.mark.parametrize("env_id", [OURS, "ale_py:ALE/Pong-v5", "ale_py:PongNoFrameskip-v4"])
def test_agents_see_four_stacked_screens_and_evaluation_samples_actions(env_id: str) -> None:
    task = Task(env=env_id, kwargs={"mode": 1})
    tasks.check_task(task)
    hyperparams = resolve("ppo", env_id).model_copy(update={"n_envs": 1})
    assert hyperparams == resolve("dqn", env_id).model_copy(update={"agent": hyperparams.agent})
    env = tasks.make_train_env(task, hyperparams, seed=0, monitor_folder=None, vec_env="dummy")
    assert env.reset().shape == (1, 4, 84, 84)
    assert env.observation_space.dtype == np.uint8
    env.close()
    assert not tasks.evaluates_deterministically(env_id)


def test_an_unknown_argument_of_ales_own_ids_gets_near_misses() -> None:
    with pytest.raises(UnknownNameError, match=r"has no argument 'mod'\. Did you mean 'mode'"):
        tasks.check_task(Task(env="ale_py:ALE/Pong-v5", kwargs={"mod": 1}))


def test_ales_own_ids_are_named_with_their_module() -> None:
    with pytest.raises(UnknownNameError, match="Environments of ALE are named with their module: 'ale_py:ALE/Pogn-v5'"):
        tasks.check_task(Task(env="ALE/Pogn-v5"))


@pytest.mark.parametrize("env_id", [BREAKOUT, OURS])
def test_an_evaluation_does_not_depend_on_what_was_played_before(env_id: str) -> None:
    kwargs = {"game": "breakout"} if env_id == OURS else {}
    env = tasks.make_eval_env(Task(env=env_id, kwargs=kwargs), resolve("ppo", env_id), seed=0, n_envs=1)
    scores = []
    for _ in range(2):
        scores.append(evaluate(UniformPolicy(env, 5), env, episodes=1, seed=5, deterministic=False))
        # Away into the middle of a game.
        for _ in range(70):
            env.step(np.array([1]))
    env.close()
    assert scores[0] == scores[1]


def test_evaluations_of_ales_own_ids_count_the_points_of_whole_games() -> None:
    env_id = "ale_py:ALE/Assault-v5"
    env = tasks.make_eval_env(Task(env=env_id), resolve("ppo", env_id), seed=0, n_envs=1)
    episode = evaluate(UniformPolicy(env, 0), env, episodes=1, seed=0, deterministic=False)
    frames_since = env.get_attr("ale")[0].getEpisodeFrameNumber()
    env.close()
    # A hit is 21 points there, which the training clips to 1.
    assert episode.mean_return > 21
    assert episode.mean_return % 21 == 0
    # The next game has begun: at most 30 idle steps of four frames, and two to start it.
    assert frames_since <= 128
