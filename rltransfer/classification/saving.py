"""Saves what a classification made: the classifier, the encoder that agents start from, numbers and predictions."""

import csv
import dataclasses
import hashlib
import io
import json
from pathlib import Path

import numpy as np
import torch

from rltransfer import files
from rltransfer.artifact import Encoder
from rltransfer.classification import models
from rltransfer.classification.images import Images
from rltransfer.classification.results import Classification
from rltransfer.errors import IncompatibleError, RunError

CLASSIFIER = "classifier.pt2"
ENCODER = "encoder"
RESULT = "result.json"
PREDICTIONS = "predictions.csv"
_CHECKED = 64
_TIE = 1e-3


def save(result: Classification, classifier: models.Classifier, encoder: Encoder, test: Images) -> None:
    """Writes everything but the report into the folder of a classification.

    Args:
        result: What was found.
        classifier: The network asked for, as seed 0 trained it.
        encoder: The source.
        test: The test images, some of which the saved classifier must classify as measured.

    Raises:
        RunError: It does not.
        IncompatibleError: It cannot be exported.
        FileWriteError: A file cannot be written.
    """
    files.write_text(result.folder / PREDICTIONS, _predictions(result))
    files.write_json(result.folder / RESULT, result.to_json())
    path = (result.folder / CLASSIFIER).absolute()
    content = exported(classifier, test.batch([0, 1]), result.classes)
    files.write_bytes(path, content)
    _check(content, result, test)
    if result.settings.strategy == "finetune":
        facts = result.network.model_copy(
            update={
                "weights": None,
                "file": str(path),
                "url": None,
                "left_out": (),
                "contract_is_assumed": False,
                "finetuned": f"{result.network.name} on the images of {Path(result.settings.folder).absolute()}",
            }
        )
        source = encoder.source.model_copy(
            update={"path": str(path), "sha256": hashlib.sha256(content).hexdigest(), "network": facts}
        )
        encoder = dataclasses.replace(encoder, tensors=models.weights_of(classifier.encoder, encoder), source=source)
    encoder.save(result.folder / ENCODER)


def exported(classifier: models.Classifier, examples: torch.Tensor, classes: tuple[str, ...]) -> bytes:
    """Returns a classifier as a program of ``torch.export``, for any number of images at once.

    Raises:
        IncompatibleError: It cannot be exported.
    """
    content = io.BytesIO()
    shapes = {"images": {0: torch.export.Dim("batch")}}
    try:
        program = torch.export.export(classifier.eval(), (examples,), dynamic_shapes=shapes)
    except Exception as error:
        raise IncompatibleError(f"torch.export cannot save a classifier with this network: {error}") from error
    torch.export.save(program, content, extra_files={"classes.json": json.dumps(classes)})
    return content.getvalue()


def _check(content: bytes, result: Classification, test: Images) -> None:
    # Files are sorted by class.
    rows = np.linspace(0, len(test) - 1, min(_CHECKED, len(test))).astype(int).tolist()
    with torch.no_grad():
        logits = torch.export.load(io.BytesIO(content)).module()(test.batch(rows))
    measured = torch.from_numpy(result.arms[0].fits[0].predictions)[rows]
    best = logits.max(dim=1).values
    wrong = best - logits.gather(1, measured[:, None])[:, 0] > _TIE * (1 + best.abs())
    if bool(wrong.any()) or not bool(torch.isfinite(logits).all()):
        raise RunError(
            f"{result.folder / CLASSIFIER} gives other classes than were measured: do not use it. {RESULT} and "
            f"{PREDICTIONS} beside it are those of the measurement."
        )


def _predictions(result: Classification) -> str:
    rows = io.StringIO()
    writer = csv.writer(rows, lineterminator="\n")
    columns = [(f"{arm.name}_seed{seed}", fit) for arm in result.arms for seed, fit in enumerate(arm.fits)]
    writer.writerow(["file", "class", *(name for name, _ in columns)])
    for index, file in enumerate(result.test_files):
        given = (result.classes[fit.predictions[index]] for _, fit in columns)
        writer.writerow([file, result.classes[result.test_labels[index]], *given])
    return rows.getvalue()
