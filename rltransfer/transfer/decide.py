"""Decides, without changing anything, what happens to every tensor of a target agent."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from rltransfer.anatomy import LOG_ENT_COEF, Anatomy, Layer, anatomy_of_agent
from rltransfer.artifact import Encoder
from rltransfer.errors import IncompatibleError
from rltransfer.strategies import Extra, NormaliserOnly, Part, Shuffled, needs_source, parse_strategy, strategy_label
from rltransfer.transfer.fit import Pair, copied_columns, is_normalised, refuse_misfit, refuse_without_statistics
from rltransfer.transfer.plan import Origin, Plan, PlanEntry, StatisticsPlan
from rltransfer.transfer.treatment import Treatment, treatment_of

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm

_LOG_STD_LAYERS = ("log_std", "actor.log_std")


def plan_transfer(encoder: Encoder | None, agent: "BaseAlgorithm", strategy: Any) -> Plan:
    """Returns what a transfer will do to each tensor of an agent; changes nothing.

    Args:
        encoder: The source, or None for ``scratch`` and ``random_frozen``.
        agent: The target agent, freshly built with its environment.
        strategy: A strategy, one of its parts, its kind, or its settings as a mapping.

    Raises:
        IncompatibleError: Source and target do not fit, or the strategy cannot be applied to them.
        ConfigError: The strategy is not valid.
    """
    parsed = parse_strategy(strategy)
    if needs_source(parsed) and encoder is None:
        raise IncompatibleError(f"Strategy {strategy_label(parsed)!r} needs a source, and there is none.")
    anatomy = anatomy_of_agent(agent)
    if anatomy.algo == "ars":
        raise IncompatibleError(
            "ARS changes its weights without a gradient, all at once: an agent of ARS can be a source, not a target. "
            "Choose another algorithm for the target."
        )
    normaliser = agent.get_vec_normalize_env()
    pair = Pair(
        encoder=encoder if needs_source(parsed) or parsed[0].kind == "random_frozen" else None,
        anatomy=anatomy,
        observation_space=agent.observation_space,
        action_space=agent.action_space,
        normalises_observations=normaliser is not None and normaliser.norm_obs,
        normalises_rewards=normaliser is not None and normaliser.norm_reward,
    )
    (part,) = parsed
    treatment = treatment_of(part, pair.anatomy)
    if pair.encoder is not None:
        refuse_misfit(pair, pair.encoder, treatment)
    if isinstance(part, NormaliserOnly):
        refuse_without_statistics(pair.encoder)
    return Plan(
        strategy=parsed,
        algo=pair.anatomy.algo,
        seed=_shuffling_seed(part, agent),
        entries=tuple(_entries(pair, treatment)),
        statistics=_statistics(pair, treatment),
        notes=tuple(_notes(pair, treatment)),
        encoder=pair.encoder,
    )


def _shuffling_seed(part: Part, agent: "BaseAlgorithm") -> int:
    stated = part.seed if isinstance(part, Shuffled) else None
    return stated if stated is not None else int(agent.seed or 0)


def _entries(pair: Pair, treatment: Treatment) -> Iterator[PlanEntry]:
    online: dict[str, PlanEntry] = {}
    for layer in pair.anatomy.online:
        for entry in _online_entries(pair, treatment, layer):
            online[entry.tensor] = entry
            yield entry
    for layer in pair.anatomy.layers:
        if layer.branch == "target":
            # A group's name need not be a prefix of its tensors' names; the module that holds it is.
            module = str(layer.twin).removesuffix(layer.name[len(layer.path) :])
            for tensor in layer.tensors:
                twin = module + tensor[len(layer.path) :]
                yield _entry(pair.anatomy, layer, tensor, origin="synced", twin=twin, frozen=online[twin].frozen)


def _online_entries(pair: Pair, treatment: Treatment, layer: Layer) -> Iterator[PlanEntry]:
    columns = {tensor: copied_columns(pair, layer, tensor) for tensor in layer.tensors}
    is_sliced = any(count is not None for count in columns.values())
    is_chosen = layer.name in treatment.chosen
    for tensor in layer.tensors:
        is_parameter = tensor in pair.anatomy.parameters
        frozen = is_chosen and treatment.frozen and not is_sliced
        entry = _entry(
            pair.anatomy,
            layer,
            tensor,
            frozen=frozen,
            trains=is_parameter and not frozen,
            lr_scale=treatment.lr_scale if is_chosen and is_parameter else 1.0,
        )
        if layer.role == "head":
            yield _head_entry(pair, treatment, entry)
        elif is_chosen and treatment.origin == "copied":
            origin: Origin = "sliced" if columns[tensor] is not None else "copied"
            permuted = treatment.permuted and is_parameter
            yield entry.model_copy(update={"origin": origin, "columns": columns[tensor], "permuted": permuted})
        elif is_chosen and is_parameter:
            yield entry.model_copy(update={"origin": treatment.origin})
        else:
            yield entry


def _head_entry(pair: Pair, treatment: Treatment, entry: PlanEntry) -> PlanEntry:
    setting: Extra = "copy" if treatment.heads else "reset"
    if entry.layer in _LOG_STD_LAYERS:
        setting = treatment.log_std
        if isinstance(setting, float) and entry.tensor != entry.layer:
            raise IncompatibleError("log_std is a layer here, which depends on the state: use 'copy' or 'reset'.")
    elif entry.tensor == LOG_ENT_COEF:
        setting = treatment.log_ent_coef
    if isinstance(setting, float):
        return entry.model_copy(update={"origin": "set", "value": setting})
    available = pair.encoder is not None and pair.encoder.anatomy.shapes.get(entry.tensor) == entry.shape
    if setting == "copy" and available:
        return entry.model_copy(update={"origin": "copied", "permuted": treatment.permuted})
    return entry


def _entry(anatomy: Anatomy, layer: Layer, tensor: str, **settings: Any) -> PlanEntry:
    facts: dict[str, Any] = {"origin": "initialised", "trains": False, "frozen": False, **settings}
    return PlanEntry(
        tensor=tensor,
        layer=layer.name,
        branch=layer.branch,
        role=layer.role,
        shape=anatomy.shapes[tensor],
        **facts,
    )


def _statistics(pair: Pair, treatment: Treatment) -> StatisticsPlan:
    normaliser = pair.encoder.normaliser if pair.encoder and treatment.copies_statistics else None
    has_observation = normaliser is not None and normaliser.norm_obs
    has_reward = normaliser is not None and normaliser.norm_reward and treatment.heads
    return StatisticsPlan(
        observation=("copied" if has_observation else "fresh") if pair.normalises_observations else "none",
        hold_observation=pair.normalises_observations and has_observation and treatment.frozen,
        reward=("copied" if has_reward else "fresh") if pair.normalises_rewards else "none",
    )


def _notes(pair: Pair, treatment: Treatment) -> Iterator[str]:
    encoder = pair.encoder
    if treatment.heads:
        yield "the heads move too: right only where actions and reward mean the same in source and target"
    if encoder is None:
        return
    theirs, ours = encoder.anatomy.activation, pair.anatomy.activation
    if theirs != ours and "unknown" not in (theirs, ours):
        yield f"the activation differs: {theirs} in the source, {ours} here"
    if pair.normalises_observations and not is_normalised(encoder):
        yield "the agent normalises its observations and the source did not (or its statistics were not found)"
    if encoder.observation_space is None:
        yield "the source does not tell its observation space: that it fits is known from the shapes alone"
    if pair.action_sizes is not None:
        yield "the actions differ: first layers of Q(s, a) keep their observation columns only, and are not frozen"
    if (
        treatment.log_ent_coef == "copy"
        and LOG_ENT_COEF in pair.anatomy.shapes
        and LOG_ENT_COEF not in encoder.anatomy.shapes
    ):
        yield "the source has no learned entropy coefficient: the agent's own is kept"
    if any(layer.branch == "shared" and layer.path.startswith("actor.") for layer in pair.anatomy.layers):
        yield "SAC trains a shared features extractor by the actor's loss only"
