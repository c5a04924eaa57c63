"""Where each tensor of a policy belongs, by the rules of its algorithm."""

import re

from rltransfer.algorithms import Rule, spec_of
from rltransfer.errors import IncompatibleError


def place(algo: str, name: str) -> tuple[Rule, str]:
    """Returns the rule that places a tensor of an algorithm's policy, and the name of the module that it is in.

    Raises:
        IncompatibleError: No rule places it.
    """
    for rule in spec_of(algo).rules:
        match = re.match(rf"({rule.module})(\.|$)", name)
        if match:
            return rule, match.group(1)
    raise IncompatibleError(
        f"The {algo} policy has a tensor {name!r} that is no part of SB3's own policies, so it cannot be placed. "
        f"Put custom layers into a features extractor (policy_kwargs: features_extractor_class)."
    )


def is_same_network(algo: str, other: str) -> bool:
    """Returns whether two algorithms build networks of the same names, heads included."""
    return spec_of(algo).rules == spec_of(other).rules
