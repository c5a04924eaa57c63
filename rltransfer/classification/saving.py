"""Saves what a classification made: the classifier, the encoder that agents start from, numbers and predictions."""

import csv
import dataclasses
import hashlib
import io
import json

import torch

from rltransfer import files
from rltransfer.artifact import Encoder
from rltransfer.classification import models
from rltransfer.classification.images import Images
from rltransfer.classification.results import Classification
from rltransfer.errors import RunError

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
        FileWriteError: A file cannot be written.
    """
    path = result.folder / CLASSIFIER
    content = exported(classifier, test.batch([0, 1]), result.classes)
    files.write_bytes(path, content)
    _check(content, result, test)
    if result.settings.strategy == "finetune":
        facts = result.network.model_copy(update={"weights": None, "file": str(path), "url": None})
        source = encoder.source.model_copy(
            update={"path": str(path), "sha256": hashlib.sha256(content).hexdigest(), "network": facts}
        )
        trained_on = {"finetuned_on": result.settings.folder, "from": encoder.source.path}
        tensors = models.weights_of(classifier.encoder, encoder)
        encoder = dataclasses.replace(encoder, tensors=tensors, source=source, hyperparams=trained_on)
    encoder.save(result.folder / ENCODER)
    files.write_text(result.folder / PREDICTIONS, _predictions(result))
    files.write_json(result.folder / RESULT, result.to_json())


def exported(classifier: models.Classifier, examples: torch.Tensor, classes: tuple[str, ...]) -> bytes:
    """Returns a classifier as a program of ``torch.export``, for any number of images at once."""
    content = io.BytesIO()
    batch = torch.export.Dim("batch")
    program = torch.export.export(classifier.eval(), (examples,), dynamic_shapes={"images": {0: batch}})
    torch.export.save(program, content, extra_files={"classes.json": json.dumps(classes)})
    return content.getvalue()


def _check(content: bytes, result: Classification, test: Images) -> None:
    rows = range(min(_CHECKED, len(test)))
    with torch.no_grad():
        logits = torch.export.load(io.BytesIO(content)).module()(test.batch(rows))
    measured = torch.from_numpy(result.arms[0].fits[0].predictions)[: len(rows)]
    best = logits.max(dim=1).values
    wrong = best - logits.gather(1, measured[:, None])[:, 0] > _TIE * (1 + best.abs())
    if bool(wrong.any()):
        files = ", ".join(result.test_files[row] for row in wrong.nonzero()[:3, 0].tolist())
        raise RunError(f"{CLASSIFIER} gives other classes than were measured, such as for {files}: nothing is saved.")


def _predictions(result: Classification) -> str:
    network = result.arms[0]
    rows = io.StringIO()
    writer = csv.writer(rows, lineterminator="\n")
    writer.writerow(["file", "class", *(f"{network.name}_seed{seed}" for seed in range(len(network.fits)))])
    for index, file in enumerate(result.test_files):
        given = (result.classes[fit.predictions[index]] for fit in network.fits)
        writer.writerow([file, result.classes[result.test_labels[index]], *given])
    return rows.getvalue()
