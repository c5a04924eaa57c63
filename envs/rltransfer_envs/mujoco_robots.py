"""MuJoCo's walking robots with physics and goal as arguments; importing this module needs the extra ``mujoco``."""

import functools
from collections.abc import Callable, Mapping
from typing import Any, TypedDict, Unpack

import numpy as np
from gymnasium.error import DependencyNotInstalled
from gymnasium.utils import EzPickle
from jaxtyping import Float32

from rltransfer_envs import checks

try:
    import mujoco
    from gymnasium.envs.mujoco.ant_v5 import AntEnv
    from gymnasium.envs.mujoco.half_cheetah_v5 import HalfCheetahEnv
    from gymnasium.envs.mujoco.hopper_v5 import HopperEnv
    from gymnasium.envs.mujoco.mujoco_env import MujocoEnv, expand_model_path
    from gymnasium.envs.mujoco.walker2d_v5 import Walker2dEnv
except (ImportError, DependencyNotInstalled) as error:
    raise checks.missing_extra("MuJoCo", "mujoco") from error

Range = tuple[float, float]


class Drawing(TypedDict, total=False):
    """Gymnasium's arguments that change how a robot is drawn, and nothing else."""

    render_mode: str | None
    default_camera_config: dict[str, Any]
    width: int
    height: int
    camera_id: int | None
    camera_name: str | None
    max_geom: int
    visual_options: dict[int, bool] | None


class Robot(MujocoEnv, EzPickle):
    """What all robots share: Gymnasium's v5 environment with five more arguments.

    ## Description
    A robot of rigid links is to run along the x axis by turning its joints. Model, contacts and integration are
    Gymnasium's own.

    ## Observation Space
    ``Box``, float64: positions, then velocities; as in the original.

    ## Action Space
    ``Box``, float32: a torque for each motor, as in the original.

    ## Rewards
    The original's, with another forward term. Where ``v`` is the velocity along x in m/s (``x_velocity`` in the info),
    this term is, and ``reward_forward`` in the info says it:

    - ``forward_reward_weight * direction * v`` without a ``target_speed``;
    - ``-forward_reward_weight * abs(direction * v - target_speed)`` with one.

    Costs, and the reward for being healthy, stay. 1000 steps at most.

    ## Arguments
    - ``gravity``: acceleration towards the ground in m/s², 0 or above. It replaces what the model's file says.
    - ``mass``: factor on masses and inertias of all bodies; what MuJoCo derives from them is computed anew. Motors,
      springs, dampers and the armature of joints stay.
    - ``friction``: factor on the sliding friction of all geoms, the ground included.
    - ``direction``: 1 to run forwards, -1 to run backwards.
    - ``target_speed``: the speed to keep in that direction in m/s; None for as fast as possible.

    The others are those of Gymnasium's v5 environment, with its values as defaults: those in the signature, and those
    of ``Drawing``.
    """

    def __init__(
        self,
        original: Mapping[str, Any],
        drawing: Drawing,
        *,
        gravity: float,
        mass: float,
        friction: float,
        direction: int,
        target_speed: float | None,
    ) -> None:
        """Builds the original from its arguments and those of drawing, then changes its model.

        Raises:
            ConfigError: An argument has a value that cannot work.
        """
        gravity = checks.not_negative(self, "gravity", gravity)
        mass = checks.positive(self, "mass", mass)
        friction = checks.positive(self, "friction", friction)
        self._direction = checks.sign(self, "direction", direction)
        if target_speed is not None:
            target_speed = checks.not_negative(self, "target_speed", target_speed)
        self._target_speed = target_speed
        given: dict[str, Any] = {name: _CHECKS[name](self, name, value) for name, value in original.items()}
        given |= drawing
        super().__init__(**given)
        # The original notes its own positional arguments for pickling; ours are given by name.
        EzPickle.__init__(
            self,
            **given,
            gravity=gravity,
            mass=mass,
            friction=friction,
            direction=direction,
            target_speed=target_speed,
        )
        self.model.opt.gravity[2] = -gravity
        self.model.geom_friction[:, 0] *= friction
        if mass != 1:
            self.model.body_mass[:] *= mass
            self.model.body_inertia[:] *= mass
            mujoco.mj_setConst(self.model, self.data)

    def _get_rew(self, x_velocity: float, action: Float32[np.ndarray, " motors"]) -> tuple[float, dict[str, float]]:
        # The original multiplies this velocity by its weight, for the reward and for the info alike.
        progress = self._direction * x_velocity
        if self._target_speed is not None:
            progress = -abs(progress - self._target_speed)
        reward, info = super()._get_rew(progress, action)  # type: ignore[misc]
        return reward, info


class HalfCheetah(Robot, HalfCheetahEnv):
    """Gymnasium's ``HalfCheetah-v5``: a flat cheetah on two legs, which is never out of balance.

    The headings of ``Robot`` hold: 17 observations, 6 actions. 4800 counts as solved.
    """

    @checks.refuses_unknown
    def __init__(
        self,
        *,
        gravity: float = 9.81,
        mass: float = 1.0,
        friction: float = 1.0,
        direction: int = 1,
        target_speed: float | None = None,
        forward_reward_weight: float = 1.0,
        ctrl_cost_weight: float = 0.1,
        reset_noise_scale: float = 0.1,
        exclude_current_positions_from_observation: bool = True,
        xml_file: str = "half_cheetah.xml",
        frame_skip: int = 5,
        **drawing: Unpack[Drawing],
    ) -> None:
        """Builds the environment from the arguments of ``Robot`` and of ``HalfCheetah-v5``.

        Raises:
            UnknownNameError: There is no such argument.
            ConfigError: An argument has a value that cannot work.
        """
        super().__init__(
            {
                "forward_reward_weight": forward_reward_weight,
                "ctrl_cost_weight": ctrl_cost_weight,
                "reset_noise_scale": reset_noise_scale,
                "exclude_current_positions_from_observation": exclude_current_positions_from_observation,
                "xml_file": xml_file,
                "frame_skip": frame_skip,
            },
            drawing,
            gravity=gravity,
            mass=mass,
            friction=friction,
            direction=direction,
            target_speed=target_speed,
        )


class Hopper(Robot, HopperEnv):
    """Gymnasium's ``Hopper-v5``: a flat robot on one leg, whose episode ends when it falls.

    The headings of ``Robot`` hold: 11 observations, 3 actions. 3800 counts as solved.
    """

    @checks.refuses_unknown
    def __init__(
        self,
        *,
        gravity: float = 9.81,
        mass: float = 1.0,
        friction: float = 1.0,
        direction: int = 1,
        target_speed: float | None = None,
        forward_reward_weight: float = 1.0,
        ctrl_cost_weight: float = 1e-3,
        healthy_reward: float = 1.0,
        terminate_when_unhealthy: bool = True,
        healthy_state_range: Range = (-100.0, 100.0),
        healthy_z_range: Range = (0.7, float("inf")),
        healthy_angle_range: Range = (-0.2, 0.2),
        reset_noise_scale: float = 5e-3,
        exclude_current_positions_from_observation: bool = True,
        xml_file: str = "hopper.xml",
        frame_skip: int = 4,
        **drawing: Unpack[Drawing],
    ) -> None:
        """Builds the environment from the arguments of ``Robot`` and of ``Hopper-v5``.

        Raises:
            UnknownNameError: There is no such argument.
            ConfigError: An argument has a value that cannot work.
        """
        super().__init__(
            {
                "forward_reward_weight": forward_reward_weight,
                "ctrl_cost_weight": ctrl_cost_weight,
                "healthy_reward": healthy_reward,
                "terminate_when_unhealthy": terminate_when_unhealthy,
                "healthy_state_range": healthy_state_range,
                "healthy_z_range": healthy_z_range,
                "healthy_angle_range": healthy_angle_range,
                "reset_noise_scale": reset_noise_scale,
                "exclude_current_positions_from_observation": exclude_current_positions_from_observation,
                "xml_file": xml_file,
                "frame_skip": frame_skip,
            },
            drawing,
            gravity=gravity,
            mass=mass,
            friction=friction,
            direction=direction,
            target_speed=target_speed,
        )


class Walker2d(Robot, Walker2dEnv):
    """Gymnasium's ``Walker2d-v5``: a flat robot on two legs, whose episode ends when it falls.

    The headings of ``Robot`` hold: 17 observations, 6 actions.
    """

    @checks.refuses_unknown
    def __init__(
        self,
        *,
        gravity: float = 9.81,
        mass: float = 1.0,
        friction: float = 1.0,
        direction: int = 1,
        target_speed: float | None = None,
        forward_reward_weight: float = 1.0,
        ctrl_cost_weight: float = 1e-3,
        healthy_reward: float = 1.0,
        terminate_when_unhealthy: bool = True,
        healthy_z_range: Range = (0.8, 2.0),
        healthy_angle_range: Range = (-1.0, 1.0),
        reset_noise_scale: float = 5e-3,
        exclude_current_positions_from_observation: bool = True,
        xml_file: str = "walker2d_v5.xml",
        frame_skip: int = 4,
        **drawing: Unpack[Drawing],
    ) -> None:
        """Builds the environment from the arguments of ``Robot`` and of ``Walker2d-v5``.

        Raises:
            UnknownNameError: There is no such argument.
            ConfigError: An argument has a value that cannot work.
        """
        super().__init__(
            {
                "forward_reward_weight": forward_reward_weight,
                "ctrl_cost_weight": ctrl_cost_weight,
                "healthy_reward": healthy_reward,
                "terminate_when_unhealthy": terminate_when_unhealthy,
                "healthy_z_range": healthy_z_range,
                "healthy_angle_range": healthy_angle_range,
                "reset_noise_scale": reset_noise_scale,
                "exclude_current_positions_from_observation": exclude_current_positions_from_observation,
                "xml_file": xml_file,
                "frame_skip": frame_skip,
            },
            drawing,
            gravity=gravity,
            mass=mass,
            friction=friction,
            direction=direction,
            target_speed=target_speed,
        )


class Ant(Robot, AntEnv):
    """Gymnasium's ``Ant-v5``: a robot on four legs in space, whose episode ends when it jumps or falls.

    The headings of ``Robot`` hold: 105 observations, contact forces included, 8 actions. 6000 counts as solved.
    """

    @checks.refuses_unknown
    def __init__(
        self,
        *,
        gravity: float = 9.81,
        mass: float = 1.0,
        friction: float = 1.0,
        direction: int = 1,
        target_speed: float | None = None,
        forward_reward_weight: float = 1.0,
        ctrl_cost_weight: float = 0.5,
        contact_cost_weight: float = 5e-4,
        healthy_reward: float = 1.0,
        main_body: int | str = 1,
        terminate_when_unhealthy: bool = True,
        healthy_z_range: Range = (0.2, 1.0),
        contact_force_range: Range = (-1.0, 1.0),
        reset_noise_scale: float = 0.1,
        exclude_current_positions_from_observation: bool = True,
        include_cfrc_ext_in_observation: bool = True,
        xml_file: str = "ant.xml",
        frame_skip: int = 5,
        **drawing: Unpack[Drawing],
    ) -> None:
        """Builds the environment from the arguments of ``Robot`` and of ``Ant-v5``.

        Raises:
            UnknownNameError: There is no such argument.
            ConfigError: An argument has a value that cannot work.
        """
        super().__init__(
            {
                "forward_reward_weight": forward_reward_weight,
                "ctrl_cost_weight": ctrl_cost_weight,
                "contact_cost_weight": contact_cost_weight,
                "healthy_reward": healthy_reward,
                "main_body": main_body,
                "terminate_when_unhealthy": terminate_when_unhealthy,
                "healthy_z_range": healthy_z_range,
                "contact_force_range": contact_force_range,
                "reset_noise_scale": reset_noise_scale,
                "exclude_current_positions_from_observation": exclude_current_positions_from_observation,
                "include_cfrc_ext_in_observation": include_cfrc_ext_in_observation,
                "xml_file": xml_file,
                "frame_skip": frame_skip,
            },
            drawing,
            gravity=gravity,
            mass=mass,
            friction=friction,
            direction=direction,
            target_speed=target_speed,
        )
        try:
            self.data.body(main_body)
        except (KeyError, IndexError):
            raise checks.refusal(self, "main_body", "the number or the name of a body", main_body) from None


def _number_or_name(env: object, name: str, value: int | str) -> int | str:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise checks.refusal(env, name, "the number or the name of a body", value)
    return value


def _model_file(env: object, name: str, value: str) -> str:
    try:
        expand_model_path(value)
    except (OSError, AttributeError):
        wanted = "one of Gymnasium's model files or a path that begins with /, ~ or ."
        raise checks.refusal(env, name, wanted, value) from None
    return value


_CHECKS: Mapping[str, Callable[[object, str, Any], Any]] = {
    "forward_reward_weight": checks.number,
    "ctrl_cost_weight": checks.not_negative,
    "contact_cost_weight": checks.not_negative,
    "healthy_reward": checks.number,
    "main_body": _number_or_name,
    "terminate_when_unhealthy": checks.flag,
    "healthy_state_range": checks.interval,
    "healthy_z_range": checks.interval,
    "healthy_angle_range": checks.interval,
    "contact_force_range": checks.interval,
    "reset_noise_scale": checks.not_negative,
    "exclude_current_positions_from_observation": checks.flag,
    "include_cfrc_ext_in_observation": checks.flag,
    "xml_file": _model_file,
    "frame_skip": functools.partial(checks.whole, least=1),
}
