"""Finds the agent that a source path means, and reads it without unpickling.

A source is an artifact, a run folder (ours or RL Zoo's) or any SB3 zip. A zip that lies in a run folder brings the
statistics that belong to it; observation normalisation is part of an encoder's input contract (FACTS A10).
"""

import dataclasses
import re
from pathlib import Path
from typing import Any

from rltransfer import yaml_file
from rltransfer.anatomy import anatomy_of_zip
from rltransfer.artifact.encoder import MANIFEST, Encoder, load_artifact
from rltransfer.errors import ConfigError, RunError, SourceError, did_you_mean
from rltransfer.normaliser import Normaliser, read_vecnormalize
from rltransfer.records import OWN_FOLDER, RECORD, RunRecord, SourceFacts, TaskFacts, read_record
from rltransfer.sb3_zip import Sb3Zip, read_sb3_zip

BEST_AGENT = "best_model.zip"
BEST_NORMALISER = "best_model_vecnormalize.pkl"
LAST_NORMALISER = "vecnormalize.pkl"
REPLAY_BUFFER = "replay_buffer.pkl"
_CONFIG = "config.yml"
_ARGUMENTS = "args.yml"
_CHECKPOINT = re.compile(r"rl_model_(\d+)_steps\.zip")


@dataclasses.dataclass(frozen=True)
class _Found:
    """The zip that a source path means, with the files beside it that tell more about it."""

    zip: Path
    which: str
    normaliser: Path | None = None
    record: RunRecord | None = None
    settings: Path | None = None
    replay_buffer: Path | None = None


def load_encoder(source: Path | str, which: str = "best") -> Encoder:
    """Returns the encoder of a trained agent; nothing in its files is unpickled or run.

    Args:
        source: An artifact, a run folder, or an SB3 zip.
        which: Of a run folder: ``best``, ``last``, or the number of steps of a checkpoint.

    Raises:
        SourceError: The source is missing, damaged, or none of these.
        IncompatibleError: Its algorithm is not supported.
    """
    path = Path(source)
    if not path.exists():
        siblings = [item.name for item in path.parent.iterdir()] if path.parent.is_dir() else []
        raise SourceError(
            f"The source {path} does not exist.{did_you_mean(path.name, siblings)} "
            f"A source is a run folder, an artifact, or an SB3 zip."
        )
    is_artifact = path.is_dir() and (path / MANIFEST).is_file()
    if which != "best" and (is_artifact or path.is_file()):
        raise SourceError(f"--which {which} chooses among the agents of a run folder, and {path} holds one agent.")
    if is_artifact:
        return load_artifact(path)
    return _read(_in_run_folder(path, which) if path.is_dir() else _single_zip(path))


def _read(found: _Found) -> Encoder:
    agent = read_sb3_zip(found.zip)
    anatomy = anatomy_of_zip(agent)
    online = dataclasses.replace(anatomy, layers=anatomy.online, aliases={})
    names = [name for layer in online.layers for name in layer.tensors]
    tensors = {**agent.variables, **agent.tensors}
    return Encoder(
        anatomy=dataclasses.replace(
            online,
            shapes={name: anatomy.shapes[name] for name in names},
            parameters=anatomy.parameters & frozenset(names),
        ),
        tensors={name: tensors[name].detach() for name in names},
        observation_space=agent.observation_space,
        action_space=agent.action_space,
        normaliser=_read_normaliser(found.normaliser),
        source=_facts(found, agent),
        hyperparams=found.record.hyperparams if found.record else agent.hyperparams | _zoo_settings(found, _CONFIG),
        replay_buffer=found.replay_buffer,
    )


def _read_normaliser(path: Path | None) -> Normaliser | None:
    """Returns the statistics of a source that was normalised; reward statistics alone do not change its inputs."""
    return None if path is None else read_vecnormalize(path)


def _facts(found: _Found, agent: Sb3Zip) -> SourceFacts:
    record = found.record
    if record is None:
        return SourceFacts(
            path=str(found.zip),
            sha256=agent.sha256,
            algo=str(agent.algo),
            task=_zoo_task(found),
            seed=agent.seed,
            env_steps=agent.num_timesteps,
            which=found.which,
        )
    before = record.source.env_steps if record.source and record.source.env_steps else 0
    scores = {"best": record.best, "last": record.final}.get(found.which)
    whole_run = record.env_steps or agent.num_timesteps or 0
    return SourceFacts(
        path=str(found.zip),
        sha256=agent.sha256,
        algo=record.algo,
        task=record.task,
        seed=record.seed,
        env_steps=before + ((agent.num_timesteps or 0) if found.which.isdecimal() else whole_run),
        mean_return=scores.mean_return if scores else None,
        random_return=record.random.mean_return if record.random else None,
        reward_threshold=record.reward_threshold,
        which=found.which,
        is_residual=any(part.get("kind") == "residual" for part in record.strategy),
    )


def _zoo_settings(found: _Found, name: str) -> dict[str, Any]:
    """Returns what RL Zoo wrote down beside a run, for the reader; nothing where there is none."""
    path = None if found.settings is None else found.settings / name
    if path is None or not path.is_file():
        return {}
    try:
        return yaml_file.read(path)
    except ConfigError as error:
        raise SourceError(str(error)) from None


def _zoo_task(found: _Found) -> TaskFacts | None:
    arguments = _zoo_settings(found, _ARGUMENTS)
    env, kwargs = arguments.get("env"), arguments.get("env_kwargs") or {}
    if not isinstance(env, str) or not isinstance(kwargs, dict):
        return None
    return TaskFacts(env=env, kwargs=kwargs, wrappers=())


def _in_run_folder(folder: Path, which: str) -> _Found:
    asked = which
    if which == "best" and not (folder / BEST_AGENT).is_file() and not (folder / OWN_FOLDER).is_dir():
        # RL Zoo keeps the best agent only where it was asked to.
        path, which = _last_agent(folder), "last"
        path = path if path.is_file() else folder / BEST_AGENT
    elif which == "best":
        path = folder / BEST_AGENT
    elif which == "last":
        path = _last_agent(folder)
    elif which.isdecimal():
        path = folder / f"rl_model_{which}_steps.zip"
    else:
        raise SourceError(f"--which {which!r}: expected best, last, or the number of steps of a checkpoint.")
    if not path.is_file():
        agents = sorted(item.name for item in folder.glob("*.zip"))
        there = f"It holds: {', '.join(agents)}." if agents else "It holds no agent: is it a run folder or an artifact?"
        raise SourceError(f"{folder} has no {path.name} (--which {asked}). {there}")
    return _with_company(path, which)


def _last_agent(folder: Path) -> Path:
    others = [path for path in folder.glob("*.zip") if path.name != BEST_AGENT and not _CHECKPOINT.fullmatch(path.name)]
    return others[0] if len(others) == 1 else folder / f"{folder.name.rsplit('_', 1)[0]}.zip"


def _single_zip(path: Path) -> _Found:
    checkpoint = _CHECKPOINT.fullmatch(path.name)
    if path.name == BEST_AGENT:
        return _with_company(path, "best")
    if checkpoint:
        return _with_company(path, checkpoint.group(1))
    return _with_company(path, "last")


def _with_company(path: Path, which: str) -> _Found:
    """Returns the zip with the statistics, the record and the replay buffer that lie beside it in a run folder."""
    folder = path.parent
    candidates = {
        "best": [folder / BEST_NORMALISER, *sorted(folder.glob(f"*/{LAST_NORMALISER}"))],
        "last": [folder / path.stem / LAST_NORMALISER],
    }.get(which, [folder / f"rl_model_vecnormalize_{which}_steps.pkl"])
    record = None
    if (folder / OWN_FOLDER / RECORD).is_file():
        try:
            record = read_record(folder)
        except RunError as error:
            raise SourceError(str(error)) from None
    remembered = folder / (f"rl_model_replay_buffer_{which}_steps.pkl" if which.isdecimal() else REPLAY_BUFFER)
    settings = sorted({item.parent for name in (_CONFIG, _ARGUMENTS) for item in folder.glob(f"*/{name}")})
    return _Found(
        path,
        which,
        normaliser=next((item for item in candidates if item.is_file()), None),
        record=record,
        settings=settings[0] if len(settings) == 1 else None,
        replay_buffer=remembered if remembered.is_file() else None,
    )
