"""Environment families: a source task and a target task are one id with different arguments.

Importing this package registers the ids, so that Gymnasium finds them by the name of the module::

    gym.make("rltransfer_envs:rltransfer/CartPole-v0", length=1.5, swap_actions=True)

With default arguments each family equals its original step for step. ``rltransfer/ImageFolder-v0`` is no family: it
shows the images of a folder. The import needs no extra; making a LunarLander, a MuJoCo robot, a MiniGrid task or an
Atari game does.
"""

from rltransfer_envs.registration import FAMILIES, Family, arguments, extra, register_families

__all__ = ["FAMILIES", "Family", "arguments", "extra"]

register_families()
