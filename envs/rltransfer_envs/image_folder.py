"""Classification of the images in a folder as an environment of one-step episodes."""

import hashlib
import os
import weakref
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.spaces import Box, Discrete

from rltransfer.errors import ConfigError
from rltransfer_envs import checks
from rltransfer_envs.image_files import (
    SPLITS,
    ImageList,
    Picture,
    Pictures,
    Split,
    check_headers,
    decode,
    decode_all,
    list_images,
    several_sizes,
)

_BYTES_PER_MB = 2**20


class ImageFolder(gym.Env[Picture, int]):
    """Tell the class of an image: one image is one episode, and the mean return is the accuracy.

    ## Description
    A folder holds images in a sub-folder for each class, or ``train/`` and ``test/`` with a sub-folder for each class.
    Each episode shows one image that is drawn at random, all equally likely; ``reset(options={"index": i})`` shows
    image ``i`` of the split.

    ## Observation Space
    ``Box(0, 255)``, uint8, height x width x 3: the image, upright and in RGB, ``size`` x ``size`` where that is given.

    ## Action Space
    ``Discrete``: the class, an index into the sorted names of the class folders.

    ## Rewards
    1 for the right class and 0 for another. Each episode ends with its first step, whose info holds ``is_success``.

    ## Arguments
    Those below, of which ``folder`` has no default, and ``render_mode`` (``rgb_array``).

    Attributes:
        classes: The names of the classes, sorted; an action is an index into them.
        n_images: How many images the split has.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 1}  # noqa: RUF012 - as every Gymnasium environment has it

    @checks.refuses_unknown
    def __init__(
        self,
        *,
        folder: str,
        split: Split = "train",
        test_share: float = 0.5,
        split_seed: int = 0,
        size: int | None = None,
        cache_mb: int = 256,
        render_mode: str | None = None,
    ) -> None:
        """Builds the environment.

        Args:
            folder: The folder; ``~`` is the home directory.
            split: ``train``, ``test`` or ``all``: which images are shown.
            test_share: Share of the images of each class that is kept for the test, where there are no ``train/`` and
                ``test/``; above 0 and below 1.
            split_seed: Seed of that split, which depends on nothing else but the names of the files and the share.
            size: Side in pixels that images are resized to; None where all are of one size.
            cache_mb: Decoded images are kept in memory if those of the whole folder take no more mebibytes than this;
                otherwise each is decoded whenever it is shown.
            render_mode: ``rgb_array`` or None.

        Raises:
            UnknownNameError: There is no such argument.
            ConfigError: An argument has a value that cannot work, or the folder is not as described; the message says
                which class or file is to blame.
        """
        split_name: Any = checks.choice(self, "split", split, SPLITS)
        test_share = checks.between(self, "test_share", test_share, 0, 1)
        split_seed = checks.whole(self, "split_seed", split_seed, least=0)
        size = None if size is None else checks.whole(self, "size", size, least=1)
        cache_mb = checks.whole(self, "cache_mb", cache_mb, least=0)
        listed = list_images(self, folder)
        self._indices = listed.indices(split_name, test_share, split_seed)
        self._images = _shared(listed, size, cache_mb)
        self._drawing: np.random.Generator | None = None
        self._shown: int | None = None
        self._is_over = True
        self.render_mode = render_mode
        self.classes = listed.classes
        self.n_images = len(self._indices)
        self.observation_space = Box(0, 255, self._images.shape, np.uint8)
        self.action_space = Discrete(len(listed.classes))  # type: ignore[assignment]

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Picture, dict[str, Any]]:
        """Shows an image; the info holds its ``class_name`` and its ``file``, relative to the folder.

        Args:
            seed: Seed of the images to come.
            options: ``{"index": i}`` shows image ``i`` of the split instead of a random one.

        Raises:
            ConfigError: The split has no image of that index.
        """
        super().reset(seed=seed)
        if seed is not None or self._drawing is None:
            # An action space of the same seed would draw the very same numbers, and with them the right classes.
            self._drawing = self.np_random.spawn(1)[0]
        if options and "index" in options:
            drawn = checks.whole(self, "index", options["index"], least=0, most=self.n_images - 1)
        else:
            drawn = int(self._drawing.integers(self.n_images))
        self._shown = int(self._indices[drawn])
        self._is_over = False
        return self._images.image(self._shown), self._info(self._shown)

    def step(self, action: Any) -> tuple[Picture, float, bool, bool, dict[str, Any]]:
        """Scores a class and ends the episode; the observation stays the same image."""
        if self._shown is None or self._is_over:
            raise gym.error.ResetNeeded("ImageFolder: an episode is one step; call reset for the next image.")
        if not self.action_space.contains(action):
            raise gym.error.InvalidAction(f"ImageFolder: an action is one of {self.action_space}, not {action!r}.")
        self._is_over = True
        is_right = int(action) == self._images.listed.labels[self._shown]
        info = {**self._info(self._shown), "is_success": bool(is_right)}
        return self._images.image(self._shown), float(is_right), True, False, info

    def render(self) -> Any:
        """Returns the image."""
        if self.render_mode is None or self._shown is None:
            return None
        return self._images.image(self._shown)

    def _info(self, index: int) -> dict[str, Any]:
        listed = self._images.listed
        return {"class_name": listed.classes[listed.labels[index]], "file": listed.files[index]}


class _Images:
    """The images of a folder, decoded once where memory allows.

    Copies, checkpoints of runs and other processes get the place of the images instead of the images.
    """

    def __init__(self, listed: ImageList, size: int | None, cache_mb: int) -> None:
        self.listed = listed
        self._size = size
        self._cache_mb = cache_mb
        first = decode(listed.path(0), size)
        self.shape = first.shape
        self._decoded: Pictures | None = None
        if len(listed.files) * first.nbytes <= cache_mb * _BYTES_PER_MB:
            self._decoded = decode_all(listed, size)
        else:
            check_headers(listed, size)

    def image(self, index: int) -> Picture:
        """Returns an array of its own with the image, decoded now or earlier."""
        if self._decoded is not None:
            return np.array(self._decoded[index])
        image = decode(self.listed.path(index), self._size)
        if image.shape != self.shape:
            raise several_sizes(self.listed, index, self.shape, image.shape)
        return image

    def __reduce__(self) -> Any:
        return _found_again, (str(self.listed.folder), self._size, self._cache_mb, _names(self.listed))


# Environments of a process that show the same folder share its images, for as long as one of them lives.
_IN_USE: weakref.WeakValueDictionary[Any, _Images] = weakref.WeakValueDictionary()


def _shared(listed: ImageList, size: int | None, cache_mb: int) -> _Images:
    key = (listed.folder.absolute(), listed.files, listed.versions(), size, cache_mb)
    images = _IN_USE.get(key)
    if images is None:
        _IN_USE[key] = images = _Images(listed, size, cache_mb)
    return images


def _found_again(folder: str, size: int | None, cache_mb: int, names: str) -> _Images:
    listed = list_images("ImageFolder", folder)
    if _names(listed) != names:
        raise ConfigError(f"Image folder {folder!r} has other files than when the state of its environment was saved.")
    return _shared(listed, size, cache_mb)


def _names(listed: ImageList) -> str:
    """Returns what changes with the name of any file."""
    return hashlib.sha256(os.fsencode("\n".join(listed.files))).hexdigest()
