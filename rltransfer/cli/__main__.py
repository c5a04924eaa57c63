"""``python -m rltransfer.cli`` is ``rltransfer`` too: the job scripts that 0.1 wrote for Slurm call it so."""

import sys

from rltransfer.cli import main

if __name__ == "__main__":
    sys.exit(main())
