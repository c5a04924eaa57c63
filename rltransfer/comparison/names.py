"""Turns labels into names that are safe in paths and distinct."""

import hashlib
import re
from collections import Counter
from collections.abc import Sequence

_UNSAFE = re.compile(r"[^A-Za-z0-9._=+-]+")
_LONGEST = 80


def safe_names(labels: Sequence[str], fallbacks: Sequence[str] | None = None) -> tuple[str, ...]:
    """Returns one safe name per label; labels that would share a name use their fallback, then a short hash.

    Names differ even where the file system ignores case. The same labels always give the same names.

    >>> safe_names(["rltransfer/CartPole-v0 (length=1.5)", "frozen", "Frozen"])
    ('rltransfer-CartPole-v0-length=1.5', 'frozen-5c4eed1e', 'Frozen-85dc3d8b')
    """
    fallbacks = list(labels) if fallbacks is None else list(fallbacks)
    names = [_safe(label) for label in labels]
    names = [_safe(fallbacks[i]) if _shared(names)[i] else name for i, name in enumerate(names)]
    shared = _shared(names)
    return tuple(
        f"{name}-{hashlib.sha256(f'{labels[i]} {fallbacks[i]} {_twin(labels, fallbacks, i)}'.encode()).hexdigest()[:8]}"
        if shared[i]
        else name
        for i, name in enumerate(names)
    )


def _safe(label: str) -> str:
    return _UNSAFE.sub("-", label).strip("-.")[:_LONGEST] or "unnamed"


def _shared(names: Sequence[str]) -> list[bool]:
    counts = Counter(name.lower() for name in names)
    return [counts[name.lower()] > 1 for name in names]


def _twin(labels: Sequence[str], fallbacks: Sequence[str], index: int) -> int:
    """Counts the earlier entries that are equal in both texts, which only their order can tell apart."""
    return sum((labels[i], fallbacks[i]) == (labels[index], fallbacks[index]) for i in range(index))
