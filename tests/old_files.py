"""The files that rltransfer 0.1.0 wrote, unpacked where a test needs them."""

import tarfile
from pathlib import Path

_PACKED = Path(__file__).parent / "data" / "version_0_1"
_PLACEHOLDER = "/version_0_1"
_TEXT = {".json", ".yml", ".yaml", ".txt", ".csv"}


def unpack(name: str, folder: Path) -> Path:
    """Unpacks a part of the files (``artifacts``, ``runs`` or a study) into a folder; paths in them lead there."""
    with tarfile.open(_PACKED / f"{name}.tar.gz") as archive:
        # Python before 3.11.4 has no filters; the files are our own.
        archive.extractall(folder, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))
    for path in sorted((folder / name).rglob("*")):
        if path.suffix in _TEXT and _PLACEHOLDER in (content := path.read_text()):
            path.write_text(content.replace(_PLACEHOLDER, str(folder)))
    return folder / name
