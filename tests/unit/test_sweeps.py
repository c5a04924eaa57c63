"""Sweeps and matrices as the arms and runs that they expand to."""

from pathlib import Path
from typing import Any

import pytest
from sweeping import CARTPOLE, LAYERS, MATRIX, SOURCE_STEPS, settings

from rltransfer.config import StudyConfig
from rltransfer.errors import ConfigError
from rltransfer.strategies import Finetune, Shuffled, weights_method
from rltransfer.study import expand_study
from rltransfer.study.confirm import fresh_seeds
from rltransfer.study.shared import shared_name
from rltransfer.sweeps import LayerSweep


def study(content: dict[str, Any], **changes: Any) -> StudyConfig:
    return StudyConfig.model_validate(content | changes)


def arms_of(content: dict[str, Any], tmp_path: Path) -> list[str]:
    return [job.config.arm for job in expand_study(study(content, seeds=1), tmp_path) if job.config.role == "target"]


class TestLayers:
    def test_an_arm_for_each_strategy_network_and_number_and_none_for_no_layers(self, tmp_path: Path) -> None:
        sweep = {"layers": {"of": ["frozen", "finetune"], "layers": [2, 0, 1], "branches": ["both", "critic"]}}
        assert arms_of(settings(sweeps=sweep), tmp_path) == [
            "scratch",
            *("frozen_1", "frozen_2", "frozen_critic_1", "frozen_critic_2"),
            *("finetune_1", "finetune_2", "finetune_critic_1", "finetune_critic_2"),
        ]

    def test_a_network_that_is_not_named_moves_nothing_of_its_own(self) -> None:
        arms = {
            arm.name: weights_method(arm.strategy) for arm in LayerSweep(layers=2, branches=("actor", "critic")).arms()
        }
        for name, moved in (("finetune_actor_2", (2, None, "none")), ("finetune_critic_1", (1, "none", None))):
            part = arms[name]
            assert isinstance(part, Finetune)
            assert (part.layers, part.actor, part.critic) == moved

    def test_settings_and_parts_of_the_strategy_are_kept_and_its_control_is_of_the_same(self) -> None:
        of = {"slow": [{"kind": "finetune", "lr_scale": 0.3}, "l2_sp"]}
        slow, control = LayerSweep.model_validate({"of": of, "layers": 1, "shuffled": True}).arms()
        assert [part.kind for part in slow.strategy] == ["finetune", "l2_sp"]
        assert slow.strategy[0] == Finetune(lr_scale=0.3, layers=1)
        assert control.name == "slow_1_shuffled"
        assert control.strategy == (Shuffled(of=slow.strategy),)

    def test_one_number_stands_for_all_up_to_it(self) -> None:
        assert LayerSweep.model_validate({"layers": 3}).layers == (1, 2, 3)

    @pytest.mark.parametrize("wrong", [[1, 1], [], [-1], "all", True])
    def test_numbers_that_are_none_are_refused(self, wrong: Any) -> None:
        with pytest.raises(ValueError, match="layers"):
            LayerSweep.model_validate({"layers": wrong})


class TestSourceSteps:
    def test_arms_start_from_one_source_run_as_it_was_after_so_many_steps(self, tmp_path: Path) -> None:
        source, *targets = expand_study(study(SOURCE_STEPS, seeds=[4]), tmp_path)
        assert source.config.save_at == (10_000, 40_000)
        swept = [job for job in targets if job.config.arm != "scratch"]
        assert {job.config.arm: job.config.which for job in swept} == {
            "finetune_from_10000_steps": "10000",
            "finetune_from_40000_steps": "40000",
            "frozen_from_10000_steps": "10000",
            "frozen_from_40000_steps": "40000",
        }
        assert {job.after for job in swept} == {source.folder}

    def test_what_is_kept_does_not_change_the_run_and_a_cache_keeps_it_apart(self, tmp_path: Path) -> None:
        swept, plain = (
            expand_study(study(content, seeds=[0]), tmp_path)[0].config for content in (SOURCE_STEPS, settings())
        )
        assert plain.save_at == ()
        assert swept.outcome_settings() == plain.outcome_settings()
        assert shared_name(swept) != shared_name(plain)

    def test_steps_beyond_the_source_s_own_default_are_refused_as_well(self, tmp_path: Path) -> None:
        settings = {"env": CARTPOLE, "hyperparams": {"n_timesteps": 20_000}}
        with pytest.raises(ConfigError, match=r"after 40,000 steps, and the source is trained for 20,000"):
            expand_study(study(SOURCE_STEPS, source=settings), tmp_path)


class TestMatrix:
    def test_each_task_is_a_source_once_for_each_seed_and_each_arm_that_needs_one_is_made_for_each(
        self, tmp_path: Path
    ) -> None:
        jobs = expand_study(study(MATRIX, seeds=[7, 8]), tmp_path)
        assert [job.name for job in jobs[:4]] == [f"source/{n}/seed_{s}" for s in (7, 8) for n in ("short", "long")]
        assert [job.name for job in jobs[4:10]] == [
            f"{task}/{arm}/seed_7"
            for task in ("short", "long")
            for arm in ("scratch", "finetune_from_short", "finetune_from_long")
        ]
        for job in jobs[4:]:
            _, _, source = job.config.arm.partition("_from_")
            expected = tmp_path / "source" / source / f"seed_{job.config.seed}" if source else None
            assert job.after == expected
            assert job.config.source == (None if expected is None else str(expected))

    def test_a_source_has_the_task_s_arguments_and_the_source_s_budget(self, tmp_path: Path) -> None:
        sources = [
            job.config for job in expand_study(study(MATRIX, seeds=[0]), tmp_path) if job.config.role == "source"
        ]
        assert [config.task.kwargs for config in sources] == [{"length": 0.5}, {"length": 1.5}]
        assert {config.n_timesteps for config in sources} == {40_000}
        settings = study(MATRIX, source={"tasks": ["long"]}, seeds=[0])
        (source, *targets) = expand_study(settings, tmp_path)
        assert (source.config.arm, source.config.n_timesteps) == ("long", 10_000)
        assert {job.config.arm for job in targets} == {"scratch", "finetune_from_long"}

    def test_arms_that_can_do_without_a_source_are_made_once(self, tmp_path: Path) -> None:
        arms = {"scratch": "scratch", "finetune": "finetune", "random": "random_frozen"}
        jobs = expand_study(study(MATRIX, arms=arms, seeds=[0]), tmp_path)
        (random,) = [job for job in jobs if job.config.arm == "random" and job.config.task_name == "long"]
        assert random.after is None

    def test_a_long_scratch_has_the_budget_of_the_longest_source_on_top(self, tmp_path: Path) -> None:
        jobs = expand_study(study(MATRIX, scratch_long=True, seeds=[0]), tmp_path)
        assert [job.config.n_timesteps for job in jobs if job.config.arm == "scratch_long"] == [50_000, 50_000]

    def test_a_matrix_in_which_nothing_moves_is_refused(self) -> None:
        with pytest.raises(ValueError, match="no arm takes anything from the agents of 'source.tasks'"):
            study(MATRIX, arms={"scratch": "scratch"})


class TestConfirmation:
    def test_of_all_arms_only_scratch_and_what_is_confirmed_are_run(self, tmp_path: Path) -> None:
        arms = arms_of({**LAYERS, "confirms": ["finetune_2", "finetune_2_shuffled"]}, tmp_path)
        assert arms == ["scratch", "finetune_2", "finetune_2_shuffled"]

    def test_an_arm_that_there_is_not_is_named(self) -> None:
        with pytest.raises(ValueError, match="confirms: Unknown arm 'finetune_3'. Did you mean"):
            study(LAYERS, confirms=["finetune_3"])

    def test_a_source_run_keeps_what_the_confirmed_arm_needs_and_no_more(self, tmp_path: Path) -> None:
        source = expand_study(study(SOURCE_STEPS, confirms=["frozen_from_10000_steps"]), tmp_path)[0]
        assert source.config.save_at == (10_000,)
        assert source.config.n_timesteps == 40_000

    def test_fresh_seeds_are_far_from_those_that_were_used(self) -> None:
        assert fresh_seeds([0, 4, 999], 3) == (1000, 1001, 1002)
        assert fresh_seeds([1000], 1) == (2000,)


@pytest.mark.parametrize("content", [LAYERS, SOURCE_STEPS, MATRIX])
def test_a_study_reads_back_from_its_resolved_file(content: dict[str, Any]) -> None:
    config = study(content)
    assert StudyConfig.model_validate(config.model_dump(mode="json")) == config


def test_no_task_or_arm_has_the_name_of_a_folder_of_ours() -> None:
    with pytest.raises(ValueError, match="'confirm' cannot be used as a name"):
        study(settings(), tasks={"confirm": {"env": CARTPOLE}})
