import dataclasses
import shutil

import numpy as np
import pytest
import sweeping
from synthetic import FINETUNE, FROZEN, FULL, SCRATCH, TASK, episodes, make_run, make_study, ramp, shuffled, source

from rltransfer import stats
from rltransfer.comparison import compare
from rltransfer.comparison.names import safe_names, sweep_names, task_names
from rltransfer.comparison.verdicts import Pair, contrast_family
from rltransfer.errors import RunError, UnknownNameError
from rltransfer.metrics import Undefined
from rltransfer.records import Check, TaskFacts
from rltransfer.stats import mean_difference


def make_arm(root, arm, levels, **facts):
    for seed, level in enumerate(levels):
        make_run(root, arm=arm, seed=seed, returns=ramp(10, level), **facts)


def only_task(root, **settings):
    (task,) = compare(root, **settings).tasks
    return task


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    root = tmp_path_factory.mktemp("study")
    make_study(root)
    return only_task(root)


def test_verdicts(study):
    assert {arm.name: arm.verdict for arm in study.arms} == {
        "scratch": None,
        "finetune": "positive",
        "shuffled_finetune": "positive",
        "frozen": "positive",
        "shuffled_frozen": "inconclusive",
        "full": "negative",
    }


def test_arms_are_in_reading_order_with_controls_behind_their_arm(study):
    assert [(arm.name, arm.kind, arm.control_of) for arm in study.arms] == [
        ("scratch", "baseline", None),
        ("finetune", "transfer", None),
        ("shuffled_finetune", "control", "finetune"),
        ("frozen", "transfer", None),
        ("shuffled_frozen", "control", "frozen"),
        ("full", "transfer", None),
    ]


def test_arms_whose_names_hold_numbers_are_in_the_order_of_these(tmp_path):
    make_run(tmp_path, arm="scratch", seed=0)
    for steps in (10_000, 40_000, 5_000):
        arm = {"strategy": ({"kind": "finetune", "layers": steps},), "source": source(0)}
        make_run(tmp_path, arm=f"from_{steps}_steps", seed=0, **arm)
        control = {**arm, "strategy": shuffled(arm["strategy"])}
        make_run(tmp_path, arm=f"from_{steps}_steps_shuffled", seed=0, **control)
    names = [arm.name for arm in only_task(tmp_path).arms]
    first = [f"from_{steps}_steps{end}" for steps in (5_000, 10_000, 40_000) for end in ("", "_shuffled")]
    assert names == ["scratch", *first]


def test_origins(study):
    assert study.arm("frozen").origin.cause == "features"
    assert study.arm("frozen").origin.share.value == pytest.approx(-0.05)
    assert study.arm("finetune").origin.cause == "initialisation scale"
    assert study.arm("finetune").origin.share.low > 0.6
    assert study.arm("full").origin is None
    assert study.arm("shuffled_finetune").origin is None


def test_auc_and_its_difference_are_those_of_the_curves(study):
    scratch, frozen = study.arm("scratch"), study.arm("frozen")
    assert frozen.scores["auc"].difference.value == pytest.approx(
        frozen.scores["auc"].mean.value - scratch.scores["auc"].mean.value
    )
    assert scratch.scores["auc"].difference is None
    assert frozen.scores["initial"].difference.value == 0
    assert frozen.scores["final"].difference.value == pytest.approx(40)
    assert frozen.scores["training_auc"].difference.value == pytest.approx(40 * (0.5 * 50 + 100) / 150)


def test_both_accountings_and_the_break_even(study):
    frozen = study.arm("frozen")
    assert (frozen.steps.target_steps, frozen.steps.source_steps, frozen.steps.total_steps) == (10_000, 40_000, 50_000)
    assert frozen.time.reached == 5
    assert frozen.steps_saved.value == 3_200
    # 40,000 source steps at 3,200 saved per target; an upper bound, since scratch was cut at its budget.
    assert (frozen.steps.break_even_targets, frozen.steps.at_most) == (13, True)
    assert study.arm("scratch").steps.source_steps == 0
    assert isinstance(study.arm("full").steps.break_even_targets, Undefined)


def test_the_result_does_not_depend_on_the_order_in_which_runs_are_found(study, tmp_path):
    make_study(tmp_path / "study")
    by_arm = [path for path in (tmp_path / "study").glob("*/*") if path.is_dir()]
    task = only_task(sorted(by_arm, reverse=True))
    assert [arm.p_adjusted for arm in task.arms] == [arm.p_adjusted for arm in study.arms]
    assert [arm.scores for arm in task.arms] == [arm.scores for arm in study.arms]
    assert task.notes == study.notes


def test_a_run_that_is_reached_by_two_roots_counts_once(tmp_path):
    make_study(tmp_path, seeds=2)
    assert len(only_task([tmp_path, tmp_path]).arm("scratch").runs) == 2


def test_one_seed_gives_curves_but_no_interval_and_no_verdict(tmp_path):
    make_study(tmp_path, seeds=1)
    frozen = only_task(tmp_path).arm("frozen")
    assert frozen.verdict is None
    assert "one seed" in frozen.reason
    assert frozen.band.low is None
    assert frozen.scores["auc"].difference.low is None


def test_three_seeds_cannot_reach_a_verdict_and_the_notes_say_so(tmp_path):
    make_study(tmp_path, seeds=3)
    task = only_task(tmp_path)
    assert {arm.verdict for arm in task.arms} == {None, "inconclusive"}
    assert task.arm("frozen").smallest_p_adjusted == 0.5
    (note,) = [note for note in task.notes if "reachable" in note]
    assert "after Holm is 0.5" in note
    assert "can reach 0.05 are 5" in note


def test_without_a_baseline_there_is_no_verdict_and_the_reason_is_given(tmp_path):
    make_arm(tmp_path, "frozen", [50, 51, 52, 53], strategy=FROZEN)
    task = only_task(tmp_path)
    assert task.arm("frozen").verdict is None
    assert "the baseline `scratch` has no finished run" in task.arm("frozen").reason
    assert task.notes[0].startswith("No verdict: the baseline `scratch`")


def test_a_baseline_is_known_by_its_strategy_if_its_arm_has_another_name(tmp_path):
    make_arm(tmp_path, "from_zero", [50, 51], strategy=SCRATCH)
    assert only_task(tmp_path).baseline == "from_zero"


def test_another_baseline_can_be_chosen_and_a_wrong_one_gets_near_misses(tmp_path):
    make_study(tmp_path)
    assert only_task(tmp_path, baseline="frozen").arm("scratch").verdict == "negative"
    with pytest.raises(UnknownNameError, match="Did you mean 'frozen'"):
        compare(tmp_path, baseline="frozn")


def test_an_unknown_metric_gets_near_misses(tmp_path):
    with pytest.raises(UnknownNameError, match=r"Unknown metric 'acu'\. Did you mean 'auc'"):
        compare(tmp_path, metric="acu")


def test_the_final_score_can_be_the_primary_metric(tmp_path):
    for seed in range(4):
        make_run(tmp_path, arm="scratch", seed=seed, final=episodes(90.0 + seed))
        make_run(tmp_path, arm="frozen", strategy=FROZEN, seed=seed, final=episodes(10.0 + seed))
    assert only_task(tmp_path).arm("frozen").verdict == "inconclusive"
    assert only_task(tmp_path, metric="final").arm("frozen").verdict == "negative"


def test_the_success_rate_can_be_the_primary_metric(tmp_path):
    make_arm(tmp_path, "scratch", [50] * 4, successes=[0, 0, 0, 0, 0, 0.25])
    make_arm(tmp_path, "frozen", [50] * 4, successes=[0, 1, 1, 1, 1, 1], strategy=FROZEN)
    frozen = only_task(tmp_path, metric="success_auc").arm("frozen")
    assert frozen.verdict == "positive"
    assert frozen.forward_transfer.value == pytest.approx((0.9 - 0.025) / (1 - 0.025))
    assert frozen.band.middle[-1] == 1.0


def test_a_metric_that_some_seed_lacks_gives_no_verdict(tmp_path):
    make_arm(tmp_path, "scratch", [50] * 4)
    make_arm(tmp_path, "frozen", [50] * 4, strategy=FROZEN)
    make_run(tmp_path, arm="frozen", strategy=FROZEN, seed=1, returns=[1.0, float("nan"), 2.0])
    frozen = only_task(tmp_path).arm("frozen")
    assert frozen.verdict is None
    assert "seed 1: a return is not a finite number" in frozen.reason


def test_a_failed_self_check_is_named_and_takes_the_verdict_from_its_arm_alone(tmp_path):
    make_study(tmp_path)
    broken = Check(name="frozen tensors are bit-identical", passed=False, detail="layer 0 moved")
    make_run(tmp_path, arm="frozen", strategy=FROZEN, seed=2, source=source(2), checks=(broken,))
    task = only_task(tmp_path)
    (failed,) = task.failed_checks
    assert (failed.arm, failed.seed, failed.detail) == ("frozen", 2, "layer 0 moved")
    assert task.arm("frozen").verdict is None
    assert task.arm("frozen").p_value is None
    assert "failed its own check" in task.arm("frozen").reason
    assert task.arm("finetune").verdict == "positive"


def test_a_failed_self_check_of_the_baseline_takes_all_verdicts(tmp_path):
    make_study(tmp_path)
    make_run(tmp_path, arm="scratch", seed=2, checks=(Check(name="budget", passed=False, detail=""),))
    assert {arm.verdict for arm in only_task(tmp_path).arms} == {None}


def test_a_gain_without_a_shuffled_control_has_no_origin(tmp_path):
    make_arm(tmp_path, "scratch", [50, 51, 52, 53, 54])
    make_arm(tmp_path, "finetune", [90, 91, 92, 93, 94], strategy=FINETUNE)
    # The control of another strategy, and another kind of control, do not count.
    make_arm(tmp_path, "shuffled", [50, 51, 52, 53, 54], strategy=shuffled(FROZEN))
    make_arm(tmp_path, "random", [50, 51, 52, 53, 54], strategy=({"kind": "random_frozen"},))
    origin = only_task(tmp_path).arm("finetune").origin
    assert (origin.cause, origin.reason) == ("undecided", "no shuffled control of this arm was run")


def arm_with_a_gain(root, name="frozen"):
    for seed in range(5):
        make_run(root, arm="scratch", seed=seed, returns=ramp(0, 50 + seed))
        make_run(root, arm=name, strategy=FROZEN, seed=seed, returns=ramp(0, 151 + seed), source=source(seed))


def test_a_control_whose_runs_all_failed_is_not_called_one_that_was_not_run(tmp_path):
    arm_with_a_gain(tmp_path)
    for seed in range(5):
        status = "failed" if seed else "running"
        make_run(tmp_path, arm="f_s", strategy=shuffled(FROZEN), seed=seed, source=source(seed), status=status)
    origin = compare(tmp_path).tasks[0].arm("frozen").origin
    assert origin.cause == "undecided"
    said = "no run of its shuffled control `f_s` is finished (4 failed, 1 still running, or killed)"
    assert origin.reason == said


def test_a_control_whose_runs_have_not_started_is_known_by_its_study(tmp_path):
    arms = {"scratch": "scratch", "finetune": "finetune", "control": {"kind": "shuffled", "of": "finetune"}}
    study = sweeping.settings(seeds=6, arms=arms)
    sweeping.make(tmp_path, study, {"finetune": 100.0})
    shutil.rmtree(tmp_path / "swapped" / "control")
    origin = compare(tmp_path).tasks[0].arm("finetune").origin
    assert origin.reason == "no run of its shuffled control `control` is finished (6 not started)"


def test_a_control_of_two_arms_of_one_strategy_is_of_the_one_that_it_is_named_after(tmp_path):
    arm_with_a_gain(tmp_path)
    arm_with_a_gain(tmp_path, "a_copy")
    for seed in range(5):
        facts = {"strategy": shuffled(FROZEN), "returns": ramp(0, 52 + seed), "source": source(seed)}
        make_run(tmp_path, arm="frozen_shuffled", seed=seed, **facts)
    task = compare(tmp_path).tasks[0]
    assert task.arm("frozen_shuffled").control_of == "frozen"
    assert task.arm("frozen").origin.cause == "features"
    said = "`frozen_shuffled` counts as the control of `frozen`, which has the same strategy"
    assert (task.arm("a_copy").origin.cause, task.arm("a_copy").origin.reason) == ("undecided", said)


def test_a_control_from_another_source_is_not_the_control_of_an_arm(tmp_path):
    other = source(0).model_copy(update={"task": TaskFacts(env="Acrobot-v1")})
    make_arm(tmp_path, "scratch", [50, 51, 52, 53, 54])
    make_arm(tmp_path, "finetune", [90, 91, 92, 93, 94], strategy=FINETUNE, source=source(0))
    make_arm(tmp_path, "shuffled", [50, 51, 52, 53, 54], strategy=shuffled(FINETUNE), source=other)
    assert only_task(tmp_path).arm("finetune").origin.control is None


def test_a_gain_that_neither_beats_its_control_nor_is_shared_by_it_is_undecided(tmp_path):
    make_arm(tmp_path, "scratch", [40, 48, 52, 60, 50])
    make_arm(tmp_path, "finetune", [62, 66, 70, 74, 78], strategy=FINETUNE)
    make_arm(tmp_path, "control", [45, 55, 65, 75, 85], strategy=shuffled(FINETUNE))
    task = only_task(tmp_path)
    assert task.arm("finetune").verdict == "positive"
    assert task.arm("control").verdict == "inconclusive"
    assert task.arm("finetune").origin.cause == "undecided"


def test_the_control_of_full_tests_the_policy(tmp_path):
    make_arm(tmp_path, "scratch", [50, 51, 52, 53, 54])
    make_arm(tmp_path, "full", [90, 91, 92, 93, 94], strategy=FULL)
    make_arm(tmp_path, "shuffled_full", [50, 51, 52, 53, 54], strategy=shuffled(FULL))
    origin = only_task(tmp_path).arm("full").origin
    assert origin.cause == "policy"
    assert "shuffles the heads as well" in origin.reason


def test_what_a_claim_needs_too_counts_with_the_larger_p():
    """To be called features, a gain has to beat the control and the baseline."""
    arm, control = [10.0, 11.0, 12.0, 13.0, 14.0], [0.0, 1.0, 2.0, 3.0, 4.0]
    pair = Pair(arm, control, mean_difference(arm, control))
    alone = contrast_family({"frozen": pair}, {}, seed=0)["frozen"]
    assert (alone.verdict, alone.p_adjusted) == ("positive", pytest.approx(2 / 252))
    both = contrast_family({"frozen": dataclasses.replace(pair, also=(0.3, 0.2))}, {}, seed=0)["frozen"]
    assert (both.verdict, both.p_adjusted, both.smallest_p_adjusted) == ("inconclusive", 0.3, 0.2)


@pytest.mark.parametrize(
    "change",
    [
        {"n_timesteps": 20_000},
        {"hyperparams": {"learning_rate": 1.0}},
        {"evaluation": {"eval_freq": 1, "episodes": 4, "n_envs": 1, "deterministic": True}},
    ],
)
def test_runs_under_other_settings_are_not_compared_and_the_difference_is_named(tmp_path, change):
    make_arm(tmp_path, "scratch", [50, 51])
    make_arm(tmp_path, "frozen", [50, 51], strategy=FROZEN, **change)
    comparison = compare(tmp_path)
    assert len(comparison.tasks) == 2
    key = next(iter(change))
    assert all(key in " ".join(task.notes) for task in comparison.tasks)
    assert len({task.name for task in comparison.tasks}) == 2


def test_one_environment_with_other_arguments_is_another_task(tmp_path):
    make_arm(tmp_path, "scratch", [50, 51])
    make_arm(tmp_path, "scratch", [50, 51], task=TaskFacts(env=TASK.env, kwargs={"length": 1.5}), folder=None)
    make_run(tmp_path, arm="scratch", seed=0, folder="elsewhere")
    titles = [task.title for task in compare(tmp_path).tasks]
    assert titles == [
        "PPO on rltransfer/CartPole-v0 (length=1.5)",
        "PPO on rltransfer/CartPole-v0 (swap_actions=True)",
    ]


def test_two_tasks_of_one_environment_are_compared_apart(tmp_path):
    for name in ("plain", "mapped"):
        make_run(tmp_path, arm="scratch", seed=0, task_name=name, folder=name)
    titles = [task.title for task in compare(tmp_path).tasks]
    assert titles == [f"PPO on rltransfer/CartPole-v0 (swap_actions=True): {name}" for name in ("mapped", "plain")]


def test_one_label_with_two_maps_is_two_arms_beside_one_baseline(tmp_path):
    maps = {"actions": {"map": [1, 0]}}
    make_run(tmp_path, arm="scratch", seed=0, maps=maps)
    for name, given in (("with", maps), ("without", {})):
        make_run(tmp_path, arm="full", strategy=FULL, seed=0, source=source(0), maps=given, folder=name)
    names = [arm.name for arm in only_task(tmp_path).arms]
    assert names == ["scratch", "full (kind=full)", "full (kind=full, actions={'map': [1, 0]})"]


def test_a_baseline_without_the_adapter_is_none_for_an_arm_that_has_it(tmp_path):
    make_run(tmp_path, arm="scratch", seed=0)
    adapted = {"inputs": {"adapter": 4}}
    make_run(tmp_path, arm="frozen", strategy=FROZEN, seed=0, source=source(0), maps=adapted)
    tasks = compare(tmp_path).tasks
    assert len(tasks) == 2
    assert all("adapter" in " ".join(task.notes) for task in tasks)


def test_of_two_runs_with_one_arm_and_seed_the_last_wins_and_a_note_says_so(tmp_path):
    make_run(tmp_path, arm="scratch", seed=0, folder="b", started="2026-01-01", returns=ramp(0, 10))
    make_run(tmp_path, arm="scratch", seed=0, folder="a", started="2026-01-02", returns=ramp(0, 20))
    task = only_task(tmp_path)
    assert [run.folder.name for run in task.arm("scratch").runs] == ["a"]
    assert task.notes == ("`scratch`, seed 0: 2 runs; the one that started last is used (a).",)


def test_one_label_with_two_sources_is_two_arms(tmp_path):
    make_run(tmp_path, arm="frozen", strategy=FROZEN, seed=0, source=source(0))
    other = source(0).model_copy(update={"task": TaskFacts(env="Acrobot-v1")})
    make_run(tmp_path, arm="frozen", strategy=FROZEN, seed=0, source=other, folder="other")
    assert [arm.name for arm in only_task(tmp_path).arms] == [
        "frozen (from PPO on Acrobot-v1)",
        "frozen (from PPO on CartPole-v1)",
    ]


def test_one_label_with_two_strategies_is_two_arms(tmp_path):
    make_run(tmp_path, arm="mine", strategy=FROZEN, seed=0)
    make_run(tmp_path, arm="mine", strategy=FULL, seed=1)
    assert len(only_task(tmp_path).arms) == 2


@pytest.mark.parametrize(
    ("hashes", "said"),
    [
        (["a", "a", "a"], "all 3 seeds start from a single source agent, so what is found holds for this agent"),
        (["a", "a", "b"], "2 sources for 3 seeds"),
        (["a", "b", "c"], "target seed i starts from source seed i"),
    ],
)
def test_the_notes_say_over_which_sources_a_result_holds(tmp_path, hashes, said):
    for seed, sha256 in enumerate(hashes):
        make_run(tmp_path, arm="frozen", strategy=FROZEN, seed=seed, source=source(seed, sha256=sha256))
    assert said in " ".join(only_task(tmp_path).notes)


def test_missing_seeds_are_noted(tmp_path):
    make_arm(tmp_path, "scratch", [50, 51, 52])
    make_arm(tmp_path, "frozen", [50, 51], strategy=FROZEN)
    assert any("`frozen` lacks 2" in note for note in only_task(tmp_path).notes)


def test_a_short_curve_is_noted(tmp_path):
    make_run(tmp_path, arm="scratch", seed=0, returns=[1.0, 2.0], env_steps=[0, 5_000])
    assert any("do not span step 0 to the budget of 10,000" in note for note in only_task(tmp_path).notes)


def test_the_threshold_is_the_argument_or_the_record_and_never_from_results(tmp_path):
    make_run(tmp_path, arm="scratch", seed=0, reward_threshold=0.0)
    assert only_task(tmp_path).threshold == 0.0
    assert only_task(tmp_path, threshold=30.0).arm("scratch").time.restricted_mean.value == 4_000
    make_run(tmp_path, arm="scratch", seed=1, reward_threshold=5.0)
    assert only_task(tmp_path).threshold is None
    assert "disagree (0.0, 5.0)" in only_task(tmp_path).threshold_from


def test_a_run_that_never_reaches_the_threshold_counts_with_the_whole_budget(tmp_path):
    make_run(tmp_path, arm="scratch", seed=0)
    make_run(tmp_path, arm="scratch", seed=1, returns=[0.0] * 6)
    result = only_task(tmp_path, threshold=30.0).arm("scratch").time
    assert (result.reached, result.runs) == (1, 2)
    assert result.restricted_mean.value == (4_000 + 10_000) / 2


def test_without_a_threshold_there_is_no_time_and_no_break_even(tmp_path):
    make_arm(tmp_path, "scratch", [50, 51])
    make_arm(tmp_path, "frozen", [50, 51], strategy=FROZEN, source=source(0))
    frozen = only_task(tmp_path).arm("frozen")
    assert frozen.time is None
    assert "no threshold" in frozen.steps_saved.reason
    assert "no threshold" in frozen.steps.break_even_targets.reason


def test_unknown_source_steps_are_not_counted_as_none(tmp_path):
    make_run(tmp_path, arm="frozen", strategy=FROZEN, seed=0, source=source(0, env_steps=None))
    steps = only_task(tmp_path).arm("frozen").steps
    assert steps.source_steps is None
    assert steps.total_steps is None


def test_unfinished_runs_are_listed_and_source_runs_counted(tmp_path):
    make_run(tmp_path, arm="scratch", seed=0)
    make_run(tmp_path, arm="scratch", seed=1, status="failed", error="NaN reward")
    make_run(tmp_path, arm="scratch", seed=2, status="running")
    (make_run(tmp_path, arm="scratch", seed=3).folder / "evaluations.npz").unlink()
    make_run(tmp_path, arm="source", seed=0, role="source")
    comparison = compare(tmp_path)
    assert [run.reason for run in comparison.skipped] == [
        "failed: NaN reward",
        "still running, or killed",
        "finished, but its evaluations.npz is missing or empty",
    ]
    assert comparison.source_runs == 1
    assert comparison.tasks[0].arm("scratch").seeds == (0,)


def test_a_run_whose_curve_or_date_is_damaged_stops_no_report(tmp_path):
    make_run(tmp_path, arm="scratch", seed=0, started="yesterday")
    make_run(tmp_path, arm="scratch", seed=1, started="0001-01-01")
    damaged = make_run(tmp_path, arm="scratch", seed=2)
    np.savez(damaged.folder / "evaluations.npz", timesteps=[0], results=np.ones((2, 4)), ep_lengths=np.ones((2, 4)))
    comparison = compare(tmp_path)
    assert comparison.tasks[0].arm("scratch").seeds == (0, 1)
    (skipped,) = comparison.skipped
    assert (skipped.seed, skipped.state) == (2, "cannot be read")


def test_nothing_to_compare_says_what_there_is_and_what_to_run(tmp_path):
    make_run(tmp_path, arm="source", seed=0, role="source")
    make_run(tmp_path, arm="scratch", seed=1, status="failed", error="NaN reward")
    with pytest.raises(RunError) as caught:
        compare(tmp_path)
    message = str(caught.value)
    assert str(tmp_path) in message
    assert "source runs: 1, unfinished target runs: 1." in message
    assert "failed: NaN reward" in message
    assert "rltransfer transfer --strategy scratch" in message


def test_a_folder_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(RunError, match=r"no folder .*nowhere"):
        compare(tmp_path / "nowhere")


def test_an_arm_that_does_not_exist_is_a_key_error(study):
    with pytest.raises(KeyError, match="no arm 'x'; there are scratch"):
        study.arm("x")


def test_a_comparison_is_frozen(study):
    with pytest.raises(dataclasses.FrozenInstanceError):
        study.baseline = "x"


def test_names_are_safe_distinct_and_stable():
    labels = ["a b", "a/b", "A-b", "../x", "", "y" * 200, "y" * 201]
    names = safe_names(labels)
    assert len({name.lower() for name in names}) == len(labels)
    assert all("/" not in name and name not in ("", ".", "..") and len(name) < 100 for name in names)
    assert names == safe_names(labels)


def test_no_two_figures_of_a_report_share_a_name_whatever_tasks_are_called():
    tasks = task_names(labels := ["t", "T_profiles", "t_layers", "across_tasks", "u", "u_layer_sweep"], labels)
    sweeps = sweep_names([f"{task}_layer_sweep" for task in tasks], tasks)
    figures = [f"{task}{suffix}".lower() for task in tasks for suffix in ("", "_profiles", "_layers")]
    figures += [*(name.lower() for name in sweeps), "across_tasks"]
    assert len(set(figures)) == len(figures)
    assert tasks[4] == "u"


def test_over_tasks_that_the_same_sources_serve_the_interval_is_over_sources(tmp_path):
    for name, task in (("swapped", TASK), ("plain", TaskFacts(env=TASK.env))):
        for seed, level in enumerate((100, 200, 390)):
            facts = {"seed": seed, "task": task, "task_name": name}
            make_run(tmp_path, arm="scratch", folder=f"{name}/scratch/{seed}", returns=ramp(20, 100 + seed), **facts)
            made = {"strategy": FROZEN, "source": source(seed), "returns": ramp(20, level)}
            make_run(tmp_path, arm="frozen", folder=f"{name}/frozen/{seed}", **made, **facts)
    comparison = compare(tmp_path)
    by_task = [[run.scores["normalised"] for run in task.arm("frozen").runs] for task in comparison.tasks]
    result = next(arm for arm in comparison.across if arm.name == "frozen")
    assert result.mean.low == pytest.approx(stats.mean(np.mean(by_task, axis=0)).low)
    assert result.mean.low < stats.mean_over_tasks(by_task).low
    fewer = stats.measured_coverage("IQM over tasks, shared sources", 3)
    assert f"IQM over tasks, shared sources {100 * fewer.least:.1f} % with 3" in comparison.across_reason
    assert "is not known" not in comparison.across_reason


def test_everything_of_an_arm_whose_sources_serve_several_seeds_is_over_its_sources(tmp_path):
    levels = (40, 42, 44, 80, 82, 84, 120, 122, 124)
    for seed, level in enumerate(levels):
        make_run(tmp_path, arm="scratch", seed=seed, returns=ramp(0, 60 + 3 * seed))
        shared = source(seed // 3)
        make_run(tmp_path, arm="frozen", strategy=FROZEN, seed=seed, returns=ramp(0, level), source=shared)
    task = compare(tmp_path, threshold=50.0).tasks[0]
    arm, runs = task.arm("frozen"), task.arm("frozen").runs
    auc = [run.scores["auc"] for run in runs]
    sources = [run.source.sha256 for run in runs]
    assert arm.robust.median == stats.median(auc, sources) != stats.median(auc)
    zero = [run.scores["auc"] for run in task.arm("scratch").runs]
    assert arm.improvement.low < stats.probability_of_improvement(auc, zero).low
    alone = stats.profile([auc], arm.profile.at)
    assert np.mean(arm.profile.high - arm.profile.low) > np.mean(alone.high - alone.low)
    steps = [run.times[0].env_steps for run in runs]
    assert arm.times[0].time.restricted_mean.low < stats.mean(steps).low
    coverages = {coverage.method: coverage for coverage in task.coverages}
    assert coverages["median, two runs a source"].runs == 3
    assert not coverages["IQM difference, two runs a source (not measured)"].shares


def test_two_seeds_have_the_measured_coverage_of_two(tmp_path):
    make_study(tmp_path, seeds=2)
    results = {coverage.method: coverage for coverage in compare(tmp_path).tasks[0].coverages}
    assert {item.runs for item in results.values()} == {2}
    assert results["IQM"].least < 0.6


def test_forward_transfer_is_refused_near_a_perfect_baseline_that_does_not_vary(tmp_path):
    for seed in range(5):
        make_run(tmp_path, arm="scratch", seed=seed, successes=[0.75, 1, 1, 1, 1, 1])
        make_run(tmp_path, arm="frozen", strategy=FROZEN, seed=seed, successes=[0.5] * 6, source=source(seed))
    result = compare(tmp_path, metric="success_auc").tasks[0].arm("frozen").forward_transfer
    assert isinstance(result, Undefined)
    assert "the room above it is 0.025 of the scale" in result.reason
    assert "less than 0.05" in result.reason
