"""The labelling queue in a real Chromium, from key press to the next key on screen: by keyboard, and without scripts.

One person labels key after key of a run on a real server, thinking a moment over each. The next key is on screen when the
frame that shows it has been painted. Prefetching by script is compared with sending a form and opening a page without
scripts. Labels go to a database of the benchmark's own.
"""

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from playwright.sync_api import Browser, Page, sync_playwright

from keyscope.app.database.engine import upgrade
from keyscope.app.web.by_word import COOKIE
from tests.chromium import launch
from tests.labelers import label_server

ALLOWED = 150
"""Milliseconds from key press to next key that feel instant."""
WATCH = """
    window.shown = [];
    addEventListener("keydown", (event) => {
        if (event.key !== "Enter") return;
        const before = document.querySelector("h1").textContent;
        const watch = new MutationObserver(() => {
            if (document.querySelector("h1")?.textContent === before) return;
            watch.disconnect();
            // the frame with the new key is painted between its callback and the next task
            requestAnimationFrame(() => setTimeout(() => window.shown.push(performance.now() - event.timeStamp)));
        });
        watch.observe(document.getElementById("main"), { childList: true, subtree: true });
    }, true);
"""


def main(
    runs: Annotated[Path, typer.Option(help="Directory of runs, such as the demo's")] = Path("runs"),
    run: Annotated[str | None, typer.Option(help="Name of the run; the first one by default")] = None,
    labels: Annotated[int, typer.Option(help="Labels measured per way")] = 30,
    thinking: Annotated[float, typer.Option(help="Seconds of thinking per key")] = 1.0,
) -> None:
    """Print median and slowest of both ways, and how many answers did not feel instant."""
    chosen = run or min((path.stem for path in runs.glob("*.duckdb")), default=None)
    if chosen is None:
        raise typer.BadParameter(f"{runs} has no runs: compute one with `make demo`", param_hint="--runs")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        database_url = f"sqlite:///{folder}/labels.sqlite"
        upgrade(database_url)
        browser = launch(playwright)
        with label_server(runs, database_url) as server:
            start = f"{server.url}/labels/queue?run={chosen}&strategy=sample"
            prefetched = _measure(browser, start, True, labels, lambda page: _press(page, thinking))
            plain = _measure(browser, start, False, labels, _send)
        browser.close()
    typer.echo(f"{chosen}, {labels} labels per way, {thinking:g} s of thinking per key")
    for name, taken in (("by keyboard, next key prefetched", prefetched), ("without scripts, page by page", plain)):
        typer.echo(
            f"{name:34} median {statistics.median(taken):5.0f} ms   slowest {max(taken):5.0f} ms   "
            f"ratio {statistics.median(taken) / statistics.median(plain):.2f}"
        )
    slow = sum(each > ALLOWED for each in prefetched)
    typer.echo(f"{slow} of {labels} over {ALLOWED} ms by keyboard")


def _measure(browser: Browser, start: str, scripts: bool, labels: int, answer: Callable[[Page], float]) -> list[float]:
    """Milliseconds per answer, without the first one, which loads everything."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, java_script_enabled=scripts)
    context.add_cookies([{"name": COOKIE, "value": f"bench-{scripts}", "url": start}])
    context.add_init_script(WATCH)
    page = context.new_page()
    page.goto(start)
    taken = [answer(page) for _ in range(labels + 1)]
    context.close()
    return taken[1:]


def _press(page: Page, thinking: float) -> float:
    page.wait_for_load_state("networkidle")
    time.sleep(thinking)
    page.keyboard.press("2")
    page.keyboard.press("Enter")
    while (
        taken := page.evaluate("window.shown.pop() ?? null")
    ) is None:  # the pages' security policy forbids wait_for_function
        page.wait_for_timeout(50)
    return float(taken)


def _send(page: Page) -> float:
    page.get_by_label("semantic").check()
    began = time.perf_counter()
    page.get_by_role("button", name="save and next").click()
    page.wait_for_load_state("load")
    return 1000 * (time.perf_counter() - began)


if __name__ == "__main__":
    typer.run(main)
