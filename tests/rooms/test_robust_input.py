"""Bringing one's own classifier and inputs: files of every kind, models of every kind, and what is refused."""

from __future__ import annotations

import gzip
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from faults import only_our_errors

from thalweg.core.errors import InputError
from thalweg.robust import data

X = np.linspace(0, 1, 24).reshape(6, 4)
Y = np.arange(6) % 3


# Arrays


def saved(folder: Path, **arrays: Any) -> Path:
    path = folder / "items.npz"
    np.savez(path, **arrays)
    return path


def test_inputs_are_read_as_they_were_saved(tmp_path):
    for kind in (np.float32, np.float64):
        found = data.read(str(saved(tmp_path, x=X.astype(kind), y=Y.astype(np.uint8), further=np.ones(2))))
        np.testing.assert_array_equal(found.x, X.astype(kind))
        np.testing.assert_array_equal(found.y, Y)
        assert (found.y.dtype, found.lower, found.upper) == (np.int64, 0.0, 1.0)
    assert data.read(str(saved(tmp_path, x=3 * X - 1, y=Y)), lower=-1.0, upper=2.0).upper == 2.0
    assert data.read("digits").x.shape == (400, 8, 8)


@pytest.mark.parametrize(
    ("arrays", "sentence"),
    [
        ({"x": X}, r"holds \['x'\] but no array 'y': save it with x=\.\.\., y=\.\.\."),
        ({"images": X, "y": Y}, r"holds \['images', 'y'\] but no array 'x'"),
        ({"x": X, "y": Y[:5]}, r"x has shape \(6, 4\) and y \(5,\): they must be \[n, \.\.\.\] and \[n\]"),
        ({"x": X, "y": Y[:, None]}, r"y \(6, 1\)"),
        ({"x": X[:, 0], "y": Y}, r"x has shape \(6,\)"),
        ({"x": X[:0], "y": Y[:0]}, "with n > 0"),
        ({"x": X, "y": Y.astype(float)}, "y must hold class numbers from 0, but its dtype is float64"),
        ({"x": X, "y": Y - 1}, "y must hold class numbers from 0, but .*-1"),
        ({"x": X, "y": np.array(list("abcabc"))}, "y must hold class numbers from 0, but its dtype is <U1"),
        ({"x": (255 * X).astype(np.uint8), "y": Y}, "x holds uint8: divide it into floats between the bounds first"),
        ({"x": 2 * X, "y": Y}, r"x\[3, 0\] is 1\.04348, outside \[0\.0, 1\.0\]: state the bounds with --lower and"),
        ({"x": np.where(X > 0.9, np.nan, X), "y": Y}, r"x\[5, 1\] is nan, outside"),
        ({"x": X, "y": np.array([0, 1, 2, None, 1, 2], dtype=object)}, "cannot be read as an .npz file of plain arr"),
    ],
)
def test_unusable_inputs_are_refused_with_their_file(tmp_path, arrays, sentence):
    path = saved(tmp_path, **arrays)
    with pytest.raises(InputError, match=f"^{path}: .*{sentence}"):
        data.read(str(path))


def test_files_of_other_kinds_are_refused(tmp_path):
    np.save(tmp_path / "one.npy", X)
    (tmp_path / "pickled.npz").write_bytes(pickle.dumps({"x": X, "y": Y}))
    (tmp_path / "text.npz").write_text("x,y\n1,2\n")
    for name in ("one.npy", "pickled.npz", "text.npz"):
        with pytest.raises(InputError, match=r"cannot be read as an \.npz file of plain arrays"):
            data.read(str(tmp_path / name))
    for name, sentence in (
        (str(tmp_path / "nowhere.npz"), r"nowhere\.npz: there is no such file: pass an .npz file"),
        (str(tmp_path), "is a folder: pass an .npz file"),
        ("robust-cnn-of-others", "there is no such file"),
        ("a,b,c", "names more than two files: name one of images and one of labels"),
    ):
        with pytest.raises(InputError, match=sentence):
            data.read(name)
    with pytest.raises(InputError, match=r"the bounds \[1\.0, 0\.0\] hold nothing"):
        data.read("digits", lower=1.0, upper=0.0)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_a_damaged_file_is_read_or_refused_in_one_sentence(tmp_path, save):
    (tmp_path / "damaged").mkdir()
    save(tmp_path / "items.npz", x=X, y=Y)
    refused = only_our_errors(
        lambda path: data.read(str(path)), tmp_path / "items.npz", tmp_path / "damaged", count=60, seed=2
    )
    assert len(refused) > 60
    assert sum(name.startswith("cut") for name in refused) >= 18


# IDX pairs


def idx(array: np.ndarray) -> bytes:
    code = {"u1": 8, "i4": 12, "f4": 13}[array.dtype.str[1:]]
    return bytes([0, 0, code, array.ndim]) + np.array(array.shape, ">u4").tobytes() + array.astype(
        array.dtype.newbyteorder(">")).tobytes()  # fmt: skip


BYTES = np.random.default_rng(0).integers(0, 256, (6, 3, 5)).astype(np.uint8)


@pytest.fixture
def pair(tmp_path) -> Path:
    (tmp_path / "t10k-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(BYTES)))
    (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(idx(Y.astype(np.uint8)))
    return tmp_path


def test_a_pair_is_found_from_either_of_its_names(pair):
    images, labels = str(pair / "t10k-images-idx3-ubyte.gz"), str(pair / "t10k-labels-idx1-ubyte")
    for source in (images, labels, f"{images},{labels}", f"{labels},{images}"):
        found = data.read(source)
        assert sorted(map(str, data.files(source))) == sorted([images, labels])
        np.testing.assert_allclose(found.x, BYTES / 255, rtol=1e-7)  # float32
        np.testing.assert_array_equal(found.y, Y)
    assert (found.x.min(), found.x.max()) == ((BYTES.min() / np.float32(255)), BYTES.max() / np.float32(255))
    wide = data.read(images, lower=-0.3, upper=0.1)
    np.testing.assert_allclose(wide.x, BYTES / 255 * 0.4 - 0.3, rtol=0, atol=1e-7)


def test_other_types_in_a_pair(tmp_path):
    (tmp_path / "my-images.idx3").write_bytes(idx((BYTES / 255).astype(np.float32)))
    (tmp_path / "my-labels.idx1").write_bytes(idx(Y.astype(np.int32)))
    found = data.read(str(tmp_path / "my-labels.idx1"))
    np.testing.assert_array_equal(found.x, (BYTES / 255).astype(np.float32))
    np.testing.assert_array_equal(found.y, Y)


def test_pairs_that_do_not_fit(pair):
    images, labels = pair / "t10k-images-idx3-ubyte.gz", pair / "t10k-labels-idx1-ubyte"
    labels.write_bytes(idx(Y[:4].astype(np.uint8)))
    with pytest.raises(InputError, match=f"^{images} holds 6 images but {labels} 4 labels: name a pair"):
        data.read(str(images))
    with pytest.raises(InputError, match="are not one file of images and one of labels"):
        data.read(f"{images},{images}")
    labels.unlink()
    with pytest.raises(InputError, match="there is no t10k-labels-idx1-ubyte beside it: name both"):
        data.read(str(images))
    images.rename(pair / "other-ubyte.gz")
    with pytest.raises(InputError, match="its name says neither images nor labels"):
        data.read(str(pair / "other-ubyte.gz"))


@pytest.mark.parametrize("packed", [True, False])
def test_a_damaged_pair_is_read_or_refused_in_one_sentence(pair, packed):
    images = pair / "t10k-images-idx3-ubyte"
    path = images.with_suffix(".gz") if packed else images
    path.write_bytes(gzip.compress(idx(BYTES)) if packed else idx(BYTES))
    (pair / "damaged").mkdir()
    labels = pair / "t10k-labels-idx1-ubyte"
    refused = only_our_errors(lambda copy: data.read(f"{copy},{labels}"), path, pair / "damaged", seed=1)
    assert sum(name.startswith("cut") for name in refused) >= 18


def test_a_public_set_by_its_name(data_folder_of_digits):
    found = data.read("mnist-test", channels="last")
    assert found.x.shape == (10_000, 28, 28, 1)
    assert found.x.dtype == np.float32
    assert (found.x.min(), found.x.max()) == (0, 1)
    np.testing.assert_array_equal(np.bincount(found.y)[:3], [980, 1135, 1032])  # as published
    with pytest.raises(InputError, match="the data set robust-cnn holds no inputs with labels"):
        data.read("robust-cnn")


@pytest.fixture
def data_folder_of_digits(data) -> Path:
    return data


@pytest.mark.parametrize(
    ("shape", "channels", "wanted"),
    [
        ((2, 5, 6), "first", (2, 1, 5, 6)),
        ((2, 5, 6), "last", (2, 5, 6, 1)),
        ((2, 5, 6, 3), "first", (2, 3, 5, 6)),
        ((2, 5, 6, 3), "last", (2, 5, 6, 3)),
        ((2, 4, 5, 6), "last", (2, 5, 6, 4)),
        ((2, 7, 8, 9, 5), "keep", (2, 7, 8, 9, 5)),
        ((2, 3, 6, 3), "first", "where two axes may be the channels"),
        ((2, 5, 6, 7), "first", "where no axis may be the channels"),
        ((2, 30), "first", r"inputs of shape \[30\] are no images: leave --channels out"),
    ],
)
def test_channels(shape, channels, wanted):
    x = np.random.default_rng(0).random(shape)
    items = data.Classified(x, np.zeros(2, int), 0.0, 1.0)
    if isinstance(wanted, str):
        with pytest.raises(InputError, match=wanted):
            data.laid_out(items, channels)
        return
    found = data.laid_out(items, channels).x
    assert found.shape == wanted
    # The same pixels in each place, whatever the order of the axes.
    np.testing.assert_array_equal(np.sort(found, axis=None), np.sort(x, axis=None))
    if x.ndim == 4:
        assert found[(1, 2, 4, 0) if channels == "first" else (1, 2, 4, 2)] in x[1]
