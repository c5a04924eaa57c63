"""One run from its settings to its folder."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from runs import SMALL, pretrained, run_config, tree
from stable_baselines3.common.save_util import load_from_zip_file
from stable_baselines3.common.vec_env import VecNormalize

from rltransfer import load_encoder, yaml_file
from rltransfer.errors import IncompatibleError
from rltransfer.hyperparams import Hyperparameters, resolve
from rltransfer.records import Curve, RunRecord, read_curve, read_record, read_training_episodes
from rltransfer.sb3_zip import read_sb3_zip
from rltransfer.training import callbacks, derived_seed, evaluate_agent, train_run
from rltransfer.training.prepare import prepare
from rltransfer.transfer import apply_plan, read_plan
from rltransfer.vecnormalize_reader import Statistics

NORMALISED = {"normalize": True, "n_envs": 2}
BREAKS = {"env_wrapper": ({"runs.BreaksAtStep": {"step": 40}},)}


def policy_of(path: Path) -> dict[str, torch.Tensor]:
    """Returns the weights in an SB3 zip."""
    _, saved, _ = load_from_zip_file(path, load_data=False)
    return saved["policy"]


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def statistics_of(path: Path) -> list[float]:
    """Returns the observation means of a VecNormalize pickle that a run of ours wrote."""
    normaliser = pickle.loads(path.read_bytes())
    assert isinstance(normaliser, VecNormalize)
    return list(normaliser.obs_rms.mean)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A source run on normalised observations, with checkpoints."""
    folder = tmp_path_factory.mktemp("source")
    pretrained(folder, hyperparams=NORMALISED, n_timesteps=160, save_freq=64)
    return folder


@pytest.fixture(scope="module")
def arms(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Curve, RunRecord]]:
    """Runs of which each return names the episode: two arms of a seed, and one of another."""
    root = tmp_path_factory.mktemp("arms")
    pretrained(root / "source", env="FirstObservation-v0")
    runs: dict[str, dict[str, Any]] = {
        "scratch": {},
        "frozen": {"strategy": "frozen"},
        "other": {"strategy": "frozen", "seed": 1},
    }
    results = {}
    for name, settings in runs.items():
        config = run_config(env="FirstObservation-v0", source=str(root / "source"), **settings)
        record = train_run(config, root / name)
        results[name] = (read_curve(root / name), record)
    return results


class TestCurve:
    @pytest.mark.parametrize(
        ("eval_freq", "n_timesteps", "steps"),
        [
            (32, 96, [0, 32, 64, 96]),
            # Rollouts of 16 steps: training ends at 112. Evaluations come as soon as another 40 are full.
            (40, 100, [0, 40, 80, 112]),
            (-1, 64, [0, 64]),
            (None, 320, [*range(0, 321, 16)]),
            (0.1, 320, [*range(0, 321, 32)]),
        ],
    )
    def test_it_starts_at_0_and_ends_at_the_end(
        self, eval_freq: float | None, n_timesteps: int, steps: list[int], tmp_path: Path
    ) -> None:
        record = train_run(run_config(eval_freq=eval_freq, n_timesteps=n_timesteps, episodes=2), tmp_path)
        curve = read_curve(tmp_path)
        assert curve.env_steps.tolist() == steps
        assert curve.episode_returns.shape == curve.episode_lengths.shape == (len(steps), 2)
        assert record.env_steps == steps[-1]

    def test_steps_of_parallel_environments_are_counted_all(self, tmp_path: Path) -> None:
        train_run(run_config(hyperparams={"n_envs": 3}, eval_freq=20, n_timesteps=96), tmp_path)
        assert read_curve(tmp_path).env_steps.tolist() == [0, 21, 42, 60, 81, 96]

    def test_the_last_point_is_measured_after_the_last_update(self, tmp_path: Path) -> None:
        # 32 steps are two whole rollouts of 16: the second update comes after step 32 was seen.
        config = run_config(n_timesteps=32, eval_freq=16, episodes=4)
        train_run(config, tmp_path)
        curve = read_curve(tmp_path)
        assert curve.env_steps.tolist() == [0, 16, 32]
        again = run_config(strategy="full", source=str(tmp_path), which="last", episodes=4)
        with prepare(again, monitor_folder=None) as prepared:
            assert prepared.plan is not None
            apply_plan(prepared.plan, prepared.agent)
            seed = derived_seed(config.seed, "curve")
            last = evaluate_agent(prepared.agent, prepared.eval_env, episodes=4, seed=seed, deterministic=True)
        assert tuple(curve.episode_returns[-1]) == last.episode_returns

    @pytest.mark.usefixtures("all_episodes")
    def test_successes_are_kept_where_the_environment_tells_them(self, tmp_path: Path) -> None:
        record = train_run(run_config(env="FirstObservation-v0"), tmp_path)
        curve = read_curve(tmp_path)
        assert curve.successes is not None
        assert curve.successes.shape == (4, 4)
        assert record.final is not None
        assert len(record.final.successes or ()) == 20
        with np.load(tmp_path / "evaluations.npz") as arrays:
            assert set(arrays) == {"timesteps", "results", "ep_lengths", "successes"}


class TestBestAgent:
    def test_no_untrained_agent_becomes_it(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        scores = iter([100.0, 90.0, 1.0, 3.0, 2.0, 2.0])
        evaluate = callbacks.evaluate_agent
        kept: dict[int, dict[str, torch.Tensor]] = {}

        def evaluate_and_replace(agent: Any, *arguments: Any, **settings: Any) -> Any:
            episodes = evaluate(agent, *arguments, **settings)
            kept[agent.num_timesteps] = {name: value.clone() for name, value in agent.policy.state_dict().items()}
            return episodes.model_copy(update={"episode_returns": (next(scores),) * 4})

        monkeypatch.setattr(callbacks, "evaluate_agent", evaluate_and_replace)
        # The evaluation at step 8 falls into the first rollout of 16.
        train_run(run_config(eval_freq=8, n_timesteps=32), tmp_path)
        assert [*kept] == [0, 8, 16, 24, 32]
        assert same(kept[8], kept[0])
        best = policy_of(tmp_path / "best_model.zip")
        assert same(best, kept[24])
        assert not same(best, kept[0])

    def test_none_becomes_it_while_no_update_counts(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        pretrained(tmp_path / "source", "dqn")
        scores = iter([9.0, 8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 3.0])
        evaluate = callbacks.evaluate_agent
        monkeypatch.setattr(
            callbacks,
            "evaluate_agent",
            lambda *given, **settings: evaluate(*given, **settings).model_copy(
                update={"episode_returns": (next(scores),) * 4}
            ),
        )
        hyperparams = {"agent": {**SMALL["dqn"], "learning_starts": 40}, "policy": "MlpPolicy"}
        config = run_config("dqn", strategy="full", source=str(tmp_path / "source"), eval_freq=16)
        train_run(config.model_copy(update={"hyperparams": Hyperparameters(**hyperparams)}), tmp_path / "run")
        # The weights of steps 16 and 32 are the source's; 48 is the first after an update that counts.
        assert read_sb3_zip(tmp_path / "run" / "best_model.zip").num_timesteps == 48

    @pytest.mark.parametrize("algo", ["ppo", "sac"])
    def test_a_run_that_ends_before_any_evaluation_of_a_trained_agent_keeps_the_last(
        self, algo: str, tmp_path: Path
    ) -> None:
        config = run_config(algo, n_timesteps=16)
        record = train_run(config, tmp_path)
        last = tmp_path / f"{config.task.file_name}.zip"
        assert same(policy_of(tmp_path / "best_model.zip"), policy_of(last))
        assert record.best == record.final

    def test_it_keeps_its_own_normaliser_and_readers_find_each(self, source: Path) -> None:
        files = {
            "best": ("best_model.zip", "best_model_vecnormalize.pkl"),
            "last": ("CartPole-v1.zip", "CartPole-v1/vecnormalize.pkl"),
            "64": ("rl_model_64_steps.zip", "rl_model_vecnormalize_64_steps.pkl"),
        }
        for which, (agent, normaliser) in files.items():
            for encoder in (load_encoder(source, which), load_encoder(source / agent)):
                assert encoder.source.which == which
                assert encoder.normaliser is not None
                assert isinstance(encoder.normaliser.observation, Statistics)
                assert list(encoder.normaliser.observation.mean) == statistics_of(source / normaliser)
                assert same(dict(encoder.tensors), policy_of(source / agent))

    def test_the_normaliser_of_the_best_agent_is_of_its_own_step(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        scores = iter([0.0, 1.0, 3.0, 2.0, 2.0])
        evaluate = callbacks.evaluate_agent
        monkeypatch.setattr(
            callbacks,
            "evaluate_agent",
            lambda *given, **settings: evaluate(*given, **settings).model_copy(
                update={"episode_returns": (next(scores),) * 4}
            ),
        )
        train_run(run_config(hyperparams=NORMALISED, save_freq=32), tmp_path)
        best = statistics_of(tmp_path / "best_model_vecnormalize.pkl")
        assert best == statistics_of(tmp_path / "rl_model_vecnormalize_64_steps.pkl")
        assert best != statistics_of(tmp_path / "CartPole-v1" / "vecnormalize.pkl")

    @pytest.mark.parametrize(("which", "field"), [("best", "best"), ("last", "final")])
    def test_each_score_is_that_of_the_agent_on_disk(self, which: str, field: str, source: Path) -> None:
        scores = getattr(read_record(source), field)
        config = run_config(strategy="full", source=str(source), which=which, hyperparams=NORMALISED)
        with prepare(config, monitor_folder=None) as prepared:
            assert prepared.plan is not None
            apply_plan(prepared.plan, prepared.agent)
            episodes = len(scores.episode_returns)
            again = evaluate_agent(
                prepared.agent, prepared.eval_env, episodes=episodes, seed=scores.seed, deterministic=True
            )
        assert again == scores


class TestDeterminism:
    @pytest.mark.parametrize(
        ("algo", "hyperparams"),
        [
            ("ppo", {}),
            ("dqn", {}),
            pytest.param("sac", {}, marks=pytest.mark.long),
            pytest.param("ppo", NORMALISED, marks=pytest.mark.long),
            ("sac", NORMALISED),
        ],
        ids=["ppo", "dqn", "sac", "ppo-normalised", "sac-normalised"],
    )
    def test_the_same_settings_twice_give_the_same_bytes(
        self, algo: str, hyperparams: dict[str, Any], tmp_path: Path
    ) -> None:
        config = run_config(algo, hyperparams=hyperparams, seed=3)
        first, second = (train_run(config, tmp_path / name) for name in "ab")
        content = (tmp_path / "a" / "evaluations.npz").read_bytes()
        assert content == (tmp_path / "b" / "evaluations.npz").read_bytes()
        assert (first.random, first.initial, first.final) == (second.random, second.initial, second.final)
        name = f"{config.task.file_name}.zip"
        assert same(policy_of(tmp_path / "a" / name), policy_of(tmp_path / "b" / name))
        other = config.model_copy(update={"seed": 4})
        train_run(other, tmp_path / "c")
        assert content != (tmp_path / "c" / "evaluations.npz").read_bytes()

    @pytest.mark.parametrize("algo", ["ppo", "dqn", "sac"])
    @pytest.mark.parametrize("hyperparams", [{}, NORMALISED], ids=["raw", "normalised"])
    def test_an_evaluation_does_not_change_the_run(
        self, algo: str, hyperparams: dict[str, Any], tmp_path: Path
    ) -> None:
        final = []
        for eval_freq in (-1, 16):
            config = run_config(algo, hyperparams=hyperparams, eval_freq=eval_freq)
            record = train_run(config, tmp_path / str(eval_freq))
            final.append((policy_of(tmp_path / str(eval_freq) / f"{config.task.file_name}.zip"), record.final))
        assert same(final[0][0], final[1][0])
        assert final[0][1] == final[1][1]

    def test_a_sampled_evaluation_does_not_change_the_run(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("rltransfer.tasks.evaluates_deterministically", lambda _: False)
        for eval_freq in (-1, 16):
            train_run(run_config(eval_freq=eval_freq), tmp_path / str(eval_freq))
        assert same(*(policy_of(tmp_path / name / "CartPole-v1.zip") for name in ("-1", "16")))


class TestEvaluationSeeds:
    def test_all_arms_meet_the_same_first_observations_in_every_evaluation(self, arms: Any) -> None:
        scratch, frozen = (arms[name][0].episode_returns for name in ("scratch", "frozen"))
        assert np.array_equal(scratch, frozen)
        assert np.array_equal(scratch, np.tile(scratch[0], (4, 1)))
        assert len(set(scratch[0])) == 4

    def test_another_seed_meets_others(self, arms: Any) -> None:
        assert set(arms["scratch"][0].episode_returns[0]).isdisjoint(arms["other"][0].episode_returns[0])

    def test_final_scores_come_from_seeds_that_chose_nothing(self, arms: Any) -> None:
        for curve, record in arms.values():
            chosen = set(curve.episode_returns.flat)
            for scores in (record.final, record.best, record.initial, record.random):
                assert chosen.isdisjoint(scores.episode_returns)
            assert record.final.episode_returns == record.best.episode_returns
            assert set(record.final.episode_returns).isdisjoint(record.initial.episode_returns)

    def test_evaluation_does_not_meet_the_training_episodes(self, tmp_path: Path) -> None:
        train_run(run_config(env="FirstObservation-v0"), tmp_path)
        trained = read_training_episodes(tmp_path).episode_returns.round(6)
        assert set(trained).isdisjoint(set(read_curve(tmp_path).episode_returns.round(6).flat))


class TestRecord:
    @pytest.mark.usefixtures("all_episodes")
    def test_it_holds_the_facts_of_a_transfer(self, source: Path, tmp_path: Path) -> None:
        config = run_config(strategy="frozen", source=str(source), hyperparams=NORMALISED, threshold=50.0)
        record = train_run(config, tmp_path)
        assert record == read_record(tmp_path)
        assert (record.status, record.error, record.arm, record.role) == ("done", None, "frozen", "target")
        for scores, deterministic in ((record.random, False), (record.initial, False), (record.final, True)):
            assert scores is not None
            assert len(scores.episode_returns) == len(scores.episode_lengths) >= 20
            assert scores.deterministic is deterministic
        assert record.best is not None
        assert record.reward_threshold == 50.0
        assert {check.name for check in record.checks} == {
            "moved tensors arrived",
            "frozen tensors bit-identical",
            "frozen target copies equal their twins",
            "each trained parameter in one optimizer group",
            "held observation statistics unchanged",
        }
        assert all(check.passed for check in record.checks)
        assert record.source is not None
        assert (record.source.env_steps, record.source.seed, record.source.which) == (160, 7, "best")
        assert set(record.versions) == {"rltransfer", "stable-baselines3", "gymnasium", "torch", "numpy"}
        assert record.wall_seconds > (record.evaluation_seconds or 0.0) > 0
        assert record.hyperparams == config.hyperparams.flat()
        assert read_plan(tmp_path / "rltransfer" / "plan.json").strategy == config.strategy

    def test_the_registered_threshold_is_the_default(self, tmp_path: Path) -> None:
        assert train_run(run_config(n_timesteps=16), tmp_path).reward_threshold == 475.0

    def test_source_steps_accumulate_along_a_chain(self, tmp_path: Path) -> None:
        first = pretrained(tmp_path / "a", n_timesteps=64)
        second = train_run(run_config(strategy="finetune", source=str(tmp_path / "a"), n_timesteps=32), tmp_path / "b")
        third = train_run(run_config(strategy="frozen", source=str(tmp_path / "b"), n_timesteps=16), tmp_path / "c")
        assert first.source is None
        assert second.source is not None
        assert third.source is not None
        assert (second.source.env_steps, third.source.env_steps) == (64, 96)
        artifact = load_encoder(tmp_path / "c").save(tmp_path / "artifact")
        assert load_encoder(artifact).source.env_steps == 64 + 32 + 16


class TestFailures:
    def test_a_run_that_breaks_says_why_and_keeps_what_it_has(self, tmp_path: Path) -> None:
        with pytest.raises(RuntimeError, match="the simulator broke"):
            train_run(run_config(hyperparams=BREAKS, n_timesteps=640), tmp_path)
        record = read_record(tmp_path)
        assert record.status == "failed"
        assert record.error == (
            "CartPole-v1 in an evaluation, environment 1 of 4: RuntimeError: the simulator broke "
            "(after 0 env_steps, seed 0)"
        )
        assert record.final is None
        assert record.wall_seconds > 0

    def test_a_source_that_does_not_fit_is_recorded_too(self, source: Path, tmp_path: Path) -> None:
        with pytest.raises(IncompatibleError, match="VecNormalize"):
            train_run(run_config(strategy="finetune", source=str(source)), tmp_path)
        record = read_record(tmp_path)
        assert record.status == "failed"
        assert record.error is not None
        assert "VecNormalize" in record.error
        assert not list(tmp_path.glob("*.zip"))


class TestFolder:
    def test_it_is_laid_out_as_rl_zoo_does(self, source: Path) -> None:
        assert {name for name in tree(source) if not name.startswith("tb/")} == {
            "0.monitor.csv",
            "1.monitor.csv",
            "CartPole-v1",
            "CartPole-v1.zip",
            "CartPole-v1/args.yml",
            "CartPole-v1/command.txt",
            "CartPole-v1/config.yml",
            "CartPole-v1/vecnormalize.pkl",
            "best_model.zip",
            "best_model_vecnormalize.pkl",
            "evaluations.npz",
            "rl_model_64_steps.zip",
            "rl_model_128_steps.zip",
            "rl_model_vecnormalize_64_steps.pkl",
            "rl_model_vecnormalize_128_steps.pkl",
            "rltransfer",
            "rltransfer/config.json",
            "rltransfer/record.json",
            "rltransfer/representation.npz",
            "tb",
        }
        (events,) = (source / "tb").glob("*/events*")
        assert events.parent.name == "pretrain-seed7"

    def test_its_settings_can_be_read_again(self, source: Path) -> None:
        path = source / "CartPole-v1" / "config.yml"
        again = resolve("ppo", "CartPole-v1", conf_file=path)
        assert again.flat() == yaml_file.read(path)
        assert again == run_config(hyperparams=NORMALISED).hyperparams

    def test_an_arm_without_a_source_leaves_a_plan_of_nothing(self, tmp_path: Path) -> None:
        train_run(run_config(n_timesteps=16), tmp_path)
        plan = read_plan(tmp_path / "rltransfer" / "plan.json")
        assert {entry.origin for entry in plan.entries} == {"initialised"}

    @pytest.mark.parametrize("algo", ["dqn", "ppo"])
    def test_replay_buffers_are_saved_where_there_are_any(self, algo: str, tmp_path: Path) -> None:
        train_run(run_config(algo, save_replay_buffer=True, save_freq=48), tmp_path)
        buffers = {name for name in tree(tmp_path) if "replay_buffer" in name}
        all_of_them = {f"rl_model_replay_buffer_{step}_steps.pkl" for step in (48, 96)} | {"replay_buffer.pkl"}
        assert buffers == (all_of_them if algo == "dqn" else set())


def test_the_evaluation_environment_can_have_arguments_of_its_own(tmp_path: Path) -> None:
    config = run_config("sac", kwargs={"g": 10.0}, n_timesteps=32)
    other = config.model_copy(update={"evaluation": config.evaluation.model_copy(update={"env_kwargs": {"g": 1.0}})})
    curves = []
    for index, item in enumerate((config, other)):
        train_run(item, tmp_path / str(index))
        curves.append(read_curve(tmp_path / str(index)).episode_returns)
    assert not np.array_equal(*curves)
    assert same(*(policy_of(tmp_path / name / "ShortPendulum-v0.zip") for name in ("0", "1")))


def test_preparing_changes_no_weights_and_writes_nothing(source: Path, tmp_path: Path) -> None:
    config = run_config(strategy="frozen", source=str(source), hyperparams=NORMALISED)
    with prepare(config, monitor_folder=None) as prepared:
        assert prepared.plan is not None
        assert all(parameter.requires_grad for parameter in prepared.agent.policy.parameters())
        fresh = prepared.agent.policy.state_dict()
        assert not torch.equal(
            fresh["mlp_extractor.policy_net.0.weight"],
            load_encoder(source).tensors["mlp_extractor.policy_net.0.weight"],
        )
    assert tree(tmp_path) == set()


@pytest.mark.parametrize("normalize", [{"norm_obs": False}, {"norm_reward": False}, {}])
def test_any_part_of_normalisation_may_be_off(normalize: dict[str, bool], tmp_path: Path) -> None:
    record = train_run(run_config(hyperparams={"normalize": normalize}), tmp_path)
    assert record.status == "done"
    encoder = load_encoder(tmp_path)
    assert encoder.normaliser is not None
    assert encoder.normaliser.norm_obs is normalize.get("norm_obs", True)
