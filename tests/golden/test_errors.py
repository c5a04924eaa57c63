"""What a mistake is answered with. After a wanted change: `UPDATE_GOLDEN=1 pytest tests/golden`, and read the diff.

Each case runs in a folder that holds the same few sources; nothing new may lie in it afterwards.
"""

import os
import shutil
import sys
import zipfile
from pathlib import Path

import pytest
from agents import OwnVector, encoder_of, make_agent, normalised
from name_lists import shorten_lists
from old_files import unpack
from runs import tree
from stable_baselines3.common.policies import ActorCriticPolicy

from rltransfer import load_encoder
from rltransfer.cli import main

GOLDEN = Path(__file__).parent / "errors.txt"
STUDY = """\
algo: ppo
seeds: 2
source: {env: CartPole-v1, n_timesteps: 100}
tasks:
  long: {env: "rltransfer_envs:rltransfer/CartPole-v0", kwargs: {length: 1.5}, n_timesteps: 100}
arms:
  scratch: scratch
  frozen: frozen
"""
CARTPOLE = "rltransfer_envs:rltransfer/CartPole-v0"
# Name of the case: the arguments, and the change to the study (what is replaced, by what) where it needs one.
CASES: dict[str, tuple[str, tuple[str, str] | None]] = {
    "unknown environment": ("pretrain --env CartPol-v1 -n 100", None),
    "unknown environment of ours": ("pretrain --env rltransfer_envs:rltransfer/CartPol-v0 -n 100", None),
    "environment of ours without its module": ("pretrain --env rltransfer/CartPol-v0 -n 100", None),
    "unknown module of an environment": ("pretrain --env nothing_here:Thing-v0 -n 100", None),
    "unknown package": ("pretrain --gym-packages nothing_here -n 100", None),
    "unknown algorithm": ("pretrain --algo pppo -n 100", None),
    "evaluation episodes of no step": ("pretrain --eval-max-episode-steps 0 -n 100", None),
    "resume of no run": ("pretrain --resume empty", None),
    "resume with other flags": ("transfer --resume run --seed 3 -n 100 --algo ppo", None),
    "unknown strategy": (f"transfer --from agent.zip --env {CARTPOLE} --strategy fintune -n 100", None),
    "unknown setting of a strategy": (
        f"transfer --from agent.zip --env {CARTPOLE} --strategy finetune --strategy-kwargs lr_scal:0.3 -n 100",
        None,
    ),
    "wrong value of a setting": (
        f"transfer --from agent.zip --env {CARTPOLE} --strategy finetune --strategy-kwargs lr_scale:-1 -n 100",
        None,
    ),
    "parts that contradict each other": (
        f"transfer --from agent.zip --env {CARTPOLE} --strategy frozen l2_sp -n 100",
        None,
    ),
    "low-rank update of what starts afresh": (
        f"transfer --from agent.zip --env {CARTPOLE} --strategy finetune lora -n 100"
        " --strategy-kwargs finetune.layers:1 lora.layers:mlp_extractor.policy_net.2"
        " -params policy_kwargs:dict(net_arch=[8,8])",
        None,
    ),
    "setting of none of several parts": (
        f"transfer --from agent.zip --env {CARTPOLE} --strategy full l2_sp --strategy-kwargs lr_scale:0.3 -n 100",
        None,
    ),
    "setting of a part that is not there": (
        f"transfer --from agent.zip --env {CARTPOLE} --strategy full l2_sp --strategy-kwargs ewc.alpha:0.3 -n 100",
        None,
    ),
    "wrong value of a part's setting": (
        f"transfer --from agent.zip --env {CARTPOLE} --strategy full l2_sp --strategy-kwargs l2_sp.alpha:-1 -n 100",
        None,
    ),
    "shuffled of nothing": (f"transfer --from agent.zip --env {CARTPOLE} --strategy shuffled -n 100", None),
    "unknown environment argument": (f"pretrain --env {CARTPOLE} --env-kwargs lenght:1.5 -n 100", None),
    "unknown argument of Gymnasium's environment": ("pretrain --env-kwargs lenght:1.5 -n 100", None),
    "wrong value of an environment argument": (f"pretrain --env {CARTPOLE} --env-kwargs length:-1 -n 100", None),
    "artifact of 0.1 that lost the order of its keys": ("inspect old/unsorted_keys", None),
    "map behind an extractor that does not state its inputs": (
        f"transfer --from extractor.zip --env {CARTPOLE} -n 100 --inputs map:[1,0,2,3]"
        " -params policy_kwargs:dict(net_arch=[8],features_extractor_class='agents.OwnVector')",
        None,
    ),
    "map behind another extractor than the source's": (
        f"transfer --from extractor.zip --env {CARTPOLE} -n 100 --inputs map:[1,0,2,3]"
        " -params policy_kwargs:dict(net_arch=[8])",
        None,
    ),
    "strategy without a source": (f"transfer --env {CARTPOLE} --strategy frozen -n 100", None),
    "missing source": (f"transfer --from agnt.zip --env {CARTPOLE} -n 100", None),
    "unknown agent of a run folder": (f"transfer --from run --which 500 --env {CARTPOLE} -n 100", None),
    "unknown word for an agent of a run folder": ("inspect run --which first", None),
    "folder that holds no agent": ("inspect empty", None),
    "observations that do not fit": ("transfer --from agent.zip --env Acrobot-v1 -params normalize:False -n 100", None),
    "actions that do not fit full": (
        "transfer --from car.zip --env MountainCarContinuous-v0 --strategy full -n 100"
        " -params normalize:False policy_kwargs:dict(net_arch=[8,8])",
        None,
    ),
    "another algorithm": (f"transfer --from agent.zip --algo dqn --env {CARTPOLE} -n 100", None),
    "another architecture": (
        f"transfer --from agent.zip --env {CARTPOLE} -params policy_kwargs:dict(net_arch=[8,9]) -n 100",
        None,
    ),
    "unknown layer": (
        f"transfer --from agent.zip --env {CARTPOLE} -params policy_kwargs:dict(net_arch=[8,8]) -n 100"
        " --strategy frozen --strategy-kwargs layers:mlp_extractor.polic_net",
        None,
    ),
    "more layers than there are": (
        f"transfer --from agent.zip --env {CARTPOLE} -params policy_kwargs:dict(net_arch=[8,8]) -n 100"
        " --strategy finetune --strategy-kwargs layers:5",
        None,
    ),
    "plan of more layers than there are": (
        f"plan --from agent.zip --env {CARTPOLE} -params policy_kwargs:dict(net_arch=[8,8])"
        " --strategy full lora --strategy-kwargs layers:3",
        None,
    ),
    "more steps than layers to release": (
        f"transfer --from agent.zip --env {CARTPOLE} -params policy_kwargs:dict(net_arch=[8,8]) -n 100"
        " --strategy gradual_unfreeze --strategy-kwargs at:[10,20,30]",
        None,
    ),
    "source that was normalised": (
        f"transfer --from run --env {CARTPOLE} -params policy_kwargs:dict(net_arch=[8,8]) -n 100",
        None,
    ),
    "normaliser of a source without one": (
        f"transfer --from agent.zip --env {CARTPOLE} --strategy normaliser_only -params normalize:True -n 100",
        None,
    ),
    "map of too few inputs": (
        f"transfer --from agent.zip --env {CARTPOLE} --env-kwargs distractors:2 -n 100 --inputs map:[0,1]"
        " -params policy_kwargs:dict(net_arch=[8,8])",
        None,
    ),
    "unknown key of a map": (f"transfer --from agent.zip --env {CARTPOLE} -n 100 --inputs mapp:[0,1]", None),
    "actions that are more than the map's": (
        f"transfer --from agent.zip --strategy full --env {CARTPOLE} -n 100 --actions map:[1]"
        " -params policy_kwargs:dict(net_arch=[8,8])",
        None,
    ),
    "adapter of the wrong size": (
        "transfer --from agent.zip --env MountainCar-v0 -n 100 --inputs adapter:3"
        " -params policy_kwargs:dict(net_arch=[8,8]) normalize:False n_steps:16",
        None,
    ),
    "several sources where one is taken": (f"transfer --from agent.zip run --env {CARTPOLE} -n 100", None),
    "several sources of other observations": (
        f"transfer --from agent.zip car.zip --env {CARTPOLE} -n 100 --strategy progressive -params normalize:False",
        None,
    ),
    "columns behind an adapter": (
        f"transfer --from agent.zip --env {CARTPOLE} -n 100 --strategy progressive --inputs adapter:4",
        None,
    ),
    "critic modes without an actor": (
        f"transfer --from agent.zip --algo dqn --env {CARTPOLE} -n 100 --strategy-kwargs critic_warmup_steps:10",
        None,
    ),
    "residual beside the source's own heads": (
        f"transfer --from agent.zip --env {CARTPOLE} --strategy full residual -n 100",
        None,
    ),
    "residual of actions that are no numbers": (
        f"transfer --from agent.zip --env {CARTPOLE} --strategy residual -n 100",
        None,
    ),
    "replay into an agent that keeps nothing": (
        f"transfer --from agent.zip --env {CARTPOLE} --strategy replay -n 100",
        None,
    ),
    "replay from a source that left nothing": (
        f"transfer --from agent.zip --algo dqn --env {CARTPOLE} --strategy replay -n 100 -params buffer_size:100",
        None,
    ),
    "reward that is no import path": (
        f"transfer --from agent.zip --algo dqn --env {CARTPOLE} --strategy replay --strategy-kwargs reward:mine -n 100",
        None,
    ),
    "augmentation by nothing": (f"transfer --env {CARTPOLE} --strategy augment -n 100", None),
    "unknown augmentation": (f"pretrain --env {CARTPOLE} --augment shfit:4 -n 100", None),
    "augmentation of images that are none": (f"pretrain --env {CARTPOLE} --augment shift:4 -n 100", None),
    "unknown argument to draw": (f"pretrain --env {CARTPOLE} --randomise lenght:[0.5,2] -n 100", None),
    "argument drawn from one number": (f"pretrain --env {CARTPOLE} --randomise length:2 -n 100", None),
    "argument that cannot be drawn": (f"pretrain --env {CARTPOLE} --randomise length:[-1,2] -n 100", None),
    "argument that changes the observations": (f"pretrain --env {CARTPOLE} --randomise distractors:[0,2] -n 100", None),
    "statistics that are not there": ("inspect agent.zip --normaliser hub/vecnormalise.pkl", None),
    "statistics of other observations": ("inspect car.zip --normaliser hub/vec_normalize.pkl", None),
    "statistics that are none": ("extract agent.zip -o encoder --normaliser settings.py", None),
    "statistics that are a folder": ("inspect agent.zip --normaliser hub", None),
    "statistics in two likely files": ("inspect hub", None),
    "statistics of an artifact that has some": ("inspect artifact --normaliser hub/vec_normalize.pkl", None),
    "statistics of several sources": (
        f"transfer --from agent.zip car.zip --env {CARTPOLE} -n 100 --strategy progressive"
        " --normaliser hub/vec_normalize.pkl",
        None,
    ),
    "statistics of an average": ("extract agent.zip car.zip -o encoder --normaliser hub/vec_normalize.pkl", None),
    "statistics of no source": (
        f"transfer --env {CARTPOLE} --strategy scratch -n 100 --normaliser hub/vec_normalize.pkl",
        None,
    ),
    "agents of the same steps": ("inspect hub --which 500", None),
    "cut of an agent": (f"plan --from agent.zip --env {CARTPOLE} --cut features.3 --size 64", None),
    "network of an agent": (f"plan --from agent.zip --env {CARTPOLE} --arch torchvision:resnet18", None),
    "network of a run folder": (f"plan --from run --env {CARTPOLE} --arch torchvision:resnet18", None),
    "network that says what it is": (
        f"transfer --from torchvision:resnet18 --env {CARTPOLE} -n 100 --arch torchvision:resnet18",
        None,
    ),
    "network of no source": (f"transfer --env {CARTPOLE} --strategy scratch -n 100 --size 64", None),
    "weights of no network": (f"plan --from weights.pth --env {CARTPOLE}", None),
    "weights that are not there": (f"plan --from weight.pth --env {CARTPOLE} --arch torchvision:resnet18", None),
    "unknown activation function": (f"plan --from custom.zip --env {CARTPOLE} --activation relu", None),
    "activation function that the file denies": ("inspect agent.zip --activation ReLU", None),
    "activation function of no source": (f"pretrain --env {CARTPOLE} -n 100 --activation ReLU", None),
    "teacher with a policy class of somebody": (
        f"transfer --from custom.zip --env {CARTPOLE} --strategy full kickstart -n 100"
        " -params policy_kwargs:dict(net_arch=[8,8])",
        None,
    ),
    "no zip": ("extract text.zip -o encoder", None),
    "zip without an agent": ("extract other.zip -o encoder", None),
    "cut zip": ("extract cut.zip -o encoder", None),
    "artifact in the place of something else": ("extract agent.zip -o empty", None),
    "actions that the algorithm cannot take": ("pretrain --algo sac --env CartPole-v1 -n 100", None),
    "unknown device": ("pretrain --device cdua -n 100", None),
    "unknown hyperparameter": ("pretrain -params learning_rat:0.1 -n 100", None),
    "wrong value of a hyperparameter": ("pretrain -params learning_rate:fast -n 100", None),
    "missing hyperparameter file": ("pretrain --conf-file nothing.yml -n 100", None),
    "hyperparameter file that would run code": ("pretrain --conf-file settings.py -n 100", None),
    "wrong number of episodes": ("pretrain --eval-episodes 0 -n 100", None),
    "word that is no pair": (f"pretrain --env {CARTPOLE} --env-kwargs length=1.5 -n 100", None),
    "study: missing file": ("study run nothing.yaml", None),
    "study: wrong key": ("study run study.yaml", ("seeds: 2", "seds: 2")),
    "study: wrong key of a task": ("study run study.yaml", (" n_timesteps: 100}\narms", " n_timestep: 100}\narms")),
    "study: duplicate key": ("study run study.yaml", ("algo: ppo", "algo: ppo\nalgo: sac")),
    "study: wrong value": ("study run study.yaml", ("seeds: 2", "seeds: two")),
    "study: unknown algorithm": ("study run study.yaml", ("algo: ppo", "algo: pppo")),
    "study: unknown strategy": ("study run study.yaml", ("frozen: frozen", "frozen: frozn")),
    "study: unknown setting of a strategy": (
        "study run study.yaml",
        ("frozen: frozen", "frozen: {kind: frozen, layer: 1}"),
    ),
    "study: unknown key of a map": (
        "study run study.yaml",
        (" n_timesteps: 100}\narms", " n_timesteps: 100, inputs: {mapp: [1]}}\narms"),
    ),
    "study: unknown augmentation of the source": (
        "study run study.yaml",
        ("n_timesteps: 100}\ntasks", "n_timesteps: 100, augment: {shfit: 4}}\ntasks"),
    ),
    "study: unknown argument to draw": (
        "study run study.yaml",
        ("n_timesteps: 100}\ntasks", "n_timesteps: 100, randomise: {gravty: [5, 15]}}\ntasks"),
    ),
    "study: argument drawn from one number": (
        "study run study.yaml",
        ("n_timesteps: 100}\ntasks", "n_timesteps: 100, randomise: {gravity: 5}}\ntasks"),
    ),
    "study: replay of agents that keep nothing": (
        "study run study.yaml",
        ("frozen: frozen", "frozen: [frozen, replay]"),
    ),
    "study: statistics that are not there": (
        "study run study.yaml",
        ("{env: CartPole-v1, n_timesteps: 100}", "{path: agent.zip, normaliser: nothing.pkl}"),
    ),
    "study: statistics of agents that are trained": (
        "study run study.yaml",
        ("env: CartPole-v1,", "env: CartPole-v1, normaliser: hub/vec_normalize.pkl,"),
    ),
    "study: cut of agents that are trained": (
        "study run study.yaml",
        ("env: CartPole-v1,", "env: CartPole-v1, cut: features.3, size: 64,"),
    ),
    "study: cut of an agent on disk": (
        "study run study.yaml",
        ("{env: CartPole-v1, n_timesteps: 100}", "{path: agent.zip, cut: features.3, size: 64}"),
    ),
    "study: network of an agent on disk": (
        "study run study.yaml",
        ("{env: CartPole-v1, n_timesteps: 100}", "{path: artifact, arch: torchvision:resnet18}"),
    ),
    "study: network of several sources": (
        "study run study.yaml",
        ("{env: CartPole-v1, n_timesteps: 100}", "{path: [a.pth, b.pth], arch: torchvision:resnet18}"),
    ),
    "study: statistics of several sources": (
        "study run study.yaml",
        ("{env: CartPole-v1, n_timesteps: 100}", "{path: [agent.zip, car.zip], normaliser: hub/vec_normalize.pkl}"),
    ),
    "study: unknown activation function": (
        "study run study.yaml",
        ("{env: CartPole-v1, n_timesteps: 100}", "{path: agent.zip, activation: relu}"),
    ),
    "study: activation function that the file denies": (
        "study run study.yaml",
        ("{env: CartPole-v1, n_timesteps: 100}", "{path: agent.zip, activation: ReLU}"),
    ),
    "study: unknown environment": ("study run study.yaml", ("env: CartPole-v1", "env: CartPol-v1")),
    "study: unknown environment argument": ("study run study.yaml", ("length: 1.5", "lenght: 1.5")),
    "study: unknown hyperparameter": ("study run study.yaml", ("arms:", "hyperparams: {gama: 0.9}\narms:")),
    "study: no baseline": ("study run study.yaml", ("scratch: scratch", "base: scratch")),
    "study: arm of more layers than there are": (
        "study run study.yaml",
        ("frozen: frozen", "frozen: {kind: frozen, layers: 5}"),
    ),
    "study: control of more layers than there are": (
        "study run study.yaml",
        ("frozen: frozen", "random: {kind: random_frozen, actor: 1, critic: 3}"),
    ),
    "study: race of more layers than there are": (
        "study run study.yaml",
        ("frozen: frozen", "auto: {kind: auto, of: [full, {kind: frozen, layers: 5}]}"),
    ),
    "study: sweep of more layers than there are": (
        "study run study.yaml",
        ("arms:", "sweeps: {layers: {layers: 3}}\narms:"),
    ),
    "study: sweep of layers that nobody moves by number": (
        "study run study.yaml",
        ("arms:", "sweeps: {layers: {of: [frozen, full], layers: 2}}\narms:"),
    ),
    "study: sweep of layers that the strategy names too": (
        "study run study.yaml",
        ("arms:", "sweeps: {layers: {of: {part: {kind: frozen, layers: 1}}, layers: 2}}\narms:"),
    ),
    "study: wrong key of a sweep": ("study run study.yaml", ("arms:", "sweeps: {layers: {layrs: 2}}\narms:")),
    "study: unknown sweep": ("study run study.yaml", ("arms:", "sweeps: {layer: {layers: 2}}\narms:")),
    "study: unknown strategy of a sweep": (
        "study run study.yaml",
        ("arms:", "sweeps: {source_steps: {of: finetun, at: [50]}}\narms:"),
    ),
    "study: sweep of an arm that is there": (
        "study run study.yaml",
        ("arms:", "sweeps: {layers: {layers: 1}}\narms:\n  frozen_1: frozen"),
    ),
    "study: source budget beyond the source": (
        "study run study.yaml",
        ("arms:", "sweeps: {source_steps: {at: [50, 200]}}\narms:"),
    ),
    "study: source budgets of an arm without a source": (
        "study run study.yaml",
        ("arms:", "sweeps: {source_steps: {of: scratch, at: [50]}}\narms:"),
    ),
    "study: source budgets of an agent on disk": (
        "study run study.yaml",
        (
            "source: {env: CartPole-v1, n_timesteps: 100}",
            "source: {path: agent.zip}\nsweeps: {source_steps: {at: [50]}}",
        ),
    ),
    "study: matrix of an unknown task": (
        "study run study.yaml",
        ("{env: CartPole-v1, n_timesteps: 100}", "{tasks: [lnog], n_timesteps: 100}"),
    ),
    "study: matrix beside a source": ("study run study.yaml", ("env: CartPole-v1,", "env: CartPole-v1, tasks: all,")),
    "study: sweep in a matrix": (
        "study run study.yaml",
        ("source: {env: CartPole-v1,", "sweeps: {layers: {layers: 1}}\nsource: {tasks: all,"),
    ),
    "study: tuning of what there is not": (
        "study run study.yaml",
        ("arms:", "tune: {trials: 4, space: {learning_rat: {low: 1e-5, high: 1e-2}}}\narms:"),
    ),
    "study: tuning of what moves": (
        "study run study.yaml",
        ("arms:", "tune: {trials: 4, space: {policy_kwargs: [1, 2]}}\narms:"),
    ),
    "study: tuning of the budget": (
        "study run study.yaml",
        ("arms:", "tune: {trials: 4, space: {n_timesteps: [100, 200]}}\narms:"),
    ),
    "study: tuning without a range": (
        "study run study.yaml",
        ("arms:", "tune: {trials: 4, space: {learning_rate: 1e-3}}\narms:"),
    ),
    "study: tuning in a range upside down": (
        "study run study.yaml",
        ("arms:", "tune: {trials: 4, space: {learning_rate: {low: 1e-2, high: 1e-5}}}\narms:"),
    ),
    "study: tuning by logarithms from zero": (
        "study run study.yaml",
        ("arms:", "tune: {trials: 4, space: {learning_rate: {low: 0, high: 1e-2, log: true}}}\narms:"),
    ),
    "study: tuning with a wrong key of a range": (
        "study run study.yaml",
        ("arms:", "tune: {trials: 4, space: {learning_rate: {low: 1e-5, hihg: 1e-2}}}\narms:"),
    ),
    "study: tuning in steps that miss the end": (
        "study run study.yaml",
        ("arms:", "tune: {trials: 4, space: {n_epochs: {low: 1, high: 10, step: 4}}}\narms:"),
    ),
    "study: tuning to values that there are not": (
        "study run study.yaml",
        ("arms:", "tune: {trials: 4, space: {gamma: [0.9, 1.5]}}\narms:"),
    ),
    "study: tuning with one trial": (
        "study run study.yaml",
        ("arms:", "tune: {trials: 1, space: {gamma: [0.9, 0.99]}}\narms:"),
    ),
    "study: tuning with a wrong key": (
        "study run study.yaml",
        ("arms:", "tune: {trails: 4, space: {gamma: [0.9, 0.99]}}\narms:"),
    ),
    "study: tuning of a sweep": (
        "study run study.yaml",
        ("arms:", "tune: {trials: 4, space: {gamma: [0.9, 0.99]}}\nsweeps: {layers: {layers: 1}}\narms:"),
    ),
    "study: own hyperparameters of no arm": (
        "study run study.yaml",
        ("n_timesteps: 100}\narms", "n_timesteps: 100, arm_hyperparams: {frozn: {gamma: 0.9}}}\narms"),
    ),
    "study: own hyperparameters that all share": (
        "study run study.yaml",
        ("n_timesteps: 100}\narms", "n_timesteps: 100, arm_hyperparams: {frozen: {n_envs: 2}}}\narms"),
    ),
    "study: wrong value of an own hyperparameter": (
        "study run study.yaml",
        ("n_timesteps: 100}\narms", "n_timesteps: 100, arm_hyperparams: {frozen: {gamma: 2}}}\narms"),
    ),
    "study: own hyperparameters of a control": (
        "study run study.yaml",
        (
            "n_timesteps: 100}\narms:",
            "n_timesteps: 100, arm_hyperparams: {control: {gamma: 0.9}}}\narms:\n"
            "  control: {kind: shuffled, of: frozen}",
        ),
    ),
    "tuning of a study that says nothing of it": ("study tune study.yaml", None),
    "study: not YAML": ("study run study.yaml", ("seeds: 2", "seeds: [2")),
    "study: no jobs": ("study run study.yaml --jobs 0", None),
    "study: negative retries": ("study run study.yaml --retries -1", None),
    "study: no time": ("study run study.yaml --time-limit 0", None),
    "study: address without a cluster": ("study run study.yaml --address 10.0.0.1:6379", None),
    "study: cache for what has no version": (
        "study run study.yaml --cache cache",
        ("env: CartPole-v1", 'env: "runs:FirstObservation-v0"'),
    ),
    "study: array without tasks": ("study slurm study.yaml -f empty --workers 0", None),
    "work on a folder without a study": ("study work empty", None),
    "confirmation in a folder without a study": ("study confirm empty", None),
    "status of a folder without a study": ("study status empty", None),
    "report of a folder without a study": ("study report empty", None),
    "no runs to compare": ("evaluate empty", None),
    "folder that does not exist": ("evaluate lgos", None),
    "unknown metric": ("evaluate empty --metric acu", None),
}


class CustomPolicy(ActorCriticPolicy):
    def _build_mlp_extractor(self) -> None:
        super()._build_mlp_extractor()


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sources")
    (folder / "empty").mkdir()
    (folder / "empty" / "notes.txt").write_text("mine")
    (folder / "run").mkdir()
    encoder_of(make_agent("ppo", normalised("CartPole-v1"), seed=7).learn(32), folder / "run")
    make_agent("ppo", seed=7).learn(32).save(folder / "agent.zip")
    make_agent("ppo", "MountainCar-v0", seed=7).save(folder / "car.zip")
    content = (folder / "agent.zip").read_bytes()
    (folder / "cut.zip").write_bytes(content[: len(content) // 2])
    (folder / "text.zip").write_text("not a zip")
    with zipfile.ZipFile(folder / "other.zip", "w") as archive:
        archive.writestr("photo.jpg", b"")
    (folder / "settings.py").write_text("hyperparams = {}")
    (folder / "weights.pth").write_bytes(b"")
    (folder / "hub").mkdir()
    for name in ("ppo.zip", "a_500_steps.zip", "b_500_steps.zip"):
        shutil.copyfile(folder / "agent.zip", folder / "hub" / name)
    for mean, name in enumerate(("vec_normalize.pkl", "vecnormalize.pkl")):
        statistics = normalised("CartPole-v1")
        statistics.obs_rms.mean += mean
        statistics.save(str(folder / "hub" / name))
    load_encoder(folder / "run").save(folder / "artifact")
    make_agent("ppo", seed=7, policy_kwargs={"net_arch": [8], "features_extractor_class": OwnVector}).save(
        folder / "extractor.zip"
    )
    unpack("artifacts", folder)
    (folder / "artifacts").rename(folder / "old")
    make_agent("ppo", policy=CustomPolicy, policy_kwargs={"net_arch": [8, 8]}).save(folder / "custom.zip")
    return folder


def answer(line: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    try:
        code = main(line.split())
    except SystemExit as error:
        code = int(error.code or 0)
    written = capsys.readouterr()
    assert written.out == ""
    return code, written.err


def golden() -> dict[str, str]:
    """Returns the agreed answer of each case."""
    entries = GOLDEN.read_text().split("\n## ")[1:] if GOLDEN.exists() else []
    return {name: text.strip() for name, _, text in (entry.partition("\n\n") for entry in entries)}


def write_golden(name: str, text: str) -> None:
    entries = golden() | {name: text}
    GOLDEN.write_text(
        "# Mistakes, and what each is answered with\n"
        + "".join(f"\n## {case}\n\n{entries[case]}\n" for case in CASES if case in entries)
    )


@pytest.mark.parametrize("case", CASES)
def test_a_mistake_gets_one_clear_answer_and_leaves_nothing(
    case: str, sources: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    folder = shutil.copytree(sources, tmp_path / "work")
    monkeypatch.chdir(folder)
    line, change = CASES[case]
    if "study.yaml" in line:
        old, new = change or ("", "")
        assert old in STUDY
        Path("study.yaml").write_text(STUDY.replace(old, new))
    before = tree(folder)
    code, text = answer(line, capsys)
    assert code == 2
    assert "Traceback" not in text
    assert tree(folder) == before
    # Of a usage error of argparse, the line that says what is wrong; what is there to choose from may grow.
    said = text.strip().splitlines()[-1] if text.startswith("usage") else text.strip()
    shown = shorten_lists(f"$ rltransfer {line}\n{said}")
    if os.environ.get("UPDATE_GOLDEN"):
        write_golden(case, shown)
    assert shown == golden()[case]


def test_there_is_no_answer_to_a_mistake_that_nobody_makes() -> None:
    assert list(golden()) == list(CASES)


@pytest.mark.parametrize(
    ("env", "module", "extra"),
    [
        ("rltransfer_envs:rltransfer/LunarLander-v0", "Box2D", "box2d"),
        ("rltransfer_envs:rltransfer/MiniGrid-DoorKey-v0", "minigrid", "minigrid"),
        ("rltransfer_envs:rltransfer/Hopper-v0", "mujoco", "mujoco"),
        ("Hopper-v5", "mujoco", "mujoco"),
        ("rltransfer_envs:rltransfer/Atari-v0", "ale_py", "atari"),
        ("rltransfer_envs:rltransfer/Atari-v0", "cv2", "atari"),
        ("ale_py:ALE/Pong-v5", "ale_py", "atari"),
    ],
)
def test_an_extra_that_is_not_installed_is_named_with_the_command_that_installs_it(
    env: str,
    module: str,
    extra: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in sys.modules if name.split(".")[0] in (module, "minigrid")]:
        monkeypatch.delitem(sys.modules, name)
    # What imported the package in an earlier test would not miss it.
    users = (
        "rltransfer_envs.lunar_lander",
        "rltransfer_envs.minigrid_tasks",
        "rltransfer_envs.mujoco_robots",
        "rltransfer_envs.atari",
        "gymnasium.envs.box2d",
        "gymnasium.envs.mujoco",
    )
    for name in [name for name in sys.modules if name.startswith(users)]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)
    code, text = answer(f"pretrain --env {env} -n 100", capsys)
    assert code == 2
    assert "error: " in text
    assert f'pip install "rltransfer[{extra}]"' in text
    assert "Traceback" not in text
    assert tree(tmp_path) == set()
