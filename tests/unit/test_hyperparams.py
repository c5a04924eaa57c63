import inspect
import subprocess
import sys

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3 import SAC, HerReplayBuffer
from stable_baselines3.common.noise import NormalActionNoise, OrnsteinUhlenbeckActionNoise
from stable_baselines3.common.utils import LinearSchedule
from stable_baselines3.common.vec_env import VecNormalize

from rltransfer import yaml_file
from rltransfer.algorithms import agent_class, algorithm_names, spec_of
from rltransfer.errors import ConfigError, UnknownNameError
from rltransfer.extractors import SmallCNN
from rltransfer.hyperparams import Hyperparameters, resolve, settings
from rltransfer.hyperparams.build import build_agent_kwargs
from rltransfer.python_text import parse_expression
from rltransfer.setting_kinds import ACTIVATIONS

AGENTS = algorithm_names()
ROBOTS = ("HalfCheetah", "Hopper", "Walker2d", "Ant")
FAMILIES = ("CartPole", "Acrobot", "MountainCar", "Pendulum", "LunarLander", *ROBOTS)


@pytest.fixture
def conf(tmp_path):
    def write(text, name="conf.yml"):
        path = tmp_path / name
        path.write_text(text)
        return path

    return write


@pytest.fixture
def ppo(conf):
    """Resolves one entry for PPO that consists of ``policy`` and the given text."""
    return lambda text: resolve("ppo", "CartPole-v1", conf_file=conf(f"CartPole-v1:\n  policy: MlpPolicy\n  {text}\n"))


# The tables against SB3 itself


@pytest.mark.parametrize("algo", AGENTS)
def test_the_table_of_constructor_arguments_is_sb3s(algo):
    arguments = set(inspect.signature(agent_class(algo).__init__).parameters) - {"self", "policy"}
    assert set(spec_of(algo).settings) == arguments - set(settings.ELSEWHERE)


@pytest.mark.parametrize("algo", AGENTS)
def test_the_table_of_policy_arguments_is_sb3s(algo):
    kind = agent_class(algo)
    arguments = set(inspect.signature(kind.policy_aliases[spec_of(algo).policies[-1]].__init__).parameters)
    arguments -= {"self", "observation_space", "action_space", "lr_schedule"}
    # The algorithm's own argument sets this one.
    assert set(spec_of(algo).policy_settings) == arguments - {"use_sde"}


@pytest.mark.parametrize("algo", AGENTS)
def test_the_table_of_policies_is_sb3s(algo):
    assert set(spec_of(algo).policies) == set(agent_class(algo).policy_aliases)


def test_the_table_of_vecnormalize_is_sb3s():
    arguments = set(inspect.signature(VecNormalize.__init__).parameters) - {"self", "venv", "training"}
    assert set(settings.NORMALIZE) == arguments - {"norm_obs_keys"}


def test_the_activations_are_torchs():
    assert all(issubclass(getattr(torch.nn, name), torch.nn.Module) for name in ACTIVATIONS)


# Our defaults


@pytest.mark.parametrize("algo", AGENTS)
def test_every_default_entry_is_valid(algo):
    path = f"{settings.__file__.rpartition('/')[0]}/{algo}.yml"
    for entry in yaml_file.read(path):
        hyperparams = resolve(algo, entry)
        assert hyperparams.n_timesteps
        build_agent_kwargs(hyperparams, spaces.Box(-1, 1, (1,)))


@pytest.mark.parametrize("algo", ["ppo", "dqn", "sac"])
def test_a_family_shares_the_entry_of_its_original(algo):
    for family in FAMILIES:
        resolved = resolve(algo, f"rltransfer_envs:rltransfer/{family}-v0")
        assert resolved == resolve(algo, next(name for name in gym.registry if name.startswith(f"{family}-v")))
        has_entry = resolved != resolve(algo, "default")
        assert has_entry == (
            family in {"sac": ("Pendulum", "LunarLander", *ROBOTS)}.get(algo, FAMILIES)
            and not (algo == "dqn" and family in ("Pendulum", *ROBOTS))
        )


@pytest.mark.parametrize("algo", ["ppo", "sac"])
def test_discrete_and_continuous_variants_share_their_architecture(algo):
    discrete, continuous = resolve(algo, "LunarLander-v3"), resolve(algo, "LunarLanderContinuous-v3")
    assert discrete.policy == continuous.policy
    assert discrete.agent.get("policy_kwargs") == continuous.agent.get("policy_kwargs")


@pytest.mark.parametrize("algo", ["ppo", "dqn"])
def test_minigrid_ids_need_a_wrapper_and_ours_do_not(algo):
    assert resolve(algo, "MiniGrid-DoorKey-6x6-v0").env_wrapper == ("minigrid.wrappers.ImgObsWrapper",)
    resolved = resolve(algo, "rltransfer_envs:rltransfer/MiniGrid-DoorKey-v0")
    assert resolved.env_wrapper == ()
    assert build_agent_kwargs(resolved)["policy_kwargs"]["features_extractor_class"] is SmallCNN


def test_acrobot_is_normalised_and_cartpole_is_not():
    assert resolve("ppo", "Acrobot-v1").normalize is True
    assert resolve("ppo", "CartPole-v1").normalize is False


# Finding the entry


@pytest.mark.parametrize(
    ("env_id", "steps"),
    [
        ("A-v1", 1),
        ("A-v2", 1),
        ("module:A-v1", 1),
        ("space/A-v0", 2),
        ("module:space/A-v9", 2),
        ("A-Big-v0", 3),
        ("A-Big-Blue-v0", 3),
        ("ALE/Pong-v5", 4),
        ("PongNoFrameskip-v4", 4),
        ("Other-v0", 5),
    ],
)
def test_which_entry_serves_an_id(conf, env_id, steps):
    names = {"A-v1": 1, "space/A-v0": 2, "A-Big-v1": 3, "atari": 4, "default": 5}
    text = "".join(f"{name}: {{policy: MlpPolicy, n_timesteps: {n}}}\n" for name, n in names.items())
    assert resolve("ppo", env_id, conf_file=conf(text)).n_timesteps == steps


def test_the_config_that_rl_zoo_saves(conf):
    saved = "!!python/object/apply:collections.OrderedDict\n- - - n_steps\n    - 32\n  - - policy\n    - CnnPolicy\n"
    hyperparams = resolve("ppo", "Anything-v0", conf_file=conf(saved, "config.yml"))
    assert hyperparams == Hyperparameters(policy="CnnPolicy", agent={"n_steps": 32})


def test_no_entry(conf):
    with pytest.raises(
        ConfigError, match=r"conf\.yml: no entry for 'm:CartPol-v1' and no 'default'\. Did you mean 'Cart"
    ):
        resolve("ppo", "m:CartPol-v1", conf_file=conf("CartPole-v1: {policy: MlpPolicy}\n"))


# RL Zoo's values


def test_an_entry_as_rl_zoo_writes_it(conf):
    text = """
default: &defaults
  n_timesteps: !!float 1e6
  policy: 'MlpPolicy'
Walker-v1:
  <<: *defaults
  n_envs: 4
  normalize: "dict(norm_obs=True, norm_reward=False)"
  frame_stack: 2
  env_wrapper:
    - gymnasium.wrappers.FlattenObservation
    - gymnasium.wrappers.RescaleAction:
        min_action: -1
        max_action: 1
  learning_rate: lin_7.3e-4
  buffer_size: 1e5
  ent_coef: 'auto_0.1'
  train_freq: [1, "episode"]
  gradient_steps: -1
  noise_type: 'normal'
  noise_std: 0.1
  policy_kwargs: "dict(net_arch=dict(pi=[64, 64], qf=[32]), activation_fn=th.nn.ELU,
                       log_std_init=-3, optimizer_class=th.optim.AdamW)"
"""
    hyperparams = resolve("sac", "Walker-v1", conf_file=conf(text))
    assert hyperparams == Hyperparameters(
        n_envs=4,
        n_timesteps=1_000_000,
        policy="MlpPolicy",
        normalize={"norm_obs": True, "norm_reward": False},
        frame_stack=2,
        env_wrapper=(
            "gymnasium.wrappers.FlattenObservation",
            {"gymnasium.wrappers.RescaleAction": {"min_action": -1, "max_action": 1}},
        ),
        agent={
            "learning_rate": "lin_7.3e-4",
            "buffer_size": 100_000,
            "ent_coef": "auto_0.1",
            "train_freq": [1, "episode"],
            "gradient_steps": -1,
            "noise_type": "normal",
            "noise_std": 0.1,
            "policy_kwargs": {
                "net_arch": {"pi": [64, 64], "qf": [32]},
                "activation_fn": "nn.ELU",
                "log_std_init": -3,
                "optimizer_class": "th.optim.AdamW",
            },
        },
    )
    assert Hyperparameters.model_validate_json(hyperparams.model_dump_json()) == hyperparams


def test_overrides_replace_settings():
    hyperparams = resolve("ppo", "CartPole-v1", overrides={"n_steps": 64, "normalize": True, "n_timesteps": 1e4})
    assert hyperparams.agent["n_steps"] == 64
    assert hyperparams.agent["n_epochs"] == 20
    assert hyperparams.normalize is True
    assert hyperparams.n_timesteps == 10_000


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "n_stepz: 3",
            "unknown key 'CartPole-v1.n_stepz' for ppo. Did you mean 'n_steps' or 'n_timesteps'",
        ),
        ("buffer_size: 3", "unknown key 'CartPole-v1.buffer_size' for ppo."),
        ("n_steps: many", "key 'CartPole-v1.n_steps': expected a whole number of at least 1, found 'many'."),
        ("n_steps: 2.5", "key 'CartPole-v1.n_steps': expected a whole number of at least 1, found 2.5."),
        ("n_steps: true", "key 'CartPole-v1.n_steps': expected a whole number of at least 1, found True."),
        ("gamma: 1.1", "key 'CartPole-v1.gamma': expected a number from 0 to 1, found 1.1."),
        (
            "learning_rate: cos_1",
            "key 'CartPole-v1.learning_rate': expected a number of at least 0 or a schedule such as lin_0.001, "
            "found 'cos_1'.",
        ),
        ("use_sde: 1", "key 'CartPole-v1.use_sde': expected true or false, found 1."),
        ("clip_range: .nan", "key 'CartPole-v1.clip_range': expected a number of at least 0"),
        (
            "normalize: {norm_ob: true}",
            "unknown key 'CartPole-v1.normalize.norm_ob' for VecNormalize. Did you mean 'norm_obs'?",
        ),
        (
            "normalize: 3",
            "key 'CartPole-v1.normalize': expected keys with values, or text such as dict(key=value), found 3.",
        ),
        ("policy_kwargs: {net_arc: [3]}", "unknown key 'CartPole-v1.policy_kwargs.net_arc' for the policies of ppo."),
        (
            "policy_kwargs: {net_arch: [a]}",
            "key 'CartPole-v1.policy_kwargs.net_arch': expected layer sizes such as [64, 64], "
            "or dict(pi=[64], vf=[64]), or null, found ['a'].",
        ),
        ("policy_kwargs: dict(activation_fn=exit())", "key 'CartPole-v1.policy_kwargs': expected keys with values"),
        (
            "policy_kwargs: {activation_fn: nn.Relu}",
            "key 'CartPole-v1.policy_kwargs.activation_fn': expected an activation",
        ),
        ("env_wrapper: [3]", "key 'CartPole-v1.env_wrapper': expected a wrapper as module.Class"),
        ("env_wrapper: Monitor", "key 'CartPole-v1.env_wrapper': expected a wrapper as module.Class"),
        ("callback: a.B", "key 'CartPole-v1.callback' cannot be set here: a file cannot hold code;"),
        (
            "vec_env_wrapper: a.B",
            "key 'CartPole-v1.vec_env_wrapper' cannot be set here: it is not supported; env_wrapper is",
        ),
        ("seed: 3", "key 'CartPole-v1.seed' cannot be set here: give it with --seed"),
        ("env_kwargs: {}", "key 'CartPole-v1.env_kwargs' cannot be set here: give them with --env-kwargs"),
    ],
)
def test_messages_name_file_and_key(ppo, text, message):
    with pytest.raises(ConfigError) as error:
        ppo(text)
    assert f"conf.yml: {message}" in str(error.value)


def test_messages_about_overrides_name_where_they_came_from():
    with pytest.raises(ConfigError, match=r"^hyperparams: key 'n_steps': expected a whole number"):
        resolve("ppo", "CartPole-v1", overrides={"n_steps": "many"})
    with pytest.raises(ConfigError, match=r"^study\.yaml: unknown key 'n_step' for ppo\. Did you mean 'n_steps'"):
        resolve("ppo", "CartPole-v1", overrides={"n_step": 3}, overrides_from="study.yaml")


def test_a_policy_is_needed(conf):
    with pytest.raises(ConfigError, match=r"key 'A-v0\.policy' is missing: expected MlpPolicy or CnnPolicy"):
        resolve("ppo", "A-v0", conf_file=conf("A-v0: {n_steps: 3}\n"))
    with pytest.raises(ConfigError, match=r"key 'A-v0\.policy': .* found 'MlpPolici'\. Did you mean 'MlpPolicy'"):
        resolve("ppo", "A-v0", conf_file=conf("A-v0: {policy: MlpPolici}\n"))


def test_noise_needs_both_of_its_settings(conf):
    with pytest.raises(ConfigError, match="noise_type and noise_std are given together"):
        resolve("sac", "A-v0", conf_file=conf("A-v0: {policy: MlpPolicy, noise_type: normal}\n"))


@pytest.mark.parametrize("name", ["my.module.hyperparams", "ppo.py"])
def test_python_files_are_refused(conf, name):
    with pytest.raises(ConfigError, match="would run code, so they are refused"):
        resolve("ppo", "A-v0", conf_file=conf("raise SystemExit\n", name))


def test_an_entry_that_is_no_mapping(conf):
    with pytest.raises(ConfigError, match=r"conf\.yml: key 'A-v0': expected settings with values, found 3\."):
        resolve("ppo", "A-v0", conf_file=conf("A-v0: 3\n"))


def test_an_unknown_algorithm():
    with pytest.raises(
        UnknownNameError, match=r"Unknown algorithm 'pop'\. Did you mean 'ppo'\? Known: a2c, ars, .*, trpo\."
    ):
        resolve("pop", "CartPole-v1")


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('true')",
        "dict(a=().__class__)",
        "[x for x in (1,)]",
        "lambda: 1",
        "dict(**{})",
        "dict([('a', 1)])",
        "1 + 1",
        "f'{1}'",
        "(" * 500,
        "[" * 9999 + "]" * 9999,
        "",
    ],
    ids=lambda text: text[:20],
)
def test_expressions_that_are_no_plain_data(text):
    with pytest.raises(ValueError, match=r".+"):
        parse_expression(text)


# Building


def test_schedules_are_sb3s_own():
    arguments = build_agent_kwargs(resolve("ppo", "CartPole-v1"))
    schedule = arguments["learning_rate"]
    assert type(schedule) is LinearSchedule
    assert [schedule(progress) for progress in (1.0, 0.5, 0.0)] == [0.001, 0.0005, 0.0]
    assert arguments["clip_range"](1.0) == 0.2
    assert "policy" not in arguments


def test_classes_and_tuples_are_built():
    agent = {
        "train_freq": [1, "episode"],
        "replay_buffer_class": "HerReplayBuffer",
        "policy_kwargs": {"activation_fn": "nn.ELU", "optimizer_class": "th.optim.AdamW", "net_arch": [8]},
    }
    arguments = build_agent_kwargs(Hyperparameters(policy="MlpPolicy", agent=agent))
    assert arguments["train_freq"] == (1, "episode")
    assert arguments["replay_buffer_class"] is HerReplayBuffer
    assert arguments["policy_kwargs"]["activation_fn"] is torch.nn.ELU
    assert arguments["policy_kwargs"]["optimizer_class"] is torch.optim.AdamW
    assert agent["policy_kwargs"]["activation_fn"] == "nn.ELU"


@pytest.mark.parametrize(
    ("noise_type", "kind"), [("normal", NormalActionNoise), ("ornstein-uhlenbeck", OrnsteinUhlenbeckActionNoise)]
)
def test_noise_has_the_shape_of_the_actions(noise_type, kind):
    hyperparams = Hyperparameters(policy="MlpPolicy", agent={"noise_type": noise_type, "noise_std": 0.1})
    noise = build_agent_kwargs(hyperparams, spaces.Box(-1, 1, (2,)))["action_noise"]
    assert isinstance(noise, kind)
    np.testing.assert_array_equal(noise._sigma, [0.1, 0.1])
    with pytest.raises(ConfigError, match="action noise needs actions in a Box"):
        build_agent_kwargs(hyperparams, spaces.Discrete(2))


@pytest.mark.parametrize(
    ("extractor", "message"),
    [
        ("nowhere.Extractor", r"'features_extractor_class': 'nowhere\.Extractor' cannot be imported"),
        ("SmalCNN", r"'SmalCNN' cannot be imported: .* Did you mean 'SmallCNN'"),
        ("torch.nn.Linear", r"expected a subclass of BaseFeaturesExtractor, found 'torch\.nn\.Linear'"),
        ("torch.relu", r"expected a subclass of BaseFeaturesExtractor, found 'torch\.relu'"),
    ],
)
def test_classes_that_do_not_fit(extractor, message):
    agent = {"policy_kwargs": {"features_extractor_class": extractor}}
    with pytest.raises(ConfigError, match=message):
        build_agent_kwargs(Hyperparameters(policy="CnnPolicy", agent=agent))


@pytest.mark.parametrize(("algo", "env_id"), [("ppo", "CartPole-v1"), ("dqn", "CartPole-v1"), ("sac", "Pendulum-v1")])
def test_sb3_takes_the_defaults(algo, env_id, tmp_path):
    hyperparams = resolve(algo, env_id, overrides={"n_steps": 16, "batch_size": 16} if algo == "ppo" else {})
    agent = agent_class(algo)(hyperparams.policy, env_id, device="cpu", **build_agent_kwargs(hyperparams))
    agent.save(tmp_path / "agent.zip")
    agent_class(algo).load(tmp_path / "agent.zip", device="cpu")


def test_what_sb3_writes_into_its_arguments_stays_there():
    overrides = {"n_steps": 3, "replay_buffer_kwargs": {"handle_timeout_termination": True}}
    hyperparams = resolve("sac", "Pendulum-v1", overrides=overrides)
    before = hyperparams.model_dump_json()
    SAC(hyperparams.policy, "Pendulum-v1", **build_agent_kwargs(hyperparams))
    assert hyperparams.model_dump_json() == before


def test_resolving_needs_neither_torch_nor_sb3():
    code = (
        "import sys; from rltransfer.hyperparams import resolve; resolve('ppo', 'CartPole-v1');"
        "assert not {'torch', 'stable_baselines3'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
