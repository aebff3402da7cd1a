"""The sample files are what their cards say, and the glass's ground state is proven again."""

from __future__ import annotations

import csv
import gzip
import hashlib
import itertools
import json
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

from thalweg import samples
from thalweg.core.errors import InputError

FOLDER = Path(samples.__file__).parent
FILES = [(name, file) for name in samples.names() for file in samples.card(name)["files"]]
GLASS = "glass_torus_12x12"


def test_every_file_is_on_a_card_and_every_card_has_its_files():
    on_cards = {file for _, file in FILES}
    own = {"__init__.py", "cards.toml", "LICENSES.md"}
    assert {path.name for path in FOLDER.iterdir() if path.is_file()} - own == on_cards
    assert set(samples.names()) >= {GLASS, "ethanol_gfn2", "water_gfn2", "fly_chr4_locus", "itr_panel"}


@pytest.mark.parametrize(("name", "file"), FILES)
def test_checksum_size_and_licence(name, file):
    entry = samples.card(name)
    content = samples.path(file).read_bytes()
    assert hashlib.sha256(content).hexdigest() == entry["files"][file]["sha256"]
    assert len(content) == entry["files"][file]["bytes"]
    for key in ("what", "origin", "licence", "made", "units", "script", "versions"):
        assert entry[key].strip(), f"{name} lacks {key}"


def test_size_and_licence_texts():
    assert sum(samples.path(file).stat().st_size for _, file in FILES) < 3_000_000
    text = (FOLDER / "LICENSES.md").read_text(encoding="utf-8")
    assert all(name in text for name in samples.names())


def test_paths_and_unknown_names():
    assert samples.path("fly_chr4_locus").name == "fly_chr4_locus.fa.gz"
    assert samples.path("fly_chr4_locus.gff3.gz").is_file()
    assert all(samples.path(name).is_file() for name in samples.names())
    with pytest.raises(InputError, match="water_gfn2"):
        samples.path("no_such_sample")
    with pytest.raises(InputError, match="water_gfn2"):
        samples.card("no_such_sample")
    with pytest.raises(InputError, match="load_digits"):
        samples.path("digits")
    samples.card("digits")["what"] = "spoilt"
    assert samples.card("digits")["what"] != "spoilt"


def test_importing_the_samples_starts_neither_jax_nor_numpy():
    code = "import sys, thalweg.samples as s; s.names(); sys.exit(bool({'jax', 'numpy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_cards_name_existing_makers():
    root = FOLDER.parents[2]
    cards = tomllib.loads((FOLDER / "cards.toml").read_text(encoding="utf-8"))
    if not (root / "tools").is_dir():
        pytest.skip("the makers are in the repository only, not in an installed package")
    assert all((root / entry["script"]).is_file() for entry in cards.values())


def glass() -> tuple[np.ndarray, dict]:
    """The coupling matrix J as the file has it, and the proof beside it."""
    head, *rows = [[int(word) for word in line.split()] for line in samples.path(GLASS).read_text().splitlines()]
    proof = json.loads(samples.path(f"{GLASS}.json").read_text())
    assert head == [proof["spins"], proof["bonds"]]
    assert len(rows) == proof["bonds"]
    coupling = np.zeros((head[0], head[0]), int)
    for i, j, weight in rows:
        assert i != j
        assert weight in (-1, 1)
        assert coupling[i - 1, j - 1] == 0
        coupling[i - 1, j - 1] = coupling[j - 1, i - 1] = weight
    return coupling, proof


def test_the_glass_is_a_torus_and_its_state_has_its_energy():
    coupling, proof = glass()
    spins = np.array(proof["ground_state"])
    assert set(np.unique(spins)) == {-1, 1}
    assert np.all(np.count_nonzero(coupling, axis=0) == 4)
    assert -spins @ coupling @ spins // 2 == proof["ground_state_energy"]
    assert np.all(spins * (coupling @ spins) >= 0)  # no single flip lowers the energy
    assert np.sum(coupling) // 2 == proof["coupling_sum"]


def test_the_glass_read_as_cut_weights_has_the_stated_maximum_cut():
    coupling, proof = glass()
    rows, columns = np.divmod(np.arange(144), 12)
    sides = np.array(proof["ground_state"]) * (1 - 2 * ((rows + columns) % 2))
    assert np.sum(coupling[sides == 1][:, sides == -1]) == proof["maximum_cut"]


def lowest_energy(coupling: np.ndarray, size: int) -> int:
    """Exact minimum over the torus, column by column: every state of the first column, min-plus over the others.

    The maker walks along rows; this walks along columns and takes its bonds from the matrix, so that the two share
    neither code nor orientation.
    """
    site = np.arange(size * size).reshape(size, size)
    column_states = np.array(list(itertools.product((1, -1), repeat=size)), np.int16)
    inside = np.zeros((size, len(column_states)), np.int16)
    for c, r in np.ndindex(size, size):
        below = (r + 1) % size
        inside[c] -= np.int16(coupling[site[r, c], site[below, c]]) * column_states[:, r] * column_states[:, below]
    lowest = np.iinfo(np.int16).max
    for starts in np.array_split(np.arange(len(column_states) // 2), max(1, len(column_states) // 256)):
        each = np.arange(len(starts))
        best = np.full((len(column_states), len(starts)), 20000, np.int16)  # out of reach, and no overflow in 16 bits
        best[starts, each] = inside[0, starts]
        for c in range(size):
            for r in range(size):
                bond = np.int16(coupling[site[r, c], site[r, (c + 1) % size]])
                plus, minus = np.moveaxis(best.reshape(2**r, 2, -1, len(starts)), 1, 0)
                best = np.stack([np.minimum(plus - bond, minus + bond), np.minimum(plus + bond, minus - bond)], axis=1)
            best = best.reshape(len(column_states), len(starts))
            if c + 1 < size:
                best = best + inside[c + 1][:, None]
        lowest = min(lowest, int(best[starts, each].min()))
    return lowest


def test_the_proof_method_agrees_with_enumeration():
    rng = np.random.default_rng(0)
    site = np.arange(16).reshape(4, 4)
    coupling = np.zeros((16, 16), int)
    for axis in (0, 1):
        here, there = site.ravel(), np.roll(site, -1, axis).ravel()
        coupling[here, there] = coupling[there, here] = rng.choice([-1, 1], 16)
    states = 1 - 2 * (np.arange(2**16)[:, None] >> np.arange(16) & 1)
    assert lowest_energy(coupling, 4) == -np.max(np.sum(states * (states @ coupling), axis=1)) // 2


def test_the_ground_state_energy_is_proven_again():
    coupling, proof = glass()
    assert lowest_energy(coupling, 12) == proof["ground_state_energy"]


def frames(file: str) -> list[tuple[dict[str, str], list[str], np.ndarray]]:
    """Frames of an extended XYZ file: comment keys, symbols, and positions with forces (atoms, 6)."""
    lines, found = samples.path(file).read_text().splitlines(), []
    while lines:
        count = int(lines[0])
        keys = dict(word.split("=", 1) for word in lines[1].split() if "=" in word)
        words = [line.split() for line in lines[2 : 2 + count]]
        found.append((keys, [row[0] for row in words], np.array([row[1:] for row in words], float)))
        lines = lines[2 + count :]
    return found


def test_ethanol_frames():
    read = frames("ethanol_gfn2.xyz")
    entry = samples.card("ethanol_gfn2")
    groups = [(keys["split"], int(keys["temperature"])) for keys, _, _ in read]
    assert {group: groups.count(group) for group in set(groups)} == {
        ("train", 300): 280,
        ("test", 300): 60,
        ("test", 500): 60,
    }
    test_chains = {keys["chain"] for keys, _, _ in read if keys["split"] == "test"}
    assert test_chains.isdisjoint(keys["chain"] for keys, _, _ in read if keys["split"] == "train")
    for keys, symbols, table in read:
        assert "".join(symbols) == "CCOHHHHHH"
        assert keys["Properties"] == "species:S:1:pos:R:3:forces:R:3"
        assert table.shape == (9, 6)
        assert np.all(np.isfinite(table))
        # No net force in vacuum: nine forces printed to 1e-8 add up to 5e-8, the rest is the labelling solver's.
        assert np.abs(table[:, 3:].sum(axis=0)).max() < 1e-6
    atoms = sum(count * entry["isolated_atoms"][symbol] for symbol, count in {"C": 2, "H": 6, "O": 1}.items())
    energies = np.array([float(keys["energy"]) for keys, _, _ in read]) - atoms
    temperatures = np.array([temperature for _, temperature in groups])
    assert np.all((energies > -46) & (energies < -44))  # GFN2-xTB binds its minimum by 45.6 eV, thermal energy < 1 eV
    # Equipartition: 21 vibrations hold 21/2 k (500 K - 300 K) = 0.18 eV more; 0.1 is 5 standard errors of 60 frames.
    assert abs(energies[temperatures == 500].mean() - energies[temperatures == 300].mean() - 0.18) < 0.1


def test_the_water_sits_at_a_minimum():
    ((keys, symbols, table),) = frames("water_gfn2.xyz")
    assert sorted(symbols) == ["H", "H", "O"]
    assert np.isfinite(float(keys["energy"]))
    assert np.linalg.norm(table[:, 3:], axis=1).max() < 1e-4  # the maker's criterion, eV/A


def gff_rows() -> list[list[str]]:
    with gzip.open(samples.path("fly_chr4_locus.gff3.gz"), "rt") as stream:
        return [line.rstrip("\n").split("\t") for line in stream if not line.startswith("#")]


def fly_sequence() -> str:
    with gzip.open(samples.path("fly_chr4_locus.fa.gz"), "rt") as stream:
        header, *lines = stream.read().splitlines()
    assert header.startswith(">fly_chr4_locus ")
    return "".join(lines)


def test_fly_features_lie_inside_the_sequence():
    sequence, rows, entry = fly_sequence(), gff_rows(), samples.card("fly_chr4_locus")
    assert len(sequence) == entry["original_last"] - entry["original_first"] + 1
    assert set(sequence.upper()) <= set("ACGTN")
    for row in rows:
        assert len(row) == 9
        assert row[0] == "fly_chr4_locus"
        assert row[6] in "+-"
        assert 1 <= int(row[3]) <= int(row[4]) <= len(sequence)
    kinds = [row[2] for row in rows]
    assert {kind: kinds.count(kind) for kind in set(kinds)} == entry["features"]


def test_fly_introns_are_bounded_by_splice_sites():
    """A shift of one base anywhere would break this: nearly all introns read GT...AG on their own strand."""
    sequence, exons = fly_sequence().upper(), {}
    for row in gff_rows():
        if row[2] == "exon":
            parent = dict(pair.split("=", 1) for pair in row[8].split(";"))["Parent"]
            exons.setdefault((parent, row[6]), []).append((int(row[3]), int(row[4])))
    introns = {
        (left[1], right[0] - 1, strand)
        for (_, strand), places in exons.items()
        for left, right in itertools.pairwise(sorted(places))
    }
    assert len(introns) == samples.card("fly_chr4_locus")["distinct_introns"]
    ends = [(sequence[first : first + 2], sequence[last - 2 : last], strand) for first, last, strand in introns]
    canonical = sum(end in (("GT", "AG", "+"), ("CT", "AC", "-")) for end in ends)
    assert canonical / len(ends) > 0.95  # in animals about 99 % of introns are GT-AG


def panel(part: str) -> list[dict[str, str]]:
    with samples.path(f"itr_panel_{part}.csv").open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_panel_tables_load_and_join():
    holdings, fundamentals, history = panel("holdings"), panel("fundamentals"), panel("emissions")
    entry = samples.card("itr_panel")
    assert len(holdings) == entry["holdings"]
    assert len(history) == entry["history_rows"]
    assert all(float(row["investment_value [EUR]"]) > 0 for row in holdings)
    held, known, reported = ({row["company_id"] for row in rows} for rows in (holdings, fundamentals, history))
    assert len(held) == len(holdings)
    assert len(known) == len(fundamentals)
    assert len(held & known & reported) == entry["holdings_with_both"]
    assert {"sector", "currency", "market_cap", "revenue", "evic", "assets"} <= set(fundamentals[0])
    assert all(row["company_id"] and row["metric"] for row in history)
    years = [str(year) for year in range(2015, 2023)]
    scope_1 = {row["company_id"] for row in history if row["metric"] == "s1" and sum(bool(row[y]) for y in years) >= 3}
    assert len(held & known & scope_1) >= 50  # enough companies for a footprint and a forecast
