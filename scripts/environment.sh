# Sourced by the scripts beside it, from the root of the checkout: finds or makes the Python environment and installs
# rltransfer into it. Afterwards $python is the environment's interpreter. Written for bash 3.2, which macOS has.
# Choices of the user that are honoured: PYTHON, an active virtual environment, pip's own settings, a torch that is there.

readonly oldest_python="3.11"
readonly oldest_torch="2.4"

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
  python="$VIRTUAL_ENV/bin/python"
  is_recent "$python" || fail "the active environment $VIRTUAL_ENV has $(describe_python "$python"), and" \
    "rltransfer needs Python $oldest_python or newer. Type 'deactivate', then run this again: it makes .venv."
  local torch
  torch=$(version_of_torch "$python")
  case "$torch" in
    old:*) fail "the active environment $VIRTUAL_ENV has torch ${torch#old:}, and rltransfer needs $oldest_torch or" \
      "newer. Upgrade it, or type 'deactivate' and run this again: it makes .venv." ;;
  esac
  say "using the active environment $VIRTUAL_ENV"
}

use_own_environment() {
  python="$PWD/.venv/bin/python"
  if [ -n "${PYTHON:-}" ] || [ ! -e .venv ]; then
    find_base_python
  fi
  if [ ! -e .venv ]; then
    make_environment
  fi
  is_recent "$python" || fail ".venv has $(describe_python "$python"), and rltransfer needs Python $oldest_python or" \
    "newer. Delete .venv (rm -r .venv), then run this again: it makes a new one."
}

# Sets $base_python to PYTHON, or to the first Python on the PATH that is new enough.
find_base_python() {
  local advice="Install Python $oldest_python or newer, or name one: PYTHON=/path/to/python3 $0"
  if [ -n "${PYTHON:-}" ]; then
    command -v "$PYTHON" >/dev/null || fail "PYTHON is $PYTHON, and there is no such command. $advice"
    is_recent "$PYTHON" || fail "PYTHON is $PYTHON, $(describe_python "$PYTHON"), and rltransfer needs Python" \
      "$oldest_python or newer. $advice"
    base_python=$PYTHON
    return
  fi
  local candidate found=""
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
  "$base_python" -c 'import ensurepip, venv' 2>/dev/null || fail "$base_python cannot make virtual environments: its" \
    "venv or ensurepip module is missing. On Debian and Ubuntu: apt install $(name_of_venv_package)"
  local options="" torch
  torch=$(version_of_torch "$base_python" importable)
  case "$torch" in
    ok:*)
      say "$base_python has torch ${torch#ok:}: .venv will use that one"
      options="--system-site-packages"
      ;;
  esac
  say "making .venv with $(describe_python "$base_python")"
  "$base_python" -m venv $options .venv || fail "$base_python could not make .venv: see the message above."
}

# Installs the checkout editable, unless a stamp in the environment says that this was done and nothing changed since.
install_library() {
  local extras=$1 stamp key installed
  stamp=$("$python" -c 'import sys; print(sys.prefix)')/rltransfer-installed
  key=$(fingerprint)
  installed=$(sed -n "s|^$key extras=||p" "$stamp" 2>/dev/null || true)
  if grep -q "^$key " "$stamp" 2>/dev/null && covers "$installed" "$extras"; then
    return
  fi
  "$python" -m pip --version >/dev/null 2>&1 || "$python" -m ensurepip >/dev/null ||
    fail "$python has no pip and cannot make one. Delete the environment, then run this again."
  local constraints
  constraints=$(mktemp)
  # shellcheck disable=SC2064
  trap "rm -f '$constraints'" EXIT
  write_constraints >"$constraints"
  say "installing rltransfer${extras:+[$extras]}: a few minutes the first time"
  "$python" -m pip install --constraint "$constraints" --editable ".${extras:+[$extras]}" ||
    fail "pip could not install rltransfer: see its messages above."
  rm -f "$constraints"
  trap - EXIT
  printf '%s extras=%s\n' "$key" "$extras" >"$stamp"
}

# Prints constraints.txt; where a torch is there that will do, pinned to that one and without pins for what it needs.
write_constraints() {
  local torch
  torch=$(version_of_torch "$python")
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


if state == "ok":
    needs = {name_in(requirement) for requirement in metadata.requires("torch") or []}
    pinned = metadata.version("torch")
    lines = [line for line in lines if name_in(line) not in needs | {"torch"}] + [f"torch=={pinned}"]
print("\n".join(lines))
PY
}

# version_of_torch PYTHON [importable]: prints ok:VERSION or old:VERSION, or nothing where there is no torch.
version_of_torch() {
  "$1" - "$oldest_torch" "${2:-}" <<'PY'
import importlib.metadata as metadata
import re
import sys

oldest, importable = sys.argv[1:]
try:
    version = metadata.version("torch")
    if importable:
        import torch
except Exception:
    sys.exit()
numbers = [tuple(int(part) for part in re.findall(r"\d+", text)[:2]) for text in (version, oldest)]
print(f"{'ok' if numbers[0] >= numbers[1] else 'old'}:{version}")
PY
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

# Prints what an installation depends on: what is asked for, and where the checkout lies.
fingerprint() {
  "$python" - <<'PY'
import hashlib
from pathlib import Path

content = [Path(name).read_bytes() for name in ("pyproject.toml", "constraints.txt")]
print(hashlib.sha256(b"\0".join([*content, str(Path.cwd()).encode()])).hexdigest())
PY
}

is_recent() {
  "$1" -c "import sys; sys.exit(sys.version_info < tuple(map(int, '$oldest_python'.split('.'))))" 2>/dev/null
}

describe_python() {
  "$1" -c 'import sys; print("Python %d.%d.%d" % sys.version_info[:3])' 2>/dev/null || say "no Python that runs"
}

name_of_venv_package() {
  "$base_python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])'
}
