import numpy as np
import pytest
import torch
from gymnasium import spaces

from rltransfer.extractors import ProgressiveColumns, SmallCNN


def test_the_groups_hold_every_tensor_once_and_in_order():
    extractor = SmallCNN(spaces.Box(0, 255, (3, 7, 7), np.uint8))
    prefixes = [prefix for group in extractor.layer_groups().values() for prefix in group]
    owners = [[prefix for prefix in prefixes if name.startswith(f"{prefix}.")] for name in extractor.state_dict()]
    assert all(len(owner) == 1 for owner in owners)
    assert list(dict.fromkeys(owner[0] for owner in owners)) == prefixes


@pytest.mark.parametrize("size", [4, 7, 9, 56])
def test_features_have_their_size(size):
    extractor = SmallCNN(spaces.Box(0, 255, (3, size, size), np.uint8), features_dim=12)
    assert extractor(torch.full((2, 3, size, size), 10, dtype=torch.uint8)).shape == (2, 12)
    assert extractor.linear[0].in_features <= 64 * 16


def test_entries_are_scaled():
    extractor = SmallCNN(spaces.Box(0, 255, (3, 7, 7), np.uint8), scale=5.0)
    other = SmallCNN(spaces.Box(0, 255, (3, 7, 7), np.uint8), scale=10.0)
    other.load_state_dict(extractor.state_dict())
    view = torch.randint(0, 6, (1, 3, 7, 7), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(extractor(view), other(view * 2))


def test_images_that_are_too_small():
    with pytest.raises(ValueError, match="at least 4x4 entries, found 3x7"):
        SmallCNN(spaces.Box(0, 255, (3, 3, 7), np.uint8))


def columns(space, *layers):
    return ProgressiveColumns(
        space, sources={"0_actor": {"divisor": 2.0, "layers": layers}}, own={"divisor": 1.0, "layers": layers},
        units=3, scale=0.5,
    )  # fmt: skip


def test_levels_of_a_column_are_read_by_the_same_levels_of_the_own_one():
    """Rusu et al. 2016, equation 2, written out."""
    layers = [{"kind": "linear", "size": size, "activation": "Tanh"} for size in (6, 5)]
    torch.manual_seed(0)
    extractor = columns(spaces.Box(-1, 1, (4,)), *layers)
    seen = torch.randn(7, 4)
    source, target_layers, laterals = extractor.columns["0_actor"], extractor.own, extractor.laterals["0_actor"]
    expected = torch.tanh(source[0].layer(seen / 2.0))
    last = torch.tanh(source[1].layer(expected))
    taken = torch.tanh(laterals["1"].reduce(laterals["1"].scale * expected)) @ laterals["1"].project.weight.T
    hidden = torch.tanh(target_layers[1].layer(torch.tanh(target_layers[0].layer(seen))) + taken)
    beside = torch.tanh(laterals["2"].reduce(laterals["2"].scale * last))
    torch.testing.assert_close(extractor(seen), torch.cat([hidden, beside], dim=1))
    assert extractor.features_dim == 5 + 3
    assert laterals["1"].scale.item() == 0.5


def test_columns_of_images_and_dictionaries_that_cannot_be():
    kernel = {"kind": "convolution", "size": 4, "kernel": 5, "stride": 1, "activation": "ReLU"}
    with pytest.raises(ValueError, match="images of 3x9 entries are too small for a kernel of 5"):
        columns(spaces.Box(0, 255, (1, 3, 9), np.uint8), kernel)
    with pytest.raises(ValueError, match="one vector or image"):
        columns(spaces.Dict(a=spaces.Box(-1, 1, (4,))))
