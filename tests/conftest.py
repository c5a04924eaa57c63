"""What holds for every test."""

import multiprocessing

PRELOADED = [
    "rltransfer.study.work",
    "rltransfer.training",
    "torch._dynamo",
    "torch.utils.tensorboard",
    "minigrid",
    "gymnasium.envs.mujoco",
]

# A process has one fork server, which whoever is first starts: SB3's SubprocVecEnv would start one that has nothing
# loaded, and each process forked after that, by whatever test, would import torch for itself.
multiprocessing.get_context("forkserver").set_forkserver_preload(PRELOADED)
