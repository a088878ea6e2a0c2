"""Refuse to build a package without the scripts of its pages; the rest of the build is in pyproject.toml."""

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py
from setuptools.errors import SetupError

VENDOR = Path(__file__).parent / "keyscope" / "static" / "vendor"
SCRIPTS = ("htmx.min.js", "plotly.min.js", "plotly.css", "swagger-ui.js", "swagger-ui.css")


class BuildWithScripts(build_py):
    def run(self) -> None:
        missing = [name for name in SCRIPTS if not (VENDOR / name).is_file()]
        # An editable install reads static/vendor in place, so the scripts can be installed later.
        if missing and not self.editable_mode:
            raise SetupError(
                f"static/vendor lacks {', '.join(missing)}: run `npm ci` in the repository first, "
                "because the package carries the scripts of its pages"
            )
        super().run()


setup(cmdclass={"build_py": BuildWithScripts})
