"""Words the numbers of a comparison: the sentences and cells that the Markdown and the terminal share."""

import math
from collections.abc import Sequence

from rltransfer.comparison import Arm, Comparison, Origin, Selection, TaskComparison, is_candidate, is_confirmed
from rltransfer.metrics import Undefined
from rltransfer.stats import ALPHA, Estimate

NOTHING = "–"
METRIC_NAMES = {
    "auc": "AUC",
    "success_auc": "success AUC",
    "final": "asymptotic performance",
    "final_success": "final success rate",
    "initial": "jumpstart",
    "training_auc": "training AUC",
}
METRIC_MEANING = {
    "auc": "area under the curve of mean evaluation return over the target budget, divided by the budget",
    "success_auc": "area under the curve of the success rate over the target budget, divided by the budget",
    "final": "mean return of the last agent on evaluation seeds that no choice of a checkpoint has seen",
}


def number(value: float, *, like: tuple[float, ...] = (), sign: bool = False) -> str:
    """Returns a number with about three significant digits, or as many decimals as the largest of ``like`` needs.

    >>> number(1234.56), number(25.44), number(0.1234), number(1.2, like=(25.4,), sign=True)
    ('1,235', '25.4', '0.123', '+1.2')
    """
    largest = max(abs(item) for item in (like or (value,)))
    if not largest:
        return "0"
    decimals = 3 if largest < 1 else max(0, 2 - math.floor(math.log10(largest)))
    text = f"{value:{'+' if sign else ''},.{decimals}f}"
    return text.lstrip("+-") if not text.strip("+-0.,") else text


def estimate(value: Estimate | Undefined | None, *, sign: bool = False) -> str:
    """Returns an estimate with its interval in brackets, as a table shows it.

    >>> estimate(Estimate(25.44, 19.57, 31.3), sign=True), estimate(Estimate(3.0)), estimate(None)
    ('+25.4 [19.6, 31.3]', '3.00', '–')
    """
    if value is None or isinstance(value, Undefined):
        return NOTHING
    if value.low is None or value.high is None:
        return number(value.value, sign=sign)
    like = (value.value, value.low, value.high)
    return (
        f"{number(value.value, like=like, sign=sign)} [{number(value.low, like=like)}, {number(value.high, like=like)}]"
    )


def steps(value: float | Estimate | Undefined | None, *, sign: bool = False) -> str:
    """Returns a number of steps, with its interval where it has one."""
    if value is None or isinstance(value, Undefined):
        return NOTHING
    if not isinstance(value, Estimate):
        return f"{round(value):,}"
    text = f"{round(value.value):{'+' if sign else ''},}" if round(value.value) else "0"
    if value.low is None or value.high is None:
        return text
    return f"{text} [{round(value.low):,}, {round(value.high):,}]"


def duration(seconds: float) -> str:
    """Returns a time as people say it.

    >>> duration(4.25), duration(75.0), duration(7_260.0)
    ('4.2 s', '1 min 15 s', '2 h 1 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def percent(value: Estimate | None) -> str:
    """Returns a share in percent with its interval.

    >>> percent(Estimate(0.12, -0.05, 0.3))
    '12 % [-5, 30]'
    """
    if value is None:
        return NOTHING
    text = f"{_rounded(value.value)} %"
    return (
        text if value.low is None or value.high is None else f"{text} [{_rounded(value.low)}, {_rounded(value.high)}]"
    )


def p_value(p: float | None) -> str:
    """Returns a p-value as people write it.

    >>> p_value(0.0397), p_value(0.00001), p_value(None)
    ('0.040', '<0.001', '–')
    """
    if p is None:
        return NOTHING
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def shortened(names: Sequence[str], longest: int) -> tuple[str, ...]:
    """Returns names of so many characters at most, cut in the middle where that leaves them distinct.

    >>> shortened(["finetune_from_10000_steps", "finetune_from_100000_steps", "scratch"], 20)
    ('finetune…10000_steps', 'finetune…00000_steps', 'scratch')
    """
    middle = (longest - 1) // 2
    for tail in sorted(range(1, longest - 1), key=lambda tail: abs(tail - middle)):
        short = tuple(
            name if len(name) <= longest else f"{name[: longest - 1 - tail]}…{name[-tail:]}" for name in names
        )
        if len(set(short)) == len(set(names)):
            return short
    return tuple(names)


def judged_name(arm: Arm) -> str:
    """Returns the marked name of an arm where numbers stand beside its verdict, with whose seeds they are of."""
    return f"`{arm.name}` (fresh seeds)" if is_confirmed(arm) else f"`{arm.name}`"


SIGNS = {"positive": "▲", "negative": "▼", "inconclusive": "●", "candidate": "△", "no verdict": "○", "baseline": ""}
"""What stands for a verdict where there is room for one character."""


def verdict_word(arm: Arm) -> str:
    """Returns the verdict in one word; an arm that a sweep picked and nothing has confirmed is a candidate."""
    if is_candidate(arm):
        return "candidate"
    return "baseline" if arm.kind == "baseline" else arm.verdict or "no verdict"


def origin_word(origin: Origin | None) -> str:
    """Returns where a gain comes from in a few words."""
    if origin is None:
        return NOTHING
    words = {"undecided": "gain, origin undecided", "policy": "trained policy, heads included"}
    return words.get(origin.cause, origin.cause)


def metric_name(comparison: Comparison) -> str:
    """Returns the short name of the primary metric."""
    return METRIC_NAMES[comparison.metric]


def steps_left_out(task: TaskComparison) -> str:
    """Returns which steps the horizontal axis of curves leaves out, empty where there are none."""
    counts = [arm.steps.source_steps for arm in task.arms if arm.steps.source_steps]
    if counts:
        low, high = (steps(count) for count in (min(counts), max(counts)))
        return f"not on the axis: {low if low == high else f'{low} to {high}'} steps per seed that trained the source"
    unknown = any(arm.steps.source_steps is None for arm in task.arms)
    return "not on the axis: the steps that trained the source (not recorded)" if unknown else ""


def sentence(comparison: Comparison, task: TaskComparison, arm: Arm) -> str:
    """Returns what was found about one arm, in plain words and Markdown; for an arm without a verdict, why."""
    if arm.selection is not None:
        return _selected(comparison, task, arm, arm.selection)
    if arm.verdict is None:
        return f"**`{arm.name}`: no verdict.** {_difference_only(comparison, task, arm)}{_capital(arm.reason)}."
    finding = {
        "positive": f"**`{arm.name}` helps.** {_size(comparison, task, arm)}",
        "negative": f"**`{arm.name}` hurts.** {_size(comparison, task, arm)}",
        "inconclusive": f"**`{arm.name}`: inconclusive.** {_size(comparison, task, arm)}{_why_open(arm)}",
    }[arm.verdict]
    return finding + _origin(arm)


def _selected(comparison: Comparison, task: TaskComparison, arm: Arm, selection: Selection) -> str:
    """Returns what was found about an arm that a sweep picked: on fresh seeds, or that these are lacking."""
    fresh, picked = selection.fresh, arm.scores[comparison.metric].difference
    if fresh is None:
        return (
            f"**`{arm.name}`: candidate, not confirmed.** {_size(comparison, task, arm)} It was picked among "
            f"{selection.among} arms of a sweep, so that its gain is flattered"
            + (f"; {selection.reason}." if selection.reason else ". `rltransfer study confirm` runs it on fresh seeds.")
        )
    lead = {
        "positive": "helps, confirmed on fresh seeds.",
        "negative": "hurts, on fresh seeds.",
        "inconclusive": ": not confirmed.",
        None: ": no verdict.",
    }[arm.verdict]
    difference = fresh.scores[comparison.metric].difference
    if difference is None or difference.low is None or difference.high is None or fresh.verdict is None:
        return f"**`{arm.name}`{lead}** {_capital(fresh.reason)}."
    like = (difference.value, difference.low, difference.high)
    space = "" if lead.startswith(":") else " "
    before = "" if picked is None else f" It was {number(picked.value, sign=True)} on the seeds that picked it."
    return (
        f"**`{arm.name}`{space}{lead}** Picked among {selection.among} arms of a sweep, it was run again on "
        f"{len(fresh.runs)} fresh seeds: difference in {metric_name(comparison)} to `{task.baseline}` "
        f"{number(difference.value, like=like, sign=True)} (95 % interval {number(difference.low, like=like)} to "
        f"{number(difference.high, like=like)}, p {_relation(fresh.p_adjusted)} after Holm).{before}{_origin(arm)}"
    )


def _size(comparison: Comparison, task: TaskComparison, arm: Arm) -> str:
    difference = arm.scores[comparison.metric].difference
    if difference is None or difference.low is None or difference.high is None:
        return ""
    like = (difference.value, difference.low, difference.high)
    return (
        f"{_levels(comparison, task, arm)} (95 % interval {number(difference.low, like=like)} to "
        f"{number(difference.high, like=like)}, p {_relation(arm.p_adjusted)} after Holm)."
    )


def _levels(comparison: Comparison, task: TaskComparison, arm: Arm) -> str:
    """Returns the level of the arm, of the baseline, and their difference."""
    arm_score, baseline_score = arm.scores[comparison.metric], task.arm(str(task.baseline)).scores[comparison.metric]
    if arm_score.mean is None or arm_score.difference is None or baseline_score.mean is None:
        return ""
    like = (arm_score.mean.value, baseline_score.mean.value)
    return (
        f"{_capital(metric_name(comparison))} {number(arm_score.mean.value, like=like)} against "
        f"{number(baseline_score.mean.value, like=like)} of `{task.baseline}`, difference "
        f"{number(arm_score.difference.value, like=like, sign=True)}"
    )


def _relation(p: float | None) -> str:
    text = p_value(p)
    return f"< {text[1:]}" if text.startswith("<") else f"= {text}"


def _why_open(arm: Arm) -> str:
    if (arm.smallest_p_adjusted or 0.0) > ALPHA:
        return " With so few seeds no other verdict was possible."
    return " Not shown to differ, which is not the same as equal."


def _difference_only(comparison: Comparison, task: TaskComparison, arm: Arm) -> str:
    if arm.scores[comparison.metric].difference is None or task.baseline is None:
        return ""
    return f"{_levels(comparison, task, arm)}. "


def _origin(arm: Arm) -> str:
    origin = arm.origin
    if origin is None:
        return ""
    text = f" Origin of the gain: **{origin_word(origin).removeprefix('gain, origin ')}**; {origin.reason}."
    if origin.control is None:
        return text
    if origin.share is None:
        return (
            f"{text} Which share of the gain `{origin.control}` has too is undefined: the gain is too uncertain to be "
            "divided by."
        )
    low, high = (NOTHING if end is None else _rounded(end) for end in (origin.share.low, origin.share.high))
    lead = "Its control alone shows" if origin.share.value >= 0 else "Its control alone loses:"
    return f"{text} {lead} {_rounded(origin.share.value)} % of that gain (95 % interval {low} to {high} %)."


def _rounded(share: float) -> str:
    return f"{round(100 * share) + 0}" if math.isfinite(share) else ("∞" if share > 0 else "-∞")


def _capital(text: str) -> str:
    """Capitalises the first letter, unless the text starts with a name."""
    return text[:1].upper() + text[1:]
