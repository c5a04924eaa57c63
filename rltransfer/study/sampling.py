"""Asks Optuna which hyperparameters to try next; all that it knows are the trials on disk."""

import hashlib
import importlib
from collections.abc import Mapping, Sequence
from typing import Any

from rltransfer.errors import MissingExtraError
from rltransfer.study.trials import Trial
from rltransfer.tuning import Range, Values


class Sampler:
    """A Tree-structured Parzen Estimator (Bergstra et al., NeurIPS 2011): Optuna's TPE, with its own settings.

    Raises:
        MissingExtraError: Optuna is not installed.
    """

    def __init__(self, space: Mapping[str, Values]) -> None:
        try:
            self._optuna: Any = importlib.import_module("optuna")
        except ImportError:
            raise MissingExtraError('`study tune` needs Optuna: pip install "rltransfer[tune]"') from None
        self._space = space
        self._distributions = {name: self._distribution(values) for name, values in space.items()}

    def ask(self, told: Sequence[Trial], count: int, *, seed_of: str) -> list[dict[str, Any]]:
        """Returns ``count`` points of the space: the same for the same trials and words.

        Args:
            told: The trials that ended, failed ones too; their hyperparameters are points of the space.
            count: How many to try at once.
            seed_of: Words that the seed is made from.
        """
        seed = int.from_bytes(hashlib.sha256(seed_of.encode()).digest()[:4])
        level = self._optuna.logging.get_verbosity()
        self._optuna.logging.set_verbosity(self._optuna.logging.WARNING)
        try:
            study = self._optuna.create_study(direction="maximize", sampler=self._optuna.samplers.TPESampler(seed=seed))
            study.add_trials([self._told(trial) for trial in told])
            asked = [study.ask(self._distributions).params for _ in range(count)]
        finally:
            self._optuna.logging.set_verbosity(level)
        return [{name: self._value(name, point[name]) for name in self._space} for point in asked]

    def _distribution(self, values: Values) -> Any:
        distributions = self._optuna.distributions
        if not isinstance(values, Range):
            # By their places: for Optuna, choices that Python calls equal (1, 1.0, true) are one.
            return distributions.CategoricalDistribution(range(len(values)))
        if values.is_whole:
            return distributions.IntDistribution(values.low, values.high, log=values.log, step=values.step or 1)
        return distributions.FloatDistribution(values.low, values.high, log=values.log, step=values.step)

    def _told(self, trial: Trial) -> Any:
        states = self._optuna.trial.TrialState
        params = {name: self._point(name, trial.hyperparams[name]) for name in self._space}
        return self._optuna.trial.create_trial(
            params=params,
            distributions=self._distributions,
            value=trial.score,
            state=states.FAIL if trial.score is None else states.COMPLETE,
        )

    def _value(self, name: str, point: Any) -> Any:
        values = self._space[name]
        return point if isinstance(values, Range) else values[point]

    def _point(self, name: str, value: Any) -> Any:
        values = self._space[name]
        return value if isinstance(values, Range) else [repr(choice) for choice in values].index(repr(value))
