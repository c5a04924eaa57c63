"""Tuning as it is planned: spaces, seeds, trials; and arms with hyperparameters of their own."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from sweeping import MATRIX, make, settings
from synthetic import make_run

from rltransfer import yaml_file
from rltransfer.comparison import compare
from rltransfer.config import StudyConfig, read_study
from rltransfer.errors import ConfigError, MissingExtraError, RunError
from rltransfer.report import write_report
from rltransfer.study import Job, expand_study, run_state, tune
from rltransfer.study.confirm import fresh_seeds
from rltransfer.study.sampling import Sampler
from rltransfer.study.shared import shared_name
from rltransfer.study.trials import Trial, TrialLog, read_log, write_log
from rltransfer.tuning import Range, Tuning, parse_space

SPACE = {
    "learning_rate": {"low": 1e-5, "high": 1e-1, "log": True},
    "n_steps": {"low": 16, "high": 64, "step": 16},
    "target_kl": [None, 1, 1.5],
}
ARMS = {"scratch": "scratch", "frozen": "frozen", "control": {"kind": "shuffled", "of": "frozen"}}


def study(**changes: Any) -> StudyConfig:
    content = settings(arms=ARMS, tune={"trials": 6, "seeds": 2, "space": SPACE}, hyperparams={"gamma": 0.98})
    return StudyConfig.model_validate(content | changes)


def log_of(config: StudyConfig) -> TrialLog:
    return TrialLog(settings={}, seeds=tune.tuning_seeds(config))


def with_next(log: TrialLog, config: StudyConfig) -> TrialLog:
    assert config.tune is not None
    return tune._with_next(log, config, config.tune, Sampler(config.tune.space))


def end(log: TrialLog, score: float | None = 1.0) -> TrialLog:
    """Ends open trials: the later, the better, or all with a failure."""
    return log.model_copy(
        update={
            "trials": tuple(
                trial
                if not trial.is_open
                else trial.model_copy(
                    update={"failure": "broke"} if score is None else {"scores": (float(trial.number), 1.0)}
                )
                for trial in log.trials
            )
        }
    )


def make_done(job: Job, level: float, **record: Any) -> None:
    """Writes the run of a job, at one level all the time."""
    folder = make_run(
        job.folder.parents[2],
        arm=job.config.arm,
        seed=job.config.seed,
        folder=job.name,
        returns=[level, level],
        role=job.config.role,
        **record,
    ).folder
    (folder / "rltransfer" / "config.json").write_text(json.dumps(job.config.outcome_settings()))


class TestSpace:
    def test_a_range_of_whole_numbers_stays_one_and_lists_are_choices(self) -> None:
        space = parse_space(
            {"n_epochs": {"low": 1, "high": 20}, "gamma": {"low": 0.9, "high": 1}, "ent_coef": [0, 0.1]}
        )
        assert space["n_epochs"] == Range(low=1, high=20)
        assert [item.is_whole for item in space.values() if isinstance(item, Range)] == [True, False]
        assert space["ent_coef"] == (0, 0.1)

    def test_it_reads_back_from_plain_data(self) -> None:
        tuning = Tuning.model_validate({"trials": 2, "space": SPACE})
        again = Tuning.model_validate(tuning.model_dump(mode="json"))
        assert again == tuning
        assert repr(again) == repr(tuning)

    @pytest.mark.parametrize(
        ("wrong", "words"),
        [
            ({}, "expected hyperparameters"),
            ({"gamma": [0.9]}, "a list of at least two"),
            ({"gamma": [0.9, 0.9]}, "a choice is listed twice"),
            ({"gamma": [0.9, {"low": 1}]}, "a choice is a number"),
            ({"gamma": {"high": 1}}, "'low' has to be a number, found None"),
            ({"gamma": {"low": True, "high": 2}}, "'low' has to be a number, found True"),
            ({"gamma": {"low": 0.1, "high": 1, "log": 1}}, "'log' has to be true or false"),
            ({"gamma": {"low": 0.1, "high": 1, "step": 0}}, "'step' has to be a number above 0"),
            ({"gamma": {"low": 1, "high": 2, "step": 1, "log": True}}, "either by logarithms"),
        ],
    )
    def test_what_is_no_space_is_refused(self, wrong: Any, words: str) -> None:
        with pytest.raises(ValueError, match=words):
            Tuning.model_validate({"trials": 2, "space": wrong})

    def test_steps_of_a_fraction_may_meet_the_end_but_for_rounding(self) -> None:
        assert parse_space({"gamma": {"low": 0.1, "high": 0.7, "step": 0.2}})

    def test_an_arm_with_the_name_of_a_trial_and_a_matrix_are_refused(self) -> None:
        with pytest.raises(ValueError, match="'frozen_trial_1' has the name of a trial"):
            study(arms={**ARMS, "frozen_trial_1": "frozen"})
        with pytest.raises(ValueError, match="'tune' is of arms with a name"):
            StudyConfig.model_validate({**MATRIX, "tune": {"trials": 2, "space": SPACE}})


class TestTrials:
    def test_seeds_are_neither_the_study_s_nor_those_of_its_confirmation(self) -> None:
        config = study(seeds=[0, 999], tune={"trials": 2, "seeds": 100, "space": SPACE})
        seeds = tune.tuning_seeds(config)
        assert len(set(seeds)) == 100
        assert not {*config.seeds, *fresh_seeds(config.seeds, 500)} & set(seeds)
        assert seeds[0] == 1500

    def test_every_arm_gets_as_many_scratch_too_and_a_control_has_those_of_its_arm(self) -> None:
        config = study()
        log = log_of(config)
        counts = []
        while (following := with_next(log, config)) != log:
            log = end(following)
            counts.append({arm: len(log.of("swapped", arm)) for arm in ARMS})
        assert counts == [{"scratch": 4, "frozen": 4, "control": 0}, {"scratch": 6, "frozen": 6, "control": 0}]
        assert [trial.number for trial in log.of("swapped", "frozen")] == list(range(6))

    def test_a_failed_trial_counts_as_one_and_nobody_tries_it_again(self) -> None:
        config = study()
        log = end(with_next(log_of(config), config), score=None)
        log = with_next(log, config)
        assert len(log.of("swapped", "frozen")) == 6
        assert list(tune._study_of(log, config).arms) == [
            "scratch",
            *("scratch_trial_4", "scratch_trial_5", "frozen_trial_4", "frozen_trial_5"),
        ]
        with pytest.raises(RunError, match="All 6 trials of swapped/frozen failed; the first: broke"):
            end(log, score=None).best("swapped", "frozen")

    def test_none_is_added_while_one_has_still_to_end(self) -> None:
        config = study()
        log = with_next(log_of(config), config)
        assert with_next(log, config) == log

    def test_the_same_is_asked_after_a_restart_and_other_scores_lead_elsewhere(self, tmp_path: Path) -> None:
        config = study(tune={"trials": 24, "space": SPACE})
        log = log_of(config)
        while (following := with_next(log, config)) != log:
            write_log(log, tmp_path)
            again = with_next(read_log(tmp_path, {}, log.seeds), config)
            assert again == following
            assert repr(again) == repr(following)
            log = end(following)
        tuned = log.of("swapped", "frozen")
        sampler = Sampler(parse_space(SPACE))
        asked = sampler.ask(tuned[1:20], 2, seed_of="here")
        mirrored = [item.model_copy(update={"scores": (-float(item.number),)}) for item in tuned[1:20]]
        assert sampler.ask(mirrored, 2, seed_of="here") != asked
        for point in asked:
            assert 1e-5 <= point["learning_rate"] <= 1e-1
            assert point["n_steps"] in (16, 32, 48, 64)
            assert point["target_kl"] in (None, 1, 1.5)

    def test_the_first_are_the_same_for_all_arms_and_the_very_first_the_study_s_own(self) -> None:
        log = with_next(log_of(study()), study())
        tried = {arm: [trial.hyperparams for trial in log.of("swapped", arm)] for arm in ("scratch", "frozen")}
        assert tried["scratch"] == tried["frozen"]
        assert tried["scratch"][0] == {}
        assert tried["scratch"][1] != tried["scratch"][2]

    def test_all_run_with_the_study_s_budget_and_sources_with_its_own_hyperparameters(self, tmp_path: Path) -> None:
        config = study()
        trials = tune._study_of(with_next(log_of(config), config), config)
        jobs = expand_study(StudyConfig.model_validate(trials.model_dump(mode="json")), tmp_path)
        sources = [job.config for job in jobs if job.config.role == "source"]
        targets = [job.config for job in jobs if job.config.role == "target"]
        assert {item.seed for item in (*sources, *targets)} == {1500, 1501}
        assert len(targets) == 2 * 4 * 2
        assert {target.n_timesteps for target in targets} == {10_000}
        assert {item.hyperparams.agent["gamma"] for item in (*sources, *targets)} == {0.98}
        assert len({source.hyperparams.agent["learning_rate"] for source in sources}) == 1
        assert len({target.hyperparams.agent["learning_rate"] for target in targets}) == 4

    def test_told_are_the_scores_of_runs_that_are_done_and_the_first_failure(self, tmp_path: Path) -> None:
        config = study()
        log = with_next(log_of(config), config)
        trials = tune._study_of(log, config)
        *done, last = expand_study(trials, tmp_path)
        for job in done:
            make_done(job, 1.0 + job.config.seed)
        with pytest.raises(RunError, match=r"frozen_trial_3/seed_1501 is not done \(missing\)"):
            tune._told(log, trials, tmp_path)
        make_done(last, 0.0, status="failed", error="it broke")
        told = tune._told(log, trials, tmp_path)
        assert [trial.failure for trial in told.trials] == [None] * 7 + ["seed 1501: it broke"]
        assert [trial.scores for trial in told.trials] == [(1501.0, 1502.0)] * 7 + [None]
        assert told.trials[0].score == 1501.5
        # Once told, it is not asked again.
        make_done(last, 5.0)
        assert tune._told(told, trials, tmp_path) == told

    def test_the_best_is_the_largest_and_of_equal_ones_the_first(self) -> None:
        trials = [
            Trial(task="t", arm="a", number=number, hyperparams={}, scores=scores)
            for number, scores in enumerate([(1.0, 2.0), (4.0, 0.0), (2.0, 2.0), (4.0, 0.0)])
        ]
        assert TrialLog(settings={}, seeds=(0, 1), trials=tuple(trials)).best("t", "a").number == 1

    def test_a_record_of_other_settings_or_with_more_trials_or_damaged_is_refused(self, tmp_path: Path) -> None:
        config = study()
        write_log(end(with_next(log_of(config), config)).model_copy(update={"settings": {"algo": "sac"}}), tmp_path)
        with pytest.raises(ConfigError, match="was begun with another 'algo' in the study: 'sac', now 'ppo'"):
            read_log(tmp_path, {"algo": "ppo"}, (1500,))
        assert config.tune is not None
        log, fewer = read_log(tmp_path, {"algo": "sac"}, (1500,)), config.tune.model_copy(update={"trials": 3})
        with pytest.raises(ConfigError, match="holds 4 trials of each arm, and the study says 'tune.trials': 3"):
            tune._refuse_fewer(log, fewer, tmp_path)
        (tmp_path / "trials.json").write_text("{")
        with pytest.raises(RunError, match="is damaged"):
            read_log(tmp_path, {}, ())

    def test_without_optuna_it_says_what_to_install(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "optuna", None)
        with pytest.raises(MissingExtraError, match=r'pip install "rltransfer\[tune\]"'):
            tune.tune_study(study(), tmp_path / "out")
        assert not (tmp_path / "out").exists()


class TestOwnHyperparameters:
    def tuned(self) -> StudyConfig:
        (task,) = settings()["tasks"].values()
        tuned = {"scratch": {"learning_rate": 0.01}, "frozen": {"gamma": 0.9}}
        return study(tasks={"swapped": {**task, "arm_hyperparams": tuned, "hyperparams": {"gamma": 0.97}}})

    def test_they_come_before_the_task_s_and_the_study_s_and_a_control_has_those_of_its_arm(
        self, tmp_path: Path
    ) -> None:
        source, *targets = [job.config for job in expand_study(self.tuned(), tmp_path) if job.config.seed == 0]
        assert source.hyperparams.agent["gamma"] == 0.98
        assert source.arms_differ_in == ()
        assert {target.arm: target.hyperparams.agent["gamma"] for target in targets} == {
            "scratch": 0.97,
            "frozen": 0.9,
            "control": 0.9,
        }
        assert {target.arms_differ_in for target in targets} == {("gamma", "learning_rate")}

    def test_arms_of_a_matrix_may_have_them(self, tmp_path: Path) -> None:
        (short, tuned), *others = MATRIX["tasks"].items()
        tasks = {short: {**tuned, "arm_hyperparams": {"finetune_from_long": {"gamma": 0.9}}}, **dict(others)}
        jobs = expand_study(StudyConfig.model_validate({**MATRIX, "seeds": 1, "tasks": tasks}), tmp_path)
        gammas = {job.name: job.config.hyperparams.agent.get("gamma") for job in jobs}
        assert [name for name, gamma in gammas.items() if gamma == 0.9] == ["short/finetune_from_long/seed_0"]

    def test_a_run_that_is_there_is_refused_when_arms_begin_or_cease_to_differ(self, tmp_path: Path) -> None:
        plain, tuned = study(seeds=1), self.tuned().model_copy(update={"seeds": (0,)})
        for made, now in ((plain, tuned), (tuned, plain)):
            job = next(job for job in expand_study(made, tmp_path / "made") if job.config.arm == "control")
            folder = make_run(tmp_path / "made", arm="control", seed=0, folder="swapped/control/seed_0").folder
            # As runs were before there was this setting.
            settings_of_run = job.config.model_dump(mode="json", exclude_defaults=True)
            (folder / "rltransfer" / "config.json").write_text(
                json.dumps(job.config.outcome_settings() | {"hyperparams": settings_of_run["hyperparams"]})
            )
            job = next(job for job in expand_study(now, tmp_path / "made") if job.config.arm == "control")
            with pytest.raises(ConfigError, match="'arms_differ_in' is"):
                run_state(job)

    def test_runs_and_caches_of_studies_without_them_stay_as_they_are(self, tmp_path: Path) -> None:
        plain, tuned = (expand_study(item, tmp_path) for item in (study(), self.tuned()))
        assert "arms_differ_in" not in plain[-1].config.outcome_settings()
        assert tuned[-1].config.outcome_settings()["arms_differ_in"] == ["gamma", "learning_rate"]
        assert shared_name(plain[0].config) == shared_name(tuned[0].config)

    def test_a_study_reads_back_from_its_file(self, tmp_path: Path) -> None:
        path = tmp_path / "study.yaml"
        path.write_text(yaml_file.dump(self.tuned().model_dump(mode="json")))
        assert read_study(path) == self.tuned()

    def test_a_report_compares_arms_that_differ_in_them_and_says_which_has_which(self, tmp_path: Path) -> None:
        for arm, gamma, level in (("scratch", 0.97, 60.0), ("full", 0.9, 90.0)):
            for seed in range(6):
                make_run(
                    tmp_path,
                    arm=arm,
                    seed=seed,
                    strategy=({"kind": arm},),
                    returns=[10, level + seed, level + seed],
                    hyperparams={"n_steps": 8, "gamma": gamma},
                    arms_differ_in=("gamma", "target_kl"),
                )
        comparison = compare(tmp_path)
        (task,) = comparison.tasks
        assert task.arm("full").verdict == "positive"
        assert any("`full`: gamma 0.9, target_kl as SB3 has it; `scratch`: gamma 0.97" in note for note in task.notes)
        write_report(comparison, tmp_path)
        text = (tmp_path / "report" / "report.md").read_text()
        assert "10,000 target steps, `n_steps=8`; each arm its own gamma, target_kl, see the notes" in text

    def test_runs_that_differ_in_others_are_still_in_sections_of_their_own(self, tmp_path: Path) -> None:
        for arm, steps in (("scratch", 8), ("full", 16)):
            make_run(tmp_path, arm=arm, seed=0, hyperparams={"n_steps": steps}, arms_differ_in=("gamma",))
        assert len(compare(tmp_path).tasks) == 2

    def test_trials_are_no_runs_of_the_study(self, tmp_path: Path) -> None:
        make(tmp_path, settings(), {})
        make(tmp_path / "tune", settings(seeds=[1500]), {})
        (task,) = compare(tmp_path).tasks
        assert {run.seed for run in task.arm("scratch").runs} == set(range(6))
        assert [run.seed for run in compare(tmp_path / "tune").tasks[0].arm("scratch").runs] == [1500]
        # A study may have been tuned and never run.
        (tmp_path / "study.yaml").unlink()
        (task,) = compare(tmp_path).tasks
        assert {run.seed for run in task.arm("scratch").runs} == set(range(6))
