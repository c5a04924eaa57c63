"""Features extractors that name their own layers, or that transfer needs.

A features extractor may have a method ``layer_groups()`` that returns its layer groups in order, from the observations
on, each with the prefixes of the modules in it. Strategies then move and freeze it group by group; an extractor without
the method is one group. Write your own the same way, in your own package, and name it in ``policy_kwargs``.

This package imports nothing of the rest of rltransfer and is pickled by value: a zip with one of these extractors holds
the class itself, so stock SB3 loads it where rltransfer is not installed.
"""

import sys

import cloudpickle  # type: ignore[import-untyped]

from rltransfer.extractors.adapter import LinearAdapter
from rltransfer.extractors.columns import ProgressiveColumns
from rltransfer.extractors.images import SmallCNN
from rltransfer.extractors.network import NetworkExtractor, is_readable_image

cloudpickle.register_pickle_by_value(sys.modules[__name__])

__all__ = ["LinearAdapter", "NetworkExtractor", "ProgressiveColumns", "SmallCNN", "is_readable_image"]
