"""Gives the scripts beside it the command of the library, or says how to install it."""

import sys

try:
    from rltransfer.cli import main
except ModuleNotFoundError as error:
    print(
        f"error: {error}. Set everything up with scripts/quickstart.sh and use its environment"
        " (. .venv/bin/activate), or install into this one: pip install -e .",
        file=sys.stderr,
    )
    sys.exit(2)

__all__ = ["main"]
