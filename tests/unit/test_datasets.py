"""The catalogue of public data sets: mirrors, downloads from a server on this machine, and bytes that are wrong."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from click.testing import CliRunner

from thalweg import datasets
from thalweg.cli import main
from thalweg.core.errors import InputError, ThalwegError

CONTENT, OTHER = b"3 2\n1 2 1\n2 3 -1\n", b"3 2\r\n1 2 1\r\n2 3 -1\r\n"


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None: ...


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Path, str]]:
    """A folder and the address under which it is served."""
    folder = tmp_path / "served"
    folder.mkdir()
    monkeypatch.setenv("NO_PROXY", "*")
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder)) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield folder, f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty place for downloads, and no mirror."""
    monkeypatch.delenv("THALWEG_DATA", raising=False)
    monkeypatch.setattr(datasets, "home", lambda: tmp_path / "home")
    return tmp_path / "home"


@pytest.fixture
def graphs(server: tuple[Path, str], home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A catalogue of its own: `graphs` of two files, of which the first can also lie elsewhere, and `private`."""
    folder, address = server
    for place in ("first/G1", "second/G1", "first/G2"):
        (folder / place).parent.mkdir(exist_ok=True)
        (folder / place).write_bytes(CONTENT)
    about = {"room": "spins", "what": "Graphs", "licence": "MIT", "source": "a test"}
    both = [f"{address}/first/{{name}}", f"{address}/second/{{name}}"]
    entries = {
        "graphs": about
        | {"folder": "spins/graphs", "addresses": both}
        | {
            "files": [
                {"name": n, "bytes": 17, "sha256": sha256(CONTENT), "same": [sha256(OTHER)]} for n in ("G1", "G2")
            ]
        },
        "private": about
        | {"folder": "spins", "mirror_only": "it is a conversion"}
        | {"files": [{"name": "P", "bytes": 17, "sha256": sha256(CONTENT)}]},
    }
    known = {name: datasets._dataset(name, entry) for name, entry in entries.items()}
    monkeypatch.setattr(datasets, "catalogue", lambda: known)
    return folder


@pytest.fixture
def mirror(tmp_path: Path, graphs: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A local mirror that holds `graphs`."""
    root = tmp_path / "mirror"
    (root / "spins" / "graphs").mkdir(parents=True)
    for name in ("G1", "G2"):
        (root / "spins" / "graphs" / name).write_bytes(CONTENT)
    monkeypatch.setenv("THALWEG_DATA", str(root))
    return root


def left_below(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def quietly(name: str) -> Path:
    return datasets.locate(name, note=lambda sentence: None)


def test_the_catalogue_is_complete():
    places = []
    for dataset in datasets.catalogue().values():
        assert dataset.what
        assert dataset.licence
        assert dataset.source
        for file in dataset.files:
            places.append(file.path)
            assert file.bytes > 0
            assert all(re.fullmatch(r"[0-9a-f]{64}", digest) for digest in file.accepted)
            # Either an address serves it or the entry says why none does.
            assert bool(file.addresses) != bool(dataset.mirror_only), file.path
            assert all(re.fullmatch(r"https://[\w./~+-]+", address) for address in file.addresses)
            # What moves cannot have a checksum: addresses at GitHub name a commit.
            assert all(re.search(r"/[0-9a-f]{40}/", each) for each in file.addresses if "githubusercontent" in each)
    assert len(places) == len(set(places))


def test_the_mirror_holds_every_data_set(data: Path):
    for name in datasets.names():
        assert datasets.locate(name).resolve().is_relative_to(data)
    assert datasets.locate("gset").resolve() == data / "spins" / "gset"
    digits = gzip.decompress(datasets.locate("mnist-test/t10k-labels-idx1-ubyte.gz").read_bytes())
    # From the format's definition: magic number 2049, 10000 labels.
    assert int.from_bytes(digits[:4], "big") == 2049
    assert len(digits) == 8 + 10_000


def test_a_download_is_kept(graphs, home):
    said: list[str] = []
    assert datasets.locate("graphs", note=said.append) == home / "spins" / "graphs"
    assert left_below(home) == ["G1", "G2"]
    assert len(said) == 2
    (graphs / "first" / "G1").unlink()
    (graphs / "second" / "G1").unlink()
    assert datasets.locate("graphs/G1", note=said.append).read_bytes() == CONTENT
    assert len(said) == 2


def test_another_form_of_the_same_content_is_accepted(graphs):
    (graphs / "first" / "G1").write_bytes(OTHER)
    assert quietly("graphs/G1").read_bytes() == OTHER


@pytest.mark.parametrize("failure", ["missing", "wrong"])
def test_the_next_address_is_tried(graphs, failure):
    (graphs / "first" / "G1").unlink()
    if failure == "wrong":
        (graphs / "first" / "G1").write_bytes(b"<html>moved</html>")
    assert quietly("graphs/G1").read_bytes() == CONTENT


def test_wrong_bytes_are_refused_and_nothing_is_left(graphs, home):
    (graphs / "first" / "G2").write_bytes(CONTENT + b"2 1 1\n")
    with pytest.raises(ThalwegError) as caught:
        quietly("graphs/G2")
    sentence = str(caught.value)
    assert sha256(CONTENT + b"2 1 1\n")[:12] in sentence
    assert sha256(CONTENT)[:12] in sentence
    assert "the server answers 404" in sentence  # of the second address
    assert left_below(home) == []


def test_a_damaged_download_is_fetched_anew(graphs):
    path = quietly("graphs/G1")
    path.write_bytes(CONTENT[:5])
    assert quietly("graphs/G1").read_bytes() == CONTENT


def test_a_server_that_is_gone(graphs, home, server, monkeypatch):
    dataset = datasets.catalogue()["graphs"]
    # Port 9 of this machine: nothing listens there.
    gone = dataset._replace(files=tuple(f._replace(addresses=("http://127.0.0.1:9/G1",)) for f in dataset.files))
    monkeypatch.setattr(datasets, "catalogue", lambda: {"graphs": gone})
    with pytest.raises(ThalwegError, match=r"no answer \(ConnectionError\)\): check the connection"):
        quietly("graphs")
    assert left_below(home) == []


def test_the_mirror_is_read_in_place_and_asks_no_server(mirror, home):
    assert quietly("graphs") == mirror / "spins" / "graphs"
    assert not home.exists()


def test_a_corrupted_file_in_the_mirror(mirror):
    path = mirror / "spins" / "graphs" / "G2"
    path.write_bytes(b"corrupted")
    with pytest.raises(InputError) as caught:
        quietly("graphs")
    for part in (str(path), sha256(b"corrupted"), sha256(CONTENT), "copy it into the mirror anew"):
        assert part in str(caught.value)
    assert quietly("graphs/G1").read_bytes() == CONTENT


def test_a_file_that_the_mirror_lacks(mirror):
    (mirror / "spins" / "graphs" / "G1").unlink()
    with pytest.raises(InputError, match=r"G1 is missing: copy it into the mirror, or unset THALWEG_DATA"):
        quietly("graphs")


def test_a_mirror_that_is_no_folder(mirror, monkeypatch):
    monkeypatch.setenv("THALWEG_DATA", str(mirror / "nowhere"))
    with pytest.raises(InputError, match=r"THALWEG_DATA names .*nowhere, which is not a folder"):
        quietly("graphs")


def test_what_no_address_serves(graphs, mirror, monkeypatch):
    (mirror / "spins" / "P").write_bytes(CONTENT)
    assert quietly("private") == mirror / "spins" / "P"
    monkeypatch.delenv("THALWEG_DATA")
    with pytest.raises(ThalwegError, match="because it is a conversion: set THALWEG_DATA"):
        quietly("private")


@pytest.mark.parametrize(("name", "says"), [("graph", "choose one of graphs, private"), ("graphs/G3", "of G1, G2")])
def test_unknown_names(graphs, name, says):
    with pytest.raises(InputError, match=says):
        quietly(name)


def test_data_list(mirror):
    answer = CliRunner().invoke(main, ["data", "list", "--json"])
    told = json.loads(answer.stdout)
    assert [(each["name"], each["where"]) for each in told["datasets"]] == [
        ("graphs", "mirror"),
        ("private", "not in mirror"),
    ]
    assert told["datasets"][0]["files"][0]["sha256"] == sha256(CONTENT)
    assert "graphs   spins  34 B  mirror" in CliRunner().invoke(main, ["data", "list"]).stdout


def test_data_get(mirror, tmp_path):
    answer = CliRunner().invoke(main, ["data", "get", "graphs/G2", "--out", str(tmp_path / "mine")])
    assert answer.exit_code == 0
    assert answer.stdout == f"{tmp_path / 'mine' / 'spins' / 'graphs' / 'G2'}\n"
    assert (tmp_path / "mine" / "spins" / "graphs" / "G2").read_bytes() == CONTENT
    assert "Licence: MIT" in answer.stderr
    assert left_below(tmp_path / "mine") == ["G2"]


def test_data_get_of_a_corrupted_file_is_one_sentence(mirror):
    (mirror / "spins" / "graphs" / "G1").write_bytes(b"")
    answer = CliRunner().invoke(main, ["data", "get", "graphs", "--json"])
    assert answer.exit_code == 1
    assert answer.stderr.startswith("Error: ")
    assert answer.stderr.count("\n") == 1
    assert json.loads(answer.stdout)["error"] == answer.stderr.removeprefix("Error: ").strip()


def test_data_list_says_what_can_be_downloaded(graphs):
    told = json.loads(CliRunner().invoke(main, ["data", "list", "--json"]).stdout)
    assert [each["where"] for each in told["datasets"]] == ["to download", "mirror only"]
    quietly("graphs")
    told = json.loads(CliRunner().invoke(main, ["data", "list", "--json"]).stdout)
    assert told["datasets"][0]["where"] == "downloaded"
