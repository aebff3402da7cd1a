"""The local page in a browser: runs are started in the shell, watched, opened, compared, cancelled and gone on with."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from thalweg.runs.lock import holder

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytest.importorskip("starlette", reason="the extra `ui` is not installed")
api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytestmark = pytest.mark.skipif(BROWSER is None, reason="there is no Chromium on this machine")

PROGRAM = [sys.executable, "-c", "from thalweg.cli import main; main()"]


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[dict[str, str]]:
    """A user's own folder of runs, with compiled programs kept so that going on is quick; nothing runs on after it."""
    told = {key: value for key, value in os.environ.items() if not key.startswith("THALWEG")}
    yield told | {"THALWEG_RUNS": str(tmp_path / "runs"), "THALWEG_CACHE": str(tmp_path / "cache")}
    for folder in (tmp_path / "runs").glob("*/"):
        process = holder(folder)
        if process is not None:
            os.kill(process, signal.SIGKILL)


@pytest.fixture
def address(tmp_path: Path, environment: dict[str, str]) -> Iterator[str]:
    server = subprocess.Popen(
        [*PROGRAM, "ui", "--no-open", "--quiet"], env=environment, cwd=tmp_path, stdout=subprocess.PIPE, text=True
    )
    assert server.stdout is not None
    yield server.stdout.readline().strip()
    server.terminate()
    server.wait(20)
    server.stdout.close()


@pytest.fixture
def page(address: str) -> Iterator[Any]:
    """A page of the browser; a message on its console or a request to another place fails the test."""
    wrong: list[str] = []
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        context = browser.new_context(viewport={"width": 1280, "height": 900})
        home = address.rsplit("/", 2)[0]
        context.on("request", lambda asked: asked.url.startswith((home, "data:", "blob:")) or wrong.append(asked.url))
        context.on("console", lambda said: said.type in ("error", "warning") and wrong.append(said.text))
        context.on("weberror", lambda error: wrong.append(str(error.error)))
        yield context.new_page()
        browser.close()
    assert not wrong


def started(environment: dict[str, str], folder: Path, steps: int) -> subprocess.Popen[bytes]:
    words = ["genome", "train", "--fasta", "fly", "--annotation", "fly", "--steps", str(steps), "--quiet"]
    return subprocess.Popen([*PROGRAM, *words], env=environment, cwd=folder, stdout=subprocess.DEVNULL)


@pytest.mark.timeout(600)  # three compilations, on whatever machine this is
def test_a_run_is_watched_to_its_end_and_another_is_cancelled_and_gone_on_with(page, address, environment, tmp_path):
    page.goto(address)
    page.get_by_text("There is no run yet").wait_for()
    quick = started(environment, tmp_path, 40)
    page.locator("tr[data-status=running]").wait_for(timeout=60_000)
    name = page.locator("tr[data-run]").get_attribute("data-run")
    page.locator(f"#open-{name}").click()
    page.locator("figure[data-metric=loss] path.line").wait_for(timeout=120_000)  # live, while it is written
    page.locator(".bar .state.done").wait_for(timeout=120_000)
    assert quick.wait(60) == 0
    page.get_by_role("heading", name="Results").wait_for()

    with page.context.expect_page() as opened:
        page.get_by_role("link", name=f"report of {name}").click()
    opened.value.locator("figure img, figure svg, .plot svg").first.wait_for(timeout=60_000)
    opened.value.close()

    long = started(environment, tmp_path, 200_000)
    page.get_by_role("link", name="All runs").click()
    second = page.locator("tr[data-status=running]")
    second.locator("progress").wait_for(timeout=120_000)
    other = second.get_attribute("data-run")
    page.get_by_role("button", name=f"cancel {other}").click()
    page.locator(f"tr[data-run='{other}'][data-status=cancelled]").wait_for(timeout=60_000)
    assert long.wait(60) == 130

    page.get_by_role("button", name=f"resume {other}").click()
    page.locator(f"tr[data-run='{other}'][data-status=running]").wait_for(timeout=60_000)
    page.locator(f"tr[data-run='{other}'] progress").wait_for(timeout=120_000)
    page.get_by_role("button", name=f"cancel {other}").click()
    page.locator(f"tr[data-run='{other}'][data-status=cancelled]").wait_for(timeout=60_000)

    # By keyboard alone: two boxes, then the button, which keeps the focus through the redraws in between.
    for each in (other, name):
        page.locator(f"[id='pick-{each}']").focus()
        page.keyboard.press("Space")
        assert page.evaluate("document.activeElement.id") == f"pick-{each}"
    page.locator("#compare").focus()
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Side by side").wait_for()
    page.locator("figure[data-metric=loss] path.line").nth(1).wait_for()  # the curves come by themselves
    assert page.locator("figure[data-metric=loss] path.line").count() == 2
    page.get_by_role("cell", name="200000", exact=True).first.wait_for()

    for width in (1280, 400):
        page.set_viewport_size({"width": width, "height": 900})
        for scheme, dark in (("light", False), ("dark", True)):
            page.emulate_media(color_scheme=scheme)
            paper = page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/)[0]")
            assert (int(paper) < 128) is dark
            assert page.evaluate("document.documentElement.scrollWidth") <= width
