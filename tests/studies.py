"""Studies of a few seconds, supervisors of their own, and what a study leaves behind."""

import contextlib
import hashlib
import os
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
from gymnasium.envs.classic_control import CartPoleEnv

from rltransfer import yaml_file
from rltransfer.records import LOG
from rltransfer.study import stop_signal

TINY = {"n_envs": 1, "n_steps": 16, "batch_size": 16, "n_epochs": 1, "policy_kwargs": {"net_arch": [8]}}
ENV = "studies:GatedCartPole-v0"
NAMES = {f"{arm}/seed_{seed}" for arm in ("source/pretrain", "target/scratch", "target/frozen") for seed in (0, 1)}
PATIENCE_SECONDS = 900.0


class GatedCartPole(CartPoleEnv):
    """A CartPole that becomes slow at the 20th step of a training run, until the file that GATE names exists.

    It notes each process that arrives there in a file beside the gate. Without GATE, and in evaluations, nothing waits.
    """

    def __init__(self, gated: bool = True, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._gate = os.environ.get("GATE") if gated else None
        self._steps = 0

    def step(self, action: Any) -> Any:
        self._steps += 1
        if self._gate is not None and self._steps >= 20 and not Path(self._gate).exists():
            Path(f"{self._gate}.{os.getpid()}").touch()
            time.sleep(0.1)
        return super().step(action)


class Hangs(gym.Wrapper[Any, Any, Any, Any]):
    """Never returns from a step."""

    def step(self, action: Any) -> Any:
        while True:
            time.sleep(0.1)


class EndsItsProcess(gym.Wrapper[Any, Any, Any, Any]):
    """Ends its process at a step, with an exit code of its own."""

    def __init__(self, env: gym.Env[Any, Any], code: int = 0) -> None:
        super().__init__(env)
        self._code = code

    def step(self, action: Any) -> Any:
        os._exit(self._code)


class KillsItsProcessOnce(gym.Wrapper[Any, Any, Any, Any]):
    """Ends its process at a step, unless a process before has done so."""

    def __init__(self, env: gym.Env[Any, Any], marker: str = "") -> None:
        super().__init__(env)
        self._marker = Path(marker)

    def step(self, action: Any) -> Any:
        if not self._marker.exists():
            self._marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return self.env.step(action)


# pytest imports this file once more under another name, to look for doctests.
if "GatedCartPole-v0" not in gym.registry:
    gym.register("GatedCartPole-v0", entry_point=GatedCartPole, max_episode_steps=50)


def hang_until_stopped(note: Path) -> None:
    """Never ends by itself, as a worker whose environment hangs; writes its process id."""
    os.setsid()
    stop_signal.GRACE_SECONDS = 0.2
    stop_signal.StopSignal()
    note.write_text(str(os.getpid()))
    while True:
        time.sleep(0.1)


def settings(**changes: Any) -> dict[str, Any]:
    """Returns a study of two arms and two seeds: six runs."""
    return {
        "algo": "ppo",
        "seeds": 2,
        "source": {"env": ENV, "n_timesteps": 64},
        "tasks": {"target": {"env": ENV, "n_timesteps": 48}},
        "arms": {"scratch": "scratch", "frozen": "frozen"},
        "evaluation": {"eval_freq": 16, "episodes": 2, "env_kwargs": {"gated": False}},
        "hyperparams": TINY,
        **changes,
    }


def write(folder: Path, name: str = "tiny", **changes: Any) -> Path:
    """Writes a study and returns its file."""
    path = folder / f"{name}.yaml"
    path.write_text(yaml_file.dump(settings(**changes)))
    return path


class Supervisor:
    """A command of ``rltransfer study`` in a process of its own."""

    def __init__(self, *words: str | Path, gate: Path | None = None) -> None:
        variables = os.environ | {"PYTHONPATH": str(Path(__file__).parent), "OMP_NUM_THREADS": "1"}
        variables |= {} if gate is None else {"GATE": str(gate)}
        self.process = subprocess.Popen(
            [sys.executable, Path(__file__).with_name("undrawn.py"), "study", *map(str, words)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=variables,
            # Signals for it are not for the tests, and the processes that it leaves can be found.
            start_new_session=True,
        )

    def signal(self, number: int) -> None:
        """Sends a signal to the supervisor alone."""
        self.process.send_signal(number)

    def line(self) -> str:
        """Waits for the next line that it says and returns it."""
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def end(self) -> tuple[int, str, str]:
        """Waits for the end and returns the exit code and what was said."""
        out, err = self.process.communicate(timeout=PATIENCE_SECONDS)
        return self.process.returncode, out, err


@contextlib.contextmanager
def supervisor(*words: str | Path, gate: Path | None = None) -> Iterator[Supervisor]:
    """Yields a running command of ``rltransfer study``; it does not outlive the test."""
    running = Supervisor(*words, gate=gate)
    try:
        yield running
    finally:
        running.process.kill()
        running.process.communicate()


def wait_until(happens: Callable[[], Any]) -> Any:
    """Waits until something happens, and returns it."""
    end = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < end:
        result = happens()
        if result:
            return result
        time.sleep(0.02)
    raise AssertionError("it did not happen")


def arrivals(gate: Path) -> list[int]:
    """Returns the processes that have come to a gate."""
    return sorted(int(path.suffix[1:]) for path in gate.parent.glob(f"{gate.name}.*"))


def is_alive(pid: int) -> bool:
    """Returns whether a process is there, and more than a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def descendants(pid: int) -> list[int]:
    """Returns the processes that a process has started, and those that these have."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parents[int(path.parts[2])] = int(path.read_text().rpartition(")")[2].split()[1])
    results = [pid]
    for item in results:
        results += [child for child, parent in parents.items() if parent == item]
    return results[1:]


def processes_in(folder: Path) -> list[int]:
    """Returns the processes that have a file open below a folder, as a run has its log."""
    results = []
    for descriptor in Path("/proc").glob("[0-9]*/fd/*"):
        with contextlib.suppress(OSError):
            if descriptor.readlink().is_relative_to(folder):
                results.append(int(descriptor.parts[2]))
    return sorted(set(results))


def outcome(folder: Path) -> dict[str, str]:
    """Returns what a study's runs have computed: hashes of curves, and of the weights of best and last agents."""
    results = {}
    for path in sorted(folder.glob("*/*/seed_*/*")):
        name = str(path.relative_to(folder))
        if path.name == "evaluations.npz":
            results[name] = hashlib.sha256(path.read_bytes()).hexdigest()
        elif path.suffix == ".zip":
            with zipfile.ZipFile(path) as archive:
                results[name] = hashlib.sha256(archive.read("policy.pth")).hexdigest()
    return results


def attempts(folder: Path) -> dict[str, int]:
    """Returns how often each run of a study was begun or resumed."""
    logs = sorted(folder.glob(f"*/*/seed_*/{LOG}"))
    return {str(log.parent.relative_to(folder)): log.read_text().count("--- ") for log in logs}
