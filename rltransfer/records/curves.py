"""What was measured while a run trained: evaluations, representations, training episodes."""

import csv
import dataclasses
import io
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int

from rltransfer import files
from rltransfer.errors import RunError
from rltransfer.records.names import CURVE, MONITORS, OWN_FOLDER, REPRESENTATION

_KEYS = ("timesteps", "results", "ep_lengths")
_SUCCESSES = "successes"
_MOST_STEPS = 2**62


@dataclasses.dataclass(frozen=True)
class Curve:
    """The evaluation curve of one run; row ``i`` was measured after ``env_steps[i]`` training steps."""

    env_steps: Int[np.ndarray, " evals"]
    episode_returns: Float[np.ndarray, "evals episodes"]
    episode_lengths: Int[np.ndarray, "evals episodes"]
    successes: Bool[np.ndarray, "evals episodes"] | None = None

    @property
    def mean_returns(self) -> Float[np.ndarray, " evals"]:
        """The mean episode return of each evaluation."""
        mean: Float[np.ndarray, " evals"] = self.episode_returns.mean(axis=1)
        return mean

    @property
    def success_rates(self) -> Float[np.ndarray, " evals"] | None:
        """The share of successful episodes of each evaluation, where the environment reports ``is_success``."""
        return None if self.successes is None else self.successes.mean(axis=1)


@dataclasses.dataclass(frozen=True)
class RepresentationPoint:
    """What one layer represents at one moment, on a fixed batch of states.

    Attributes:
        cka: The similarity of its features to those that it started from (linear CKA), from 0 to 1.
        effective_rank: How many directions its features spread over.
        dormant: The share of its units that are dormant.
        distance: How far its weights are from their start, in units of their norm there.
    """

    cka: float
    effective_rank: float
    dormant: float
    distance: float


@dataclasses.dataclass(frozen=True)
class Representation:
    """What the layers of one run represent over training: ``[evals, layers]`` for each measure."""

    env_steps: Int[np.ndarray, " evals"]
    layers: tuple[str, ...]
    measures: dict[str, Float[np.ndarray, "evals layers"]]


@dataclasses.dataclass(frozen=True)
class TrainingEpisodes:
    """The finished training episodes of one run, over all its environments."""

    episode_returns: Float[np.ndarray, " episodes"]
    episode_lengths: Int[np.ndarray, " episodes"]


def write_curve(run_folder: Path, curve: Curve) -> None:
    """Writes ``evaluations.npz`` with SB3's keys (``timesteps results ep_lengths successes``), atomically."""
    arrays: dict[str, np.ndarray] = {
        "timesteps": curve.env_steps,
        "results": curve.episode_returns,
        "ep_lengths": curve.episode_lengths,
    }
    if curve.successes is not None:
        arrays["successes"] = curve.successes
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    files.write_bytes(run_folder / CURVE, buffer.getvalue())


def read_curve(run_folder: Path) -> Curve:
    """Returns the evaluation curve of a run folder, ours or RL Zoo's.

    Raises:
        RunError: There is no readable ``evaluations.npz``, or its arrays do not belong together.
    """
    path = run_folder / CURVE
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return _curve({name: arrays[name] for name in (*_KEYS, *({_SUCCESSES} & {*arrays.files}))})
    except FileNotFoundError:
        raise RunError(f"{run_folder} has no evaluation curve: {path} is missing.") from None
    except (ValueError, KeyError, OSError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise RunError(f"{path} cannot be read as an evaluation curve: {error}") from None


def _curve(arrays: Mapping[str, np.ndarray]) -> Curve:
    """Returns a curve, where the arrays are one: numbers, steps that do not fall, as many episodes each time.

    Raises:
        ValueError: They are not.
    """
    for name, array in arrays.items():
        if array.dtype.kind not in "biuf":
            raise ValueError(f"{name} holds no numbers but {array.dtype}")
    steps, results = arrays["timesteps"], arrays["results"]
    if steps.ndim != 1:
        raise ValueError(f"timesteps is not a row but has the shape {steps.shape}")
    if not len(steps) and not any(array.size for array in arrays.values()):
        # SB3 knows no number of episodes before its first evaluation.
        arrays = {**arrays, **{name: np.empty((0, 0)) for name in arrays if name != "timesteps"}}
    elif results.ndim != 2 or len(results) != len(steps) or not results.shape[1]:
        raise ValueError(f"results has the shape {results.shape}; expected ({len(steps)}, episodes) for its timesteps")
    _check_steps(steps)
    for name, array in arrays.items():
        if name != "timesteps" and array.shape != arrays["results"].shape:
            raise ValueError(f"{name} has the shape {array.shape}, and results {arrays['results'].shape}")
    successes = arrays.get(_SUCCESSES)
    return Curve(
        env_steps=steps.astype(np.int64),
        episode_returns=arrays["results"].astype(float),
        episode_lengths=arrays["ep_lengths"].astype(np.int64),
        successes=None if successes is None else successes.astype(bool),
    )


def _check_steps(steps: np.ndarray) -> None:
    if not ((steps >= 0) & (steps < _MOST_STEPS) & (steps == np.floor(steps))).all() or (steps[1:] < steps[:-1]).any():
        raise ValueError("timesteps are not whole numbers that rise from 0 on")


def write_representation(run_folder: Path, representation: Representation) -> None:
    """Writes ``<run>/rltransfer/representation.npz``, atomically."""
    arrays: dict[str, np.ndarray] = {
        "timesteps": representation.env_steps,
        "layers": np.array(representation.layers),
        **representation.measures,
    }
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    files.write_bytes(run_folder / OWN_FOLDER / REPRESENTATION, buffer.getvalue())


def read_representation(run_folder: Path) -> Representation | None:
    """Returns what the layers of a run represented; None where that was not recorded.

    Raises:
        RunError: The file is damaged.
    """
    path = run_folder / OWN_FOLDER / REPRESENTATION
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as arrays:
            names = [field.name for field in dataclasses.fields(RepresentationPoint)]
            return _representation(arrays["timesteps"], arrays["layers"], {name: arrays[name] for name in names})
    except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise RunError(f"{path} cannot be read as a record of representations: {error}") from None


def _representation(steps: np.ndarray, layers: np.ndarray, measures: dict[str, np.ndarray]) -> Representation:
    """Returns what layers represented, where the arrays belong together.

    Raises:
        ValueError: They do not.
    """
    if (
        steps.ndim != 1
        or layers.ndim != 1
        or any(array.dtype.kind not in "biuf" for array in (steps, *measures.values()))
    ):
        raise ValueError("timesteps and layers are no rows, or a measure holds no numbers")
    _check_steps(steps)
    for name, values in measures.items():
        if values.shape != (len(steps), len(layers)):
            raise ValueError(f"{name} has the shape {values.shape}; expected {(len(steps), len(layers))}")
    return Representation(steps, tuple(str(name) for name in layers), measures)


def read_training_episodes(run_folder: Path) -> TrainingEpisodes:
    """Returns the training episodes that SB3's ``Monitor`` wrote to ``*.monitor.csv``; without any file, no episodes.

    Raises:
        RunError: A monitor file is damaged.
    """
    monitors = [read_monitor(path) for path in sorted(run_folder.glob(MONITORS))]
    return TrainingEpisodes(
        np.concatenate([np.empty(0), *(monitor.episode_returns for monitor in monitors)]),
        np.concatenate([np.empty(0, dtype=int), *(monitor.episode_lengths for monitor in monitors)]),
    )


def read_monitor(path: Path) -> TrainingEpisodes:
    """Returns the episodes of one environment, from the file of SB3's ``Monitor``.

    Raises:
        RunError: The file is damaged.
    """
    try:
        with path.open(newline="") as lines:
            next(lines, None)  # SB3's first line is a JSON comment, the second the column names.
            rows = [(float(row["r"]), int(row["l"])) for row in csv.DictReader(lines)]
    except (ValueError, KeyError, TypeError, csv.Error) as error:
        raise RunError(f"{path} cannot be read as a monitor file of SB3: {error!r}") from None
    returns, lengths = zip(*rows, strict=True) if rows else ((), ())
    return TrainingEpisodes(np.array(returns, dtype=float), np.array(lengths, dtype=int))
