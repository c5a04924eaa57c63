"""Reads a folder that holds images in a sub-folder for each class, split into images for training and for the test."""

import contextlib
import dataclasses
import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Int64, UInt8
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from rltransfer.errors import ConfigError, RLTransferError
from rltransfer_envs import checks

Split = Literal["train", "test", "all"]
SPLITS = ("train", "test", "all")
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".gif", ".tif", ".tiff")
# Pillow would try every format that it knows, and start Ghostscript for some.
_FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "GIF", "TIFF")
_FOLDERS: tuple[Split, Split] = ("train", "test")
_LEAST_CLASSES = 2
_SIDEWAYS = (5, 6, 7, 8)
Picture = UInt8[np.ndarray, "height width 3"]
Pictures = UInt8[np.ndarray, "images height width 3"]
Indices = Int64[np.ndarray, " images"]


@dataclasses.dataclass(frozen=True, eq=False)
class ImageList:
    """The image files of a folder with their classes, none of them opened yet.

    Attributes:
        folder: The folder.
        classes: The names of the classes, sorted.
        files: All files relative to the folder, with slashes, ordered by their class and name; where there are
            ``train/`` and ``test/``, those for training come first.
        labels: The class of each.
        is_split: Whether there are ``train/`` and ``test/``.
    """

    folder: Path
    classes: tuple[str, ...]
    files: tuple[str, ...]
    labels: Indices
    is_split: bool

    def indices(self, split: Split, test_share: float, split_seed: int) -> Indices:
        """Returns which files are in a split, in the order of the files.

        Without ``train/`` and ``test/`` the files of a class are put in the order of the SHA-256 of seed, class and
        name; the first of them, as many as the share says, are kept for the test. NumPy's generators may change from
        version to version, and a test image would become one for training.

        Raises:
            ConfigError: The share leaves a class without images for training or for the test.
        """
        if split == "all":
            return np.arange(len(self.files))
        if self.is_split:
            return np.flatnonzero([file.startswith(f"{split}/") for file in self.files])
        is_test = np.zeros(len(self.files), dtype=bool)
        for label, name in enumerate(self.classes):
            members = np.flatnonzero(self.labels == label)
            n_test = round(test_share * len(members))
            if n_test in (0, len(members)):
                raise ConfigError(
                    f"Image folder {str(self.folder)!r}: a test_share of {test_share:g} leaves class {name!r}, which "
                    f"has {_amount(len(members))}, without images for {'training' if n_test else 'the test'}."
                )
            ranked = sorted(members, key=lambda index: _rank(split_seed, self.files[index]))
            is_test[ranked[:n_test]] = True
        return np.flatnonzero(is_test == (split == "test"))

    def path(self, index: int) -> Path:
        """Returns the path of a file."""
        return self.folder / self.files[index]

    def versions(self) -> tuple[tuple[int, ...], ...]:
        """Returns what changes where a file is written anew.

        Raises:
            ConfigError: A file is a link to one that is gone.
        """
        versions = []
        for index in range(len(self.files)):
            path = self.path(index)
            with _named(path):
                stat = path.stat()
            versions.append((stat.st_ino, stat.st_size, stat.st_mtime_ns))
        return tuple(versions)


def list_images(owner: object, folder: str | Path) -> ImageList:
    """Returns the image files of a folder.

    Files with other suffixes, hidden files and folders, folders inside of a class, and what is beside ``train/`` and
    ``test/`` are passed over.

    Args:
        owner: The environment whose argument the folder is, for messages.
        folder: The folder.

    Raises:
        ConfigError: There is no such folder, or it does not hold images of two classes or more.
    """
    if not isinstance(folder, str | Path) or not folder or not (root := Path(folder).expanduser()).is_dir():
        shown = str(folder) if isinstance(folder, Path) else folder
        raise checks.refusal(owner, "folder", "a folder that exists", shown)
    is_split = all((root / part).is_dir() for part in _FOLDERS)
    places = [root / part for part in _FOLDERS] if is_split else [root]
    listed = [_files_by_class(place) for place in places]
    classes = tuple(listed[0])
    if is_split:
        _refuse_unequal_classes(root, *listed)
    if len(classes) < _LEAST_CLASSES:
        raise ConfigError(
            f"Image folder {str(places[0])!r} has one class folder, {classes[0]!r}, where at least two are needed."
        )
    entries = [
        (path.relative_to(root).as_posix(), label)
        for by_class in listed
        for label, name in enumerate(classes)
        for path in by_class[name]
    ]
    files, labels = zip(*entries, strict=True)
    return ImageList(root, classes, files, np.array(labels, dtype=np.int64), is_split)


def decode_all(listed: ImageList, size: int | None) -> Pictures:
    """Returns all images of a list, in its order.

    Raises:
        ConfigError: A file cannot be read, or the images are of several sizes and ``size`` is None.
    """
    first = decode(listed.path(0), size)
    images = np.empty((len(listed.files), *first.shape), dtype=np.uint8)
    for index in range(len(images)):
        image = decode(listed.path(index), size)
        if image.shape != first.shape:
            raise several_sizes(listed, index, first.shape, image.shape)
        images[index] = image
    return images


def check_headers(listed: ImageList, size: int | None) -> None:
    """Opens each file of a list without decoding it.

    Raises:
        ConfigError: The beginning of a file is not that of an image, or the images are of several sizes and ``size`` is
            None.
    """
    first: tuple[int, int] | None = None
    for index in range(len(listed.files)):
        path = listed.path(index)
        with _named(path), Image.open(path, formats=_FORMATS) as image:
            _refuse_deep(path, image)
            # A photograph that lies on its side is turned when it is decoded.
            is_turned = size is None and image.getexif().get(ExifTags.Base.Orientation) in _SIDEWAYS
            shape = image.size if is_turned else image.size[::-1]
        first = first or shape
        if size is None and shape != first:
            raise several_sizes(listed, index, first, shape)


def decode(path: Path, size: int | None) -> Picture:
    """Returns an image, upright, in RGB and resized; of an animation the first frame. Transparency is left out.

    Raises:
        ConfigError: The file cannot be read as an image with 8 bits for each colour.
    """
    with _named(path), Image.open(path, formats=_FORMATS) as image:
        _refuse_deep(path, image)
        upright = ImageOps.exif_transpose(image)
        # From a palette with transparency Pillow converts to RGB with a warning that asks for this.
        rgb = (upright.convert("RGBA") if upright.mode == "P" else upright).convert("RGB")
        if size is not None:
            rgb = rgb.resize((size, size), Image.Resampling.BILINEAR)
        return np.array(rgb)


def several_sizes(listed: ImageList, index: int, first: Sequence[int], other: Sequence[int]) -> ConfigError:
    """Returns the error for an image of another height and width than the first one's."""
    return ConfigError(
        f"Image folder {str(listed.folder)!r} has images of several sizes, such as {first[1]}x{first[0]} "
        f"({listed.files[0]}) and {other[1]}x{other[0]} ({listed.files[index]}): give the argument 'size', the side in "
        "pixels that all are resized to."
    )


def _files_by_class(place: Path) -> dict[str, list[Path]]:
    """Returns the image files in each class folder of a folder, classes and files in the order of their names."""
    folders = sorted(path for path in place.iterdir() if path.is_dir() and not path.name.startswith("."))
    if not folders:
        raise ConfigError(
            f"Image folder {str(place)!r} has no class folders: put the images of each class into a sub-folder."
        )
    return {folder.name: _image_files(place, folder) for folder in folders}


def _image_files(place: Path, folder: Path) -> list[Path]:
    visible = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    # A link to a file that is gone is an image that cannot be read, rather than none.
    images = [path for path in visible if path.suffix.lower() in SUFFIXES and not path.is_dir()]
    if not images:
        inside = " Images inside of its sub-folders are not read." if any(path.is_dir() for path in visible) else ""
        raise ConfigError(
            f"Image folder {str(place)!r}: class {folder.name!r} has no images ({', '.join(SUFFIXES)}).{inside}"
        )
    return images


def _refuse_unequal_classes(root: Path, *listed: dict[str, list[Path]]) -> None:
    for part, other in ((0, 1), (1, 0)):
        for name in listed[part]:
            if name not in listed[other]:
                raise ConfigError(
                    f"Image folder {str(root)!r}: class {name!r} is in {_FOLDERS[part]}/ and not in {_FOLDERS[other]}/."
                )


def _refuse_deep(path: Path, image: Image.Image) -> None:
    # Pillow would clip them to 255: all white.
    if image.mode == "F" or image.mode.startswith("I"):
        raise ConfigError(
            f"Image file {str(path)!r} has more than 8 bits for each grey value (Pillow's mode {image.mode!r}): save "
            "it with 8 bits."
        )


@contextlib.contextmanager
def _named(path: Path) -> Iterator[None]:
    """Turns whatever a damaged file makes Pillow raise into an error that names the file."""
    try:
        yield
    except RLTransferError:
        raise
    except UnidentifiedImageError:
        raise ConfigError(f"Image file {str(path)!r} is none of {', '.join(_FORMATS)}.") from None
    except Exception as error:
        raise ConfigError(f"Image file {str(path)!r} cannot be read: {error}.") from error


def _rank(split_seed: int, file: str) -> bytes:
    return hashlib.sha256(os.fsencode(f"{split_seed}/{file}")).digest()


def _amount(images: int) -> str:
    return "1 image" if images == 1 else f"{images} images"
