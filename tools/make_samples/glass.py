"""Makes glass_torus_12x12.txt: a +-J spin glass on a torus whose ground-state energy is proven in two ways.

Needs: numpy scipy tomli-w. Run: python glass.py (a few seconds).
"""

from __future__ import annotations

import itertools
import json
import time

import numpy as np
from _card import SAMPLES, versions, write, write_card
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_array

SIZE, SEED = 12, 20
NAME = f"glass_torus_{SIZE}x{SIZE}"
FORBIDDEN = np.int16(20000)  # far above any energy (at most 2 * SIZE**2), far below int16 overflow


def couplings(size: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """J = +-1 with equal odds: `right[r, c]` joins (r, c) to (r, c+1), `down[r, c]` joins (r, c) to (r+1, c)."""
    drawn = np.random.default_rng(seed).choice(np.array([-1, 1], np.int16), size=(2, size, size))
    return drawn[0], drawn[1]


def energy(spins: np.ndarray, right: np.ndarray, down: np.ndarray) -> int:
    """E = -sum J s s over the bonds of the torus."""
    bonds = right * np.roll(spins, -1, axis=1) + down * np.roll(spins, -1, axis=0)
    return -int(np.sum(spins * bonds, dtype=np.int64))


def descend_a_row(heights: np.ndarray, down: np.ndarray) -> np.ndarray:
    """Min-plus product with one row of vertical bonds, one spin at a time: heights is (2**size states, starts)."""
    starts = heights.shape[1]
    for site, bond in enumerate(down):
        up, flipped = np.moveaxis(heights.reshape(-1, 2, 2**site, starts), 1, 0)
        heights = np.stack([np.minimum(up - bond, flipped + bond), np.minimum(up + bond, flipped - bond)], axis=1)
    return heights.reshape(-1, starts)


def transfer_matrix(right: np.ndarray, down: np.ndarray) -> tuple[int, np.ndarray]:
    """Lowest energy over all states, and one state that has it: exact, every first row is tried."""
    size = len(right)
    states = np.arange(2**size)
    rows = (1 - 2 * (states[:, None] >> np.arange(size) & 1)).astype(np.int16)  # bit 0 is spin +1
    within = np.array([-(rows * np.roll(rows, -1, axis=1)) @ bonds for bonds in right], np.int16)

    def sweep(starts: np.ndarray) -> list[np.ndarray]:
        heights = np.full((2**size, len(starts)), FORBIDDEN, np.int16)
        heights[starts, np.arange(len(starts))] = within[0, starts]
        trail = [heights]
        for row in range(1, size + 1):
            heights = descend_a_row(heights, down[row - 1])
            if row < size:
                heights = heights + within[row][:, None]
            trail.append(heights)
        return trail

    lowest, best = int(FORBIDDEN), 0
    half = states[: 2 ** (size - 1)]  # flipping all spins changes no energy: the last spin of the first row is fixed
    for starts in np.array_split(half, max(1, len(half) // 128)):
        closed = sweep(starts)[-1][starts, np.arange(len(starts))]
        if closed.min() < lowest:
            lowest, best = int(closed.min()), int(starts[closed.argmin()])
    return lowest, walk_back(sweep(np.array([best])), rows, down, best)


def walk_back(trail: list[np.ndarray], rows: np.ndarray, down: np.ndarray, first: int) -> np.ndarray:
    """The states of all rows along a path that attains the end of the trail."""
    size, below, path = rows.shape[1], first, []
    for row in range(size - 1, -1, -1):
        below = int(np.argmin(trail[row][:, 0] - (rows * down[row]) @ rows[below]))
        path.append(rows[below])
    return np.array(path[::-1])


def integer_program(right: np.ndarray, down: np.ndarray) -> tuple[int, np.ndarray, float]:
    """The same minimum as a maximum-cut integer program, solved by HiGHS to a proven gap of zero.

    **Returns:** energy, spins, and the solver's lower bound on the energy.
    """
    size = len(right)
    site = np.arange(size * size).reshape(size, size)
    pairs = np.concatenate([np.stack([site, np.roll(site, -1, axis)], -1).reshape(-1, 2) for axis in (1, 0)])
    bond = np.concatenate([right.ravel(), down.ravel()]).astype(float)
    cut = size * size + np.arange(len(pairs))  # variable of bond k: 1 where its two spins differ
    matrix, upper = [], []

    def at_most(terms: dict[int, float], limit: float) -> None:
        matrix.append(terms)
        upper.append(limit)

    for k, (i, j) in zip(cut.tolist(), pairs.tolist(), strict=True):
        at_most({i: 1, j: -1, k: -1}, 0)
        at_most({i: -1, j: 1, k: -1}, 0)
        at_most({k: 1, i: -1, j: -1}, 0)
        at_most({k: 1, i: 1, j: 1}, 2)
    across, along = cut[: size * size].reshape(size, size), cut[size * size :].reshape(size, size)
    for r, c in np.ndindex(size, size):  # around a plaquette the number of cut bonds is even: tightens the relaxation
        loop = (across[r, c], along[r, (c + 1) % size], across[(r + 1) % size, c], along[r, c])
        for signs in itertools.product((1, -1), repeat=4):
            if signs.count(1) % 2:
                at_most({int(k): sign for k, sign in zip(loop, signs, strict=True)}, signs.count(1) - 1)
    entries = [(row, column, value) for row, terms in enumerate(matrix) for column, value in terms.items()]
    row, column, value = (np.array(part) for part in zip(*entries, strict=True))
    constraint = LinearConstraint(csr_array((value.astype(float), (row, column))), -np.inf, np.array(upper))
    count = size * size + len(pairs)
    top = np.ones(count)
    top[0] = 0  # the first spin is fixed
    cost = np.concatenate([np.zeros(size * size), 2 * bond])
    found = milp(
        cost, integrality=np.ones(count), bounds=Bounds(0, top), constraints=constraint, options={"mip_rel_gap": 0}
    )
    if found.status != 0:
        raise SystemExit(f"HiGHS did not prove optimality: {found.message}")
    spins = (1 - 2 * np.rint(found.x[: size * size]).astype(np.int16)).reshape(size, size)
    return energy(spins, right, down), spins, float(found.mip_dual_bound - bond.sum())


def enumeration(right: np.ndarray, down: np.ndarray) -> int:
    """Lowest energy of a small torus by looking at every state."""
    size = len(right)
    bits = np.arange(2 ** (size * size))[:, None] >> np.arange(size * size) & 1
    spins = (1 - 2 * bits).astype(np.int16).reshape(-1, size, size)
    bonds = right * np.roll(spins, -1, axis=2) + down * np.roll(spins, -1, axis=1)
    return -int(np.sum(spins * bonds, axis=(1, 2), dtype=np.int64).max())


def check_methods(count: int = 20) -> None:
    """Both methods against enumeration on 4 x 4 tori."""
    for seed in range(count):
        small = couplings(4, seed)
        truth = enumeration(*small)
        by_transfer, state = transfer_matrix(*small)
        by_program, _, bound = integer_program(*small)
        if not truth == by_transfer == energy(state, *small) == by_program or abs(bound - truth) > 1e-6:
            raise SystemExit(f"4 x 4 torus, seed {seed}: {truth}, {by_transfer}, {by_program}, bound {bound}")


def main() -> None:
    check_methods()
    right, down = couplings(SIZE, SEED)
    began = time.perf_counter()
    lowest, state = transfer_matrix(right, down)
    seconds_transfer = time.perf_counter() - began
    by_program, _, bound = integer_program(right, down)
    seconds_program = time.perf_counter() - began - seconds_transfer
    # Every flip changes E by a multiple of 4 (an even local field), so a bound above `lowest - 4` already proves it.
    if not (lowest == energy(state, right, down) == by_program) or bound < lowest - 1:
        raise SystemExit(f"the two proofs disagree: {lowest}, {energy(state, right, down)}, {by_program}, {bound}")
    print(f"transfer matrix {lowest} in {seconds_transfer:.1f} s")
    print(f"HiGHS {by_program}, bound {bound}, in {seconds_program:.1f} s")

    lines = [f"{SIZE * SIZE} {2 * SIZE * SIZE}"]
    number = lambda r, c: 1 + (r % SIZE) * SIZE + c % SIZE  # noqa: E731
    for r, c in np.ndindex(SIZE, SIZE):
        lines.append(f"{number(r, c)} {number(r, c + 1)} {right[r, c]}")
        lines.append(f"{number(r, c)} {number(r + 1, c)} {down[r, c]}")
    write(SAMPLES / f"{NAME}.txt", ("\n".join(lines) + "\n").encode())
    total = int(right.sum() + down.sum())
    proof = {
        "spins": SIZE * SIZE,
        "bonds": 2 * SIZE * SIZE,
        "seed": SEED,
        "couplings": f"default_rng({SEED}).choice([-1, 1], size=(2, {SIZE}, {SIZE})): rightward, then downward bonds",
        "energy_convention": "E = -sum J_ij s_i s_j, s = +-1; the third column is J",
        "numbering": f"spin r*{SIZE}+c+1 sits at row r, column c, both counted from 0",
        "ground_state_energy": lowest,
        "ground_state": state.ravel().tolist(),
        "coupling_sum": total,
        "maximum_cut": (total - lowest) // 2,
        "maximum_cut_note": "third column read as cut weights: the torus is bipartite, so J and -J share the energy",
        "proof": [
            f"min-plus transfer matrix over all 2^{SIZE - 1} first rows up to the flip of all: minimum {lowest}",
            f"integer program with plaquette cuts, HiGHS, relative gap 0: minimum {by_program}, lower bound {bound:g}",
            "both methods equal enumeration of all 2^16 states on 20 tori of 4 x 4",
        ],
        "versions": versions("numpy", "scipy"),
    }
    write(SAMPLES / f"{NAME}.json", (json.dumps(proof, indent=1) + "\n").encode())
    write_card(
        NAME,
        {
            f"{NAME}.txt": "couplings in Gset/rudy text: n m, then i j J, 1-based",
            f"{NAME}.json": "ground state and proof",
        },
        {
            "what": f"a +-J Ising spin glass on a {SIZE} x {SIZE} torus with a proven ground state",
            "origin": f"made for this package: couplings +-1 with equal odds, seed {SEED}",
            "licence": "Apache-2.0 (made for this package)",
            "made": "ground-state energy proven by a min-plus transfer matrix and by an integer program with gap 0",
            "units": "couplings and energies in units of |J|; E = -sum J_ij s_i s_j, no field",
            "script": "tools/make_samples/glass.py",
            "versions": versions("numpy", "scipy"),
        },
    )


if __name__ == "__main__":
    main()
