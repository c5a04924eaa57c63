"""What a classification is: the images, the network, how it is trained, and what it is compared with."""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from rltransfer.config import AugmentSetting
from rltransfer.strategies import IMAGE_OPERATIONS

Baseline = Literal["scratch", "random_frozen", "pixels"]
BASELINES: tuple[Baseline, ...] = ("scratch", "random_frozen", "pixels")
"""A small network from scratch; the same network untrained, frozen; the head on raw pixels."""
COPIES = 4
MEANINGS = {
    "frozen": "the pretrained network, frozen, under a trained head",
    "finetune": "the pretrained network, trained with its head",
    "scratch": "SB3's NatureCNN with the same head, trained from scratch on the same images, resized to 84x84",
    "random_frozen": "the same network with weights drawn at random, frozen, under a trained head",
    "pixels": "the same head on the pixels of the same images, resized to 84x84",
}
_RATES = {"adam": 1e-3, "sgd": 1e-2}


class Settings(BaseModel, frozen=True, extra="forbid", allow_inf_nan=False):
    """Everything that decides what comes out.

    Attributes:
        folder: The images, as ``ImageFolder-v0`` reads them: a sub-folder for each class, or ``train/`` and ``test/``.
        source: A pretrained network: its name, an artifact, or a file of weights with its ``arch``.
        arch: The network that a file of weights is of.
        cut: The layer of the network that its features are taken behind; None for the input of its last layer.
        pool: The side that maps of features are pooled to.
        size: The side of the images that the network receives, in place of what it was trained on.
        strategy: Whether the network is ``frozen`` or trained with the head (``finetune``).
        head: The widths of the hidden layers of the head.
        seeds: How many times everything is trained, from seed 0 on.
        epochs: How many times the training images are gone through.
        optimizer: ``adam``, or ``sgd`` with a momentum of 0.9.
        learning_rate: Of new layers; None for 0.001 (Adam) or 0.01 (SGD).
        lr_scale: Of ``finetune``: the learning rate of the network in units of that.
        batch_size: Images in a batch.
        augment: How training images are changed at random; None for not at all.
        copies: How many augmented copies stand beside each training image; None for 4, or for 0 without ``augment``.
        test_share: The share of each class that is kept for the test, where there are no ``train/`` and ``test/``.
        split_seed: The seed of that split.
        baselines: What the network is compared with.
        device: ``cpu``, ``cuda``, or ``auto``.
    """

    folder: str
    source: str
    arch: str | None = None
    cut: str | None = None
    pool: int | None = None
    size: int | None = None
    strategy: Literal["frozen", "finetune"] = "frozen"
    head: tuple[PositiveInt, ...] = (256,)
    seeds: PositiveInt = 5
    epochs: PositiveInt = 20
    optimizer: Literal["adam", "sgd"] = "adam"
    learning_rate: PositiveFloat | None = None
    lr_scale: PositiveFloat = 0.1
    batch_size: PositiveInt = 32
    augment: AugmentSetting = None
    copies: PositiveInt | None = None
    test_share: Annotated[float, Field(gt=0, lt=1)] = 0.5
    split_seed: NonNegativeInt = 0
    baselines: tuple[Baseline, ...] = BASELINES
    device: str = "auto"

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.augment is None and self.copies is not None:
            raise ValueError("copies: they are augmented ones: say how with --augment, such as flip:0.5 crop:0.8")
        wrong = [name for name in self.augment.operations if name not in IMAGE_OPERATIONS] if self.augment else []
        if wrong:
            raise ValueError(f"augment: {wrong[0]!r} is not for images: use {', '.join(IMAGE_OPERATIONS)}")
        is_split = all((Path(self.folder).expanduser() / part).is_dir() for part in ("train", "test"))
        ignored = [name for name in ("test_share", "split_seed") if name in self.model_fields_set]
        if is_split and ignored:
            raise ValueError(f"{ignored[0]}: the folder is split into train/ and test/ already. Leave it out.")
        if self.strategy == "frozen" and "lr_scale" in self.model_fields_set:
            raise ValueError("lr_scale: it is of finetune, and a frozen network has no learning rate. Leave it out.")
        return self

    @property
    def name(self) -> str:
        """The name of the folder of images."""
        return Path(self.folder).expanduser().resolve().name

    @property
    def rate(self) -> float:
        """The learning rate of new layers."""
        return _RATES[self.optimizer] if self.learning_rate is None else self.learning_rate

    @property
    def n_copies(self) -> int:
        """How many augmented copies stand beside each training image."""
        return 0 if self.augment is None else self.copies or COPIES

    @property
    def arms(self) -> tuple[str, ...]:
        """What is trained: the network first, then what it is compared with."""
        return (self.strategy, *(name for name in BASELINES if name in self.baselines))

    def stated(self) -> dict[str, Any]:
        """What is stated of the source, as ``load_encoder`` takes it."""
        return {name: getattr(self, name) for name in ("arch", "cut", "pool", "size")}
