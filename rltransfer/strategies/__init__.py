"""The strategies as validated data, without torch: a module for the settings of each method, and how they compose."""

from rltransfer.strategies.augment import IMAGE_OPERATIONS as IMAGE_OPERATIONS
from rltransfer.strategies.augment import VECTOR_OPERATIONS as VECTOR_OPERATIONS
from rltransfer.strategies.base import DistillationSettings as DistillationSettings
from rltransfer.strategies.base import Extra as Extra
from rltransfer.strategies.base import LayerChoice as LayerChoice
from rltransfer.strategies.base import LayerSettings as LayerSettings
from rltransfer.strategies.base import MethodSettings as MethodSettings
from rltransfer.strategies.base import ModifierSettings as ModifierSettings
from rltransfer.strategies.base import SourceBranch as SourceBranch
from rltransfer.strategies.base import Strategy as Strategy
from rltransfer.strategies.base import WarmUpSettings as WarmUpSettings
from rltransfer.strategies.base import WeightsSettings as WeightsSettings
from rltransfer.strategies.composition import acting as acting
from rltransfer.strategies.composition import depends_on_layers as depends_on_layers
from rltransfer.strategies.composition import modifiers as modifiers
from rltransfer.strategies.composition import needs_source as needs_source
from rltransfer.strategies.composition import reads_source as reads_source
from rltransfer.strategies.composition import strategy_label as strategy_label
from rltransfer.strategies.composition import uses_policy as uses_policy
from rltransfer.strategies.composition import uses_replay as uses_replay
from rltransfer.strategies.composition import weights_method as weights_method
from rltransfer.strategies.composition import with_stated_rates as with_stated_rates
from rltransfer.strategies.kinds import *
from rltransfer.strategies.kinds import KINDS as KINDS
from rltransfer.strategies.kinds import METHODS as METHODS
from rltransfer.strategies.parsing import StrategyField as StrategyField
from rltransfer.strategies.parsing import dump_strategy as dump_strategy
from rltransfer.strategies.parsing import parse_strategy as parse_strategy
from rltransfer.strategies.progressive import progressive_settings as progressive_settings
