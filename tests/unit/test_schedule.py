"""What comes next in a study, decided from what lies on disk."""

from pathlib import Path
from typing import Any

import pytest
from studies import settings
from synthetic import episodes

from rltransfer import files
from rltransfer.config import StudyConfig
from rltransfer.records import EvaluationFacts, RunRecord, TaskFacts, write_record
from rltransfer.run_lock import claim, release
from rltransfer.study import Job, expand_study, run_state, schedule
from rltransfer.study.schedule import Ending, Schedule

SOURCE, SCRATCH, FROZEN = "source/pretrain/seed_0", "target/scratch/seed_0", "target/frozen/seed_0"


class Study:
    """The three runs of a study of one seed, none of which is really trained."""

    def __init__(self, folder: Path) -> None:
        config = StudyConfig.model_validate(settings(seeds=1))
        self.jobs = {job.name: job for job in expand_study(config, folder)}
        self.said: list[str] = []

    def schedule(self, retries: int = 1) -> Schedule:
        """Returns what a supervisor that comes now would make of it."""
        states = [run_state(job) for job in self.jobs.values()]
        return Schedule(states, retries=retries, say=self.said.append)

    def write(self, name: str, status: str, **facts: Any) -> Job:
        """Writes the record of a run as if it had come so far."""
        job = self.jobs[name]
        files.write_json(job.folder / "rltransfer" / "config.json", job.config.model_dump(mode="json"))
        record: dict[str, Any] = {
            "status": status,
            "role": job.config.role,
            "task": TaskFacts(env=job.config.task.env),
            "task_name": job.config.task_name,
            "algo": "ppo",
            "arm": job.config.arm,
            "seed": 0,
            "n_timesteps": job.config.n_timesteps,
            "evaluation": EvaluationFacts(eval_freq=16, episodes=2, n_envs=2, deterministic=True),
            "final": episodes(20.0) if status == "done" else None,
            **facts,
        }
        write_record(job.folder, RunRecord.model_validate(record))
        return job


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    monkeypatch.setattr(schedule, "LOOK_AGAIN_SECONDS", 0.0)
    return Study(tmp_path)


def names(plan: Schedule) -> list[str]:
    """Returns what can be started now, and starts it."""
    results = []
    while (job := plan.next_job()) is not None:
        results.append(job.name)
    return results


def test_a_job_waits_for_its_source_run_and_the_others_do_not(study: Study) -> None:
    plan = study.schedule()
    assert names(plan) == [SOURCE, SCRATCH]
    plan.settle(study.write(SOURCE, "done"), Ending("done"))
    assert names(plan) == [FROZEN]
    assert study.said == ["[1/3] source/pretrain/seed_0: done in 0 s, last agent's mean return 20.0"]


def test_what_is_done_is_not_begun_and_all_done_is_the_end(study: Study) -> None:
    study.write(SOURCE, "done")
    plan = study.schedule()
    assert study.said == ["1 of 3 runs are done already"]
    assert names(plan) == [SCRATCH, FROZEN]
    assert not plan.is_over
    for name in (SCRATCH, FROZEN):
        plan.settle(study.write(name, "done"), Ending("done"))
    assert plan.is_over
    assert names(plan) == []


def test_what_waits_for_a_run_that_failed_has_failed_with_it(study: Study) -> None:
    plan = study.schedule()
    names(plan)
    plan.settle(study.write(SOURCE, "failed", error="no luck"), Ending("failed", "no luck"))
    plan.settle(study.write(SCRATCH, "done"), Ending("done"))
    assert names(plan) == []
    assert plan.is_over
    assert study.said[0] == "[1/3] source/pretrain/seed_0: FAILED: no luck"
    assert study.said[2].startswith("[3/3] target/frozen/seed_0: FAILED: its source run failed: ")
    assert study.said[2].endswith("source/pretrain/seed_0")


def test_a_crash_is_tried_again_so_often_and_then_is_a_failure_on_disk(study: Study) -> None:
    plan = study.schedule(retries=2)
    for _ in range(2):
        assert SCRATCH in names(plan)
        plan.settle(study.write(SCRATCH, "running"), Ending("crashed", "its process was gone"))
    assert names(plan) == [SCRATCH]
    plan.settle(study.write(SCRATCH, "running"), Ending("crashed", "its process was gone"))
    assert names(plan) == []
    again = "target/scratch/seed_0: its process was gone; it is tried again"
    assert study.said == [again, again, "[1/3] target/scratch/seed_0: FAILED: its process was gone"]
    state = run_state(study.jobs[SCRATCH])
    assert (state.state, state.detail) == ("failed", "its process was gone")


def test_a_crash_that_was_recorded_is_tried_again_too(study: Study) -> None:
    plan = study.schedule()
    names(plan)
    plan.settle(study.write(SCRATCH, "failed", error="ValueError"), Ending("crashed", "ValueError"))
    assert names(plan) == [SCRATCH]


def test_a_failure_of_the_users_is_not_tried_again(study: Study) -> None:
    plan = study.schedule(retries=5)
    names(plan)
    plan.settle(study.write(SCRATCH, "failed", error="a typo"), Ending("failed", "a typo"))
    assert names(plan) == []


def test_what_failed_before_is_tried_again_and_what_fails_in_other_hands_is_left_to_them(study: Study) -> None:
    study.write(SCRATCH, "failed", error="yesterday")
    plan = study.schedule()
    assert names(plan) == [SOURCE, SCRATCH]
    other = study.schedule()
    study.write(SCRATCH, "failed", error="again")
    assert names(other) == [SOURCE]
    assert study.said == ["[1/3] target/scratch/seed_0: FAILED: again"]


def test_what_was_stopped_goes_on(study: Study) -> None:
    study.write(SOURCE, "running")  # Of a process that was killed.
    plan = study.schedule()
    assert names(plan) == [SOURCE, SCRATCH]
    plan.settle(study.jobs[SOURCE], Ending("stopped"))
    assert names(plan) == [SOURCE]


def test_what_others_are_doing_is_left_to_them_and_counts_when_they_are_done(study: Study) -> None:
    job = study.write(SOURCE, "running")
    claim(job.folder)
    plan = study.schedule()
    assert names(plan) == [SCRATCH]
    assert {state.job.name: state.state for state in plan.look()}[SOURCE] == "running"
    study.write(SOURCE, "done")
    release(job.folder)
    assert names(plan) == [FROZEN]
    assert study.said == ["[1/3] source/pretrain/seed_0: done by another process, last agent's mean return 20.0"]


def test_what_others_leave_unfinished_is_taken_over(study: Study) -> None:
    job = study.write(SOURCE, "running")
    claim(job.folder)
    plan = study.schedule()
    assert names(plan) == [SCRATCH]
    release(job.folder)
    assert names(plan) == [SOURCE]


def test_a_job_that_was_taken_is_looked_at_again(study: Study) -> None:
    plan = study.schedule()
    names(plan)
    plan.settle(study.jobs[SCRATCH], Ending("taken"))
    assert names(plan) == [SCRATCH]


def test_a_run_of_another_study_that_came_meanwhile_is_a_failure_that_touches_nothing(study: Study) -> None:
    plan = study.schedule()
    job = study.write(SCRATCH, "done")
    config = job.config.model_copy(update={"n_timesteps": 7}).model_dump(mode="json")
    files.write_json(job.folder / "rltransfer" / "config.json", config)
    before = {path: path.stat().st_mtime_ns for path in job.folder.rglob("*")}
    assert names(plan) == [SOURCE]
    assert "other settings: 'n_timesteps' is 7, the study says 48" in study.said[0]
    assert {path: path.stat().st_mtime_ns for path in job.folder.rglob("*")} == before
