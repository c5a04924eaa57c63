"""Trains a classifier of images on a pretrained network, and says whether the network helped.

The textbook example of transfer learning, without environments: a head, or the whole network, is fitted by supervised
learning, beside the same network untrained, a small network from scratch, and raw pixels.
"""

from rltransfer.classification.results import ArmResult, Classification
from rltransfer.classification.run import Data, Progress, classify, read_data
from rltransfer.classification.settings import BASELINES, Settings

__all__ = ["BASELINES", "ArmResult", "Classification", "Data", "Progress", "Settings", "classify", "read_data"]
