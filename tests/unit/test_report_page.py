import base64
import hashlib
import json
import re
from html.parser import HTMLParser

import pytest
from reports import markdown_of, page_of, write_plan
from synthetic import FINETUNE, FROZEN, SCRATCH, TASK, make_run, make_study, ramp, source

from rltransfer.comparison import compare
from rltransfer.report.blocks import spans
from rltransfer.report.markdown import marked

HOSTILE = (
    '<img src=x onerror="alert(1)">',
    "</script><script>alert(2)</script>",
    "`<b>`|**[x](javascript:alert(3))**",
    '" onmouseover="alert(4)',
    "![x](http://evil.example/x.png)",
    "line\nbreak\x00",
)


class Page(HTMLParser):
    """Collects a page's elements and its text as a browser would see them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._raw = ""
        self.raw: dict[str, list[str]] = {"script": [], "style": []}
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self._raw = tag if tag in self.raw else ""

    def handle_endtag(self, tag):
        self._raw = ""

    def handle_data(self, data):
        if self._raw:
            self.raw[self._raw].append(data)
        else:
            self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    root = tmp_path_factory.mktemp("study")
    make_study(root)
    return Page(page_of(compare(root)))


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """Names, arguments, errors and findings from files that somebody else wrote."""
    root = tmp_path_factory.mktemp("hostile")
    task = TASK.model_copy(update={"kwargs": {"a": HOSTILE[0]}})
    for seed in range(2):
        policy = {"hyperparams": {"policy": HOSTILE[2]}}
        make_run(root, arm="scratch", seed=seed, task=task, folder=f"scratch/{seed}", **policy)
        for index, name in enumerate(HOSTILE):
            run = make_run(
                root,
                arm=name,
                strategy=({"kind": name},),
                task=task,
                seed=seed,
                returns=ramp(0, 20 + index),
                source=source(seed),
                folder=f"{index}/{seed}",
                **policy,
            )
            write_plan(run.folder, warning=name)
    make_run(root, arm=HOSTILE[1], seed=7, status="failed", error=HOSTILE[0], task=task)
    return compare(root)


def test_nothing_is_asked_of_the_network(page):
    links = [value for _, attributes in page.elements for key, value in attributes.items() if key in ("src", "href")]
    assert links == ["data:,"]
    assert not re.search(r"@import|url\(|https?:|fetch|XMLHttpRequest", "".join(page.raw["style"] + page.raw["script"]))


def test_only_its_own_script_may_run(page):
    _, script = page.raw["script"]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    (policy,) = [item["content"] for item in page.all("meta") if item.get("http-equiv") == "Content-Security-Policy"]
    assert f"script-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy


def test_the_verdicts_come_first_in_words_and_tones(page):
    findings = [item["class"] for item in page.all("li") if item.get("class")]
    assert findings == ["positive", "positive", "negative", "positive", "inconclusive"]
    assert page.text.index("full hurts.") < page.text.index("Learning curves") < page.text.index("p (Holm)")


def test_the_key_switches_every_mark_of_an_arm(page):
    keys = [item["data-key"] for item in page.all("button")]
    assert keys == ["0", "1", "2", "3", "4", "5"]
    for key in keys:
        marks = [tag for tag, attributes in page.elements if attributes.get("data-arm") == key]
        # A band, a line and its thread, a profile and its band; a name in the curves and in both charts of rows; seeds
        # and means.
        assert marks.count("path") == 5
        assert marks.count("span") == 3
        assert marks.count("i") == 5 + 2 + (0 if key == "0" else 2)


def test_the_script_gets_the_numbers_of_the_bands(tmp_path):
    make_run(tmp_path, arm="scratch", seed=0, returns=[1.0, float("nan"), 3.0])
    make_run(tmp_path, arm="frozen", strategy=FROZEN, seed=0, returns=[1.0, 2.0, 3.0])
    (section,) = json.loads(Page(page_of(compare(tmp_path))).raw["script"][0])
    plot = section["plots"]["curves"]
    assert (plot["at"], plot["start"], plot["end"]) == ([0, 5000, 10000], 0, 10000)
    lines = dict(zip((arm["name"] for arm in section["arms"]), plot["lines"], strict=True))
    assert lines["frozen"]["middle"] == [1.0, 2.0, 3.0]
    assert lines["scratch"]["middle"] == [1.0, None, 3.0]
    assert lines["scratch"]["low"] is None
    assert "profiles" not in section["plots"]


def test_the_script_gets_the_numbers_of_the_profiles(tmp_path):
    make_study(tmp_path, seeds=2)
    comparison = compare(tmp_path)
    (section,) = json.loads(Page(page_of(comparison)).raw["script"][0])
    plot = section["plots"]["profiles"]
    result = comparison.tasks[0].arm("frozen").profile
    line = plot["lines"][[arm["name"] for arm in section["arms"]].index("frozen")]
    assert plot["stairs"]
    assert plot["start"] < plot["at"][0] < plot["at"][-1] < plot["end"]
    for name, values in (("middle", result.share), ("low", result.low), ("high", result.high)):
        assert line[name] == pytest.approx(list(values), abs=1e-4)


def test_hostile_text_stays_text_on_the_page(hostile):
    page = Page(page_of(hostile))
    assert not page.all("img")
    assert not page.all("b")
    assert len(page.raw["script"]) == 2
    assert not [key for _, attributes in page.elements for key in attributes if key.startswith("on")]
    assert len(page.all("button")) == 1 + len(HOSTILE)
    for name in HOSTILE[:2]:
        assert name in page.text
    assert "line break\ufffd" in page.text


def test_hostile_text_stays_text_in_markdown(hostile):
    text = markdown_of(hostile)
    assert "``" not in text.replace("```", "")
    outside = re.sub(r"`[^`\n]+`", "", text)
    assert "<img" not in outside
    assert "<script" not in outside
    assert "](javascript" not in outside
    assert [link for link in re.findall(r"\]\(([^)]*)\)", outside) if not link.startswith("figures/")] == []


def test_every_row_of_a_table_has_the_cells_of_its_head(hostile):
    lines = [re.sub(r"\\\|", "", line) for line in markdown_of(hostile).splitlines()]
    tables = [[len(line.split("|")) for line in block] for block in _blocks(lines)]
    assert len(tables) > 3
    assert all(len(set(counts)) == 1 for counts in tables)


def _blocks(lines):
    block: list[str] = []
    for line in [*lines, ""]:
        if line.startswith("|"):
            block.append(line)
        elif block:
            yield block
            block = []


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("plain", ["plain"]),
        ("a ` b", ["a ` b"]),
        ("2 * 3 ** 4", ["2 * 3 ** 4"]),
        ("*a* **b** `c`", ["a", " ", "b", " ", "c"]),
        ("", []),
    ],
)
def test_marks_without_their_other_half_are_literal(text, pieces):
    assert [span.text for span in spans(text)] == pieces


def test_half_a_surrogate_pair_stops_nothing():
    assert marked("a \ud800 b").encode() == "a \ufffd b".encode()


def test_marks_come_back_as_they_were():
    text = "**`frozen` helps.** *Features*: p < 0.001 of `a|b`, 5 [1, 9]"
    assert marked(text) == text


def test_a_damaged_plan_and_study_file_are_said_and_stop_nothing(tmp_path):
    run = make_run(tmp_path, arm="scratch", strategy=SCRATCH, seed=0)
    make_run(tmp_path, arm="finetune", strategy=FINETUNE, seed=0, source=source(0))
    write_plan(run.folder)
    plan = run.folder / "rltransfer" / "plan.json"
    plan.write_bytes(plan.read_bytes()[:100])
    (tmp_path / "study.yaml").write_text("algo: [")
    for text in (markdown_of(compare(tmp_path)), Page(page_of(compare(tmp_path))).text):
        assert "cannot be read as a plan" in text
        assert "The study file cannot be read, so that missing runs are not known" in text


def test_plans_that_differ_over_seeds_are_not_shown_as_one(tmp_path):
    for seed in range(2):
        write_plan(make_run(tmp_path, arm="scratch", seed=seed).folder, frozen=seed == 0, warning=f"seed {seed}")
    assert "the seeds differ, shown is the first" in markdown_of(compare(tmp_path))


def test_long_names_that_differ_in_their_numbers_differ_on_the_charts_too(tmp_path):
    steps = (100_000, 200_000, 400_000)
    for seed in range(2):
        make_run(tmp_path, arm="scratch", seed=seed)
        for at in steps:
            strategy = ({"kind": "finetune", "layers": at},)
            make_run(tmp_path, arm=f"finetune_all_of_the_layers_from_{at}_steps_on", strategy=strategy, seed=seed)
    page = page_of(compare(tmp_path))
    for kind in ("end", "row"):
        result = re.findall(rf'<span class="{kind}" data-arm="[1-3]"[^>]*>(.*?)</span>', page)
        names = {name.replace("<wbr>", "") for name in result}
        assert len(names) == len(steps)
        assert all(any(str(at) in name for name in names) for at in steps)
