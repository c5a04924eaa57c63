"""Tries several strategies, and goes on with the best: an agent for each, trained in turn."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, NoReturn

from rltransfer.anatomy import Anatomy
from rltransfer.errors import IncompatibleError
from rltransfer.strategies import Auto, strategy_label
from rltransfer.transfer.layer_rules import LayerRules
from rltransfer.transfer.methods.base import Method

if TYPE_CHECKING:
    from rltransfer.transfer.effects import TrainedRun


class AutoMethod(Method[Auto]):
    """Has no plan of its own; ``rltransfer.training.successive_halving`` trains what it tries."""

    def layer_rules(self, rules: LayerRules, anatomy: Anatomy) -> NoReturn:  # noqa: ARG002
        """Raises IncompatibleError: what it tries has rules, each its own."""
        raise IncompatibleError(
            "'auto' trains an agent for each strategy that it tries, and has no plan of its own: plan one of them "
            "(full, finetune, frozen), or train it with rltransfer transfer or in a study."
        )

    def missing_effects(self, run: "TrainedRun") -> Iterator[str]:
        """Yields strategies of which the record tells no trial, and a record without a choice."""
        race = None if run.record is None else run.record.race
        if race is None:
            yield "the record tells of no trials"
            return
        tried = {trial.label for trial in race.trials if trial.env_steps > 0}
        for strategy in self.settings.candidates:
            if strategy_label(strategy) not in tried:
                yield f"{strategy_label(strategy)} was not tried"
        if race.winner not in tried:
            yield "the strategy that went on is none of those that were tried"
