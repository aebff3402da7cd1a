"""What every room promises, in one table, and a small command of each room for the tests that break things."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import toy_genome as toy
from contract.fuzz_sciences import head, put

ROOMS = ("spins", "atoms", "learning", "robust", "genome", "portfolio")


class Case(NamedTuple):
    """A command of a room: its `words`, and the file among them without which it cannot go on."""

    words: tuple[str, ...]
    file: str


CASES = {
    "spins": Case(("solve", "glass.txt", "--kind", "ising", "--method", "annealing", "--units", "32"), "glass.txt"),
    "atoms": Case(("label", "start.xyz", "--method", "gfn2"), "start.xyz"),
    "learning": Case(("symmetry", "--data", "points.csv", "--nudge", "none", "--steps", "50"), "points.csv"),
    "robust": Case(("attack", "model.py:straight", "data.npz", "--n", "4", "--budget", "20"), "data.npz"),
    "genome": Case(("scan", "arabidopsis", "--fasta", "toy.fa"), "toy.fa"),
    "portfolio": Case(("footprint", "--holdings", "h.csv", "--fundamentals", "f.csv", "--emissions", "e.csv"), "h.csv"),
}
# The promises of the house, and for each room the tests that hold it to them: file below `tests`, then functions.
_FAULTS, _LANDSCAPES = "contract/test_promises_faults.py", "contract/test_promises_landscapes.py"
_NAN, _CODE, _FUZZ = "contract/test_promises_nan.py", "contract/test_promises_code.py", "contract/test_fuzz_readers.py"
Tests = tuple[tuple[str, str], ...]


def _all(*tests: tuple[str, str]) -> dict[str, Tests]:
    return dict.fromkeys(ROOMS, tests)


_KILLED = (_FAULTS, "test_a_command_killed_while_it_writes_goes_on_with_the_same_bits")
_FULL = (_FAULTS, "test_a_full_disk_is_one_sentence_and_the_run_goes_on_once_there_is_space")
PROMISES: dict[str, dict[str, Tests]] = {
    "killed with SIGKILL, a run goes on with the same bits": {
        "spins": (
            _KILLED,
            ("rooms/test_spins.py", "test_a_killed_search_goes_on_with_the_same_bits"),
            ("rooms/test_spins_learn.py", "test_a_stopped_learning_goes_on_bit_for_bit"),
        ),
        "atoms": (
            _KILLED,
            ("rooms/test_atoms_label.py", "test_sigkill_and_resume"),
            ("rooms/test_atoms_md.py", "test_a_walk_that_dies_goes_on_to_the_same_bits"),
            ("rooms/test_atoms_train.py", "test_a_training_that_was_stopped_goes_on_bit_for_bit"),
            ("rooms/test_atoms_compare.py", "test_a_killed_comparison_goes_on_with_the_same_bits"),
        ),
        "learning": (_KILLED, ("rooms/test_learning_many.py", "test_killed_trainings_go_on_to_the_same_bits")),
        "robust": (
            _KILLED,
            ("rooms/test_robust.py", "test_an_attack_keeps_its_blocks_and_goes_on"),
            ("rooms/test_robust_barrier.py", "test_a_stopped_task_goes_on_to_the_same_bits"),
        ),
        "genome": (
            _KILLED,
            ("rooms/test_genome_resume.py", "test_a_training_that_was_struck_goes_on_to_the_same_network"),
            ("rooms/test_genome_scan.py", "test_a_killed_scan_goes_on_bit_for_bit"),
            ("rooms/test_genome_variants.py", "test_a_stopped_task_goes_on_bit_for_bit"),
            ("rooms/test_genome_plasticity.py", "test_parts_are_kept_and_a_stopped_run_goes_on_to_the_same_bits"),
        ),
        "portfolio": (
            _KILLED,
            ("rooms/test_portfolio_resume.py", "test_what_was_struck_in_the_middle_goes_on_to_the_same_bits"),
        ),
    },
    "the same seed gives the same bits": _all(_FULL),
    "the force is minus the slope": _all((_LANDSCAPES, "test_the_force_is_minus_the_slope")),
    "what must not matter does not": _all((_LANDSCAPES, "test_what_must_not_matter_does_not")) | {
        "genome": (
            (_LANDSCAPES, "test_what_must_not_matter_does_not"),
            ("rooms/test_genome_data.py", "test_a_genome_turned_round_has_the_same_genes"),
        ),
    },
    "a planted NaN is named": _all((_NAN, "test_a_planted_nan_names_step_leaf_and_checkpoint")),
    "damaged files give a result or one sentence": _all(
        (_FUZZ, "test_damaged_files_give_a_result_or_one_sentence"), (_FUZZ, "test_what_once_failed_is_replayed")
    ),
    "no file is code": _all((_CODE, "test_nothing_in_a_file_is_run")),
    "a full disk is one sentence": _all(_FULL),
    "a vanished or changed input is one sentence": _all(
        _FULL, (_FAULTS, "test_an_input_that_changed_since_is_refused")
    ),
    "a place that cannot be written is one sentence": _all(
        (_FAULTS, "test_a_file_where_the_folder_should_be_is_refused_and_left_alone"),
        (_FAULTS, "test_a_folder_that_may_not_be_written_is_refused"),
        (_FAULTS, "test_a_folder_with_something_else_in_it_is_refused_and_left_alone"),
    ),
    "two processes do not work in one place": _all(
        (_FAULTS, "test_a_folder_where_another_process_is_at_work_is_refused")
    ),
}  # fmt: skip
_MODEL = """
import jax.numpy as jnp


def straight(x):
    return jnp.stack([x.sum(), 1 - x.sum()])
"""


def write_inputs(folder: Path) -> None:
    """The inputs of all commands in `CASES`."""
    put(folder, "glass.txt", head("glass_torus_12x12.txt", 300))
    put(folder, "start.xyz", head("ethanol_gfn2.xyz", 11))
    points = np.linspace(-1, 1.5, 16)
    put(folder, "points.csv", "x,y\n" + "".join(f"{x},{x * x}\n" for x in points))
    put(folder, "model.py", _MODEL)
    x = np.random.default_rng(0).uniform(0, 1, (8, 2))
    np.savez(folder / "data.npz", x=x, y=(x.sum(1) < 0.5).astype(int))
    put(folder, "toy.fa", toy.fasta(toy.bases()))
    for name, part in (("h", "holdings"), ("f", "fundamentals"), ("e", "emissions")):
        put(folder, f"{name}.csv", head(f"itr_panel_{part}.csv", 4000))
