"""Atari games with mode and difficulty as arguments; importing this module needs the extra ``atari``."""

import functools
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.utils import EzPickle
from jaxtyping import UInt8
from stable_baselines3.common.atari_wrappers import AtariWrapper, EpisodicLifeEnv

from rltransfer.errors import unknown
from rltransfer_envs import checks

try:
    # SB3's wrapper imports this only when it draws its first observation.
    import cv2  # noqa: F401
    from ale_py import ALEInterface, AtariEnv, LoggerMode, roms
except ImportError as error:
    raise checks.missing_extra("Atari", "atari") from error

# Half an hour of play, the limit of ALE's own registrations.
MAX_FRAMES = 108_000
Screen = UInt8[np.ndarray, "side side 1"]

# Else each process greets with two lines on standard error.
ALEInterface.setLoggerMode(LoggerMode.Error)


class SeededAtariWrapper(AtariWrapper):
    """SB3's ``AtariWrapper``, but a reset with a seed starts a new game.

    SB3's goes on with the game where lives are left, whatever the seed: an evaluation would begin in the middle of a
    game that an earlier one, or another policy, has played.
    """

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Screen, dict[str, Any]]:
        """Starts a new game with a seed; without one, goes on with the next life where there is one."""
        layer: gym.Env[Any, Any] = self.env
        while seed is not None and isinstance(layer, gym.Wrapper):
            if isinstance(layer, EpisodicLifeEnv):
                layer.was_real_done = True
            layer = layer.env
        return super().reset(seed=seed, options=options)


class Atari(gym.Env[Screen, int], EzPickle):
    """A game of the Arcade Learning Environment (ALE) behind SB3's ``AtariWrapper``, with its variants as arguments.

    ## Description
    Modes and difficulties are the cartridge's own switches: they change rules, speed or looks of a game, so that a
    source and a target are one game with different switches, or two games with the same actions
    (``full_action_space``).

    ## Observation Space
    ``Box(0, 255)``, uint8, 84x84x1: the screen in grey, the brighter of the last two frames for each pixel. Stack some
    with ``frame_stack``, since one shows no movement.

    ## Action Space
    ``Discrete``: what the game uses, 6 actions in Pong; all 18 with ``full_action_space``.

    ## Rewards
    Points, of which ``clip_reward`` keeps the sign. An episode ends with a life (``terminal_on_life_loss``) or with the
    game, after half an hour of play (108,000 frames) at most. Both arguments help to train and spoil a score: switch
    them off for evaluation.

    ## Arguments
    Those below, with the values of SB3's wrapper as defaults, and ``render_mode`` (``human``, ``rgb_array``).
    """

    metadata = AtariEnv.metadata

    @checks.refuses_unknown
    def __init__(
        self,
        *,
        game: str = "pong",
        mode: int | None = None,
        difficulty: int | None = None,
        full_action_space: bool = False,
        frameskip: int = 4,
        noop_max: int = 30,
        screen_size: int = 84,
        terminal_on_life_loss: bool = True,
        clip_reward: bool = True,
        action_repeat_probability: float = 0.0,
        render_mode: str | None = None,
    ) -> None:
        """Builds the environment.

        Args:
            game: Name of the game as ALE writes it: ``pong``, ``space_invaders``.
            mode: Number of the game's mode; None for ALE's default.
            difficulty: Number of the game's difficulty; None for ALE's default.
            full_action_space: All 18 actions of the console, the same in each game.
            frameskip: How many frames an action lasts.
            noop_max: A game begins with 1 to so many frames in which nothing is done; 0 for none.
            screen_size: Side of the observation in pixels.
            terminal_on_life_loss: Ends an episode with each life; the next one goes on with the game.
            clip_reward: Rewards of -1, 0 and 1 instead of points.
            action_repeat_probability: That a frame repeats the last action instead of taking the new one.
            render_mode: As in ALE.

        Raises:
            UnknownNameError: There is no such argument, or no such game.
            ConfigError: An argument has a value that cannot work.
        """
        game = _game(self, game)
        arguments: dict[str, Any] = {
            "noop_max": checks.whole(self, "noop_max", noop_max, least=0),
            "screen_size": checks.whole(self, "screen_size", screen_size, least=1),
            "terminal_on_life_loss": checks.flag(self, "terminal_on_life_loss", terminal_on_life_loss),
            "clip_reward": checks.flag(self, "clip_reward", clip_reward),
            "action_repeat_probability": checks.fraction(self, "action_repeat_probability", action_repeat_probability),
        }
        frameskip = checks.whole(self, "frameskip", frameskip, least=1)
        switches: dict[str, Any] = {
            "mode": _switch(self, "mode", mode, game),
            "difficulty": _switch(self, "difficulty", difficulty, game),
            "full_action_space": checks.flag(self, "full_action_space", full_action_space),
            "render_mode": render_mode,
        }
        EzPickle.__init__(self, game=game, frameskip=frameskip, **switches, **arguments)
        self.render_mode = render_mode
        self.console = AtariEnv(
            game, frameskip=1, repeat_action_probability=0.0, max_num_frames_per_episode=MAX_FRAMES, **switches
        )
        if self.console.get_action_meanings()[0] != "NOOP":
            wanted = f"True for {game!r}, where every action that it uses does something"
            raise checks.refusal(self, "full_action_space", wanted, full_action_space)
        self._played = SeededAtariWrapper(self.console, frame_skip=frameskip, **arguments)
        self.observation_space = self._played.observation_space
        self.action_space = self._played.action_space

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Screen, dict[str, Any]]:
        """Starts a new game with a seed or after a game; else goes on with the next life."""
        super().reset(seed=seed)
        return self._played.reset(seed=seed, options=options)

    def step(self, action: Any) -> tuple[Screen, float, bool, bool, dict[str, Any]]:
        """Does one action for as many frames as ``frameskip`` says."""
        screen, reward, terminated, truncated, info = self._played.step(action)
        return screen, float(reward), terminated, truncated, info

    @property
    def ale(self) -> Any:
        """The emulator, by the name that it has in ALE's own environments; it limits the frames of a game."""
        return self.console.ale

    def render(self) -> Any:
        """Returns the screen in colour, as ALE draws it."""
        return self.console.render()

    def close(self) -> None:
        """Closes the game."""
        self._played.close()


def _game(env: object, value: str) -> str:
    # Some cartridges need a second player; ALE has no id for them, and ends the process where one is loaded.
    games = [spec.kwargs["game"] for spec in gym.registry.values() if spec.namespace == "ALE"]
    if not isinstance(value, str):
        raise checks.refusal(env, "game", "the name of a game", value)
    if value not in games:
        raise unknown("Atari game", value, games)
    return value


def _switch(env: object, name: str, value: int | None, game: str) -> int | None:
    if value is None:
        return None
    available = _switches(game)[name]
    if isinstance(value, bool) or value not in available:
        raise checks.refusal(env, name, f"one of {', '.join(map(str, available))}, which {game!r} has", value)
    return int(value)


@functools.lru_cache
def _switches(game: str) -> dict[str, list[int]]:
    """Returns the modes and the difficulties of a game, which ALE knows once it is loaded."""
    console, cartridge = ALEInterface(), roms.get_rom_path(game)
    assert cartridge is not None
    console.loadROM(cartridge)
    return {"mode": console.getAvailableModes(), "difficulty": console.getAvailableDifficulties()}
