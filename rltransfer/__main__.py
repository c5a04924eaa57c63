"""Runs the command line: ``python -m rltransfer`` is ``rltransfer``."""

import sys

from rltransfer.cli import main

if __name__ == "__main__":
    sys.exit(main())
