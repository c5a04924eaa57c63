"""What each operation does to observations, and what it leaves alone."""

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st

from rltransfer import Augment
from rltransfer.errors import ConfigError, IncompatibleError
from rltransfer.strategies import parse_strategy
from rltransfer.transfer.methods.augment import (
    Augmentation,
    brightened,
    contrasted,
    cropped,
    cut_out,
    flipped,
    scaled,
    shifted,
    with_noise,
)

IMAGE = spaces.Box(0, 255, (4, 12, 10), np.uint8)
VECTOR = spaces.Box(-np.inf, np.inf, (6,), np.float32)
seeds = st.integers(0, 10_000)


def images(seed: int, batch: int = 5) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, (batch, *IMAGE.shape), np.uint8))


def vectors(seed: int, batch: int = 5) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(batch, 6)).astype(np.float32))


def rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


ON_IMAGES = {
    "flip": lambda values, seed: flipped(values, 0.5, rng(seed)),
    "crop": lambda values, seed: cropped(values, 0.7, rng(seed)),
    "shift": lambda values, seed: shifted(values, 3, rng(seed)),
    "cutout": lambda values, seed: cut_out(values, 4, rng(seed)),
    "brightness": lambda values, seed: brightened(values, (0.3, 3.0), rng(seed)),
    "contrast": lambda values, seed: contrasted(values, (0.3, 3.0), rng(seed)),
}


@settings(deadline=None, max_examples=25)
@given(seed=seeds)
@pytest.mark.parametrize("name", ON_IMAGES)
def test_images_stay_images_and_each_draw_is_its_own(name: str, seed: int) -> None:
    given_images = images(seed)
    before = given_images.clone()
    result = ON_IMAGES[name](given_images, seed)
    assert (result.dtype, result.shape) == (torch.uint8, given_images.shape)
    assert torch.equal(given_images, before), "the batch that came in is what a buffer holds"
    assert torch.equal(result, ON_IMAGES[name](given_images, seed)), "the generator decides"
    alike = given_images[:1].repeat(64, 1, 1, 1)
    changed = ON_IMAGES[name](alike, seed)
    assert len({item.numpy().tobytes() for item in changed}) > 1, "each image of a batch has a draw of its own"


@settings(deadline=None, max_examples=25)
@given(seed=seeds, probability=st.sampled_from([0.3, 1.0]))
def test_a_flip_mirrors_whole_images_left_to_right(seed: int, probability: float) -> None:
    values = images(seed, batch=40)
    result = flipped(values, probability, rng(seed))
    mirrored = [torch.equal(after, before.flip(-1)) for before, after in zip(values, result, strict=True)]
    kept = [torch.equal(after, before) for before, after in zip(values, result, strict=True)]
    assert [not was for was in kept] == mirrored
    assert sum(mirrored) == 40 if probability == 1 else 0 < sum(mirrored) < 40


@settings(deadline=None, max_examples=25)
@given(seed=seeds)
@pytest.mark.parametrize("name", ON_IMAGES)
def test_all_channels_of_an_image_are_changed_alike(name: str, seed: int) -> None:
    """So the frames that are stacked in it keep what they say about movement."""
    frame = images(seed)[:, :1]
    result = ON_IMAGES[name](frame.repeat(1, 4, 1, 1), seed)
    for channel in range(1, 4):
        assert torch.equal(result[:, channel], result[:, 0])


@settings(deadline=None, max_examples=50)
@given(seed=seeds, pixels=st.integers(1, 5))
def test_a_shift_moves_an_image_as_padding_with_its_edge_and_cropping_does(seed: int, pixels: int) -> None:
    given_images = images(seed)
    result = shifted(given_images, pixels, rng(seed)).numpy()
    padded = np.pad(given_images.numpy(), ((0, 0), (0, 0), (pixels, pixels), (pixels, pixels)), mode="edge")
    height, width = IMAGE.shape[1:]
    places = set()
    for index, image in enumerate(result):
        fits = [
            (row, column)
            for row in range(2 * pixels + 1)
            for column in range(2 * pixels + 1)
            if np.array_equal(padded[index, :, row : row + height, column : column + width], image)
        ]
        assert len(fits) == 1, "it is one of the crops of the padded image"
        places.update(fits)
    assert len(places) > 1 or len(result) == 1


def test_every_shift_occurs_as_often_as_others() -> None:
    marked = torch.zeros(20_000, 1, 9, 9, dtype=torch.uint8)
    marked[:, 0, 4, 4] = 255
    counts = (shifted(marked, 2, rng(0)) > 0).float().mean(dim=0)[0]
    inside = counts[2:7, 2:7]
    assert float(counts.sum()) == pytest.approx(1.0)
    assert float(inside.sum()) == pytest.approx(1.0)
    assert float((inside - 1 / 25).abs().max()) < 0.006


@settings(deadline=None, max_examples=50)
@given(seed=seeds, side=st.integers(1, 10))
def test_a_cutout_is_one_black_square(seed: int, side: int) -> None:
    white = torch.full((4, 3, 12, 10), 255, dtype=torch.uint8)
    result = cut_out(white, side, rng(seed))
    for image in result:
        rows, columns = np.nonzero(image[0].numpy() == 0)
        assert len(rows) == side * side
        assert (np.ptp(rows) + 1, np.ptp(columns) + 1) == (side, side)
        assert set(image.unique().tolist()) <= {0, 255}


@settings(deadline=None, max_examples=50)
@given(seed=seeds, low=st.floats(0.1, 1.0), width=st.floats(0.0, 2.0))
def test_brightness_multiplies_and_contrast_stretches_around_the_mean(seed: int, low: float, width: float) -> None:
    given_images, bounds = images(seed), (low, low + width)
    factors = rng(seed).uniform(*bounds, size=(5, 1, 1, 1)).astype(np.float32)
    values = given_images.numpy().astype(np.float32)
    mean = values.mean(axis=(1, 2, 3), keepdims=True)
    for result, expected in (
        (brightened(given_images, bounds, rng(seed)), values * factors),
        (contrasted(given_images, bounds, rng(seed)), mean + (values - mean) * factors),
    ):
        assert np.abs(result.numpy().astype(float) - np.clip(expected, 0, 255)).max() <= 0.51


@settings(deadline=None, max_examples=25)
@given(seed=seeds, least=st.floats(0.3, 0.99))
def test_a_crop_shows_a_part_of_the_image_enlarged(seed: int, least: float) -> None:
    """Of an image whose value is its column, the columns left are evenly spaced and at least the share named."""
    ramp = torch.arange(0, 200, 10, dtype=torch.uint8)[None, None, None, :].repeat(4, 1, 20, 1)
    for image in cropped(ramp, least, rng(seed)):
        row = image[0, 10].numpy().astype(float)
        steps = np.diff(row[2:-2])
        assert steps.std() < 1.0
        assert 10 * least - 1.0 < steps.mean() < 10.5
        assert np.array_equal(image[0, 0], image[0, 19])


@settings(deadline=None, max_examples=25)
@given(seed=seeds, low=st.floats(0.1, 1.0), width=st.floats(0.0, 2.0))
def test_amplitude_is_one_factor_for_all_of_an_observation(seed: int, low: float, width: float) -> None:
    given_vectors = vectors(seed)
    ratios = (scaled(given_vectors, (low, low + width), rng(seed)) / given_vectors).numpy()
    assert np.allclose(ratios, ratios[:, :1], rtol=1e-4)
    assert np.all((low - 1e-4 <= ratios) & (ratios <= low + width + 1e-4))
    assert width < 0.01 or len(np.unique(ratios[:, 0])) > 1


def test_noise_has_the_deviation_named_and_mean_zero() -> None:
    zeros = torch.zeros(50_000, 6)
    result = with_noise(zeros, 0.3, rng(0))
    assert float(result.std()) == pytest.approx(0.3, rel=0.02)
    assert float(result.mean()) == pytest.approx(0.0, abs=0.01)
    assert float(torch.corrcoef(result.T).triu(1).abs().max()) < 0.02
    assert not zeros.any()


def test_the_frames_of_a_stacked_vector_get_the_same_noise() -> None:
    result = with_noise(torch.zeros(4, 6), 0.3, rng(0), n_frames=3)
    assert torch.equal(result[:, :2], result[:, 2:4])
    assert torch.equal(result[:, :2], result[:, 4:])
    assert not torch.equal(result[:, 0], result[:, 1])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_vectors_keep_their_type(dtype: torch.dtype) -> None:
    space = spaces.Box(-1, 1, (6,), np.float64)
    augmentation = Augmentation(Augment(noise=0.1, amplitude=(0.5, 2.0)), space, seed=0)
    result = augmentation.changed(torch.ones(3, 6, dtype=dtype))
    assert result.dtype == dtype
    array = augmentation.changed(np.ones((3, 6)))
    assert array.dtype == np.float64
    assert not np.allclose(array, 1.0)


def test_each_part_of_a_dictionary_gets_what_is_for_it() -> None:
    space = spaces.Dict(eye=IMAGE, body=VECTOR, key=spaces.Discrete(3))
    part = Augment(shift=2, noise=0.5)
    observations = {"eye": images(0).numpy(), "body": vectors(0).numpy(), "key": np.arange(5)[:, None]}
    result = Augmentation(part, space, seed=0).changed(observations)
    assert result["key"] is observations["key"]
    assert not np.array_equal(result["eye"], observations["eye"])
    assert not np.array_equal(result["body"], observations["body"])
    only = Augmentation(Augment(shift=2), space, seed=0).changed(observations)
    assert only["body"] is observations["body"]


def test_operations_come_in_the_order_that_is_documented() -> None:
    part = Augment(noise=1.0, amplitude=(2.0, 2.0), contrast=(0.5, 2.0), shift=1)
    assert part.operations == ("shift", "contrast", "amplitude", "noise")
    ones = np.ones((2000, 6), np.float32)
    result = Augmentation(Augment(noise=0.1, amplitude=(2.0, 2.0)), VECTOR, seed=0).changed(ones)
    assert result.std() == pytest.approx(0.1, rel=0.1), "noise is not multiplied"


def test_the_generator_goes_on_from_its_state() -> None:
    first, other = (Augmentation(Augment(noise=0.1), VECTOR, seed=3) for _ in range(2))
    first.changed(vectors(0))
    other.load_state_dict(first.state_dict())
    assert torch.equal(first.changed(vectors(1)), other.changed(vectors(1)))
    fresh = Augmentation(Augment(noise=0.1), VECTOR, seed=4)
    assert not torch.equal(
        fresh.changed(vectors(1)), Augmentation(Augment(noise=0.1), VECTOR, seed=3).changed(vectors(1))
    )


@pytest.mark.parametrize(
    ("settings", "space", "words"),
    [
        ({"shift": 4}, VECTOR, r"augment: 'shift' is for images .*the agent sees Box \(6,\).*amplitude, noise"),
        ({"shift": 4, "contrast": [0.5, 2]}, VECTOR, "augment: 'shift' and 'contrast' are for images"),
        ({"noise": 0.1}, IMAGE, r"augment: 'noise' is for vectors of floats.*crop, shift, cutout"),
        ({"amplitude": [0.5, 2]}, spaces.Discrete(4), "augment: 'amplitude' is for vectors"),
        ({"noise": 1}, spaces.Box(0, 9, (3,), np.int64), "augment: 'noise' is for vectors"),
        ({"cutout": 11}, IMAGE, "augment: 'cutout' of 11 pixels, and a side of the image has 10"),
    ],
)
def test_operations_that_do_not_fit_are_refused_by_name(
    settings: dict[str, Any], space: spaces.Space[Any], words: str
) -> None:
    (_, part) = parse_strategy({"kind": "augment", **settings})
    assert isinstance(part, Augment)
    with pytest.raises(IncompatibleError, match=words):
        Augmentation(part, space, seed=0)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, "'augment' does nothing: give flip, crop, shift, cutout, brightness, contrast, amplitude or noise"),
        ({"shift": 0}, "key 'shift'"),
        ({"crop": 1.0}, "key 'crop'"),
        ({"brightness": [2.0, 0.5]}, "the smaller number comes first"),
        ({"contrast": 0.5}, "key 'contrast'"),
        ({"amplitude": [-1, 2]}, "key 'amplitude'"),
        ({"noise": -1}, "key 'noise'"),
        ({"shfit": 4}, r"no setting 'shfit'. Did you mean 'shift'\?"),
    ],
)
def test_settings_that_cannot_be_are_refused_by_name(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        parse_strategy({"kind": "augment", **settings})
