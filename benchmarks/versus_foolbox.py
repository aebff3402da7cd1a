"""Minimal pushes of two convolutional nets on 200 digits, against foolbox: same images, same rule of success.

Both on one thread; seconds are of processor time. THALWEG_DATA names the folder with the nets and digits. The scored
images were not used in tuning ours. Peers: `sh tools/peers.sh foolbox`.
"""

from __future__ import annotations

import _attacks
import jax
from _machine import described, write_result
from _nets import FIRST, LAST, NETS
from _peers import run_peer


def main() -> None:
    """Measure both in turn and write `results/versus_foolbox.json`."""
    task = {"nets": NETS, "first": FIRST, "last": LAST}
    theirs = run_peer("foolbox", "_peer_foolbox.py", task, timeout=7200)
    cases = {}
    with jax.enable_x64(True):  # pushes are looked at once more in float64
        for name in NETS:
            mine = _attacks.ours(_attacks.posed(name))
            rows = _attacks.bare(mine) + _attacks.bare(theirs[name])
            cases[name] = {"images": len(mine[0]["norms"]), "rows": rows, "ours": _attacks.compared(mine, theirs[name])}
    write_result("versus_foolbox", described() | {"peer_versions": theirs["versions"], "nets": cases})


if __name__ == "__main__":
    main()
