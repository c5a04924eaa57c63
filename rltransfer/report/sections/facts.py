"""Words what the runs were made with, which are missing, how to read the report and how to make it again."""

import json
import shlex
from collections import Counter

from rltransfer.comparison import Comparison, SkippedRun, TaskComparison
from rltransfer.report import wording
from rltransfer.report.blocks import Alert, Block, Bullets, Code, Folded, Heading, Paragraph
from rltransfer.report.paths import below
from rltransfer.report.provenance import Provenance
from rltransfer.report.sections import sweeps


def not_finished(comparison: Comparison, provenance: Provenance) -> tuple[Block, ...]:
    """Returns the warning that runs are missing, where some are."""
    lines = []
    if comparison.skipped:
        count = len(comparison.skipped)
        states = Counter(run.state for run in comparison.skipped)
        listed = "; ".join(f"{states[state]} {state}" for state in sorted(states))
        lines.append(f"{count} {_runs(count)} not in any table ({listed}); see “Left out” for each.")
    if comparison.missing:
        count = len(comparison.missing)
        names = [below(comparison, run.folder) for run in comparison.missing[:8]]
        shown = ", ".join(f"`{name}`" for name in names) + (" …" if count > 8 else "")
        lines.append(f"{count} {_runs(count)} named by the study and not there yet: {shown}.")
    lines += provenance.problems
    lead = "**Not everything is there.** What follows is from the finished runs alone and may change."
    return (Alert(lead, tuple(lines)),) if lines else ()


def settings(task: TaskComparison) -> tuple[Block, ...]:
    """Returns the settings that all runs of a task share."""
    record = task.settings
    shared = {name: value for name, value in record.hyperparams.items() if name not in record.arms_differ_in}
    differing = f"; each arm its own {', '.join(record.arms_differ_in)}, see the notes" if record.arms_differ_in else ""
    evaluation = record.evaluation
    actions = "deterministic" if evaluation.deterministic else "sampled"
    bound = "" if evaluation.max_episode_steps is None else f" of {evaluation.max_episode_steps:,} steps at most"
    count = f"{evaluation.n_envs} environment{'' if evaluation.n_envs == 1 else 's'}"
    random_return = "not measured" if task.random_return is None else wording.number(task.random_return)
    lines = [
        f"Environment `{record.task.env}`{_mapping(' with ', record.task.kwargs)}"
        + (
            f"; wrappers {', '.join(f'`{wrapper}`' for wrapper in record.task.wrappers)}"
            if record.task.wrappers
            else ""
        ),
        f"{record.algo.upper()}, {record.n_timesteps:,} target steps{_mapping(', ', shared)}{differing}",
        f"Evaluation every {evaluation.eval_freq:,} steps, {evaluation.episodes} episodes{bound}, {count}, "
        f"{actions} actions; random policy: {random_return}",
        "Versions: " + ", ".join(f"{name} {' and '.join(numbers)}" for name, numbers in task.versions.items()),
    ]
    return (Bullets(tuple(lines if task.versions else lines[:-1])),)


def left_out(comparison: Comparison) -> tuple[Block, ...]:
    """Returns each run that is in no table, and why."""
    lines = [f"`{below(comparison, run.folder)}` ({_whose(run)}): {run.reason}" for run in comparison.skipped]
    if comparison.source_runs:
        plural = "" if comparison.source_runs == 1 else "s"
        lines.append(f"{comparison.source_runs} source run{plural}: where arms start from, not arms")
    return (Heading("Left out", 2), Bullets(tuple(lines))) if lines else ()


def how_to_read(comparison: Comparison) -> tuple[Block, ...]:
    """Returns what the words and the brackets mean."""
    baseline = comparison.baseline
    lines = (
        "Brackets are 95 % intervals over seeds: what would move if the same runs were made with new seeds. They "
        "are not corrected for the number of arms; the verdict is. They say nothing about other tasks.",
        f"Holm's family for the verdicts is every arm, controls too, against `{baseline}`. A second family is every "
        f"arm that has a shuffled control, with the larger p of its tests against `{baseline}` and that control.",
        f"*Features*: the arm beats `{baseline}` and its shuffled control. *Initialisation scale*: the control "
        f"beats `{baseline}` and the arm does not beat the control. Otherwise the origin of a gain is undecided. "
        "“Not shown to differ” never means equal, which is why the share of the gain that the control has too is "
        "given with its interval.",
        "Jumpstart: return before any training, with sampled actions. Asymptotic performance: the last agent, on "
        "seeds that chose no checkpoint. Transfer ratio: gain in AUC over what scratch has learned above the "
        "random policy. P(better run): chance that a run of the arm beats a run of the baseline.",
        *sweeps.how_to_read(comparison),
    )
    return Heading("How to read this", 2), Bullets(lines)


def reproduce(comparison: Comparison, provenance: Provenance) -> tuple[Block, ...]:
    """Returns how to make the runs and this report again: the study as resolved, a run's command, the call."""
    blocks: list[Block] = [Heading("Reproduce", 2)]
    files: list[Block] = []
    for root, text in provenance.studies.items():
        command = f"rltransfer study run {shlex.quote(f'{root}/study.yaml')} -f NEW_FOLDER"
        blocks += [Paragraph(f"The runs of the study in `{root}`, from its file as it was resolved, which is below:")]
        blocks += [Code(command, "sh")]
        files.append(Folded(f"The study in {root}", 3, (Code(text, "yaml"),)))
    if provenance.commands:
        blocks += [Paragraph("One run of each arm; the others differ in their seed:")]
        blocks += [Code("\n".join(provenance.commands), "sh")]
    blocks += [
        Paragraph("Each run folder holds its resolved configuration and its command. This report again:"),
        Code(f"import rltransfer\n\nrltransfer.compare(\n{_arguments(comparison)})", "python"),
    ]
    return (*blocks, *files)


def _arguments(comparison: Comparison) -> str:
    roots = [root.as_posix() for root in comparison.roots]
    arguments = [
        json.dumps(roots[0] if len(roots) == 1 else roots, ensure_ascii=False),
        f"metric={json.dumps(comparison.metric)}",
        f"baseline={json.dumps(comparison.baseline, ensure_ascii=False)}",
        *([f"threshold={list(comparison.thresholds)!r}"] if comparison.thresholds else []),
        *([] if comparison.sd is None else [f"sd={comparison.sd!r}"]),
        *([] if comparison.effect is None else [f"effect={comparison.effect!r}"]),
        f"seed={comparison.seed}",
        *([f"arms={json.dumps(dict(comparison.arms), ensure_ascii=False)}"] if comparison.arms else []),
    ]
    return "".join(f"    {argument},\n" for argument in arguments)


def _whose(run: SkippedRun) -> str:
    return f"`{run.arm}`, seed {'unknown' if run.seed is None else run.seed}"


def _runs(count: int) -> str:
    return "run is" if count == 1 else "runs are"


def _mapping(lead: str, mapping: dict[str, object]) -> str:
    return lead + ", ".join(f"`{key}={value}`" for key, value in sorted(mapping.items())) if mapping else ""
