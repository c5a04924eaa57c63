"""Trains an agent in a target task, starting from a source: the same as ``rltransfer transfer``."""

import sys

from _library import main

if __name__ == "__main__":
    sys.exit(main(["transfer", *sys.argv[1:]]))
