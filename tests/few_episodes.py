"""Scores of few episodes in the process that imports this: scoring a tiny run takes longer than training it."""

from rltransfer.training import scoring

USUAL = scoring.SCORING_EPISODES
scoring.SCORING_EPISODES = 4
