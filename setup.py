"""Refuses to build a package whose pages would have no scripts; everything else about the build is in pyproject.toml."""

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py
from setuptools.errors import SetupError

VENDOR = Path(__file__).parent / "keyscope" / "static" / "vendor"
SCRIPTS = ("htmx.min.js", "plotly.min.js", "plotly.css", "swagger-ui.js", "swagger-ui.css")


class BuildWithScripts(build_py):
    def run(self) -> None:
        missing = [name for name in SCRIPTS if not (VENDOR / name).is_file()]
        # An editable install reads static/vendor where it is, so the scripts may follow.
        if missing and not self.editable_mode:
            raise SetupError(
                f"static/vendor lacks {', '.join(missing)}: run `npm ci` in the repository first, "
                "for the package carries the scripts of its pages"
            )
        super().run()


setup(cmdclass={"build_py": BuildWithScripts})
