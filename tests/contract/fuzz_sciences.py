"""A sound file for every reader of couplings, atoms, classified inputs, data points and run directories."""

from __future__ import annotations

import contextlib
import gzip
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import toy_atoms
from contract.fuzz import GZIP, PLAIN, Parser, Way, member, sealed

from thalweg import samples

ONNX = Path(__file__).parents[1] / "data" / "onnx"


def put(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def text(name: str, content: str | bytes) -> Callable[[Path], Path]:
    return lambda folder: put(folder, name, content)


def head(name: str, lines: int) -> bytes:
    """The first lines of a sample, unpacked."""
    content = samples.path(name).read_bytes()
    content = gzip.decompress(content) if name.endswith(".gz") else content
    return b"\n".join(content.split(b"\n")[:lines]) + b"\n"


# Spins --------------------------------------------------------------------------------------------------------------


def _couplings(path: Path) -> None:
    from thalweg.spins.data.read import read, write

    posed = read(path)
    # What is read must be usable: written again and read back it has the same energy.
    if posed.size < 100 and posed.kind != "maxcut":
        again = read(write(posed, path.with_name("again.txt")))
        up = np.ones(posed.size, np.int64)
        assert np.isclose(again.energy(up), posed.energy(up), rtol=1e-9, atol=1e-9)


def _written(name: str, kind: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        from thalweg.spins.data.lattices import lattice
        from thalweg.spins.data.read import write

        return write(lattice("square", 3, -1), folder / name, kind=kind)  # type: ignore[arg-type]

    return make


def _bqm(name: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        import dimod
        from dimod.serialization import coo

        labelled: Any = {"b": 1.0, ("a", 1): -2.0, 3: 0.5}
        bqm = dimod.BinaryQuadraticModel(labelled, {("b", 3): 1.5, (("a", 1), 3): -1.0}, 0.25, "SPIN")
        if name.endswith(".json"):
            return put(folder, name, json.dumps(bqm.to_serializable()))
        if name.endswith(".coo"):
            plain = dimod.BinaryQuadraticModel({0: 1.0, 1: -2.0}, {(0, 1): 1.5}, 0.0, "BINARY")
            return put(folder, name, coo.dumps(plain, vartype_header=True))
        with bqm.to_file() as file:
            return put(folder, name, file.read())

    return make


def _graph(name: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        import networkx

        graph = networkx.Graph([("x", "y", {"weight": 2}), ("y", "z", {"weight": -0.5})])
        networkx.write_gml(graph, folder / name) if name.endswith("gml") and "graph" not in name.rpartition(".")[2] \
            else networkx.write_graphml_xml(graph, folder / name)  # fmt: skip
        return folder / name

    return make


def _matrix(name: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        from scipy.io import mmwrite
        from scipy.sparse import csr_array, save_npz

        matrix = np.array([[0, 1, -2], [1, 0, 3], [-2, 3, 0]])
        path = folder / name
        if name.endswith(".npz"):
            save_npz(path, csr_array(matrix))
        elif name.endswith(".mtx"):
            mmwrite(path, csr_array(matrix), symmetry="symmetric")
        elif name.endswith(".npy"):
            np.save(path, matrix)
        else:
            np.savetxt(path, matrix, delimiter=",", fmt="%d")
        return path

    return make


def _spins(path: Path) -> None:
    from thalweg.spins.data.states import read_spins

    assert set(np.unique(read_spins(path))) <= {-1, 1}


def _observed(path: Path) -> None:
    from thalweg.spins.data.samples import read_samples

    assert set(np.unique(read_samples(path).signs)) <= {-1, 1}


def _observations(name: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        rows = np.random.default_rng(0).integers(0, 2, (8, 5))
        path = folder / name
        if name.endswith(".csv"):
            np.savetxt(path, rows, delimiter=",", fmt="%d", header="a,b,c,d,e", comments="")
        else:
            (np.save if name.endswith(".npy") else np.savez)(path, rows)
        return path

    return make


def _machine(folder: Path) -> Path:
    from thalweg.spins.energy import RestrictedBoltzmann
    from thalweg.spins.tasks.machine_file import save_machine

    zeros = lambda *shape: np.zeros(shape, np.float32)  # noqa: E731
    return save_machine(folder / "machine.safetensors", RestrictedBoltzmann(zeros(4, 2), zeros(4), zeros(2)))


def _load_machine(path: Path) -> None:
    from thalweg.spins.tasks.machine_file import load_machine, problem_of

    problem_of(load_machine(path))


SPINS = (
    Parser("spins-rudy", text("glass.txt", head("glass_torus_12x12.txt", 300)), _couplings),
    Parser("spins-rudy-written", _written("glass.txt.gz", "ising"), _couplings, (PLAIN, GZIP)),
    Parser("spins-qubo", _written("glass.qubo", "qubo"), _couplings),
    *(Parser(f"spins-bqm{suffix}", _bqm(f"model{suffix}"), _couplings) for suffix in (".bqm", ".coo", ".json")),
    Parser("spins-graphml", _graph("graph.graphml"), _couplings),
    Parser("spins-gml", _graph("graph.gml"), _couplings),
    *(Parser(f"spins-matrix{suffix}", _matrix(f"matrix{suffix}"), _couplings) for suffix in (".npy", ".mtx", ".csv")),
    Parser("spins-matrix.npz", _matrix("matrix.npz"), _couplings, (PLAIN, member("indices.npy"), member("shape.npy"))),
    Parser("spins-states", text("spins.txt", "# thalweg spins n=6\n1\n-1\n-1\n1\n1\n-1\n"), _spins),
    *(Parser(f"spins-samples{suffix}", _observations(f"rows{suffix}"), _observed) for suffix in (".csv", ".npy")),
    Parser("spins-samples.npz", _observations("rows.npz"), _observed, (PLAIN, member("arr_0.npy"))),
    Parser("spins-machine", _machine, _load_machine),
)

# Atoms --------------------------------------------------------------------------------------------------------------


def _frames(path: Path) -> None:
    from thalweg.atoms.data.read import read

    for frame in read(path):
        assert np.isfinite(frame.positions).all()


def _system(folder: Path) -> Path:
    """A folder of DeePMD-kit, of which the file of coordinates is damaged."""
    frames = 3
    put(folder, "system/type.raw", "0 1 1\n")
    put(folder, "system/type_map.raw", "O\nH\n")
    put(folder, "system/nopbc", "")
    place = folder / "system" / "set.000"
    place.mkdir()
    water = np.array([[0.0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]])
    np.save(place / "energy.npy", np.linspace(-470, -469, frames))
    np.save(place / "force.npy", np.zeros((frames, 9)))
    np.save(place / "coord.npy", np.tile(water.reshape(1, 9), (frames, 1)))
    return place / "coord.npy"


def _types(folder: Path) -> Path:
    _system(folder)
    return folder / "system" / "type.raw"


def _above(levels: int) -> Callable[[Path], None]:
    return lambda path: _frames(path.parents[levels])


def _crystal(name: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        from thalweg.atoms.data.write import write

        frame = toy_atoms.crystal(1)._replace(energy=-3.5, forces=np.zeros((4, 3)), stress=np.eye(3) / 7)
        written = write(folder / "crystal.xyz", [frame, frame])
        if name.endswith(".xyz"):
            return written
        import ase.io

        ase.io.write(folder / name, ase.io.read(written, index=0))
        return folder / name

    return make


def _trajectory(path: Path) -> None:
    from thalweg.atoms.data.write import Trajectory

    Trajectory(path, None).close()


def _trained(room: str) -> Callable[[Path], Any]:
    from importlib import import_module

    return lambda path: import_module(f"thalweg.{room}.tasks.trained").load_trained(path)


def _sample(name: str) -> Callable[[Path], Path]:
    return lambda folder: put(folder, name, samples.path(name).read_bytes())


DESCRIBED: tuple[Way, ...] = (PLAIN, sealed("extra"), sealed("leaves"), sealed("constants"))
ATOMS = (
    Parser("atoms-extxyz", text("ethanol.xyz", head("ethanol_gfn2.xyz", 22)), _frames),
    Parser("atoms-extxyz-crystal", _crystal("crystal.xyz"), _frames),
    Parser("atoms-extxyz.gz", text("water.xyz.gz", gzip.compress(head("water_gfn2.xyz", 9))), _frames, (PLAIN, GZIP)),
    *(Parser(f"atoms-ase{suffix}", _crystal(f"crystal{suffix}"), _frames) for suffix in (".traj", ".cif", ".json")),
    Parser("atoms-deepmd", _system, _above(1)),
    Parser("atoms-deepmd-types", _types, _above(0)),
    Parser("atoms-trajectory", _crystal("crystal.xyz"), _trajectory),
    Parser("atoms-potential", _sample("ethanol_gfn2_potential.safetensors"), _trained("atoms"), DESCRIBED),
)

# Classifiers and points ---------------------------------------------------------------------------------------------


def _classified(path: Path) -> None:
    from thalweg.robust.data import read

    found = read(str(path))
    assert ((found.x >= 0) & (found.x <= 1)).all()


def _arrays(folder: Path) -> Path:
    np.savez(folder / "data.npz", x=np.full((4, 2, 2), 0.5), y=np.array([0, 1, 1, 0]))
    return folder / "data.npz"


def _idx(which: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        pixels = np.arange(5 * 9, dtype=np.uint8).tobytes()
        images = put(folder, "t-images-idx3-ubyte", struct.pack(">4B3I", 0, 0, 8, 3, 5, 3, 3) + pixels)
        labels = struct.pack(">4BI", 0, 0, 8, 1, 5) + bytes([0, 1, 2, 1, 0])
        packed = put(folder, "t-labels-idx1-ubyte.gz", gzip.compress(labels, mtime=0))
        return images if which == "images" else packed

    return make


def _net(folder: Path) -> Path:
    import jax

    from thalweg.robust.model import SmallNet
    from thalweg.robust.tasks.fit import save_net

    return save_net(folder / "net.safetensors", SmallNet(4, 3, 2, key=jax.random.key(0)))


def _load_net(path: Path) -> None:
    from thalweg.robust.tasks.fit import load_net

    load_net(path)


def _exported(name: str) -> Callable[[Path], Path]:
    return lambda folder: put(folder, f"{name}.onnx", (ONNX / f"{name}.onnx").read_bytes())


def _onnx(path: Path) -> None:
    from thalweg.interop import from_onnx

    from_onnx(path)


def _regression(path: Path) -> None:
    from thalweg.learning.data import read_csv

    assert all(np.isfinite(part).all() for part in read_csv(path))


ROBUST = (
    Parser("robust-npz", _arrays, _classified, (PLAIN, member("x.npy"), member("y.npy"))),
    Parser("robust-idx-images", _idx("images"), _classified),
    Parser("robust-idx-labels", _idx("labels"), _classified, (PLAIN, GZIP)),
    Parser("robust-net", _net, _load_net, DESCRIBED),
    *(Parser(f"robust-onnx-{name}", _exported(name), _onnx) for name in ("dynamo", "script")),
)
LEARNING = (Parser("learning-csv", text("points.csv", "x,z,y\n1,2,3\n4,5.5,6e-1\n-7,8,9\n"), _regression),)

# Runs ---------------------------------------------------------------------------------------------------------------


def _run(name: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        from thalweg.runs import Run

        config = {"beta": 0.5, "names": ["x"], "table": {"a": 1}}
        with Run.create(folder / "a", config, command=["spins", "solve", "x.txt"], seed=1) as run:
            run.finish("Done.", result={"energy": -1.5})
        put(run.path, "metrics.jsonl", '{"step": 1, "seconds": 0.5, "loss": 2.0}\n{"step": 2, "loss": "nan"}\n')
        return run.path / name

    return make


def _look(path: Path) -> None:
    from thalweg.runs import Run, list_runs

    list_runs(path.parents[1])
    with Run.open(path.parent) as run:
        run.read_result()


def _metrics(path: Path) -> None:
    from thalweg.runs import read_metrics

    read_metrics(path)


def _points(folder: Path) -> Path:
    from thalweg.runs.points import Points

    Points(folder / "parts").put("one", {"x": np.arange(4.0), "n": np.array(3)})
    return folder / "parts" / "one.safetensors"


def _get_points(path: Path) -> None:
    from thalweg.runs.points import Points

    Points(path.parent).get("one")


def _state(folder: Path) -> Path:
    from thalweg.runs import save_state

    return save_state(folder / "state.safetensors", {"x": np.arange(4.0), "n": np.array(3)}, 7)


def _load_state(path: Path) -> None:
    from thalweg.runs import load_state
    from thalweg.runs.checkpoint import saved_step

    with contextlib.suppress(FileNotFoundError):
        saved_step(path)
    load_state(path, {"x": np.zeros(4), "n": np.array(0)})


def _settings(path: Path) -> None:
    from thalweg.genome.tasks.plan import settings

    settings(path)


def _plan(path: Path) -> None:
    from thalweg.runs.pace import paced

    paced(path.parent, lambda hook: None, 0.0, least=1, note=lambda sentence: None)


RUNS = (
    Parser("runs-config", _run("config.toml"), _look),
    Parser("runs-manifest", _run("manifest.json"), _look),
    Parser("runs-result", _run("result.json"), _look),
    Parser("runs-metrics", _run("metrics.jsonl"), _metrics),
    Parser("runs-settings", text("settings.toml", "[shape]\n[recipe]\nsteps = 300\n"), _settings),
    Parser("runs-plan", text("plan.json", '{"steps": 300, "steps_per_second": 12.5}'), _plan),
    Parser("runs-points", _points, _get_points, DESCRIBED),
    Parser("runs-state", _state, _load_state, DESCRIBED),
)
