#!/bin/sh
# Sets everything up, then runs the tests; arguments go to pytest. Without -m, the long proofs are left out:
# `scripts/test.sh -m long` runs those. PYTHON=/path/to/python3 names the interpreter that .venv is made with.
set -eu
cd "$(dirname "$0")/.."
. scripts/environment.sh

most_workers=4

set_up_environment "atari,box2d,minigrid,mujoco,contrib,dev"

workers=$(count_cores)
[ "$workers" -le "$most_workers" ] || workers=$most_workers
chooses_markers=no
for word in "$@"; do
  case "$word" in
    -m*) chooses_markers=yes ;;
  esac
done
[ "$chooses_markers" = yes ] || set -- -m "not long" "$@"

# Workers share the cores: with more threads each, torch spends its time waiting for its own.
export OMP_NUM_THREADS=1
exec "$python" -m pytest -n "$workers" --dist worksteal "$@"
