"""Matches the tensors, inputs and actions of a source with those of a target, and finds what does not fit."""
