"""On-policy actor-critics: PPO and A2C of SB3; TRPO, recurrent PPO and maskable PPO of sb3-contrib."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from rltransfer import setting_kinds as kinds
from rltransfer.algorithms import settings
from rltransfer.algorithms.spec import LOG_STD, AlgorithmSpec, Heads, Rule, ZipSignature

_EXTRACTORS = (
    Rule("features_extractor", "shared", "extractor"),
    Rule("pi_features_extractor", "actor", "extractor"),
    Rule("vf_features_extractor", "critic", "extractor"),
)
_NETS_AND_HEADS = (
    Rule(r"mlp_extractor\.shared_net", "shared", "stack"),
    Rule(r"mlp_extractor\.policy_net", "actor", "stack"),
    Rule(r"mlp_extractor\.value_net", "critic", "stack"),
    Rule("action_net", "actor", "head", gives="actions"),
    Rule(LOG_STD, "actor", "head", gives="log_std"),
    Rule("value_net", "critic", "head"),
)
_RULES = (*_EXTRACTORS, *_NETS_AND_HEADS)
_RECURRENT_RULES = (
    *_EXTRACTORS,
    Rule("lstm_actor", "actor", "recurrent"),
    Rule("lstm_critic", "critic", "recurrent"),
    # A linear layer in the place of the critic's LSTM (enable_critic_lstm=False).
    Rule("critic", "critic", "recurrent"),
    *_NETS_AND_HEADS,
)
_BRANCHES = (("pi", "mlp_extractor.policy_net"), ("vf", "mlp_extractor.value_net"))
_MASKABLE_MODULE = "sb3_contrib.common.maskable"


def _head_settings(heads: Heads) -> dict[str, Any]:
    log_std = heads.shapes.get(LOG_STD, ())
    return {"full_std": False} if len(log_std) == 2 and log_std[1] == 1 else {}


def _is_maskable(data: Mapping[str, Any]) -> bool:
    """Returns whether a class of sb3-contrib's maskable agents is named, whoever defined the policy class."""
    shadows = [data.get(name) for name in ("policy_class", "rollout_buffer_class")]
    modules = [str(shadow.get("__module__")) for shadow in shadows if isinstance(shadow, Mapping)]
    return any(module.startswith(_MASKABLE_MODULE) for module in modules)


PPO = AlgorithmSpec(
    name="ppo",
    class_path="stable_baselines3.PPO",
    hyperparams="ppo.yml",
    rules=_RULES,
    branches=_BRANCHES,
    action_form="distribution",
    signature=ZipSignature(frozenset({"clip_range", "n_epochs"}), "action_net.", over=("a2c",)),
    settings={**settings.CLIPPED_OBJECTIVE, **settings.STATE_DEPENDENT_EXPLORATION, **settings.ROLLOUT_BUFFER},
    policy_settings=settings.ACTOR_CRITIC_POLICY,
    activation="Tanh",
    default_net=[64, 64],
    default_net_of_images=[],
    batched_loss="clipped_surrogate",
    head_settings=_head_settings,
)
A2C = dataclasses.replace(
    PPO,
    name="a2c",
    class_path="stable_baselines3.A2C",
    hyperparams="a2c.yml",
    signature=ZipSignature(frozenset({"gae_lambda", "vf_coef"}), "action_net."),
    settings={
        **settings.ON_POLICY,
        **settings.STATE_DEPENDENT_EXPLORATION,
        **settings.ROLLOUT_BUFFER,
        "ent_coef": kinds.NUMBER,
        "vf_coef": kinds.NUMBER,
        "max_grad_norm": kinds.POSITIVE,
        "rms_prop_eps": kinds.POSITIVE,
        "use_rms_prop": kinds.FLAG,
    },
    batched_loss="policy_gradient",
)
TRPO = dataclasses.replace(
    PPO,
    name="trpo",
    class_path="sb3_contrib.TRPO",
    batched_loss=None,
    hyperparams="trpo.yml",
    signature=ZipSignature(frozenset({"cg_max_steps"}), "action_net.", over=("a2c",)),
    settings={
        **settings.ON_POLICY,
        **settings.STATE_DEPENDENT_EXPLORATION,
        **settings.ROLLOUT_BUFFER,
        "batch_size": kinds.COUNT,
        "cg_max_steps": kinds.COUNT,
        "cg_damping": kinds.NUMBER,
        "line_search_shrinking_factor": kinds.FRACTION,
        "line_search_max_iter": kinds.COUNT,
        "n_critic_updates": kinds.COUNT,
        "target_kl": kinds.POSITIVE,
        "sub_sampling_factor": kinds.COUNT,
    },
    uses_natural_gradient=True,
    no_distillation="changes its actor by a search along the natural gradient, where another gradient has no effect",
)
RECURRENT_PPO = dataclasses.replace(
    PPO,
    name="ppo_lstm",
    class_path="sb3_contrib.RecurrentPPO",
    batched_loss=None,
    hyperparams="ppo_lstm.yml",
    rules=_RECURRENT_RULES,
    signature=ZipSignature(frozenset({"clip_range"}), "lstm_actor.", over=("ppo", "a2c", "maskable_ppo")),
    settings={**settings.CLIPPED_OBJECTIVE, **settings.STATE_DEPENDENT_EXPLORATION},
    policy_settings={
        **settings.ACTOR_CRITIC_POLICY,
        "lstm_hidden_size": kinds.COUNT,
        "n_lstm_layers": kinds.COUNT,
        "shared_lstm": kinds.FLAG,
        "enable_critic_lstm": kinds.FLAG,
        "lstm_kwargs": kinds.optional(kinds.MAPPING),
    },
    policies=("MlpLstmPolicy", "CnnLstmPolicy", "MultiInputLstmPolicy"),
    has_module_before_net=True,
    is_recurrent=True,
    no_distillation="has a memory, and a single state does not tell what it would do",
)
MASKABLE_PPO = dataclasses.replace(
    PPO,
    name="maskable_ppo",
    class_path="sb3_contrib.MaskablePPO",
    batched_loss=None,
    hyperparams="maskable_ppo.yml",
    signature=ZipSignature(
        frozenset({"clip_range", "n_epochs"}), "action_net.", over=("ppo", "a2c"), holds=_is_maskable
    ),
    settings={**settings.CLIPPED_OBJECTIVE, **settings.ROLLOUT_BUFFER},
    policy_settings={**settings.EVERY_POLICY, **settings.SHARED_EXTRACTOR, "ortho_init": kinds.FLAG},
    acts_under_masks=True,
    no_distillation="acts under masks, which are not known of remembered states",
)
