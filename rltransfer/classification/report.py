"""Writes the report of a classification: the page and its Markdown, with the figures."""

from pathlib import Path

import numpy as np

from rltransfer import files
from rltransfer.classification.figures import draw_accuracies, draw_confusion
from rltransfer.classification.results import BASELINE, CONTROL, ArmResult, Classification
from rltransfer.classification.settings import MEANINGS
from rltransfer.classification.training import LARGEST_GRADIENT
from rltransfer.comparison.verdicts import Contrast, runs_needed
from rltransfer.report import html, markdown
from rltransfer.report.blocks import (
    Block,
    Bullets,
    Code,
    Findings,
    Folded,
    Heading,
    Paragraph,
    Picture,
    Table,
    Tone,
)
from rltransfer.report.paper import FORMATS
from rltransfer.report.wording import estimate, number, p_value
from rltransfer.stats import ALPHA, Estimate

FOLDER = "report"
PAGE = "report.html"
TEXT = "report.md"
_ACCURACIES = "accuracies"
_CONFUSION = "confusion"
_FEW_IMAGES = 100
_MOST_CLASSES = 20


def write(result: Classification) -> Path:
    """Writes the report of a classification and returns the path of its page."""
    folder = result.folder / FOLDER
    pictures = {}
    for name, draw in ((_ACCURACIES, draw_accuracies), (_CONFUSION, draw_confusion)):
        drawn = draw(result, FORMATS)
        for kind, content in drawn.items():
            files.write_bytes(folder / markdown.FIGURES / f"{name}.{kind}", content)
        pictures[name] = drawn["png"]
    title = f"Does {result.network.name} help to classify {result.settings.name}?"
    blocks = _document(result, title, pictures)
    files.write_text(folder / TEXT, markdown.render(blocks))
    files.write_text(folder / PAGE, html.render_without_charts(title, blocks))
    return folder / PAGE


def finding(result: Classification, arm: ArmResult) -> tuple[Tone, str]:
    """Returns what was found about an arm but ``scratch``, in a marked sentence, with the tone of its verdict."""
    contrast = arm.against_scratch
    if contrast is None or contrast.verdict is None:
        reason = "" if contrast is None else contrast.reason
        size = "" if contrast is None or contrast.difference is None else f" {_size(result, arm, contrast)}"
        return "plain", f"**`{arm.name}`: no verdict**, {reason}.{size}"
    is_network = arm is result.arms[0]
    leads = {
        "positive": "helps." if is_network else f"is above `{BASELINE}`.",
        "negative": "hurts." if is_network else f"is below `{BASELINE}`.",
        "inconclusive": ": inconclusive.",
    }
    lead = leads[contrast.verdict]
    space = "" if lead.startswith(":") else " "
    possible = contrast.smallest_p_adjusted is None or contrast.smallest_p_adjusted <= ALPHA
    open_end = "" if contrast.verdict != "inconclusive" else " Not shown to differ, which is not the same as equal."
    few = "" if possible else " With so few seeds no other verdict was possible."
    text = f"**`{arm.name}`{space}{lead}** {_size(result, arm, contrast)}{few or open_end}"
    return contrast.verdict, text + (_origin(result) if is_network else "")


def _size(result: Classification, arm: ArmResult, contrast: Contrast) -> str:
    baseline = result.arm(BASELINE).accuracy
    difference = contrast.difference
    assert difference is not None
    p = "" if contrast.p_adjusted is None else f", p {_relation(contrast.p_adjusted)} after Holm"
    return (
        f"Test accuracy {number(arm.accuracy.value)} against {number(baseline.value)} of `{BASELINE}`: difference "
        f"{_signed(difference)}{p}."
    )


def _signed(difference: Estimate) -> str:
    assert difference.low is not None
    assert difference.high is not None
    value, low, high = (number(part) for part in (difference.value, difference.low, difference.high))
    return f"{'+' if difference.value > 0 else ''}{value}, 95 % interval {low} to {high}"


def _plain(name: str) -> str:
    """Returns the name of a class as code can hold it in marked text."""
    return name.replace("`", "'")


def _relation(p: float) -> str:
    text = p_value(p)
    return f"< {text[1:]}" if text.startswith("<") else f"= {text}"


def _origin(result: Classification) -> str:
    """Returns whether the weights made the difference, or the architecture."""
    control, network = result.against_control, result.arms[0]
    if network.against_scratch is None or network.against_scratch.verdict != "positive":
        return ""
    if result.settings.strategy == "finetune":
        return (
            " Whether its weights or its architecture help is open: the same architecture was not trained from scratch."
        )
    if control is None:
        return f" Whether its weights or its architecture help is open: `{CONTROL}` was left out."
    assert control.difference is not None
    p = "" if control.p_adjusted is None else f", p {_relation(control.p_adjusted)}"
    difference = f"(difference {_signed(control.difference)}{p})"
    if control.verdict == "positive":
        return f" The gain comes from its pretrained weights: it beats `{CONTROL}` too {difference}."
    return f" Whether its weights or its architecture help is open: it was not shown to beat `{CONTROL}` {difference}."


def _document(result: Classification, title: str, pictures: dict[str, bytes]) -> list[Block]:
    others = [arm for arm in result.arms[1:] if arm.name != BASELINE]
    blocks: list[Block] = [Heading(title, 1), Paragraph(_introduction(result))]
    blocks.append(Findings((finding(result, result.arms[0]),)))
    if others:
        blocks += [Paragraph("Baselines and controls:"), Findings(tuple(finding(result, arm) for arm in others))]
    blocks += [
        Picture("Test accuracy over epochs, and of each seed", _ACCURACIES, pictures[_ACCURACIES]),
        _table(result),
        Bullets(tuple(f"`{arm.name}`: {MEANINGS[arm.name]}" for arm in result.arms)),
        Heading("Before you believe it", 2),
        Bullets(tuple(_notes(result))),
        Heading("Confusion matrix", 2),
        Paragraph(
            f"`{result.arms[0].name}`, over all seeds: for each true class the share of test images predicted as each "
            "class, and below the counts. `predictions.csv` holds every prediction of every arm."
        ),
        Picture("Confusion matrix of the network", _CONFUSION, pictures[_CONFUSION]),
        *([_confusion_table(result)] if len(result.classes) <= _MOST_CLASSES else []),
        Heading("What was made", 2),
        Bullets(
            (
                "`classifier.pt2`: the network with its head, as seed 0 trained it: a program of `torch.export`, which "
                f"needs PyTorch alone and takes RGB images of {result.image_size}x{result.image_size} in unsigned "
                "bytes",
                "`encoder/`: the network without its head, an artifact from which agents start",
                "`tb/`: the curves for TensorBoard; `result.json`: all numbers",
            )
        ),
        Code(_usage(result), "python"),
        Folded("Settings", 3, (Bullets(tuple(_settings(result))),)),
    ]
    if result.command is not None:
        lines = f"# in {Path.cwd()}\n{result.command}"
        blocks.append(Folded("How to reproduce this", 3, (Code(lines, "sh"),)))
    return blocks


def _introduction(result: Classification) -> str:
    counts = np.bincount(result.test_labels, minlength=len(result.classes))
    amounts = [
        f"`{_plain(name)}` {train:,} and {test:,}"
        for name, train, test in zip(result.classes, result.train_counts, counts.tolist(), strict=True)
    ]
    listed = ", ".join(amounts[:_MOST_CLASSES]) + (" …" if len(amounts) > _MOST_CLASSES else "")
    return (
        f"{len(result.classes)} classes, with the number of training and test images of each: {listed}. Test accuracy "
        "is that of the classifier after the last epoch. A verdict needs two two-sided "
        "tests: a permutation test over seeds, which holds for these test images, and a t test over test images and "
        f"seeds. The larger p counts, corrected by Holm for the number of arms, at {ALPHA:g}."
    )


def _table(result: Classification) -> Table:
    rows, tones = [], []
    for arm in result.arms:
        contrast = arm.against_scratch
        rows.append(
            (
                f"`{arm.name}`",
                f"{len(arm.fits)}",
                number(arm.train_accuracy),
                estimate(arm.accuracy),
                estimate(None if contrast is None else contrast.difference, sign=True),
                p_value(None if contrast is None else contrast.p_adjusted),
                arm.verdict_word,
            )
        )
        tones.append(finding(result, arm)[0])
    head = ("arm", "seeds", "training accuracy", "test accuracy", f"difference to `{BASELINE}`", "p (Holm)", "verdict")
    return Table(head, tuple(rows), tuple(tones))


def _notes(result: Classification) -> list[str]:
    settings, count = result.settings, len(result.test_labels)
    over = "test images and seeds" if settings.seeds > 1 else "test images alone, since there is one seed"
    notes = [
        f"Brackets are 95 % intervals over {over}: what would move with other images of the same kind"
        f"{' and new seeds' if settings.seeds > 1 else ''}. Images of another kind are another question.",
        "The test images were used for nothing but the test: neither to stop training nor to choose a setting. If you "
        "try several settings and keep the one with the best test accuracy, you have chosen on them.",
        "Pictures of one object, place or series on both sides of a random split make every number too good: put them "
        "on one side, with folders `train/` and `test/`.",
    ]
    if count < _FEW_IMAGES:
        notes.append(f"{count} test images are few: intervals are wide.")
    tests = sum(arm.name != BASELINE for arm in result.arms)
    if 1 < settings.seeds < runs_needed(tests):
        notes.append(f"No verdict is possible with {settings.seeds} seeds: it takes {runs_needed(tests)}.")
    if settings.augment is not None and settings.strategy == "finetune":
        notes.append(
            "An epoch of the network is each training image once, newly augmented; an epoch of the other arms is each "
            f"image and its {settings.n_copies} augmented copies, so that they take {1 + settings.n_copies} times as "
            "many gradient steps."
        )
    return notes


def _confusion_table(result: Classification) -> Table:
    names = [f"`{_plain(name)}`" for name in result.classes]
    counts = result.confusion().tolist()
    rows = tuple((name, *map(str, row)) for name, row in zip(names, counts, strict=True))
    return Table(("true class", *names), rows)


def _usage(result: Classification) -> str:
    more = "  # and so on" if len(result.classes) > _MOST_CLASSES else ""
    side = result.image_size
    return (
        "import numpy as np\nimport torch\nfrom PIL import Image, ImageOps\n\n"
        f"network = torch.export.load({str(result.folder / 'classifier.pt2')!r}).module()\n"
        'image = ImageOps.exif_transpose(Image.open("image.png")).convert("RGB")\n'
        f"image = image.resize(({side}, {side}), Image.Resampling.BILINEAR)\n"
        "images = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None]  # uint8 [batch, 3, height, width]\n"
        "logits = network(images)\n"
        f"classes = {list(result.classes)[:_MOST_CLASSES]}{more}"
    )


def _settings(result: Classification) -> list[str]:
    settings, network = result.settings, result.network
    cut = f"before its last layer, {network.cut}" if network.is_default_cut else f"behind {network.cut}"
    lines = [
        f"network: `{network.name}`, cut {cut}: {network.features:,} features; it receives {network.contract.words()}",
        f"file of its weights: `{network.file}`, sha256 {result.network_sha256[:16]}…",
        f"images: upright, RGB, resized to {result.image_size}x{result.image_size} by Pillow's bilinear filter without "
        "regard to their proportions, before the network's own preprocessing"
        + ("" if settings.strategy == "finetune" else "; features computed once"),
        f"head: {' – '.join(map(str, (network.features, *settings.head, len(result.classes))))}, ReLU, on features "
        "that are standardised over the training images",
        f"training: {'Adam' if settings.optimizer == 'adam' else 'SGD with a momentum of 0.9'}, learning rate "
        f"{settings.rate:g}"
        + (f" (network {settings.rate * settings.lr_scale:g})" if settings.strategy == "finetune" else "")
        + f", epochs: {settings.epochs}, batches of {settings.batch_size}, gradients cut to a norm of "
        f"{LARGEST_GRADIENT:g}, seeds: {', '.join(map(str, range(settings.seeds)))}",
    ]
    if settings.augment is not None:
        lines.append(f"{'; '.join(settings.augment.description())}: {settings.n_copies} copies beside each image")
    lines.append("versions: " + ", ".join(f"{name} {number}" for name, number in result.versions.items()))
    return lines
