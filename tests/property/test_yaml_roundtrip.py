import math
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from rltransfer import yaml_file

# Control characters and lone surrogates are no YAML text.
_words = st.text(st.characters(exclude_categories=("Cs", "Cc", "Cn", "Co"), exclude_characters="\ufeff\u2028\u2029"))
_tricky = st.sampled_from(
    ["1e3", "on", "null", "~", "0x1", "1_000", "2024-01-01", "- a", "a: b", "<<", "=", "lin_1e-3"]
)
_scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | _words | _tricky
_values = st.recursive(
    _scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_words, inner, max_size=4),
    max_leaves=10,
)


def _same(left, right):
    if isinstance(left, float) and isinstance(right, float):
        return left == right and math.copysign(1, left) == math.copysign(1, right)
    if isinstance(left, dict) and isinstance(right, dict):
        return list(left) == list(right) and all(_same(left[key], right[key]) for key in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(_same, left, right))
    return type(left) is type(right) and left == right


@settings(deadline=None, max_examples=300)
@given(st.dictionaries(_words | _tricky, _values, max_size=5))
def test_what_is_dumped_is_read_back(mapping):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.yml"
        path.write_text(yaml_file.dump(mapping), encoding="utf-8")
        assert _same(yaml_file.read(path), mapping)
