"""Trains an agent in a source task: the same as ``rltransfer pretrain``."""

import sys

from _library import main

if __name__ == "__main__":
    sys.exit(main(["pretrain", *sys.argv[1:]]))
