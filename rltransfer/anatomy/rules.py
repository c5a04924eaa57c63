"""Where each tensor of a policy belongs, by the rules of its algorithm."""

import re

from rltransfer.algorithms import Rule, spec_of
from rltransfer.errors import IncompatibleError

_RULES_OF_NETWORK = (Rule("features_extractor", "shared", "extractor"),)


def place(algo: str | None, name: str) -> tuple[Rule, str]:
    """Returns the rule that places a tensor of an algorithm's policy, and the name of the module that it is in.

    Of a pretrained network (``algo`` None) every tensor is a features extractor's.

    Raises:
        IncompatibleError: No rule places it.
    """
    for rule in _RULES_OF_NETWORK if algo is None else spec_of(algo).rules:
        match = re.match(rf"({rule.module})(\.|$)", name)
        if match:
            return rule, match.group(1)
    raise IncompatibleError(
        f"The {algo} policy has a tensor {name!r} that is no part of SB3's own policies, so it cannot be placed. "
        f"Put custom layers into a features extractor (policy_kwargs: features_extractor_class)."
    )


def is_same_network(algo: str | None, other: str | None) -> bool:
    """Returns whether two algorithms build networks of the same names, heads included; None is no algorithm."""
    return algo is not None and other is not None and spec_of(algo).rules == spec_of(other).rules
