"""Start the Chromium that tests and benchmarks drive."""

import shutil

from playwright.sync_api import Browser, Error, Playwright

NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
"""Names to look for on PATH; the headless shell comes first because it starts and renders faster."""
ARGUMENTS = [
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--enable-unsafe-swiftshader",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
]
"""The last one keeps pages off the network."""


class NoBrowser(Exception):
    """Chromium cannot be started here."""


def launch(playwright: Playwright) -> Browser:
    """Launch the first Chromium on PATH, or Playwright's own.

    Raises:
        NoBrowser: none is installed, or it does not start.
    """
    path = next(filter(None, map(shutil.which, NAMES)), None)
    try:
        return playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
    except Error as error:
        raise NoBrowser(
            f"Chromium could not be started: install it with `apt-get install chromium` or `playwright install chromium` "
            f"({error.message.splitlines()[0]})"
        ) from None
