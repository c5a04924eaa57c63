"""Lists of all methods or algorithms in texts, which grow with each one that is added, as one word each."""

import re

from rltransfer.algorithms import algorithm_names, off_policy_names
from rltransfer.strategies import KINDS

_LISTS = {
    "[methods]": sorted(KINDS),
    "[algorithms]": algorithm_names(),
    "[algorithms, sorted]": sorted(algorithm_names()),
    "[off-policy algorithms]": off_policy_names(),
}


def shorten_lists(text: str) -> str:
    """Returns a text with each complete list of names, in its order and wherever lines break, as one word."""
    for word, names in _LISTS.items():
        plain = r",\s+".join(names)
        quoted = ", ".join(f"'{name}'" for name in names[:-1]) + f" or '{names[-1]}'"
        text = re.sub(rf"\b(?:{plain})\b(\s?)\s*", lambda match, word=word: word + match[1].replace("\n", " "), text)
        text = text.replace(quoted, word)
    return text
