"""Which algorithms are tried quickly where a test runs on many."""

FAMILIES = ("ppo", "dqn", "sac", "td3")
"""An algorithm of each family whose agents train with gradients."""
RELATIVES = ("a2c", "trpo", "maskable_ppo", "qrdqn", "ddpg", "tqc")
"""Algorithms of these families without networks or state of their own, as ``ppo_lstm`` and ``crossq`` have."""
