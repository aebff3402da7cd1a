"""Makes the card of the digits sample: the images themselves come with scikit-learn, a core dependency.

Needs: scikit-learn tomli-w. Run: python digits.py.
"""

from __future__ import annotations

from _card import versions, write_card
from sklearn.datasets import load_digits


def main() -> None:
    images = load_digits().images
    write_card(
        "digits",
        {},
        {
            "what": f"{len(images)} handwritten digits, {images.shape[1]} x {images.shape[2]} pixels, ten classes",
            "origin": "scikit-learn's sklearn.datasets.load_digits(), which works offline",
            "licence": "CC BY 4.0 (UCI Machine Learning Repository, Alpaydin and Kaynak, 1998); nothing is copied here",
            "made": "not a file of this package",
            "units": f"grey levels {images.min():.0f} to {images.max():.0f}",
            "script": "tools/make_samples/digits.py",
            "versions": versions("scikit-learn"),
        },
    )


if __name__ == "__main__":
    main()
