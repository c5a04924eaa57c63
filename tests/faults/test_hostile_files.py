"""Files made to do harm, or damaged: each is refused with one message, and nothing in it runs."""

import base64
import builtins
import contextlib
import io
import json
import pickle
import random
import struct
import tracemalloc
import zipfile
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from rltransfer import yaml_file
from rltransfer.errors import ConfigError, SourceError
from rltransfer.hyperparams import resolve
from rltransfer.sb3_zip import read_sb3_zip
from rltransfer.vecnormalize_reader import read_vecnormalize


@pytest.fixture
def canary(tmp_path):
    """A file that a payload would create; the test fails if it is there at the end."""
    path = tmp_path / "canary"
    yield path
    assert not path.exists()


@pytest.fixture(scope="module")
def agent_zip(tmp_path_factory):
    path = tmp_path_factory.mktemp("agent") / "agent.zip"
    PPO("MlpPolicy", "CartPole-v1", policy_kwargs={"net_arch": [8]}).save(path)
    return path


@pytest.fixture(scope="module")
def statistics(tmp_path_factory):
    path = tmp_path_factory.mktemp("statistics") / "vecnormalize.pkl"
    VecNormalize(DummyVecEnv([lambda: gym.make("Pendulum-v1")])).save(str(path))
    return path.read_bytes()


def _pickled_call(module, name, *arguments):
    """Returns a pickle that calls ``module.name(*arguments)`` when it is loaded, at protocol 4."""
    content = b"\x80\x04" + b"".join(pickle.dumps(text, 4)[2:-1] for text in (module, name)) + b"\x93("
    return content + b"".join(pickle.dumps(argument, 4)[2:-1] for argument in arguments) + b"tR."


def _touch(canary):
    return f"open({str(canary)!r}, 'w').close()"


PAYLOADS = {
    "os.system": lambda canary: _pickled_call("os", "system", f"touch {canary}"),
    "posix.system": lambda canary: _pickled_call("posix", "system", f"touch {canary}"),
    "builtins.eval": lambda canary: _pickled_call("builtins", "eval", _touch(canary)),
    "builtins.exec": lambda canary: _pickled_call("builtins", "exec", _touch(canary)),
    "builtins.getattr": lambda canary: _pickled_call("builtins", "getattr", str(canary), "join"),
    "functools.partial": lambda canary: _pickled_call("functools", "partial", _touch(canary)),
    "pathlib.Path.touch": lambda canary: _pickled_call("pathlib", "Path.touch", str(canary)),
    "subprocess.Popen": lambda canary: _pickled_call("subprocess", "Popen", ["touch", str(canary)]),
    "numpy.load": lambda canary: _pickled_call("numpy", "load", str(canary), None, True),
    "numpy.savetxt": lambda canary: _pickled_call("numpy", "savetxt", str(canary), [1]),
    "numpy.memmap": lambda canary: _pickled_call("numpy", "memmap", str(canary), "int8", "w+", 0, 1),
    "numpy.f2py.compile": lambda canary: _pickled_call("numpy.f2py", "compile", str(canary)),
    "numpy.testing.runstring": lambda canary: _pickled_call("numpy.testing", "runstring", _touch(canary), {}),
    "numpy.dtype.__reduce__": lambda _: _pickled_call("numpy", "dtype.__reduce__"),
    "torch.load": lambda canary: _pickled_call("torch", "load", str(canary)),
    "stable_baselines3.common.save_util.load_from_pkl": lambda canary: _pickled_call(
        "stable_baselines3.common.save_util", "load_from_pkl", str(canary)
    ),
    "gymnasium.make": lambda _: _pickled_call("gymnasium", "make", "os:CartPole-v1"),
    "gymnasium.spaces.box.np.save": lambda canary: _pickled_call("gymnasium.spaces.box", "np.save", str(canary), 1),
    "cloudpickle.cloudpickle._make_function": lambda _: _pickled_call("cloudpickle.cloudpickle", "_make_function"),
}


@pytest.mark.parametrize("name", PAYLOADS)
def test_a_pickle_that_names_something_else_is_refused_by_that_name(name, canary, tmp_path):
    (tmp_path / "a.pkl").write_bytes(PAYLOADS[name](canary))
    with pytest.raises(SourceError) as error:
        read_vecnormalize(tmp_path / "a.pkl")
    assert f"a.pkl is refused: it names {name}, which the statistics" in str(error.value)


_FORBIDDEN_BUILTINS = (
    *("getattr", "setattr", "delattr", "hasattr", "eval", "exec", "compile", "open", "__import__", "input", "vars"),
    *("breakpoint", "type", "globals", "locals", "dir", "print", "map", "filter", "super", "classmethod", "memoryview"),
)
_INERT_BUILTINS = (
    *("set", "frozenset", "list", "tuple", "dict", "bytearray", "complex", "slice", "range", "int", "float", "bool"),
    *("str", "bytes", "object"),
)


@pytest.mark.parametrize("module", ["builtins", "__builtin__"])
@pytest.mark.parametrize("name", _FORBIDDEN_BUILTINS)
def test_builtins_that_look_up_run_or_change_something_are_refused(module, name, tmp_path):
    (tmp_path / "a.pkl").write_bytes(_pickled_call(module, name, "__import__('os')"))
    with pytest.raises(SourceError, match=rf"a\.pkl is refused: it names {module}\.{name}, which"):
        read_vecnormalize(tmp_path / "a.pkl")


class _Call:
    """Is pickled as a call, with a state, items and entries for what the call makes."""

    def __init__(self, name):
        self.name = name

    def __reduce__(self):
        return getattr(builtins, self.name), (10**12,), {"a": 1}, iter([1, 2]), iter([(1, 2)])


@pytest.mark.parametrize("module", ["builtins", "__builtin__"])
@pytest.mark.parametrize("name", _INERT_BUILTINS)
def test_builtins_that_hold_values_are_read_and_allocate_nothing(module, name, tmp_path):
    env = VecNormalize(DummyVecEnv([lambda: gym.make("Pendulum-v1")]))
    env.old_reward = _Call(name)
    content = pickle.dumps(env, 3)
    assert f"cbuiltins\n{name}\n".encode() in content
    (tmp_path / "a.pkl").write_bytes(content.replace(b"cbuiltins\n", f"c{module}\n".encode()))
    tracemalloc.start()
    try:
        assert read_vecnormalize(tmp_path / "a.pkl").observation.mean.shape == (3,)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def test_the_payloads_would_do_harm(tmp_path):
    for name in ("os.system", "builtins.eval", "pathlib.Path.touch", "numpy.savetxt"):
        canary = tmp_path / name
        try:
            pickle.loads(PAYLOADS[name](canary))
        finally:
            assert canary.exists(), name


@pytest.mark.parametrize("state", [{"build": 1}, (None, {"build": 1, "__setstate__": 1})])
@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("numpy", "dtype"),
        ("numpy", "ndarray"),
        ("collections", "OrderedDict"),
        ("numpy._core.multiarray", "_reconstruct"),
        ("stable_baselines3.common.vec_env.vec_normalize", "VecNormalize"),
    ],
)
def test_a_pickle_cannot_change_the_reader(module, name, state, statistics, tmp_path):
    names = b"".join(pickle.dumps(text, 4)[2:-1] for text in (module, name))
    (tmp_path / "a.pkl").write_bytes(b"\x80\x04" + names + b"\x93" + pickle.dumps(state, 4)[2:-1] + b"b.")
    with pytest.raises(SourceError, match="is not the pickle of a VecNormalize"):
        read_vecnormalize(tmp_path / "a.pkl")
    (tmp_path / "b.pkl").write_bytes(statistics)
    assert read_vecnormalize(tmp_path / "b.pkl").observation.mean.shape == (3,)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"words",
        b"\x80\x04N.",
        b"\x80\x04]r\xff\xff\xff\x7f.",
        b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x7f.",
        b"\x80\x04" + b"]" * 100 + b".",
        b"\x80\x04(i__main__\nX\n.",
        b"\x80\x04P1\n.",
        b"\x80\x04\x82\x01.",
    ],
)
def test_pickles_that_are_none(content, tmp_path):
    (tmp_path / "a.pkl").write_bytes(content)
    with pytest.raises(SourceError, match=r"a\.pkl is (not the pickle of a VecNormalize|refused)"):
        read_vecnormalize(tmp_path / "a.pkl")


@pytest.mark.parametrize("mean", [np.array(["a"]), np.array([object()]), [1, 2, 3], np.zeros(7), None])
def test_statistics_that_are_no_numbers(mean, tmp_path):
    env = VecNormalize(DummyVecEnv([lambda: gym.make("Pendulum-v1")]))
    env.obs_rms.mean = mean
    try:
        env.save(str(tmp_path / "a.pkl"))
    finally:
        env.close()
    if isinstance(mean, list):
        assert read_vecnormalize(tmp_path / "a.pkl").observation.mean.tolist() == mean
        return
    with pytest.raises(SourceError, match=r"a\.pkl is (not the pickle of a VecNormalize|refused)"):
        read_vecnormalize(tmp_path / "a.pkl")


def test_damaged_statistics_never_do_worse_than_one_message(statistics, tmp_path):
    rng = random.Random(0)
    path = tmp_path / "a.pkl"
    for _ in range(200):
        damaged = bytearray(statistics)
        damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
        path.write_bytes(damaged if rng.random() < 0.5 else damaged[: rng.randrange(len(damaged))])
        with contextlib.suppress(SourceError):
            read_vecnormalize(path)


# SB3 zips


def _members(path):
    with zipfile.ZipFile(path) as archive:
        return {info.filename: archive.read(info) for info in archive.infolist()}


def _write(path, members, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def test_pickles_in_an_agent_are_never_loaded(agent_zip, canary, tmp_path):
    members = _members(agent_zip)
    data = json.loads(members["data"])
    payload = base64.b64encode(PAYLOADS["os.system"](canary)).decode()
    for shadow in data.values():
        if isinstance(shadow, dict) and ":serialized:" in shadow:
            shadow[":serialized:"] = payload
    path = _write(tmp_path / "agent.zip", members | {"data": json.dumps(data)})
    content = read_sb3_zip(path)
    assert content.algo == "ppo"
    assert content.observation_space.shape == (4,)


@pytest.mark.parametrize("member", ["policy.pth", "pytorch_variables.pth"])
@pytest.mark.parametrize("payload", ["os.system", "builtins.eval", "torch.load"])
def test_weights_that_hold_code_are_refused(agent_zip, canary, tmp_path, member, payload):
    hostile = _members_with_pickle(_members(agent_zip)["policy.pth"], PAYLOADS[payload](canary))
    path = _write(tmp_path / "agent.zip", _members(agent_zip) | {member: hostile})
    with pytest.raises(SourceError, match=rf"{member} does not hold plain weights"):
        read_sb3_zip(path)
    path = _write(path, _members(agent_zip) | {member: PAYLOADS[payload](canary)})
    with pytest.raises(SourceError, match=rf"{member} does not hold plain weights"):
        read_sb3_zip(path)


def _members_with_pickle(torch_zip, pickled):
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(torch_zip)) as source, zipfile.ZipFile(stream, "w") as target:
        for info in source.infolist():
            target.writestr(info.filename, pickled if info.filename.endswith("data.pkl") else source.read(info))
    return stream.getvalue()


def _torch_bytes(state):
    stream = io.BytesIO()
    torch.save(state, stream)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"a": torch.zeros(1).expand(10**12)}, "it claims more entries than it holds"),
        ({"a": torch.eye(3).to_sparse()}, "it is not a plain dense tensor"),
        ({"a": torch.zeros(3, device="meta")}, "it is not a plain dense tensor|does not hold plain weights"),
        ([torch.zeros(3)], "does not hold named weights"),
        ({}, "holds no tensors"),
        ({1: torch.zeros(3), "a": 3}, "holds no tensors"),
    ],
)
@pytest.mark.filterwarnings("ignore:Sparse invariant checks:UserWarning")
def test_odd_tensors_are_refused(agent_zip, tmp_path, state, message):
    path = _write(tmp_path / "agent.zip", _members(agent_zip) | {"policy.pth": _torch_bytes(state)})
    with pytest.raises(SourceError, match=message):
        read_sb3_zip(path)


def test_bombs_are_refused(agent_zip, tmp_path):
    members = _members(agent_zip)
    bomb = _write(tmp_path / "outer.zip", members | {"bomb": bytes(200 * 2**20)}, zipfile.ZIP_DEFLATED)
    with pytest.raises(SourceError, match=r"outer\.zip is refused: \d+ bytes would unpack to 2\d+"):
        read_sb3_zip(bomb)
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data/0", bytes(200 * 2**20))
    path = _write(tmp_path / "inner.zip", members | {"policy.pth": inner.getvalue()})
    with pytest.raises(SourceError, match=r"policy\.pth is refused: \d+ bytes would unpack to 2\d+"):
        read_sb3_zip(path)


def test_a_member_that_declares_less_than_it_holds_is_refused(agent_zip, tmp_path):
    path = _write(tmp_path / "agent.zip", _members(agent_zip) | {"zeros": bytes(10**6)}, zipfile.ZIP_DEFLATED)
    content = path.read_bytes()
    path.write_bytes(content.replace(struct.pack("<L", 10**6), struct.pack("<L", 10)))
    with pytest.raises(SourceError, match="is damaged"):
        read_sb3_zip(path)


@pytest.mark.parametrize("name", ["../policy.pth", "/etc/passwd", "a/../../b", "..\\b", "C:\\b"])
def test_names_that_climb_out_are_refused(agent_zip, tmp_path, name):
    path = _write(tmp_path / "agent.zip", _members(agent_zip) | {name: b""})
    with pytest.raises(SourceError, match="would leave the folder"):
        read_sb3_zip(path)


@pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")
def test_two_members_of_one_name_are_refused(agent_zip, tmp_path):
    path = _write(tmp_path / "agent.zip", _members(agent_zip))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("policy.pth", b"")
    with pytest.raises(SourceError, match=r"it holds two members 'policy\.pth'"):
        read_sb3_zip(path)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"{", "data is not JSON"),
        (b"\xff", "data is not JSON"),
        (b"[1]", "data is not what SB3 writes"),
        (b"[" * 200_000, "data is not JSON"),
    ],
)
def test_data_that_is_none(agent_zip, tmp_path, data, message):
    path = _write(tmp_path / "agent.zip", _members(agent_zip) | {"data": data})
    with pytest.raises(SourceError, match=message):
        read_sb3_zip(path)


def test_data_of_odd_values_is_read_as_unknown(agent_zip, tmp_path):
    odd = {name: [[], {}, 3] for name in json.loads(_members(agent_zip)["data"])}
    path = _write(tmp_path / "agent.zip", _members(agent_zip) | {"data": json.dumps(odd)})
    content = read_sb3_zip(path)
    assert (content.observation_space, content.action_space, content.seed, content.num_timesteps) == (
        None,
        None,
        None,
        None,
    )
    assert (content.policy_class, content.extractor_class, content.hyperparams) == (None, None, {})


def test_a_damaged_agent_is_noticed_or_unchanged(agent_zip, tmp_path):
    """Cut off or with a changed bit (sb3_facts.md#damaged-zips)."""
    intact = read_sb3_zip(agent_zip).tensors
    content = agent_zip.read_bytes()
    rng = random.Random(1)
    path = tmp_path / "agent.zip"
    for _ in range(100):
        damaged = bytearray(content)
        damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
        path.write_bytes(damaged if rng.random() < 0.7 else damaged[: rng.randrange(len(damaged))])
        try:
            result = read_sb3_zip(path).tensors
        except SourceError:
            continue
        assert list(result) == list(intact)
        assert all(torch.equal(result[name], intact[name]) for name in intact)


# YAML


@pytest.mark.parametrize(
    "tag",
    [
        "!!python/object/apply:os.system [touch {canary}]",
        "!!python/object/apply:subprocess.Popen [[touch, {canary}]]",
        "!!python/object/new:os.system [touch {canary}]",
        "!!python/name:os.system ''",
        "!!python/module:os ''",
    ],
)
def test_yaml_runs_nothing(canary, tmp_path, tag):
    (tmp_path / "a.yml").write_text(f"a: {tag.format(canary=canary)}\n")
    with pytest.raises(ConfigError, match=r"line 1: the tag .* is refused"):
        yaml_file.read(tmp_path / "a.yml")


@pytest.mark.parametrize("key", ["policy_kwargs", "normalize", "learning_rate", "env_wrapper", "rollout_buffer_kwargs"])
def test_hyperparameters_run_nothing(canary, tmp_path, key):
    path = Path(tmp_path / "a.yml")
    for text in (_touch(canary), f"dict(a={_touch(canary)})", f"__import__('os').system('touch {canary}')"):
        path.write_text(yaml_file.dump({"policy": "MlpPolicy", key: text}))
        with pytest.raises(ConfigError, match=f"key '{key}': expected"):
            resolve("ppo", "CartPole-v1", conf_file=path)
