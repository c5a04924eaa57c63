import itertools

import numpy as np
import pytest
from synthetic import FROZEN, make_run, make_study, shuffled

from rltransfer.comparison import compare
from rltransfer.report.arm_styles import ON_DARK, ON_LIGHT, looks

# Machado, Oliveira & Fernandes, IEEE TVCG 2009, at full severity: how linear RGB looks without one kind of cone.
VISIONS = {
    "full": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]],
}
XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def linear(colour):
    values = np.array([int(colour[start : start + 2], 16) for start in (1, 3, 5)]) / 255
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def lab(rgb):
    ratios = XYZ @ np.clip(rgb, 0, 1) / np.array([0.9505, 1.0, 1.089])
    f = np.where(ratios > 0.008856, np.cbrt(ratios), 7.787 * ratios + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("vision", VISIONS)
@pytest.mark.parametrize(("palette", "least"), [(ON_LIGHT, 15), (ON_DARK, 11)], ids=["light", "dark"])
def test_arms_are_told_apart_with_any_colour_vision(palette, least, vision):
    seen = [lab(np.array(VISIONS[vision]) @ linear(colour)) for colour in palette]
    assert min(np.linalg.norm(a - b) for a, b in itertools.combinations(seen, 2)) > least


@pytest.mark.parametrize(("palette", "paper"), [(ON_LIGHT, "#ffffff"), (ON_DARK, "#14161a")], ids=["light", "dark"])
def test_every_colour_is_seen_on_its_paper(palette, paper):
    for colour in palette:
        low, high = sorted(float(XYZ[1] @ linear(item)) + 0.05 for item in (colour, paper))
        assert high / low > 2.2


def test_a_control_has_the_colour_of_its_arm_dashed(tmp_path):
    make_study(tmp_path, seeds=1)
    result = looks(compare(tmp_path).tasks[0])
    assert result["scratch"].colour == 0
    assert result["shuffled_frozen"].colour == result["frozen"].colour != result["finetune"].colour
    assert result["frozen"].dashes == ()
    assert result["shuffled_frozen"].dashes == (5.0, 3.0)


def test_no_two_of_many_arms_look_alike_with_their_controls(tmp_path):
    make_run(tmp_path, arm="scratch", seed=0)
    for index in range(30):
        strategy = ({"kind": f"a{index}"},)
        make_run(tmp_path, arm=f"a{index}", strategy=strategy, seed=0)
        for name in ("shuffled", "again")[: 1 + index % 2]:
            make_run(tmp_path, arm=f"a{index}_{name}", strategy=shuffled(strategy), seed=0)
    make_run(tmp_path, arm="orphan", strategy=shuffled(FROZEN), seed=0)
    result = looks(compare(tmp_path).tasks[0])
    assert len(result) == 1 + 30 + 45 + 1
    assert len({(look.colour, look.dashes) for look in result.values()}) == len(result)
    assert result["a28"].colour == result["a28_shuffled"].colour
