"""Every citation of `docs/sb3_facts.md` leads to a heading there, and every test that the page names exists."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "sb3_facts.md").read_text()
ANCHORS = {heading.lower().replace(" ", "-") for heading in re.findall(r"^## (.+)$", PAGE, re.MULTILINE)}
_CITATION = re.compile(r"sb3_facts\.md((?:,? ?#[\w-]+)+)")


def test_every_citation_leads_to_a_heading() -> None:
    cited = {
        anchor
        for folder in ("rltransfer", "tests", "envs", "docs")
        for path in (ROOT / folder).rglob("*")
        if path.suffix in (".py", ".md")
        for anchors in _CITATION.findall(path.read_text())
        for anchor in re.findall(r"#([\w-]+)", anchors)
    }
    assert cited == ANCHORS


def test_the_tests_that_the_page_names_exist() -> None:
    sections = PAGE.split("\n## ")[1:]
    for section in sections:
        watches = re.findall(r"`(tests/[\w/]+\.py)::(?:(\w+)::)?(\w+)`", section)
        assert watches, section.splitlines()[0]
        for file, group, name in watches:
            content = (ROOT / file).read_text()
            assert f"def {name}(" in content, name
            assert not group or f"class {group}:" in content


def test_every_section_but_that_of_imports_is_measured_by_the_script() -> None:
    script = (ROOT / "scripts" / "measure_sb3_facts.py").read_text()
    headings = re.findall(r"^## (.+)$", PAGE, re.MULTILINE)
    assert [heading for heading in headings if f'"{heading}": ' not in script] == ["Imports"]
