import pytest
from hypothesis import given
from hypothesis import strategies as st

from rltransfer import Finetune, Frozen, Scratch, Shuffled
from rltransfer.errors import ConfigError, RLTransferError, UnknownNameError
from rltransfer.strategies import KINDS, dump_strategy, needs_source, parse_strategy, strategy_label, uses_replay

SETTINGS: dict[str, dict[str, object]] = {
    **{kind: {} for kind in KINDS},
    "shuffled": {"of": "frozen"},
    "augment": {"noise": 0.1},
}


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_kind_is_made_from_its_name_and_survives_json(kind: str) -> None:
    strategy = parse_strategy({"kind": kind, **SETTINGS[kind]})
    assert kind in {part.kind for part in strategy}
    assert parse_strategy(dump_strategy(strategy)) == strategy
    assert KINDS[kind].__doc__


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"kind": "replay", "ratio": 0.25}, "replay: 25 % of each minibatch from the source"),
        ({"kind": "replay", "until": 2000}, "replay: 50 % of each minibatch from the source, gone by step 2,000"),
        (
            {"kind": "ewc", "steps": 1500},
            "importance: Fisher information over 1,500 env_steps of the source in its own task, counted",
        ),
        (
            {"kind": "ewc", "states": "target"},
            "importance: Fisher information over 1,000 env_steps of the source in the target, counted",
        ),
        (
            {"kind": "jump_start", "until": 9000},
            "jump-start: the source's policy begins each training episode, as long as its own episodes at first, gone "
            "by step 9,000",
        ),
        (
            {"kind": "redo", "every": 1000},
            "dormant units (at most 0.025 of their layer's activation) start again before training and every 1,000 "
            "env_steps",
        ),
    ],
)
def test_a_plan_says_what_a_method_does_beside_tensors(settings: dict[str, object], line: str) -> None:
    assert parse_strategy(settings)[-1].description() == (line,)


def test_one_part_a_mapping_a_name_and_a_list_mean_the_same() -> None:
    forms = ["frozen", Frozen(), {"kind": "frozen"}, ["frozen"], [Frozen()], (Frozen(),)]
    assert {parse_strategy(form) for form in forms} == {(Frozen(),)}


def test_a_control_wraps_any_form() -> None:
    assert Shuffled(of="frozen") == Shuffled(of=Frozen()) == Shuffled(of=[{"kind": "frozen"}])


@given(st.one_of(st.integers(0, 5), st.sampled_from(["all", "none"]), st.lists(st.text(min_size=1), min_size=1)))
def test_layer_choices_round_trip(layers: object) -> None:
    strategy = parse_strategy({"kind": "finetune", "layers": layers})
    assert parse_strategy(dump_strategy(strategy)) == strategy


@pytest.mark.parametrize(
    ("value", "error", "words"),
    [
        ("frozn", UnknownNameError, "Unknown strategy 'frozn'. Did you mean 'frozen'"),
        ({"kind": "frozen", "layrs": 1}, ConfigError, "frozen has no setting 'layrs'. Did you mean 'layers'"),
        ({"kind": "frozen", "layers": -1}, ConfigError, "'layers'"),
        ({"kind": "finetune", "lr_scale": 0}, ConfigError, "key 'lr_scale': Input should be greater than 0, found 0"),
        ({"kind": "shuffled"}, ConfigError, "key 'of'"),
        ({"kind": "shuffled", "of": "frozn"}, UnknownNameError, "Did you mean 'frozen'"),
        ({"kind": "shuffled", "of": "scratch"}, ConfigError, "'scratch' copies no weights"),
        ({"kind": "shuffled", "of": {"kind": "shuffled", "of": "full"}}, ConfigError, "'shuffled' copies no weights"),
        ({"kind": "shuffled", "of": ["frozen", "full"]}, ConfigError, "exactly one part"),
        ({"kind": ["frozen"]}, UnknownNameError, "Unknown strategy"),
        ({"layers": 1}, ConfigError, "key 'kind' is missing"),
        (["frozen", "full"], ConfigError, "exactly one part that says which weights move; got frozen, full"),
        (["frozen", "l2_sp"], ConfigError, "'l2_sp' needs weights of the source that learn, and 'frozen' leaves none"),
        (["scratch", "discriminative"], ConfigError, "'scratch' leaves none"),
        (["rescaled", "shrink_perturb"], ConfigError, "'rescaled' leaves none"),
        (["rescaled", "lora"], ConfigError, "'rescaled' leaves none"),
        (["frozen", "lora"], ConfigError, "'lora' needs weights of the source that learn, and 'frozen' leaves none"),
        (["progressive", "lora"], ConfigError, "'progressive' leaves none"),
        (["progressive", "gradual_unfreeze"], ConfigError, "'progressive' leaves none"),
        (["progressive", "full"], ConfigError, "exactly one part that says which weights move"),
        ({"kind": "lora", "rank": 0}, ConfigError, "key 'rank'"),
        ({"kind": "progressive", "scale": 0}, ConfigError, "key 'scale'"),
        (["l2_sp", "full", "l2_sp"], ConfigError, "'l2_sp' stands twice"),
        ([{"kind": "shuffled", "of": "full"}, "l2_sp"], ConfigError, "put the other parts under 'of'"),
        ({"kind": "shuffled", "of": ["frozen", "l2_sp"]}, ConfigError, "'frozen' leaves none"),
        ({"kind": "gradual_unfreeze", "at": [5, 5]}, ConfigError, "the steps must increase"),
        ({"kind": "discriminative", "decay": 1.5}, ConfigError, "key 'decay'"),
        ({"kind": "shuffled", "of": ["full", "jump_start"]}, ConfigError, "source's policy, which is not shuffled"),
        ({"kind": "kickstart", "weight": 0}, ConfigError, "key 'weight'"),
        (["full", "residual"], ConfigError, "'residual' adds the agent's actions to the source's, which 'full' would"),
        (["residual", "kickstart"], ConfigError, "'kickstart' and 'residual' contradict each other: one draws"),
        (["residual", "replay"], ConfigError, "'residual' and 'replay' contradict each other: the source remembers"),
        ({"kind": "shuffled", "of": ["finetune", "residual"]}, ConfigError, "'residual' uses the source's policy"),
        ({"kind": "replay", "reward": "os.system"}, ConfigError, "key 'reward': Value error, write it as module:fun"),
        ({"kind": "replay", "ratio": 1.5}, ConfigError, "key 'ratio'"),
        ([], ConfigError, "strategy"),
        (3, ConfigError, "strategy"),
    ],
)
def test_mistakes_are_named(value: object, error: type[RLTransferError], words: str) -> None:
    with pytest.raises(error) as caught:
        parse_strategy(value)
    assert words in str(caught.value)


def test_labels_tell_the_kind_and_what_differs_from_its_defaults() -> None:
    assert strategy_label((Frozen(layers=2, critic="none"),)) == "frozen_layers=2_critic=none"
    assert strategy_label((Shuffled(of=Finetune(lr_scale=0.5), seed=3),)) == "shuffled_finetune_lr_scale=0.5_seed=3"


def test_parts_without_weights_of_their_own_mean_finetune_in_any_order() -> None:
    composed = parse_strategy(["l2_sp", "discriminative"])
    assert [part.kind for part in composed] == ["finetune", "discriminative", "l2_sp"]
    assert composed == parse_strategy(["discriminative", "finetune", "l2_sp"])
    assert strategy_label(composed) == "discriminative+l2_sp"
    assert strategy_label(parse_strategy([{"kind": "l2_sp", "alpha": 1}, Finetune(lr_scale=0.5)])) == (
        "finetune_lr_scale=0.5+l2_sp_alpha=1.0"
    )
    assert Shuffled(of=["l2_sp"]).of == parse_strategy("l2_sp")


def test_distillation_without_weights_of_its_own_mean_scratch() -> None:
    assert [part.kind for part in parse_strategy("jump_start")] == ["scratch", "jump_start"]
    assert [part.kind for part in parse_strategy(["kickstart", "l2_sp"])] == ["finetune", "l2_sp", "kickstart"]
    assert strategy_label(parse_strategy(["scratch", "kickstart"])) == "kickstart"
    assert strategy_label(parse_strategy(["finetune", "kickstart"])) == "finetune+kickstart"


def test_what_is_about_experience_alone_means_scratch() -> None:
    augment = {"kind": "augment", "noise": 0.1}
    for parts in (["residual"], ["replay", augment], [augment, "jump_start"]):
        assert parse_strategy(parts)[0] == Scratch()
    assert parse_strategy(["l2_sp", augment])[0] == Finetune()
    assert strategy_label(parse_strategy(augment)) == "augment_noise=0.1"
    assert strategy_label(parse_strategy({**augment, "amplitude": [0.5, 2]})) == "augment_amplitude=0.5,2.0_noise=0.1"


@pytest.mark.parametrize(
    ("value", "needs"),
    [
        ("replay", True),
        (["full", "replay"], True),
        ({"kind": "shuffled", "of": ["full", "replay"]}, True),
        ({"kind": "auto", "of": ["full", ["finetune", "replay"]]}, True),
        ({"kind": "auto"}, False),
        (["finetune", "kickstart"], False),
    ],
)
def test_the_replay_buffer_is_needed_wherever_replay_stands(value: object, needs: bool) -> None:
    assert uses_replay(parse_strategy(value)) is needs


def test_few_do_without_a_source() -> None:
    without = {kind for kind in KINDS if not needs_source(parse_strategy({"kind": kind, **SETTINGS[kind]}))}
    assert without == {"scratch", "random_frozen", "augment"}
    assert needs_source((Scratch(),)) is False
