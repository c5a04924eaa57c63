"""The verbs of the ``rltransfer`` command, over the functions of the library."""

import signal
import sys
from collections.abc import Sequence

from rltransfer.cli.parser import build_parser
from rltransfer.cli.stopping import Terminated, terminable
from rltransfer.errors import RLTransferError
from rltransfer.study.engines.supervisor import StoppedBySignal

_USER_ERROR = 2
_INTERRUPTED = 130
_STATUS_OF_SIGNALS = 128


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one verb and returns the exit status: 0; 2 after a mistake; 130 after Ctrl-C, 143 after SIGTERM."""
    arguments = build_parser().parse_args(argv)
    arguments.argv = list(sys.argv[1:] if argv is None else argv)
    try:
        with terminable():
            return int(arguments.run(arguments) or 0)
    except StoppedBySignal as stopped:
        print(stopped, file=sys.stderr)
        return _STATUS_OF_SIGNALS + stopped.number
    except RLTransferError as error:
        print(f"error: {error}", file=sys.stderr)
        return _USER_ERROR
    except OSError as error:
        print(f"error: {error.filename or 'a file'}: {error.strerror or error}.", file=sys.stderr)
        return _USER_ERROR
    except Terminated:
        print("terminated", file=sys.stderr)
        return _STATUS_OF_SIGNALS + signal.SIGTERM
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return _INTERRUPTED
