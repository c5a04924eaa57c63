"""The list of all methods: whoever adds one adds it here, and writes the module of its name in ``transfer.methods``.

Their order is that of modifiers in a strategy, in its label and in its plan.
"""

import typing

from rltransfer.strategies.augment import Augment as Augment
from rltransfer.strategies.auto import Auto as Auto
from rltransfer.strategies.base import MethodSettings
from rltransfer.strategies.discriminative import Discriminative as Discriminative
from rltransfer.strategies.ewc import EWC as EWC
from rltransfer.strategies.finetune import Finetune as Finetune
from rltransfer.strategies.frozen import Frozen as Frozen
from rltransfer.strategies.full import Full as Full
from rltransfer.strategies.gradual_unfreeze import GradualUnfreeze as GradualUnfreeze
from rltransfer.strategies.jump_start import JumpStart as JumpStart
from rltransfer.strategies.kickstart import Kickstart as Kickstart
from rltransfer.strategies.l2_init import L2Init as L2Init
from rltransfer.strategies.l2_sp import L2SP as L2SP
from rltransfer.strategies.lora import LoRA as LoRA
from rltransfer.strategies.normaliser_only import NormaliserOnly as NormaliserOnly
from rltransfer.strategies.progressive import Progressive as Progressive
from rltransfer.strategies.qdagger import QDagger as QDagger
from rltransfer.strategies.random_frozen import RandomFrozen as RandomFrozen
from rltransfer.strategies.redo import ReDo as ReDo
from rltransfer.strategies.replay import Replay as Replay
from rltransfer.strategies.rescaled import Rescaled as Rescaled
from rltransfer.strategies.residual import Residual as Residual
from rltransfer.strategies.scratch import Scratch as Scratch
from rltransfer.strategies.shrink_perturb import ShrinkPerturb as ShrinkPerturb
from rltransfer.strategies.shuffled import Shuffled as Shuffled

if typing.TYPE_CHECKING:
    from rltransfer.transfer.methods import Method


class Implemented(typing.Protocol):
    """Settings that name what does them; mypy refuses others in the list below."""

    @property
    def method(self) -> "type[Method[typing.Any]]":
        """The class in ``rltransfer.transfer.methods``."""


def _listed(*settings: type[Implemented]) -> tuple[type[MethodSettings], ...]:
    return typing.cast(tuple[type[MethodSettings], ...], settings)


METHODS = _listed(
    Scratch,
    Full,
    Finetune,
    Frozen,
    Progressive,
    RandomFrozen,
    Rescaled,
    NormaliserOnly,
    Shuffled,
    Auto,
    Discriminative,
    GradualUnfreeze,
    L2SP,
    EWC,
    L2Init,
    ReDo,
    ShrinkPerturb,
    LoRA,
    JumpStart,
    Kickstart,
    QDagger,
    Residual,
    Replay,
    Augment,
)
KINDS = {settings.model_fields["kind"].default: settings for settings in METHODS}
