"""Reads files of weights without running anything in them, and fetches those that a library names."""

import hashlib
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.error import URLError

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from rltransfer.errors import SourceError

_WRAPPERS = ("state_dict", "model", "model_state_dict")
_PARALLEL = "module."


def read_state(path: Path) -> dict[str, torch.Tensor]:
    """Returns the tensors of a file by name: safetensors, or a state dict of PyTorch's, alone or under a usual key.

    Raises:
        SourceError: The file is missing or damaged, or holds other things than tensors, which would have to be run.
    """
    try:
        content: Any = (
            load_file(path)
            if path.suffix == ".safetensors"
            else torch.load(path, map_location="cpu", weights_only=True)
        )
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror or error}.") from None
    except SafetensorError as error:
        raise SourceError(f"{path} is not a safetensors file: {error}") from None
    except Exception as error:
        # Whatever a damaged file raises in PyTorch's reader, and what it raises of objects that are no tensors.
        raise SourceError(
            f"{path} is not a file of weights: {str(error).splitlines()[0]} Tensors alone are read, since anything "
            "else in such a file would be run: save it with torch.save(network.state_dict(), PATH)."
        ) from None
    for key in _WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping) or not content:
        raise SourceError(f"{path} holds no state dict: expected tensors by name, found {type(content).__name__}.")
    wrong = [str(name) for name, value in content.items() if not isinstance(value, torch.Tensor)]
    if wrong:
        raise SourceError(f"{path} holds other things than tensors: {', '.join(wrong[:4])}.")
    # DataParallel puts this before each name.
    in_parallel = all(str(name).startswith(_PARALLEL) for name in content)
    return {str(name)[len(_PARALLEL) if in_parallel else 0 :]: value for name, value in content.items()}


def cached_file(url: str, file_name: str, hash_prefix: str | None) -> Path:
    """Returns the file of a URL in PyTorch's cache; it is fetched where it is not there.

    Raises:
        SourceError: It is not there and cannot be fetched, or its sha256 is not what its name says.
    """
    path = Path(torch.hub.get_dir()) / "checkpoints" / file_name
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            torch.hub.download_url_to_file(url, str(path), hash_prefix=hash_prefix)
        except (URLError, OSError) as error:
            command = f"curl -L --create-dirs -o {shlex.quote(str(path))} {shlex.quote(url)}"
            raise SourceError(
                f"The weights {path} are not there, and {url} cannot be fetched: {error}. Where there is a network, "
                f"type: {command}"
            ) from None
        except RuntimeError as error:
            raise SourceError(f"{url}: what was fetched is damaged: {error}.") from None
    if hash_prefix is not None and not sha256_of(path).startswith(hash_prefix):
        raise SourceError(f"{path} is damaged: its sha256 does not begin with {hash_prefix}. Delete it.")
    return path


def sha256_of(path: Path) -> str:
    """Returns the sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
