"""The two convolutional nets and the digits that the attack benchmarks share, from THALWEG_DATA."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import numpy as np

FIRST, LAST = 9000, 9200  # scored here; images 8000 to 8999 are for tuning, and those before for training
NETS = ("standard", "robust")


def folder() -> Path:
    """Where the weights and digits lie."""
    return Path(os.environ["THALWEG_DATA"]) / "robust"


def weights(name: str) -> dict[str, np.ndarray]:
    """The arrays of one net, in PyTorch's layout."""
    with np.load(folder() / f"{name}_cnn.npz") as file:
        return {key: np.array(file[key]) for key in file.files}


def digits(first: int = FIRST, last: int = LAST) -> tuple[np.ndarray, np.ndarray]:
    """Images `[n, 1, 28, 28]` as float32 in [0, 1], and their labels."""
    images = gzip.decompress((folder() / "t10k-images-idx3-ubyte.gz").read_bytes())
    labels = gzip.decompress((folder() / "t10k-labels-idx1-ubyte.gz").read_bytes())
    x = np.frombuffer(images, np.uint8, offset=16).reshape(-1, 1, 28, 28)[first:last] / np.float32(255)
    return x, np.frombuffer(labels, np.uint8, offset=8)[first:last].astype(np.int64)
