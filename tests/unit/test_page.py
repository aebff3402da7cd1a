"""The local page's addresses: who is let in, what is told, what may be done."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from command_line import call

from thalweg.core.errors import InputError
from thalweg.runs import Run
from thalweg.runs.lock import holder

pytest.importorskip("starlette", reason="the extra `ui` is not installed")

import httpx

from thalweg.page.actions import Cancelled, Resumed
from thalweg.page.live import curves, details, rows
from thalweg.page.server import application

TOKEN, PORT = "secret", 8123
HOST = f"127.0.0.1:{PORT}"

# Holds a run's lock until it is asked to stop, and says so.
HOLDS = """
import signal, sys, time
from thalweg.runs import Run
def stop(number, frame): sys.exit(7)
with Run.create(sys.argv[1], {"n": 1}, command=["learning", "symmetry"], seed=0, dtype="float32"):
    signal.signal(signal.SIGTERM, stop)
    print("held", flush=True)
    time.sleep(60)
"""


def made(root: Path, name: str, **config: Any) -> Run:
    with Run.create(root / name, config, command=["genome", "train"], seed=3, dtype="float32") as run:
        run.metrics_path.write_text("".join(f'{{"step": {i}, "seconds": {i}, "loss": {1 / i}}}\n' for i in range(1, 6)))
        run.report_path.write_text("<p>a report</p>")
        run.finish("All done.", result={"score": 0.5, "table": [1, 2]})
    return Run.open(root / name)


class Client:
    """Asks the application without a server."""

    def __init__(self, root: Path):
        self.app = application(root, TOKEN, PORT)

    def ask(self, method: str, path: str, headers: dict[str, str] | None = None) -> httpx.Response:
        async def answer() -> httpx.Response:
            transport = httpx.ASGITransport(app=self.app)
            async with httpx.AsyncClient(transport=transport, base_url=f"http://{HOST}") as client:
                return await client.request(method, path, headers=headers)

        return asyncio.run(answer())

    def get(self, path: str, headers: dict[str, str] | None = None) -> httpx.Response:
        return self.ask("GET", path, headers)

    def post(self, path: str) -> httpx.Response:
        return self.ask("POST", path)


@pytest.fixture
def client(tmp_path: Path) -> Client:
    return Client(tmp_path)


def test_only_the_token_and_this_machine_are_let_in(client, tmp_path):
    made(tmp_path, "one")
    for path in ("", "page.js", "plot.js", "report.css", "runs/one", "runs/one/report"):
        assert client.get(f"/{TOKEN}/{path}").status_code == 200
        assert client.get(f"/guess/{path}").status_code == 403
        assert client.get(f"/{TOKEN}/{path}", headers={"host": f"evil.example:{PORT}"}).status_code == 403
        assert client.get(f"/{TOKEN}/{path}", headers={"origin": "http://evil.example"}).status_code == 403
    assert client.post("/guess/runs/one/cancel").status_code == 403
    assert client.get("/").status_code == 404


def test_nothing_may_be_asked_of_other_machines(client, tmp_path):
    made(tmp_path, "one")
    own = client.get(f"/{TOKEN}/").headers
    assert own["content-security-policy"].startswith("default-src 'none'")
    assert "unsafe" not in own["content-security-policy"]
    assert own["referrer-policy"] == "no-referrer"
    assert own["cache-control"] == "no-store"
    report = client.get(f"/{TOKEN}/runs/one/report").headers["content-security-policy"]
    assert "sandbox" in report
    assert "allow-same-origin" not in report
    assert "default-src 'none'" in report


@pytest.mark.parametrize("name", ["%2e%2e", "%2e", "..%2Fone", "one%2F..%2Fone", ".index.sqlite", "absent", "~"])
def test_only_names_of_runs_are_taken(client, tmp_path, name):
    made(tmp_path, "one")
    assert client.get(f"/{TOKEN}/runs/{name}").status_code in (403, 404)


def test_rows_say_how_far_a_run_is_and_broken_ones_are_told(tmp_path):
    done = made(tmp_path, "done")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "config.toml").write_text("not = = toml")
    (tmp_path / "bad" / "manifest.json").write_text("{")
    with Run.create(tmp_path / "going", {"steps": 50}, command=["x"], seed=0, dtype=None) as run:
        run.metrics_path.write_text(
            '{"step": 1, "seconds": 0.1, "loss": 2}\n{"step": 7, "seconds": 0.2, "loss": 1}\n{"st'
        )
        found = {row["id"]: row for row in rows(tmp_path)}
    assert (found["going"]["status"], found["going"]["now"]["step"], found["going"]["steps"]) == ("running", 7, 50)
    assert found["done"]["status"] == "done"
    assert found["done"]["report"]
    assert "now" not in found["done"]
    assert found["bad"]["status"] == "broken"
    assert found["bad"]["outcome"]
    told = details(done)
    assert told["result"] == {"score": 0.5}
    assert told["made"]["seed"] == 3
    assert told["command"][0] == "thalweg"


def test_long_metrics_are_thinned_and_what_is_not_finite_is_a_gap(tmp_path):
    lines = [
        json.dumps({"step": i, "seconds": i, "loss": "nan" if i == 100_000 else i, "rate": 1})
        for i in range(1, 100_001)
    ]
    (tmp_path / "metrics.jsonl").write_text("\n".join(["rubbish", "[]", *lines, '{"cut']) + "")
    found = curves(tmp_path)
    assert set(found) == {"loss", "rate"}
    assert len(found["loss"]["step"]) == 400
    assert found["loss"]["step"][-1] == 100_000
    assert found["loss"]["value"][-1] is None
    assert found["loss"]["step"][0] < 1000  # from the beginning on
    assert found["loss"]["value"][-2] == found["loss"]["step"][-2]


def test_events_tell_rows_and_curves(tmp_path):
    from thalweg.page.server import told_of

    made(tmp_path, "one")

    looks = 0

    async def gone() -> bool:
        nonlocal looks
        looks += 1
        return looks > 1

    async def heard() -> list[str]:
        events = told_of(tmp_path, ["one", "absent"], Resumed(), gone)
        return [event async for event in events]

    runs, metrics, absent = asyncio.run(heard())
    assert runs.startswith("event: runs\n")
    assert '"one"' in runs
    assert runs.endswith("\n\n")
    assert json.loads(metrics.split("data: ")[1])["curves"]["loss"]["step"] == [1, 2, 3, 4, 5]
    assert "absent" in absent
    assert "removed" in absent


def test_cancel_reaches_the_process_that_holds_the_run_and_no_other(client, tmp_path):
    folder = tmp_path / "held"
    process = subprocess.Popen([sys.executable, "-c", HOLDS, str(folder)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        assert holder(folder) == process.pid
        # A lock file that names another process is not believed.
        (folder / ".lock").write_text("1234567\n")
        answer = client.post(f"/{TOKEN}/runs/held/cancel")
        assert answer.status_code == 409
        assert "not running" in answer.json()["error"]
        assert process.poll() is None
        (folder / ".lock").write_text(f"{process.pid}\n")
        assert client.post(f"/{TOKEN}/runs/held/cancel").status_code == 200
        assert process.wait(20) == 7
    finally:
        process.kill()
        process.wait()
        process.stdout.close()  # pyright: ignore[reportOptionalMemberAccess]
    with pytest.raises(InputError, match="not running"):
        Cancelled().ask(Run.open(folder))


DEAF = """
import sys, time
from thalweg.runs import Run
with Run.create(sys.argv[1], {"n": 1}, seed=0):
    print("held", flush=True)
    time.sleep(60)
"""
# Stops some time after it was asked, and tells how often it was.
SLOW = """
import signal, sys, time
from thalweg.runs import Run
heard = []
with Run.create(sys.argv[1], {"n": 1}, seed=0):
    signal.signal(signal.SIGTERM, lambda number, frame: heard.append(number))
    print("held", flush=True)
    while not heard:
        time.sleep(0.05)
    time.sleep(3)
    sys.exit(len(heard))
"""


def holding(folder: Path, code: str) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", code, str(folder)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    process.stdout.close()
    return process


def test_a_process_is_asked_once_and_one_that_would_die_of_it_not_at_all(client, tmp_path):
    slow, deaf = holding(tmp_path / "slow", SLOW), holding(tmp_path / "deaf", DEAF)
    try:
        assert client.post(f"/{TOKEN}/runs/slow/cancel").status_code == 200
        time.sleep(0.5)
        assert "asked already" in client.post(f"/{TOKEN}/runs/slow/cancel").json()["said"]
        refused = client.post(f"/{TOKEN}/runs/deaf/cancel")
        assert refused.status_code == 409
        assert "would kill it" in refused.json()["error"]
        assert deaf.poll() is None
        assert slow.wait(20) == 1
    finally:
        for process in (slow, deaf):
            process.kill()
            process.wait()


def test_a_run_goes_on_once(tmp_path):
    with pytest.raises(SystemExit), Run.create(tmp_path / "bad", {}, command=["no-such"], seed=0, dtype=None):
        raise SystemExit(3)
    resumed = Resumed()
    resumed.begin(Run.open(tmp_path / "bad"))
    process, _ = resumed._started["bad"]
    with pytest.raises(InputError, match="going on already"):
        resumed.begin(Run.open(tmp_path / "bad"))
    process.wait(60)
    assert "no-such" in resumed.said()["bad"]


def test_a_result_that_is_no_table_breaks_nothing(client, tmp_path):
    run = made(tmp_path, "one")
    run.result_path.write_text("[1]")
    assert client.get(f"/{TOKEN}/runs/one").json()["result"] == {}


def test_only_stopped_runs_go_on_and_what_a_failure_said_is_told(client, tmp_path):
    made(tmp_path, "one")
    answer = client.post(f"/{TOKEN}/runs/one/resume")
    assert answer.status_code == 409
    assert "only a run that was stopped" in answer.json()["error"]
    with pytest.raises(SystemExit), Run.create(tmp_path / "bad", {}, command=["no-such"], seed=0, dtype=None):
        raise SystemExit(3)
    resumed = Resumed()
    resumed.begin(Run.open(tmp_path / "bad"))
    process, _ = resumed._started["bad"]
    process.wait(60)
    assert "no-such" in resumed.said()["bad"]


def test_the_command_says_what_is_wrong(tmp_path):
    answer = call("ui", "--runs", str(tmp_path / "absent"), "--no-open")
    assert answer.exit_code == 1
    assert "no directory of runs" in answer.stderr
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        answer = call("ui", "--runs", str(tmp_path), "--no-open", "--port", str(taken.getsockname()[1]))
    assert answer.exit_code == 1
    assert "choose another --port" in answer.stderr


def test_ctrl_c_ends_the_page_quietly(tmp_path):
    words = [
        sys.executable,
        "-c",
        "from thalweg.cli import main; main()",
        "ui",
        "--runs",
        str(tmp_path),
        "--no-open",
        "--json",
    ]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    told = json.loads(process.stdout.readline())
    assert told["address"].startswith("http://127.0.0.1:")
    assert told["runs"] == str(tmp_path)
    for _ in range(50):
        try:
            with urllib.request.urlopen(told["address"], timeout=5) as answer:
                assert b"thalweg" in answer.read()
            break
        except OSError:
            time.sleep(0.1)
    with urllib.request.urlopen(told["address"] + "events", timeout=5) as listened:  # a page that is still open
        assert listened.readline() == b"event: runs\n"
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=20)
    assert process.returncode in (0, 130)
    assert errors.count("\n") == 1
