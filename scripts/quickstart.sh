#!/bin/sh
# Sets everything up, then runs a whole study: does what was learned on CartPole help where its two actions are swapped?
# About five minutes on two cores, downloads apart. Running it again continues where it stopped.
# PYTHON=/path/to/python3 names the interpreter that .venv is made with.
set -eu
cd "$(dirname "$0")/.."
. scripts/environment.sh

[ $# -eq 0 ] || fail "quickstart.sh takes no arguments. To choose: rltransfer study run configs/cartpole_swapped.yaml"
set_up_environment ""

folder=studies/cartpole_swapped
"$python" -m rltransfer study run configs/cartpole_swapped.yaml --folder "$folder" --jobs "$(count_cores)"

for figure in "$folder"/report/figures/*.png; do
  say "figure: $figure"
done
if [ "${VIRTUAL_ENV:-}" != "$environment" ]; then
  say "To have the commands rltransfer and tensorboard, type: . ${environment#"$PWD/"}/bin/activate"
fi
