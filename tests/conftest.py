"""What holds for every test: runs are scored in few episodes, and processes are forked with everything loaded."""

import multiprocessing
import os
from pathlib import Path

import pytest

from rltransfer.study import fork_server

# This is for the fork server, which does not get the path of this process.
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(Path(__file__).parent), os.environ.get("PYTHONPATH")]))
fork_server.PRELOADED += ["few_episodes", "minigrid", "gymnasium.envs.mujoco"]
# A process has one fork server, which whoever is first starts: SB3's SubprocVecEnv would start one that has nothing
# loaded, and each process forked after that, by whatever test, would import torch for itself.
multiprocessing.get_context("forkserver").set_forkserver_preload(fork_server.PRELOADED)


@pytest.fixture(scope="session", autouse=True)
def quick_scores() -> None:
    """Runs in this process are scored in few episodes too."""
    import few_episodes  # noqa: F401


@pytest.fixture
def all_episodes(quick_scores: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs in this process are scored in as many episodes as those of users."""
    import few_episodes

    monkeypatch.setattr("rltransfer.training.scoring.SCORING_EPISODES", few_episodes.USUAL)
