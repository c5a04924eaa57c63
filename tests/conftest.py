"""What holds for every test: which are long, how many episodes score a run, and what forked processes have loaded."""

import multiprocessing
import os
from pathlib import Path

import pytest
from families import FAMILIES, RELATIVES

from rltransfer.study import fork_server

# This is for the fork server, which does not get the path of this process.
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(Path(__file__).parent), os.environ.get("PYTHONPATH")]))
fork_server.PRELOADED += ["few_episodes", "minigrid", "gymnasium.envs.mujoco"]
# A process has one fork server, which whoever is first starts: SB3's SubprocVecEnv would start one that has nothing
# loaded, and each process forked after that, by whatever test, would import torch for itself.
multiprocessing.get_context("forkserver").set_forkserver_preload(fork_server.PRELOADED)

# Looked through for doctests it would be imported twice, under two names.
collect_ignore = ["few_episodes.py"]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks as long what trains a relative of an algorithm that the same test trains quickly."""
    algorithms = {
        item: {value for value in item.callspec.params.values() if isinstance(value, str)}
        for item in items
        if isinstance(item, pytest.Function) and hasattr(item, "callspec") and "integration" in item.path.parts
    }
    by_family = {item.function for item, names in algorithms.items() if names & set(FAMILIES)}
    for item, names in algorithms.items():
        if names & set(RELATIVES) and item.function in by_family:
            item.add_marker(pytest.mark.long)


@pytest.fixture(scope="session", autouse=True)
def quick_scores() -> None:
    """Runs in this process are scored in few episodes too."""
    import few_episodes  # noqa: F401


@pytest.fixture
def all_episodes(quick_scores: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs in this process are scored in as many episodes as those of users."""
    import few_episodes

    monkeypatch.setattr("rltransfer.training.scoring.SCORING_EPISODES", few_episodes.USUAL)
