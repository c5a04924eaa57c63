"""Control: the agent's own weights under the source's observation statistics."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from rltransfer.anatomy import Anatomy
from rltransfer.strategies import NormaliserOnly
from rltransfer.transfer.layer_rules import LayerRules
from rltransfer.transfer.matching.compatibility import refuse_without_statistics
from rltransfer.transfer.methods.base import Method

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm

    from rltransfer.transfer.effects import TrainedRun
    from rltransfer.transfer.matching.pair import Pair
    from rltransfer.transfer.plan import Plan


class NormaliserOnlyMethod(Method[NormaliserOnly]):
    """Moves VecNormalize's statistics, and no weights."""

    def layer_rules(self, rules: LayerRules, anatomy: Anatomy) -> LayerRules:  # noqa: ARG002
        """Returns rules by which statistics alone move."""
        return rules.with_(copies_statistics=True)

    def refuse(self, plan: "Plan", match: "Pair", agent: "BaseAlgorithm") -> None:  # noqa: ARG002
        """Raises IncompatibleError if the source has no statistics."""
        refuse_without_statistics(match.encoder)

    def missing_effects(self, run: "TrainedRun") -> Iterator[str]:
        """Yields weights that moved, and statistics that are not the source's."""
        yield from run.not_as_built(run.entries())
        normaliser = None if run.plan.encoder is None else run.plan.encoder.normaliser
        stated = None if normaliser is None else normaliser.observation
        source = stated if isinstance(stated, dict) else {} if stated is None else {"": stated}
        for key, statistics in source.items():
            if key not in run.statistics or not np.allclose(run.statistics[key], statistics.mean):
                yield f"the statistics of {key or 'the observation'} are not the source's"
        if not source:
            yield "the source has no statistics"
