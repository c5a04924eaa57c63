"""Lets ``python -m rltransfer.cli`` stand in for the ``rltransfer`` command."""

import sys

from rltransfer.cli import main

if __name__ == "__main__":
    sys.exit(main())
