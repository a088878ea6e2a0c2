"""A real Chromium on a real server: two synthetic runs and a live worker that continues with fixed tokens."""

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import quote

import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    expect,
    sync_playwright,
)

from keyscope.app.main import create_app
from keyscope.app.settings import Settings
from keyscope.app.web.by_word import COOKIE
from keyscope.contract.runfile import open_run, read_manifest
from keyscope.contract.wire import WorkerJob
from tests.chromium import launch
from tests.fake_worker import HALF, FakeWorker, made_job
from tests.made.agreement import write_agreement
from tests.made.concepts import write_concepts
from tests.made.edits import LOOPS, write_edit
from tests.made.firing import write_firing
from tests.made.runs import Shape, build_run
from tests.made.syntax import write_syntax
from tests.serving import serving

PATIENCE = 60_000
"""Milliseconds to wait for what a test expects: generous, because the machine may be busy, and free when it is there."""
WIDE, TELEPHONE, HEIGHT = 1280, 390, 844
"""Screen sizes in pixels."""
AXE_SCRIPT = Path(__file__).parents[2] / "node_modules" / "axe-core" / "axe.min.js"
WATCH = """
    window.violations = [];
    document.addEventListener("securitypolicyviolation", (event) => {
        window.violations.push(`${event.violatedDirective}: ${event.blockedURI} ${event.sample}`);
    });
"""

AXE = """async () => {
    const everything = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"];
    const dark = matchMedia("(prefers-color-scheme: dark)").matches;
    const { violations } = await axe.run({ runOnly: dark ? ["color-contrast"] : everything });
    return violations.map(({ id, nodes }) => `${id}: ${nodes.slice(0, 3).map((node) => node.html + node.failureSummary)}`);
}"""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run the tests of `EveryPage` on each page in the subclass's `PAGES`."""
    if "telephone" in metafunc.fixturenames:
        pages: dict[str, str] = metafunc.cls.PAGES
        metafunc.parametrize("telephone", pages.values(), ids=pages.keys(), indirect=True, scope="module")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.browser)


@dataclass(frozen=True)
class Site:
    """A running app and its worker."""

    url: str
    worker: FakeWorker
    runs: Path


@dataclass
class Visitor:
    """An open page, and the errors seen on it."""

    page: Page
    site: Site
    problems: list[str]

    def open(self, address: str) -> Page:
        self.page.goto(self.site.url + address)
        return self.page

    def forget(self) -> None:
        """Be a telephone in the light theme that has seen no page yet."""
        self.page.evaluate("localStorage.clear(), sessionStorage.clear()")
        self.page.context.clear_cookies()
        self.page.set_viewport_size({"width": TELEPHONE, "height": HEIGHT})
        self.page.emulate_media(color_scheme="light")
        self.problems.clear()

    def settle(self) -> None:
        """Wait until every chart is drawn."""
        self.page.wait_for_load_state("networkidle")
        expect(self.page.locator("[data-figure]:not(.js-plotly-plot)")).to_have_count(0)

    def widen(self) -> None:
        """Switch from a telephone to a wide screen and wait until charts are redrawn."""
        self.page.set_viewport_size({"width": WIDE, "height": HEIGHT})
        self.page.wait_for_load_state("networkidle")

    def turn(self, theme: Literal["light", "dark"]) -> None:
        """Switch to a theme and wait for its colour transitions."""
        self.page.emulate_media(color_scheme=theme)
        self.page.evaluate("() => Promise.allSettled(document.getAnimations().map((animation) => animation.finished))")

    def barriers(self) -> list[str]:
        """Violations of WCAG 2.2 AA that axe finds on the page now; in the dark theme, where only colours differ, of contrast."""
        # The policy of the pages forbids inline scripts; what is evaluated is outside it.
        if self.page.evaluate("window.axe === undefined"):
            self.page.evaluate(AXE_SCRIPT.read_text())
        found: list[str] = self.page.evaluate(AXE)
        return found

    def check(self) -> None:
        """Check that there were no console errors, exceptions or violations of the content security policy."""
        self.page.wait_for_load_state()
        assert self.problems + self.page.evaluate("window.violations ?? []") == []


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    assert AXE_SCRIPT.exists(), "the third-party scripts are missing: run `make install`"
    directory = tmp_path_factory.mktemp("site")
    write_agreement(build_run(directory / "alpha.duckdb", Shape(keys=24, window=96)), layers=2)
    write_firing(directory / "alpha.duckdb")
    write_syntax(directory / "alpha.duckdb")
    write_concepts(directory / "alpha.duckdb", layers=2, keys_per_layer=24)
    write_edit(directory / "alpha.duckdb")
    build_run(directory / "gated.duckdb", Shape(layers=3, keys=5, seed=1, gated=True, bos=False))
    with open_run(directory / "alpha.duckdb") as connection:
        model = read_manifest(connection).model
    worker = FakeWorker(model.weights_sha256, model.keys_per_layer)
    asked = WorkerJob(run="alpha", kind="edit", settings={"concept": LOOPS.part})
    worker.jobs = [made_job("one", asked, state="running", progress=HALF)]
    with serving(worker.app) as worker_url:
        labels = f"sqlite:///{directory}/labels.sqlite"
        app = create_app(Settings(runs=directory, database_url=labels, worker_urls=[worker_url]))
        with serving(app) as url:
            yield Site(url, worker, directory)


@pytest.fixture
def worker(site: Site) -> Iterator[FakeWorker]:
    """The site's worker, restored after each test; a job that ended is on record as such, so another takes its place."""
    before = dict(vars(site.worker))
    yield site.worker
    if site.worker.jobs != before["jobs"]:
        before["jobs"] = [job.model_copy(update={"id": secrets.token_hex(8)}) for job in before["jobs"]]
    vars(site.worker).update(before)
    site.worker.asked.clear()


@pytest.fixture(scope="package")  # Playwright's event loop must end with these tests: other tests run their own
def browser() -> Iterator[Browser]:
    expect.set_options(timeout=PATIENCE)
    with sync_playwright() as playwright:
        browser = launch(playwright)
        yield browser
        browser.close()


@pytest.fixture
def visit(browser: Browser, site: Site) -> Iterator[Callable[..., Visitor]]:
    """Open a page in a fresh profile: `visit("/runs/alpha", width=390, theme="dark", person="Ada")`."""
    with visits(browser, site) as open_page:
        yield open_page


@pytest.fixture(scope="module")
def tab(browser: Browser, site: Site) -> Iterator[Visitor]:
    """One tab for the pages of a module: the scripts they share are loaded and compiled once."""
    with visits(browser, site) as visit:
        yield visit("/", width=TELEPHONE)


@pytest.fixture(scope="module")
def telephone(request: pytest.FixtureRequest, tab: Visitor) -> Iterator[Visitor]:
    """A page on a telephone, opened once for all tests of it."""
    tab.forget()
    tab.open(request.param)
    tab.settle()
    yield tab
    tab.check()


@pytest.fixture(scope="module")
def shown(telephone: Visitor) -> Visitor:
    """The same page on a wide screen."""
    telephone.widen()
    return telephone


@contextmanager
def visits(browser: Browser, site: Site) -> Iterator[Callable[..., Visitor]]:
    """Open pages, each in a fresh profile; at the end, check that nothing went wrong on any of them."""
    contexts: list[BrowserContext] = []
    visitors: list[Visitor] = []

    def open_page(
        address: str, width: int = WIDE, theme: str = "light", script: bool = True, person: str | None = None
    ) -> Visitor:
        context = browser.new_context(
            viewport={"width": width, "height": HEIGHT},
            color_scheme=theme,  # type: ignore[arg-type]
            java_script_enabled=script,
        )
        context.set_default_timeout(PATIENCE)
        contexts.append(context)
        if person:
            context.add_cookies([{"name": COOKIE, "value": quote(person), "url": site.url}])
        context.add_init_script(WATCH)
        visitor = Visitor(context.new_page(), site, [])
        visitor.page.on("console", lambda message: _note(visitor, message))
        visitor.page.on("pageerror", lambda error: visitor.problems.append(f"thrown: {error}"))
        visitor.open(address)
        if script:
            visitors.append(visitor)
        return visitor

    yield open_page
    for visitor in visitors:
        visitor.check()
    for context in contexts:
        context.close()


def _note(visitor: Visitor, message: ConsoleMessage) -> None:
    if message.type == "error":
        visitor.problems.append(f"console: {message.text}")
