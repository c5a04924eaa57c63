"""Compares the arms found in a folder of runs: the same as ``rltransfer evaluate``."""

import sys

from _library import main

if __name__ == "__main__":
    sys.exit(main(["evaluate", *sys.argv[1:]]))
