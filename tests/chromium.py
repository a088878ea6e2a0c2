"""The Chromium that tests and benchmarks drive."""

import shutil

from playwright.sync_api import Browser, Error, Playwright

NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
"""What it is called, the one without windows first, which starts and draws sooner."""
ARGUMENTS = [
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--enable-unsafe-swiftshader",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
]
"""Among them that no page reaches another machine."""


class NoBrowser(Exception):
    """No Chromium can be started here."""


def launch(playwright: Playwright) -> Browser:
    """The first Chromium of PATH, or else Playwright's own.

    Raises:
        NoBrowser: there is none, or it does not start.
    """
    path = next(filter(None, map(shutil.which, NAMES)), None)
    try:
        return playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
    except Error as error:
        raise NoBrowser(
            f"no Chromium could be started: install one with `apt-get install chromium` or `playwright install chromium` "
            f"({error.message.splitlines()[0]})"
        ) from None
