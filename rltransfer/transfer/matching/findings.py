"""Finds what the user of a plan should know before training: from the plan and the source's contract alone."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

from gymnasium import spaces

from rltransfer.anatomy import LOG_ENT_COEF
from rltransfer.artifact import Encoder
from rltransfer.artifact.companion_files import StatisticsOrigin
from rltransfer.records import MOVED, Finding
from rltransfer.sb3_zip import UNKNOWN_ACTIVATION
from rltransfer.strategies import acting
from rltransfer.transfer.freezing import frozen_names
from rltransfer.transfer.layer_counts import LayerCount, shorter_branches
from rltransfer.transfer.layer_rules import LayerRules
from rltransfer.transfer.matching.action_bounds import describe_bounds, other_bounds
from rltransfer.transfer.matching.compatibility import is_normalised, is_normalised_part
from rltransfer.transfer.matching.left_out import left_out_findings
from rltransfer.transfer.matching.network import findings_of_network
from rltransfer.transfer.matching.pair import Pair
from rltransfer.transfer.plan import Plan

LITTLE = 0.1
"""A smaller share of the agent's values than this is little to move."""
WEAK = 0.5
"""A source that got less than this far from a random policy to what solves its task is weak."""


def findings_of(
    plan: Plan,
    pairs: Sequence[Pair],
    rules: LayerRules,
    sources: Mapping[str, str],
    *,
    counts: Sequence[LayerCount],
    idle: Sequence[str],
) -> Iterator[Finding]:
    """Yields what is to be known of a plan, worst first.

    Args:
        plan: The plan.
        pairs: The target with each of its sources.
        rules: What the strategy means for the agent's layers.
        sources: The source's tensor for each of the target's that has one, whether it moves or not.
        counts: The numbers of layers that the strategy names.
        idle: The kinds of methods that do nothing on what the user froze.
    """
    findings = [*_of_weights(plan, pairs[0], rules, counts, idle)]
    for number, pair in enumerate(pairs, start=1):
        lost = [tensor for tensor in plan.left_out if tensor.source_number == number - 1]
        moved = left_out_findings(pair, plan.entries, lost, sources) if plan.source_values else ()
        for finding in (*moved, *_of_source(plan, pair, rules)):
            words = finding.words if len(pairs) == 1 else f"source {number}: {finding.words}"
            findings.append(finding.model_copy(update={"words": words}))
    yield from sorted(findings, key=lambda finding: finding.severity != "warning")


def _of_source(plan: Plan, pair: Pair, rules: LayerRules) -> Iterator[Finding]:
    if pair.encoder is None:
        return
    if pair.encoder.source.network is not None:
        yield from findings_of_network(plan, pair, pair.encoder.source)
        return
    yield from _of_score(pair.encoder)
    yield from _of_policy(pair.encoder)
    if not any(entry.role == "column" for entry in plan.entries):
        # Columns keep the source's layers and activations, whatever the agent's own are.
        yield from _of_architecture(pair, pair.encoder)
    yield from _of_statistics(pair.encoder)
    yield from _of_contract(pair, pair.encoder)
    yield from _of_inputs(plan, pair)
    yield from _of_action_bounds(plan, pair, pair.encoder, rules)
    yield from _of_details(pair, pair.encoder, rules)


def _finding(kind: str, severity: Literal["note", "warning"], words: str, **numbers: float) -> Finding:
    return Finding(kind=kind, severity=severity, words=words, numbers=numbers)


def _of_weights(
    plan: Plan, pair: Pair, rules: LayerRules, counts: Sequence[LayerCount], idle: Sequence[str]
) -> Iterator[Finding]:
    totals = plan.totals()
    share = totals["moved"] / totals["values"] if totals["values"] else 0.0
    if rules.origin == "copied" and share < LITTLE:
        yield _finding(
            "little_moved",
            "warning",
            f"little moves: {totals['moved']:,} of {totals['values']:,} values ({100 * share:.1f} %)",
            share=share,
        )
    if rules.heads:
        words = "the heads move too: right only where actions and reward mean the same in source and target"
        yield _finding("heads_kept", "warning" if pair.actions is None else "note", words)
    yield from _of_freezing(plan, pair, rules, idle)
    random = sum(
        entry.size
        for entry in plan.entries
        if entry.frozen and entry.origin == "initialised" and entry.twin is None
        # What the user froze need not be random.
        if not entry.frozen_by_user or entry.layer in rules.chosen
    )
    if random:
        words = f"{random:,} frozen values are random: this is a control, and no source's features are used"
        yield _finding("frozen_random", "warning", words, values=random)
    layers = sorted({entry.layer for entry in plan.entries if entry.origin == "recomputed"})
    if layers:
        words = (
            f"the running statistics of {', '.join(layers)} would not fit the weights there: they are recomputed "
            f"before training, in {plan.statistics_steps:,} env_steps of a random policy that count as the agent's"
        )
        yield _finding("recomputed_statistics", "note", words, env_steps=plan.statistics_steps)
    for stated, branch, there in shorter_branches(counts, pair.anatomy):
        has = f"{there} layer{'' if there == 1 else 's'}"
        words = f"{stated.setting}:{stated.count} is all of the {branch}, which has {has}"
        yield _finding("fewer_layers", "note", words, layers=there)


def _of_freezing(plan: Plan, pair: Pair, rules: LayerRules, idle: Sequence[str]) -> Iterator[Finding]:
    frozen = [entry for entry in plan.entries if entry.frozen_by_user]
    if frozen:
        size = sum(entry.size for entry in frozen)
        words = f"you froze {frozen_names(plan.entries)} (requires_grad False): what they start with stays"
        rated = any(rules.rates.get(entry.layer, 1.0) != 1.0 for entry in frozen)
        parts = [f"{kind!r}" for kind in idle] or (["'lr_scale'"] if rated else [])
        if parts:
            words += f"; {' and '.join(parts)} {'does' if len(parts) == 1 else 'do'} nothing there"
        yield _finding("frozen_by_user", "note", words, values=size)
    released = sorted({entry.layer for entry in plan.entries if entry.trains and entry.tensor in pair.frozen_by_plan})
    if released:
        words = f"an earlier plan froze {', '.join(released)}, and this one trains them"
        yield _finding("released", "note", words, layers=len(released))


def _of_score(encoder: Encoder) -> Iterator[Finding]:
    source = encoder.source
    score, random, solved = source.mean_return, source.random_return, source.reward_threshold
    if score is None or random is None:
        yield _finding("unknown_score", "note", "how good the source is in its own task is not known")
        return
    numbers = {"mean_return": score, "random_return": random}
    if score <= random:
        words = f"the source is weak: it scores {score:.1f} in its task, a random policy {random:.1f}"
        yield Finding(kind="weak_source", severity="warning", words=words, numbers=numbers)
    elif solved is not None and solved > random and (score - random) / (solved - random) < WEAK:
        words = (
            f"the source is weak: it scores {score:.1f} in its task, where {solved:.1f} solves it and a random policy "
            f"gets {random:.1f}"
        )
        yield Finding(
            kind="weak_source", severity="warning", words=words, numbers={**numbers, "reward_threshold": solved}
        )


def _of_policy(encoder: Encoder) -> Iterator[Finding]:
    """Yields what is guessed of a policy: of a class that is not SB3's nobody knows but its author."""
    activation = encoder.anatomy.activation
    is_unknown = activation == UNKNOWN_ACTIVATION
    if encoder.has_custom_policy:
        words = f"the source's policy class is {encoder.policy_class}, which is not SB3's: "
        words += (
            "its activation function and its structure are unknown, and may differ from the agent's. State the "
            "activation function with --activation, such as --activation ReLU"
            if is_unknown
            else f"its activation function is {activation} as you state, and its structure is taken to be SB3's"
        )
        yield _finding("custom_policy", "warning", words)
    elif is_unknown and encoder.anatomy.encoders():
        words = (
            "the source does not tell its activation function, which may differ from the agent's: state it with "
            "--activation, such as --activation ReLU"
        )
        yield _finding("activation_unknown", "warning", words)
    elif encoder.activation_is_assumed and encoder.anatomy.encoders():
        words = (
            "the source's artifact was written by rltransfer 0.1, before policy classes were recorded: if the policy "
            f"was a class of your own, the activation function {activation} is SB3's and not its own. Then state it "
            "with --activation, such as --activation ReLU"
        )
        yield _finding("policy_class_unknown", "note", words)


def _of_statistics(encoder: Encoder) -> Iterator[Finding]:
    """Yields why the statistics of a source may be others than those that it was trained with."""
    origin = encoder.statistics or StatisticsOrigin()
    if origin.unused:
        shown = ", ".join(origin.unused[:4]) + (f" and {len(origin.unused) - 4} more" if len(origin.unused) > 4 else "")
        whose = "and the source has its own" if origin.file else "and none of them is the source's by its name"
        words = (
            f"other statistics (VecNormalize) lie beside the source, {whose}: {shown}. Take one with --normaliser FILE"
        )
        yield _finding("statistics_unused", "warning", words)
    if origin.unreadable:
        more = f" And {len(origin.unreadable) - 4} more." if len(origin.unreadable) > 4 else ""
        words = (
            "files beside the source may be its statistics or its settings, and cannot be read: name the right "
            f"statistics with --normaliser FILE. {' '.join(origin.unreadable[:4])}{more}"
        )
        yield _finding("unreadable_files", "warning", words)
    if origin.agents:
        words = (
            f"{origin.file} was taken for the source's statistics, and may be those of {', '.join(origin.agents)} in "
            "the same folder. If so, name the source's with --normaliser FILE, or move its zip into a folder of its own"
        )
        yield _finding("statistics_shared", "warning", words)
    if origin.is_of_another_moment:
        words = (
            f"the statistics are those of {origin.file}, saved for the training as a whole: they may be of another "
            f"moment than the agent ({encoder.source.which})"
        )
        yield _finding("statistics_of_another_moment", "warning", words)


def _of_architecture(pair: Pair, encoder: Encoder) -> Iterator[Finding]:
    source_activation, target_activation = encoder.anatomy.activation, pair.anatomy.activation
    if source_activation != target_activation and "unknown" not in (source_activation, target_activation):
        yield _finding(
            "activation",
            "warning",
            f"the activation differs: {source_activation} in the source, {target_activation} here",
        )
    names = sorted({reading.class_name for reading in pair.readings})
    name = (encoder.extractor_class or "").rpartition(".")[2]
    if name and names and name not in names and not pair.is_adapted and not encoder.has_custom_policy:
        words = (
            f"the features extractor differs: {encoder.extractor_class} in the source, {', '.join(names)} here: the "
            "layers behind it may read other features"
        )
        yield _finding("extractor", "warning", words)
    if encoder.algo != pair.anatomy.algo:
        words = f"the source is {encoder.source.what}: each layer takes the one at its place there"
        yield _finding("other_algorithm", "note", words)


def _of_contract(pair: Pair, encoder: Encoder) -> Iterator[Finding]:
    if encoder.hyperparams.get("normalize") and encoder.normaliser is None:
        words = (
            f"the source's settings ask for VecNormalize, and {_missing(encoder)}: its encoder expects inputs of "
            "another scale. Name the file with --normaliser FILE"
        )
        yield _finding("normalisation_missing", "warning", words)
    elif pair.normalises_observations and not is_normalised(encoder):
        words = (
            "the agent normalises its observations and the source did not (or its statistics were not found: name them "
            "with --normaliser FILE)"
        )
        yield _finding("normalisation_added", "warning", words)
    elif encoder.normaliser is None and encoder.source.task is None:
        words = (
            f"{_missing(encoder)}, and it does not tell whether it was trained without: if it was normalised "
            "(VecNormalize), its encoder expects inputs of another scale. Then name the file with --normaliser FILE"
        )
        yield _finding("normalisation_unknown", "note", words)
    if encoder.observation_space is None:
        words = "the source does not tell its observation space: that it fits is known from the shapes alone"
        yield _finding("unknown_space", "note", words)
    elif pair.is_adapted:
        words = "a learned adapter stands in front of the encoder: it is saved in the agent, and needs nothing else"
        yield _finding("adapter", "note", words)


def _missing(encoder: Encoder) -> str:
    origin = encoder.statistics
    is_alone = origin is not None and not origin.unused and not origin.unreadable
    return "no statistics lie beside the source" if is_alone else "the source comes without statistics of its own"


def _of_inputs(plan: Plan, pair: Pair) -> Iterator[Finding]:
    if pair.encoder is None or pair.encoder.observation_space is None or pair.is_adapted:
        return
    orders = [
        list(space.spaces)
        for space in (pair.encoder.observation_space, pair.observation_space)
        if isinstance(space, spaces.Dict)
    ]
    if len(orders) == 2 and sorted(orders[0]) == sorted(orders[1]) and orders[0] != orders[1]:
        words = "the keys of the observation are in another order: {} in the source, {} here; they are matched by name"
        yield _finding("key_order", "note", words.format(*(", ".join(order) for order in orders)))
    moves = any(entry.origin in MOVED for entry in plan.entries)
    if pair.inputs is not None and not moves and not _is_read(plan):
        words = "the map of inputs has no effect: nothing of the source goes through it under this strategy"
        yield _finding("inputs_unused", "note", words)
        return
    for key, part in pair.input_maps.items():
        where = f" of {key}" if key else ""
        start = f"start at {'zero' if pair.inputs is None else pair.inputs.new}" if moves else "are the agent's own"
        if part.source is None:
            reads = "the weights that read it" if pair.is_flattened(key) else "the weights behind its extractor"
            yield _finding("new_key", "note", f"the source has no observation {key!r}: {reads} {start}")
        elif part.entries is not None:
            new = part.entries.count(None)
            words = f"inputs{where}: {len(part.entries) - new} from the source, {new} new"
            words += f", which {start}" if new and moves else ""
            yield _finding("inputs", "note", words, new=new)
        added = part.source is not None and key in pair.normalised_keys and is_normalised(pair.encoder)
        if added and not is_normalised_part(pair.encoder, part):
            words = f"the agent normalises {key!r}, which the source read as it is: its encoder sees other numbers"
            yield _finding("normalisation_added", "warning", words)
    ignored = {
        entry.layer
        for entry in plan.entries
        if entry.frozen and entry.twin is None and entry.role != "column" and "zero" in (entry.columns or ())
    }
    if ignored:
        words = f"new inputs are ignored for good: their weights are zero and frozen ({', '.join(sorted(ignored))})"
        yield _finding("ignored_inputs", "warning", words)


def _is_read(plan: Plan) -> bool:
    """Returns whether a source acts, distils, or gives its statistics or its transitions."""
    uses = (settings.uses_policy or settings.uses_replay or settings.plays_source for settings in acting(plan.strategy))
    return any(uses) or plan.statistics.observation in ("copied", "mapped")


def _of_action_bounds(plan: Plan, pair: Pair, encoder: Encoder, rules: LayerRules) -> Iterator[Finding]:
    entries = None if pair.actions is None else pair.actions.entries()
    bounds = other_bounds(encoder.action_space, pair.action_space, entries)
    if not bounds or (entries is None and pair.action_sizes is not None):
        return
    which = f"the bounds of the actions differ, {describe_bounds(bounds, spaces.flatdim(pair.action_space))}"
    if rules.heads and pair.squashes_actions:
        words = f"{which}: what the heads give is scaled to them, so that the same output is another action"
        yield _finding("action_bounds", "warning", words, actions=len(bounds))
    elif rules.heads:
        words = f"{which}: the heads give actions in the source's units, which are clipped to the bounds here"
        yield _finding("action_bounds", "warning", words, actions=len(bounds))
    elif any(entry.origin in MOVED and encoder.anatomy.reads_actions(entry.source_tensor) for entry in plan.entries):
        words = f"{which}: first layers of Q(s, a) read actions that are scaled to them, so that they read others here"
        yield _finding("action_bounds", "note", words, actions=len(bounds))


def _of_details(pair: Pair, encoder: Encoder, rules: LayerRules) -> Iterator[Finding]:
    if pair.action_sizes is not None and pair.actions is None:
        words = "the actions differ: first layers of Q(s, a) keep their observation columns only, and are not frozen"
        yield _finding("actions_differ", "note", words)
    if (
        rules.log_ent_coef == "copy"
        and LOG_ENT_COEF in pair.anatomy.shapes
        and LOG_ENT_COEF not in encoder.anatomy.shapes
    ):
        words = "the source has no learned entropy coefficient: the agent's own is kept"
        yield _finding("entropy_coefficient", "note", words)
    if any(layer.branch == "shared" and layer.path.startswith("actor.") for layer in pair.anatomy.layers):
        yield _finding("shared_extractor", "note", "SAC trains a shared features extractor by the actor's loss only")
