"""Works out how a source meets a target: which tensor, input and action answers to which, and what does not fit."""
