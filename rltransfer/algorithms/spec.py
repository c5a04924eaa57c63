"""What the library knows about an algorithm: the fields of a row."""

import dataclasses
import importlib
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal

from rltransfer.errors import MissingExtraError
from rltransfer.setting_kinds import Kind

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm

Branch = Literal["actor", "critic", "shared", "target"]
Role = Literal["encoder", "head", "adapter", "column", "lateral"]
ModuleKind = Literal["extractor", "recurrent", "stack", "q_stack", "head"]
HeadOutput = Literal["actions", "log_std", "q_values", "other"]
ActionForm = Literal["distribution", "q_values", "tanh_gaussian", "tanh", "linear"]
LOG_ENT_COEF = "log_ent_coef"
LOG_STD = "log_std"
NetArch = list[int] | dict[str, list[int]]
USUAL_POLICIES = ("MlpPolicy", "CnnPolicy", "MultiInputPolicy")


BatchedLoss = Literal["clipped_surrogate", "policy_gradient"]
"""The losses by which many runs can be trained as one network."""


@dataclasses.dataclass(frozen=True)
class Rule:
    """Where a module of a policy belongs.

    Attributes:
        module: A pattern of its name.
        branch: Its branch.
        kind: An ``extractor`` reads observations, a ``recurrent`` module what it gives; a ``stack`` holds numbered
            layers, and a ``q_stack`` ends in a head.
        gives: What its head gives: ``actions`` or their logits, their ``log_std``, the ``q_values`` of each discrete
            action, or what does not go by action.
        reads_actions: Whether its first layer reads the action behind the features, as SB3's Q(s, a) do.
    """

    module: str
    branch: Branch
    kind: ModuleKind
    gives: HeadOutput = "other"
    reads_actions: bool = False


@dataclasses.dataclass(frozen=True)
class ZipSignature:
    """By what an agent's zip is told from those of other algorithms, without unpickling.

    Attributes:
        attributes: Those that the ``data`` member holds.
        tensor: How the name of a tensor of the policy begins, or continues behind a dot.
        over: The algorithms whose signatures fit too, where this is the one.
        holds: What else has to hold of the ``data`` member.
    """

    attributes: frozenset[str]
    tensor: str
    over: tuple[str, ...] = ()
    holds: Callable[[Mapping[str, Any]], bool] = lambda _: True

    def fits(self, data: Mapping[str, Any], tensors: Iterable[str]) -> bool:
        """Returns whether a zip with this ``data`` member and tensors of these names may be of the algorithm."""
        if not self.attributes <= data.keys() or not self.holds(data):
            return False
        return any(name.startswith(self.tensor) or f".{self.tensor}" in name for name in tensors)


@dataclasses.dataclass(frozen=True)
class AlgorithmSpec:
    """A row: all that the library has to know about one algorithm of SB3's kind.

    Attributes:
        name: RL Zoo's short name, such as ``ppo``.
        class_path: The module that exports its class, and the name of the class.
        hyperparams: The file of its defaults in ``rltransfer/hyperparams``.
        rules: Where each module of its policies belongs, in the order of the layers.
        branches: The key of ``net_arch`` and the path of the layers that it sizes; an empty key where there is but one.
        action_form: What its policy gives: a ``distribution`` from which actions are drawn and which PPO's actor-critic
            policies have, ``q_values``, a Gaussian behind a tanh, a ``tanh`` alone, or numbers that are ``linear``.
        signature: By what its zips are known.
        settings: The constructor arguments that a hyperparameter file may set.
        policy_settings: The arguments of its policies (``policy_kwargs``).
        policies: Its policies, by SB3's names.
        activation: The activation function that SB3 gives its policies.
        default_net: What SB3 builds where no ``net_arch`` is given; None where no column can be built of it.
        default_net_of_images: The same behind NatureCNN.
        has_module_before_net: Whether an LSTM or a normalisation stands before the first layer of ``net_arch``.
        keeps_replay_buffer: Whether it is off-policy.
        takes_action_noise: Whether its constructor takes ``action_noise``.
        is_recurrent: Whether its policy has a memory.
        acts_under_masks: Whether it takes action masks.
        uses_natural_gradient: Whether its actor moves by a search along the natural gradient, as TRPO's does.
        is_gradient_free: Whether its policy takes no learning rate, since no gradient changes it.
        draws_before_rollout: Whether it draws random numbers for a rollout before it asks its callbacks.
        has_dqn_loss: Whether its loss is that of Q-learning on single values, which QDagger extends.
        no_target: Why it cannot be the algorithm of a target, if so.
        no_distillation: Why its agents cannot be drawn to another policy, if so; it follows "An agent of NAME".
        q_values: From a policy and a batch of observations to Q-values [batch, actions], where it has them.
        batched_loss: The loss of its class's own updates, where the batched trainer knows it.
        head_settings: From the shapes of tensors, the shapes of the head's on a path, and the number of actions to the
            ``policy_kwargs`` that size its heads.
    """

    name: str
    class_path: str
    hyperparams: str
    rules: tuple[Rule, ...]
    branches: tuple[tuple[str, str], ...]
    action_form: ActionForm
    signature: ZipSignature
    settings: Mapping[str, Kind]
    policy_settings: Mapping[str, Kind]
    policies: tuple[str, ...] = USUAL_POLICIES
    activation: str = "ReLU"
    default_net: NetArch | None = None
    default_net_of_images: NetArch | None = None
    has_module_before_net: bool = False
    keeps_replay_buffer: bool = False
    takes_action_noise: bool = False
    is_recurrent: bool = False
    acts_under_masks: bool = False
    uses_natural_gradient: bool = False
    is_gradient_free: bool = False
    draws_before_rollout: bool = False
    has_dqn_loss: bool = False
    no_target: str | None = None
    no_distillation: str | None = None
    q_values: Callable[[Any, Any], Any] | None = None
    batched_loss: BatchedLoss | None = None
    head_settings: "Callable[[Heads], dict[str, Any]]" = lambda _: {}

    @property
    def class_name(self) -> str:
        """The name of its class."""
        return self.class_path.rpartition(".")[2]

    @property
    def critic_key(self) -> str | None:
        """The key of ``net_arch`` for its critic; None where one net is all it has."""
        return self.branches[1][0] if len(self.branches) > 1 else None

    def load_class(self) -> "type[BaseAlgorithm]":
        """Returns its class.

        Raises:
            MissingExtraError: It is one of sb3-contrib's, which is not installed.
        """
        module, _, name = self.class_path.rpartition(".")
        try:
            algorithm_class: type[BaseAlgorithm] = getattr(importlib.import_module(module), name)
        except ImportError:
            if module != "sb3_contrib":
                raise
            raise MissingExtraError(
                f"{name} is in sb3-contrib, which is not installed: pip install 'rltransfer[contrib]'"
            ) from None
        return algorithm_class


@dataclasses.dataclass(frozen=True)
class Heads:
    """What the tensors of an agent tell about its heads.

    Attributes:
        shapes: The shape of each tensor.
        rows: The number of outputs of the head at the end of each path, such as ``critic.qf0``.
        n_actions: The number of discrete actions, where they are discrete and known.
    """

    shapes: Mapping[str, tuple[int, ...]]
    rows: Mapping[str, int]
    n_actions: int | None
