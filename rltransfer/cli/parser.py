"""The verbs and flags; the training flags are those of RL Zoo's ``train``. Nothing here imports torch."""

import argparse
from pathlib import Path
from typing import get_args

from rltransfer import __version__
from rltransfer.algorithms import DEFAULT_ALGORITHM, algorithm_names
from rltransfer.cli import classify, study, verbs
from rltransfer.cli.pairs import StorePairs
from rltransfer.study.run import RETRIES, EngineName

_SOURCE_HELP = "run folder, artifact, or SB3 zip (read without unpickling)"
_NETWORK_HELP = "or a pretrained network: torchvision:NAME, timm:NAME.TAG, or a file of weights with --arch"
_WHICH_HELP = "of a run folder: best (default), last, or the steps of a checkpoint"
_NORMALISER_HELP = "the source's VecNormalize statistics, where they are not found beside it"
_ACTIVATION_HELP = "the source's activation function where it does not tell, such as ReLU"
_EFFECT_HELP = "smallest difference to scratch worth finding"
_SD_HELP = "standard deviation of the primary metric over seeds, for the power of the tests"
_METRICS = "auc (area under the evaluation curve; default), success_auc, final (score of the last agent)"


def build_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="rltransfer",
        description="Transfer skills between reinforcement-learning agents, and learn whether it helps.",
    )
    parser.add_argument("--version", action="version", version=f"rltransfer {__version__}")
    commands = parser.add_subparsers(title="verbs", metavar="VERB", required=True)
    _add_pretrain(commands)
    _add_extract(commands)
    _add_inspect(commands)
    _add_plan(commands)
    _add_transfer(commands)
    _add_evaluate(commands)
    _add_study(commands)
    _add_classify(commands)
    return parser


def _add_pretrain(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser("pretrain", help="train an agent in a source task")
    _add_resume_flag(parser)
    _add_task_flags(parser)
    _add_training_flags(parser)
    parser.add_argument(
        "-i", "--trained-agent", metavar="SOURCE", help=f"continue from all weights of an agent: {_SOURCE_HELP}"
    )
    _add_stated_flags(parser)
    parser.add_argument(
        "--augment",
        nargs="+",
        action=StorePairs,
        metavar="KEY:VALUE",
        help="change what the agent learns from at random: shift:4 for images, noise:0.1 for vectors, ...",
    )
    parser.add_argument(
        "--randomise",
        nargs="+",
        action=StorePairs,
        metavar="KEY:VALUE",
        help="draw arguments of the environment anew for each training episode: gravity:[5,15] length:[0.5,2.0]",
    )
    parser.set_defaults(run=verbs.pretrain)


def _add_transfer(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser("transfer", help="train an agent in a target task, starting from a source")
    _add_resume_flag(parser)
    _add_strategy_flags(parser)
    _add_network_flags(parser)
    _add_task_flags(parser)
    _add_training_flags(parser)
    parser.set_defaults(run=verbs.transfer)


def _add_plan(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser("plan", help="show what a transfer would do to each tensor, without training")
    _add_strategy_flags(parser)
    _add_network_flags(parser)
    _add_task_flags(parser)
    parser.add_argument("--seed", type=int, default=0, help="seed of the target agent (default: 0)")
    parser.add_argument("--device", default="auto", help="cpu, cuda, ... (default: auto)")
    parser.add_argument("--json", action="store_true", help="print the plan as JSON")
    parser.set_defaults(run=verbs.plan)


def _add_extract(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser("extract", help="save an agent's encoder with its contract as an artifact")
    parser.add_argument(
        "sources", nargs="+", metavar="source", help=f"{_SOURCE_HELP}; of several, their average; {_NETWORK_HELP}"
    )
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FOLDER", help="folder of the artifact")
    parser.add_argument("--which", default="best", help=_WHICH_HELP)
    _add_stated_flags(parser)
    _add_network_flags(parser)
    parser.set_defaults(run=verbs.extract)


def _add_inspect(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser("inspect", help="show the layers, spaces, statistics and origin of a source")
    parser.add_argument("source", help=f"{_SOURCE_HELP}; {_NETWORK_HELP}")
    parser.add_argument("--which", default="best", help=_WHICH_HELP)
    _add_stated_flags(parser)
    _add_network_flags(parser)
    parser.add_argument("--json", action="store_true", help="print it as JSON")
    parser.set_defaults(run=verbs.inspect)


def _add_evaluate(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser("evaluate", help="compare the arms found in a folder, and write a report")
    parser.add_argument("folder", type=Path, help="folder that holds runs, such as logs")
    _add_comparison_flags(parser)
    parser.add_argument(
        "--arm",
        dest="arms",
        nargs="+",
        action="extend",
        default=[],
        metavar="NAME=GLOB",
        help="for runs of RL Zoo: the arm of the runs at or below these folders, such as scratch='ppo/CartPole-v1_*'",
    )
    parser.set_defaults(run=verbs.evaluate)


def _add_study(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser("study", help="run a study of many arms and seeds from one file, and report it")
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    run = actions.add_parser("run", help="run what is missing, then report")
    _add_study_file(run)
    _add_engine_flags(run)
    _add_limit_flags(run)
    run.set_defaults(run=study.run)
    _add_confirm(actions)
    tune = actions.add_parser("tune", help="try hyperparameters for every arm alike, and write the study with the best")
    _add_study_file(tune)
    _add_limit_flags(tune)
    tune.set_defaults(run=study.tune)
    status = actions.add_parser("status", help="show how far a study is, while it runs or later")
    _add_study_folder(status)
    status.add_argument("--json", action="store_true", help="print it as JSON")
    status.set_defaults(run=study.show_status)
    report = actions.add_parser("report", help="write the report of a study again")
    _add_study_folder(report)
    report.set_defaults(run=study.report)
    work = actions.add_parser("work", help="join a study, also from another machine that sees its folder")
    _add_study_folder(work)
    _add_limit_flags(work)
    work.set_defaults(run=study.work)
    slurm = actions.add_parser("slurm", help="write the script of a Slurm array that runs a study")
    _add_study_file(slurm)
    slurm.add_argument("--workers", type=int, default=4, help="tasks of the array (default: 4)")
    slurm.add_argument("--jobs", type=int, default=1, help="runs at once in each task, a core each (default: 1)")
    slurm.add_argument("--time", default="24:00:00", help="how long a task may run (default: 24:00:00)")
    slurm.set_defaults(run=study.write_slurm)
    _add_power(actions)


def _add_classify(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser(
        "classify", help="train a classifier of the images in a folder on a pretrained network, and test if it helps"
    )
    parser.add_argument(
        "folder", help="folder of images: a sub-folder for each class, or train/ and test/ with one for each class"
    )
    parser.add_argument(
        "--from",
        dest="source",
        required=True,
        metavar="SOURCE",
        help="a pretrained network: torchvision:NAME, timm:NAME, an artifact, or a file of weights with --arch",
    )
    _add_network_flags(parser)
    group = parser.add_argument_group("training")
    group.add_argument(
        "--strategy",
        choices=("frozen", "finetune"),
        help="train a head on the frozen network's features, or the network too (default: frozen)",
    )
    group.add_argument(
        "--head", nargs="*", type=int, metavar="WIDTH", help="widths of the head's hidden layers (default: 256)"
    )
    group.add_argument("--seeds", type=int, help="times that everything is trained (default: 5)")
    group.add_argument("--epochs", type=int, help="times that training images are gone through (default: 20)")
    group.add_argument("--optimizer", choices=("adam", "sgd"), help="adam, or sgd with momentum 0.9 (default: adam)")
    group.add_argument(
        "--learning-rate", type=float, metavar="RATE", help="of new layers (default: 0.001 for adam, 0.01 for sgd)"
    )
    group.add_argument(
        "--lr-scale", type=float, metavar="FACTOR", help="of finetune: the network's rate, times that (default: 0.1)"
    )
    group.add_argument("--batch-size", type=int, metavar="IMAGES", help="images in a batch (default: 32)")
    group.add_argument(
        "--augment",
        nargs="+",
        action=StorePairs,
        metavar="KEY:VALUE",
        help="change training images at random: flip:0.5 crop:0.8 shift:8 brightness:[0.8,1.2] ...",
    )
    group.add_argument("--copies", type=int, help="augmented copies beside each training image (default: 4)")
    group.add_argument("--device", help="cpu, cuda, ... (default: auto)")
    group = parser.add_argument_group("test and output")
    group.add_argument(
        "--test-share", type=float, metavar="SHARE", help="of each class, where there is no test/ (default: 0.5)"
    )
    group.add_argument("--split-seed", type=int, metavar="SEED", help="of that split (default: 0)")
    group.add_argument(
        "--baselines",
        nargs="*",
        metavar="NAME",
        help="what the network is compared with (default: scratch random_frozen pixels)",
    )
    group.add_argument("-f", "--log-folder", type=Path, default=Path("logs"), help="where it goes (default: logs)")
    parser.set_defaults(run=classify.classify)


def _add_confirm(actions: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = actions.add_parser("confirm", help="run what a sweep picked again on fresh seeds: its verdict is theirs")
    _add_study_folder(parser)
    parser.add_argument(
        "--arm",
        dest="arms",
        nargs="+",
        default=[],
        metavar="NAME",
        help="what to confirm (default: each task's candidate with the largest gain)",
    )
    parser.add_argument("--seeds", type=int, help="how many fresh seeds (default: as many as the study has)")
    _add_cache_flag(parser)
    _add_engine_flags(parser)
    _add_limit_flags(parser)
    parser.set_defaults(run=study.confirm)


def _add_engine_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--engine", choices=get_args(EngineName), default="local", help="what runs go on (default: local)"
    )
    parser.add_argument("--address", help="of a running Ray cluster (default: Ray starts one on this machine)")


def _add_power(actions: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = actions.add_parser("power", help="say how many seeds a study needs to find an effect that you name")
    parser.add_argument("--effect", type=float, required=True, help=_EFFECT_HELP)
    spread = parser.add_mutually_exclusive_group(required=True)
    spread.add_argument("--sd", type=float, help=_SD_HELP)
    spread.add_argument("--pilot", type=Path, metavar="DIR", help="folder of earlier runs that the spread is read from")
    parser.add_argument("--metric", default="auc", help=f"primary metric of the pilot: {_METRICS}")
    parser.add_argument("--arms", type=int, default=1, help="arms tested against scratch, controls too (default: 1)")
    parser.set_defaults(run=study.power)


def _add_study_folder(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, metavar="DIR", help="folder of the study")


def _add_study_file(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE", help="YAML file of the study")
    parser.add_argument("-f", "--folder", type=Path, help="folder of the study (default: studies/<name of the file>)")
    _add_cache_flag(parser)


def _add_cache_flag(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--cache", type=Path, metavar="DIR", help="train equal source runs once for all studies with this folder"
    )


def _add_limit_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--jobs", type=int, help="runs at once, one process each (default: as many as there are cores)")
    parser.add_argument("--time-limit", type=float, metavar="MINUTES", help="stop a run that takes longer: it failed")
    parser.add_argument(
        "--retries", type=int, default=RETRIES, help=f"times a run that crashed is tried again (default: {RETRIES})"
    )


def _add_comparison_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--metric", default="auc", help=f"primary metric: {_METRICS}")
    _add_threshold(parser)
    parser.add_argument("--sd", type=float, help=f"{_SD_HELP} (default: the study's, or that of the runs)")
    parser.add_argument("--effect", type=float, help=f"{_EFFECT_HELP} (default: the study's)")
    parser.add_argument("-o", "--output", type=Path, help="where the report goes (default: into the folder)")


def _add_threshold(parser: argparse._ActionsContainer) -> None:
    parser.add_argument(
        "--threshold",
        action="append",
        metavar="RETURN",
        help="for time to threshold: a return, or 90%% of the way to the reference; may be repeated (default: the "
        "environment's own)",
    )


def _add_strategy_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("source and strategy")
    group.add_argument(
        "--from",
        dest="source",
        nargs="+",
        metavar="SOURCE",
        help=f"{_SOURCE_HELP}; {_NETWORK_HELP}; several agents for progressive",
    )
    group.add_argument("--which", default="best", help=_WHICH_HELP)
    _add_stated_flags(group)
    group.add_argument(
        "--strategy",
        nargs="+",
        default=["finetune"],
        metavar="KIND",
        help="scratch, full, finetune, frozen, ..., or several that compose: full l2_sp (default: finetune)",
    )
    group.add_argument(
        "--strategy-kwargs",
        nargs="+",
        action=StorePairs,
        metavar="KEY:VALUE",
        help="settings of the strategy, such as lr_scale:0.3, layers:2, or of:frozen for shuffled",
    )
    group.add_argument(
        "--inputs",
        nargs="+",
        action=StorePairs,
        metavar="KEY:VALUE",
        help="which input of the source each of the target's is: map:[0,None,1], or source:x,v target:x,wind,v; "
        "new:zero or random; channels:repeat or mean; adapter:4 (learned layer to the source's 4 inputs)",
    )
    group.add_argument(
        "--actions",
        nargs="+",
        action=StorePairs,
        metavar="KEY:VALUE",
        help="which action of the source each of the target's is: map:[1,0], or source:left,right target:right,left",
    )
    group.add_argument(
        "--features",
        choices=("once", "recompute"),
        help="of a frozen image encoder: compute features once per observation, or in every pass of the policy "
        "(default: once where nothing stands against it; the plan says)",
    )


def _add_network_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("pretrained network")
    group.add_argument(
        "--arch", metavar="NETWORK", help="of a file of weights: its network, such as torchvision:mobilenet_v2"
    )
    group.add_argument("--cut", metavar="LAYER", help="take the features behind this layer (default: before the last)")
    group.add_argument("--size", type=int, help="give it images of this size, in place of what it was trained on")
    group.add_argument(
        "--pool", type=int, metavar="SIDE", help="pool a map of features to SIDE x SIDE places (default: 1)"
    )


def _add_stated_flags(parser: argparse._ActionsContainer) -> None:
    parser.add_argument("--normaliser", metavar="FILE", help=_NORMALISER_HELP)
    parser.add_argument("--activation", metavar="NAME", help=_ACTIVATION_HELP)


def _add_resume_flag(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--resume", type=Path, metavar="RUN", help="go on with a run that was interrupted; needs no other flag"
    )


def _add_task_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("task and agent")
    names = ", ".join(algorithm_names())
    group.add_argument("--algo", default=DEFAULT_ALGORITHM, help=f"{names} (default: {DEFAULT_ALGORITHM})")
    group.add_argument("--env", default="CartPole-v1", help="environment id (default: CartPole-v1)")
    group.add_argument(
        "--env-kwargs", nargs="+", action=StorePairs, metavar="KEY:VALUE", help="arguments of the environment"
    )
    group.add_argument("--gym-packages", nargs="+", default=[], help="packages to import that register environments")
    group.add_argument(
        "-params",
        "--hyperparams",
        nargs="+",
        action=StorePairs,
        metavar="KEY:VALUE",
        help="settings that replace those of the file, such as learning_rate:0.01",
    )
    group.add_argument(
        "-conf", "--conf-file", type=Path, metavar="FILE", help="hyperparameter file, in RL Zoo's format (YAML)"
    )


def _add_training_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("training")
    group.add_argument("-n", "--n-timesteps", type=int, default=-1, help="budget in env_steps (default: from the file)")
    group.add_argument("--seed", type=int, default=-1, help="seed of everything random (default: a random one)")
    group.add_argument(
        "--eval-freq", type=int, help="env_steps between evaluations (default: 1/10 of the budget; negative: end only)"
    )
    group.add_argument("--eval-episodes", type=int, default=10, help="episodes of each evaluation (default: 10)")
    group.add_argument("--n-eval-envs", type=int, help="environments stepped at once in evaluations (default: 10)")
    group.add_argument(
        "--eval-env-kwargs",
        nargs="+",
        action=StorePairs,
        metavar="KEY:VALUE",
        help="arguments of the evaluation environment, instead of --env-kwargs",
    )
    group.add_argument(
        "--eval-max-episode-steps",
        type=int,
        metavar="STEPS",
        help="cut evaluation episodes off after so many steps (default: the environment's time limit, or 10000 where "
        "it has none)",
    )
    _add_threshold(group)
    group.add_argument("--save-freq", type=int, default=-1, help="env_steps between checkpoints (default: none)")
    group.add_argument("--save-replay-buffer", action="store_true", help="save the replay buffer too")
    group.add_argument(
        "--checkpoint-freq",
        type=int,
        metavar="STEPS",
        help="env_steps between saves of the whole run, to resume from (default: by the clock, under 1 %% of the time)",
    )
    group.add_argument(
        "--step-timeout",
        type=float,
        default=300.0,
        metavar="SECONDS",
        help="a step of an environment that takes longer ends the run (default: 300; 0: no limit)",
    )
    group.add_argument("-f", "--log-folder", type=Path, default=Path("logs"), help="where runs go (default: logs)")
    group.add_argument("-tb", "--tensorboard-log", help="folder for TensorBoard (default: in the run folder)")
    group.add_argument("-uuid", "--uuid", action="store_true", help="add a unique id to the name of the run folder")
    group.add_argument("--vec-env", choices=["dummy", "subproc"], default="dummy", help="kind of VecEnv")
    group.add_argument("--device", default="auto", help="cpu, cuda, ... (default: auto)")
    group.add_argument("--num-threads", type=int, default=1, help="threads of torch (default: 1; -1: torch's default)")
    group.add_argument("--log-interval", type=int, default=-1, help="updates between log lines (-2: no logging)")
    group.add_argument("--verbose", type=int, default=1, help="0: silent, 1: evaluations, 2: SB3's tables too")
    group.add_argument("-P", "--progress", action="store_true", help="progress bar (off when not on a terminal)")
    group.add_argument(
        "--truncate-last-trajectory",
        metavar="BOOL",
        help="accepted for RL Zoo's scripts: replay buffers are not loaded, so that there is nothing to truncate",
    )
