"""Reads and writes YAML as people write it: ``1e-3`` is a number, ``on`` is a word, a key stands once.

YAML 1.2 and plain data only. A tag never runs code: the two that RL Zoo's saved ``config.yml`` uses (an ordered
dictionary, a tuple) are read as the plain data they hold, every other custom tag is refused.
"""

import io
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.constructor import SafeConstructor
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import Node

from rltransfer.errors import ConfigError

_MAX_BYTES = 4 * 2**20
_MAX_NODES = 200_000
_DUPLICATE = re.compile(r'found duplicate key "(.*?)" with value', re.DOTALL)
_NO_CONSTRUCTOR = re.compile(r"could not determine a constructor for the tag '(.*?)'")


def read(path: Path | str) -> dict[str, Any]:
    """Returns the mapping that a YAML file holds, as dicts, lists, text, numbers, booleans and None.

    Raises:
        ConfigError: The file cannot be read or is not such a mapping; the message names file, line and key.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.") from None
    if len(content) > _MAX_BYTES:
        raise ConfigError(f"{path}: {len(content)} bytes are too many for a configuration (at most {_MAX_BYTES}).")
    try:
        mapping = _yaml().load(content.decode())
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 text: byte {error.start} cannot be read.") from None
    except MarkedYAMLError as error:
        raise ConfigError(f"{path}: {_describe(error)}") from None
    except (YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(mapping, dict):
        raise ConfigError(f"{path}: expected keys with values, found {_kind(mapping)}.")
    _refuse_odd_nodes(path, mapping)
    return mapping


def dump(mapping: Mapping[str, Any]) -> str:
    """Returns a mapping of plain data as YAML, in its order; ``read`` gives the same data back, tuples as lists.

    >>> print(dump({"seeds": (0, 1), "learning_rate": 1e-3, "mode": "on"}), end="")
    seeds:
    - 0
    - 1
    learning_rate: 0.001
    mode: on
    """
    stream = io.StringIO()
    _yaml().dump(dict(mapping), stream)
    return stream.getvalue()


class _PlainConstructor(SafeConstructor):
    """Builds plain data: ruamel's safe constructor, with dates left as text and RL Zoo's two tags as data."""

    def construct_text(self, node: Node) -> Any:
        """Returns a scalar as it was written."""
        return self.construct_scalar(node)

    def construct_tuple(self, node: Node) -> Any:
        """Returns PyYAML's tuple as a list."""
        return self.construct_sequence(node, deep=True)

    def construct_ordered_dict(self, node: Node) -> Any:
        """Returns PyYAML's ordered dictionary, written as a list that holds one list of pairs, as a dict."""
        arguments = self.construct_sequence(node, deep=True)
        return dict(arguments[0]) if arguments else {}


_PlainConstructor.add_constructor("tag:yaml.org,2002:timestamp", _PlainConstructor.construct_text)
_PlainConstructor.add_constructor("tag:yaml.org,2002:python/tuple", _PlainConstructor.construct_tuple)
_PlainConstructor.add_constructor(
    "tag:yaml.org,2002:python/object/apply:collections.OrderedDict", _PlainConstructor.construct_ordered_dict
)


def _yaml() -> YAML:
    yaml = YAML(typ="safe", pure=True)
    yaml.Constructor = _PlainConstructor
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    yaml.allow_unicode = True
    yaml.width = 120
    return yaml


def _describe(error: MarkedYAMLError) -> str:
    problem = str(error.problem or error.context or "not YAML")
    mark = error.problem_mark or error.context_mark
    where = f"line {mark.line + 1}: " if mark else ""
    duplicate = _DUPLICATE.search(problem)
    if duplicate:
        return f"{where}key {duplicate.group(1)!r} appears twice. Delete one of the two."
    tag = _NO_CONSTRUCTOR.search(problem)
    if tag:
        return f"{where}the tag {tag.group(1)!r} is refused: a configuration holds plain data only."
    if problem.startswith("but "):
        problem = f"{error.context} {problem}"
    return f"{where}{problem}."


def _refuse_odd_nodes(path: Path | str, mapping: dict[Any, Any]) -> None:
    """Raises ConfigError for keys that are not text, and for aliases that hold themselves or expand without end."""
    pending: list[tuple[str, Any]] = [("", mapping)]
    for _ in range(_MAX_NODES):
        if not pending:
            return
        where, value = pending.pop()
        if isinstance(value, dict):
            for key, item in value.items():
                if not isinstance(key, str):
                    place = f"key {where!r}: " if where else ""
                    raise ConfigError(f"{path}: {place}expected keys that are text, found {key!r}. Put it in quotes.")
                pending.append((f"{where}.{key}" if where else key, item))
        elif isinstance(value, list | tuple | set):
            pending.extend((where, item) for item in value)
    raise ConfigError(f"{path}: more than {_MAX_NODES} values, or an alias that holds itself.")


def _kind(value: Any) -> str:
    if value is None:
        return "an empty file"
    return {"list": "a list", "str": "text"}.get(type(value).__name__, repr(value))
