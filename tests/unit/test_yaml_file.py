from pathlib import Path

import pytest

from rltransfer import yaml_file
from rltransfer.errors import ConfigError


@pytest.fixture
def read(tmp_path):
    def read_text(text):
        path = tmp_path / "study.yaml"
        path.write_text(text)
        return yaml_file.read(path)

    return read_text


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("1e-3", 0.001),
        ("1e6", 1e6),
        ("!!float 1e6", 1e6),
        ("0.5", 0.5),
        ("-3", -3),
        ("on", "on"),
        ("no", "no"),
        ("true", True),
        ("null", None),
        ("010", 10),
        ("lin_0.001", "lin_0.001"),
        ("2024-01-01", "2024-01-01"),
        ("[1, auto]", [1, "auto"]),
    ],
)
def test_values_mean_what_people_mean(read, written, meant):
    value = read(f"a: {written}\n")["a"]
    assert value == meant
    assert type(value) is type(meant)


def test_anchors_and_merges_of_rl_zoo_files(read):
    content = read("A: &defaults\n  n_envs: 8\n  gamma: 0.9\nB:\n  <<: *defaults\n  gamma: 0.99\n")
    assert content["B"] == {"n_envs": 8, "gamma": 0.99}


def test_the_config_that_rl_zoo_saves(read):
    text = (
        "!!python/object/apply:collections.OrderedDict\n- - - batch_size\n    - 256\n"
        "  - - train_freq\n    - !!python/tuple\n      - 1\n      - episode\n"
    )
    assert read(text) == {"batch_size": 256, "train_freq": [1, "episode"]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3\n", "study.yaml: line 3: key 'a' appears twice. Delete one of the two."),
        ("a:\n  b: 1\n  b: 1\n", "study.yaml: line 3: key 'b' appears twice. Delete one of the two."),
        ("a: [1\n", "study.yaml: line 2: expected ',' or ']', but got '<stream end>'."),
        ("a:\n\t- b\n", "study.yaml: line 2: found character '\\t' that cannot start any token."),
        (
            "a: 1\n---\nb: 1\n",
            "study.yaml: line 2: expected a single document in the stream but found another document.",
        ),
        ("- a\n", "study.yaml: expected keys with values, found a list."),
        ("", "study.yaml: expected keys with values, found an empty file."),
        ("just words\n", "study.yaml: expected keys with values, found text."),
        ("a: {1: 2}\n", "study.yaml: key 'a': expected keys that are text, found 1. Put it in quotes."),
        ("a: !foo 3\n", "study.yaml: line 1: the tag '!foo' is refused: a configuration holds plain data only."),
        ("a: &a [*a]\n", "study.yaml: more than 200000 values, or an alias that holds itself."),
    ],
)
def test_errors_name_file_line_and_key(read, tmp_path, text, message):
    with pytest.raises(ConfigError) as error:
        read(text)
    assert str(error.value) == f"{tmp_path}/{message}"


def test_missing_file():
    with pytest.raises(ConfigError, match=r"^nowhere\.yaml cannot be read: No such file or directory\.$"):
        yaml_file.read(Path("nowhere.yaml"))


def test_text_that_is_not_utf8(tmp_path):
    path = tmp_path / "a.yml"
    path.write_bytes(b"a: \xff\n")
    with pytest.raises(ConfigError, match="is not UTF-8 text: byte 3"):
        yaml_file.read(path)


def test_aliases_that_expand_without_end_are_refused(read):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]
    with pytest.raises(ConfigError, match="more than 200000 values"):
        read("\n".join(lines))


def test_dump_keeps_the_order():
    assert list(yaml_file.dump({"z": 1, "a": 2}).split()) == ["z:", "1", "a:", "2"]
