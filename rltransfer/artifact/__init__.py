"""Saves, loads and verifies an encoder with its contract; reads agents from run folders and foreign SB3 zips."""

from rltransfer.artifact.architecture import policy_kwargs_of
from rltransfer.artifact.average import average_encoders, joint_facts
from rltransfer.artifact.columns import SourceColumn, progressive_kwargs, source_columns
from rltransfer.artifact.encoder import Encoder, load_artifact
from rltransfer.artifact.network_source import network_kwargs
from rltransfer.artifact.sources import load_encoder

__all__ = [
    "Encoder",
    "SourceColumn",
    "average_encoders",
    "joint_facts",
    "load_artifact",
    "load_encoder",
    "network_kwargs",
    "policy_kwargs_of",
    "progressive_kwargs",
    "source_columns",
]
