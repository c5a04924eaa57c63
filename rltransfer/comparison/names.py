"""Turns labels into names that are safe in paths and distinct, and names the figures of a report."""

import hashlib
import re
from collections import Counter
from collections.abc import Collection, Sequence

_UNSAFE = re.compile(r"[^A-Za-z0-9._=+-]+")
_DIGITS = re.compile(r"[0-9]+")
_LONGEST = 80

PROFILES = "_profiles"
LAYERS = "_layers"
ACROSS = "across_tasks"
_OF_TASK = ("", PROFILES, LAYERS)


def task_names(labels: Sequence[str], titles: Sequence[str]) -> tuple[str, ...]:
    """Returns one name per task, such that no two figures of a report share a file, whatever tasks are called.

    >>> [name.partition("-")[0] for name in task_names(["t", "t_profiles", "u"], ["A", "B", "C"])]
    ['A', 'B', 'u']
    """
    return safe_names(labels, titles, suffixes=_OF_TASK, taken=(ACROSS,))


def sweep_names(labels: Sequence[str], tasks: Sequence[str]) -> tuple[str, ...]:
    """Returns one name per picture of a sweep, which no figure of the tasks of these names has."""
    return safe_names(labels, taken=(ACROSS, *(f"{task}{suffix}" for task in tasks for suffix in _OF_TASK)))


def natural(text: str) -> tuple[tuple[str, int, str], ...]:
    """Returns what texts are sorted by so that numbers in them are in the order of their size.

    >>> sorted(["from_40000", "from_5000", "from"], key=natural)
    ['from', 'from_5000', 'from_40000']
    """
    words, numbers = _DIGITS.split(text), [digits.lstrip("0") for digits in _DIGITS.findall(text)]
    # By its length first: Python reads no number of thousands of digits.
    return tuple((word, len(number), number) for word, number in zip(words, [*numbers, ""], strict=True))


def safe_names(
    labels: Sequence[str],
    fallbacks: Sequence[str] | None = None,
    *,
    suffixes: Sequence[str] = ("",),
    taken: Collection[str] = (),
) -> tuple[str, ...]:
    """Returns one safe name per label; labels that would share a name use their fallback, then a short hash.

    Names differ even where the file system ignores case. The same labels always give the same names.

    Args:
        labels: The labels.
        fallbacks: What to use in place of a label that is not the only one of its name; by default the label.
        suffixes: What will be appended to each name: what comes of it is distinct too.
        taken: Names that others have.

    >>> safe_names(["rltransfer/CartPole-v0 (length=1.5)", "frozen", "Frozen"])
    ('rltransfer-CartPole-v0-length=1.5', 'frozen-5c4eed1e', 'Frozen-85dc3d8b')
    """
    fallbacks = list(labels) if fallbacks is None else list(fallbacks)
    names = [_safe(label) for label in labels]
    shared = _shared(names, suffixes, taken)
    names = [_safe(fallbacks[i]) if shared[i] else name for i, name in enumerate(names)]
    shared = _shared(names, suffixes, taken)
    return tuple(
        f"{name}-{hashlib.sha256(f'{labels[i]} {fallbacks[i]} {_twin(labels, fallbacks, i)}'.encode()).hexdigest()[:8]}"
        if shared[i]
        else name
        for i, name in enumerate(names)
    )


def _safe(label: str) -> str:
    return _UNSAFE.sub("-", label).strip("-.")[:_LONGEST] or "unnamed"


def _shared(names: Sequence[str], suffixes: Sequence[str], taken: Collection[str]) -> list[bool]:
    files = [[f"{name}{suffix}".lower() for suffix in suffixes] for name in names]
    counts = Counter([*(word for some in files for word in some), *(word.lower() for word in taken)])
    return [any(counts[word] > 1 for word in some) for some in files]


def _twin(labels: Sequence[str], fallbacks: Sequence[str], index: int) -> int:
    """Counts the earlier entries that are equal in both texts, which only their order can tell apart."""
    return sum((labels[i], fallbacks[i]) == (labels[index], fallbacks[index]) for i in range(index))
