"""Sliders keep their numbers through packing, and refuse what they cannot show."""

from __future__ import annotations

import base64
import dataclasses
import json
from typing import Any

import numpy as np
import pytest

from thalweg.core.errors import InputError
from thalweg.report import Marker, Slider
from thalweg.report.slider import encode_array, encode_signs


def slider(kind: Any = "image", frames=None, **other) -> Slider:
    frames = np.random.default_rng(0).random((3, 4, 5)) if frames is None else frames
    return Slider("over the ridge", [0.0, 0.5, 1.0], [1.0, 3.0, 2.0], kind, frames, **other)


def decode(packed):
    """What the page's script does with packed numbers."""
    count = int(np.prod(packed["shape"]))
    if packed["encoding"] == "json":
        flat = np.array(packed["data"], dtype=float)
    elif packed["encoding"] == "float32":
        flat = np.frombuffer(base64.b64decode(packed["data"]), "<f4").astype(float)
    else:
        bits = np.unpackbits(np.frombuffer(base64.b64decode(packed["data"]), np.uint8))[:count]
        flat = 2.0 * bits - 1.0
    return flat.reshape(packed["shape"])


@pytest.mark.parametrize("digits", [2, 4, 6])
@pytest.mark.parametrize(("offset", "scale"), [(0.0, 1.0), (-4209.5, 0.1), (0.0, 1e-9), (1e6, 1e3), (3.0, 0.0)])
def test_packed_numbers_round_trip_to_their_digits(digits, offset, scale):
    array = offset + scale * np.random.default_rng(1).normal(size=(4, 6))
    back = decode(json.loads(json.dumps(encode_array(array, digits))))
    # `digits` of the span by definition; the second term is the rounding of float64 itself at this offset.
    assert np.abs(back - array).max() <= 10.0**-digits * np.ptp(array) + 4 * np.spacing(abs(offset) + 1)


def test_the_shorter_packing_wins():
    noise = np.random.default_rng(2).random((20, 20))
    assert encode_array(noise, 6)["encoding"] == "float32"
    assert encode_array(np.round(noise), 6)["encoding"] == "json"
    # float32 has nothing left of a span of 1e-4 at a height of 4e3.
    assert encode_array(-4209.5 + 1e-4 * noise, 6)["encoding"] == "json"


def test_signs_round_trip_exactly():
    signs = np.random.default_rng(3).choice([-1, 1], (3, 5, 7))
    packed = encode_signs(signs)
    assert (decode(packed) == signs).all()
    assert len(packed["data"]) == 4 * -(-signs.size // 24)  # one bit each, in base64


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"kind": "sound"}, "choose one of image, curves, signs, points"),
        ({"frames": np.zeros((3, 4))}, r"needs \[frames, height, width\] with 3 frames"),
        ({"frames": np.zeros((2, 4, 4))}, "with 3 frames"),
        ({"frames": np.full((3, 2, 2), np.nan)}, r"frames is not finite at index \[0, 0, 0\]"),
        ({"energy": [1.0, np.inf, 2.0]}, r"energy is not finite at index \[1\]"),
        ({"t": [0.0, 0.0, 1.0]}, "strictly increasing"),
        ({"start": 3}, "frames 0 to 2"),
        ({"markers": [Marker("far", 2.0)]}, "outside 0 to 1"),
        ({"kind": "signs"}, "-1 or \\+1"),
        ({"kind": "points"}, "give 2 or 3"),
        ({"kind": "points", "frames": np.zeros((3, 2, 3)), "bonds": [[0, 2]]}, "numbered 0 to 1"),
        ({"kind": "points", "frames": np.zeros((3, 2, 3)), "bonds": [0, 1]}, "pairs of points"),
        ({"kind": "points", "frames": np.zeros((3, 2, 3)), "colours": ["red", "blue"]}, "#rrggbb"),
        ({"kind": "curves", "labels": ["one"]}, "1 entries for 4 curves"),
        ({"kind": "curves", "x": [0.0]}, "each of the 5 points"),
        ({"limits": (1.0, 0.0)}, "a lower and a higher"),
    ],
)  # fmt: skip
def test_a_slider_refuses_what_it_cannot_show(change, says):
    with pytest.raises(InputError, match=says):
        dataclasses.replace(slider(), **change)
