"""Every exception that rltransfer raises, and the near misses that their messages suggest.

Each class also subclasses the builtin that a caller would expect, so that code which knows nothing of
rltransfer catches them as usual. The command line prints the message alone and exits with 2.
"""

import difflib
from collections.abc import Iterable


class RLTransferError(Exception):
    """A mistake of the user or of a file: the message says what, where, and what to type next."""


class ConfigError(RLTransferError, ValueError):
    """A study file, a hyperparameter file or a setting has a wrong key or value."""


class UnknownNameError(RLTransferError, LookupError):
    """A name (environment, algorithm, strategy, argument) that does not exist."""


class SourceError(RLTransferError, ValueError):
    """A source is missing, is not what it claims to be, or is damaged."""


class IncompatibleError(RLTransferError, ValueError):
    """A source and a target do not fit, or a strategy cannot be applied to them."""


class UnknownLayerError(IncompatibleError):
    """A strategy names a layer that the agent does not have."""


class TransferError(RLTransferError, RuntimeError):
    """An agent does not hold what its plan says; nothing was trained."""


class MissingExtraError(RLTransferError, ImportError):
    """An optional dependency is not installed; the message holds the command that installs it."""


class RunError(RLTransferError, RuntimeError):
    """A run folder is taken, a run broke, or there is nothing to compare."""


class TakenOverError(RunError):
    """Another process writes the run folder now."""


class BrokenEnvironmentError(RunError):
    """An environment raised, took too long, ended its process, or returned NaN or inf."""


class FileWriteError(RLTransferError, OSError):
    """A file cannot be written, since the disk is full or for another reason; what was there before is whole."""


class Stopped(RLTransferError, RuntimeError):  # noqa: N818 - it is a wish that was followed
    """A run was asked to stop, has saved all that it needs to go on, and has stopped."""


def did_you_mean(name: str, options: Iterable[str]) -> str:
    """Returns ``" Did you mean 'x'?"`` for the nearest of ``options``, or an empty string.

    >>> did_you_mean("frozn", ["frozen", "finetune"])
    " Did you mean 'frozen'?"
    >>> did_you_mean("relu", ["ReLU", "SELU"])
    " Did you mean 'ReLU'?"
    >>> did_you_mean("zzz", ["frozen"])
    ''
    """
    names = list(options)
    near = [option for option in names if option.lower() == name.lower()]
    near = near or difflib.get_close_matches(name, names, n=3, cutoff=0.6)
    if not near:
        return ""
    return " Did you mean " + " or ".join(repr(option) for option in near) + "?"


def unknown(kind: str, name: str, options: Iterable[str]) -> UnknownNameError:
    """Returns the error for an unknown ``name`` of some ``kind``, with near misses and what there is."""
    names = sorted(options)
    return UnknownNameError(f"Unknown {kind} {name!r}.{did_you_mean(name, names)} Known: {', '.join(names)}.")
