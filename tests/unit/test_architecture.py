"""`docs/architecture.md` names every package and module of the library, in the layers of the import contract."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]


def layers_of_contract() -> list[set[str]]:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    return [set(layer.split(" | ")) for layer in layers if layer != "__main__"]


def layers_of_page() -> list[set[str]]:
    layers: list[set[str]] = []
    for row in re.findall(r"^\| (\d*) ?\| (`.+?`) \| ", (ROOT / "docs" / "architecture.md").read_text(), re.MULTILINE):
        if row[0]:
            layers.append(set())
        layers[-1] |= set(re.findall(r"`(\w+)`", row[1]))
    return layers


def test_the_page_has_the_layers_of_the_contract() -> None:
    assert layers_of_page() == layers_of_contract()


def test_the_files_that_the_page_names_exist() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text()
    named = re.findall(r"`((?:rltransfer|envs|tests)/[\w/]+(?:\.\w+)?)`", page)
    assert named
    assert [name for name in named if "KIND" not in name and "NAME" not in name and not (ROOT / name).exists()] == []
