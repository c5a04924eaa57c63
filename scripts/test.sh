#!/bin/sh
# Sets everything up, then runs the tests; arguments go to pytest. Without -m, the long proofs are left out:
# `scripts/test.sh -m long` runs those. PYTHON=/path/to/python3 names the interpreter that .venv is made with.
set -eu
cd "$(dirname "$0")/.."
. scripts/environment.sh

most_workers=4

extras="atari,box2d,minigrid,mujoco,contrib,tune,vision,timm,dev"
chooses_markers=no
for word in "$@"; do
  case "$word" in
    -m*) chooses_markers=yes ;;
  esac
done
if [ "$chooses_markers" = yes ]; then
  extras="$extras,ray" # Only long proofs need it, and it is large.
else
  set -- -m "not long" "$@"
fi

set_up_environment "$extras"

workers=$(count_cores)
[ "$workers" -le "$most_workers" ] || workers=$most_workers

# Workers share the cores: with more threads each, torch spends its time waiting for its own.
export OMP_NUM_THREADS=1
exec "$python" -m pytest -n "$workers" --dist worksteal "$@"
