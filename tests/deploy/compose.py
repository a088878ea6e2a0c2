"""What docker-compose.yml and the Dockerfile say, read as a container engine would."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
_VARIABLE = re.compile(r"\$\{(\w+)(?::([-?])([^}]*))?\}")
_ENV = re.compile(r"(\w+)=(\S+)")


@dataclass(frozen=True)
class Started:
    """A service as it is started."""

    command: list[str]
    environment: dict[str, str]


def services() -> dict[str, Any]:
    """The services by name."""
    found: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))["services"]
    return found


def started(name: str, given: Mapping[str, str]) -> Started:
    """A service's command and environment: its image's, and what compose adds from the variables that are given."""
    service = services()[name]
    image = stages()[service["build"]["target"]]
    command = [*image.entrypoint, *(service.get("command") or image.command)]
    environment = dict(image.environment)
    for variable, value in service["environment"].items():
        if value is None and variable in given:
            environment[variable] = given[variable]
        elif value is not None:
            environment[variable] = _filled(value, given)
    return Started(command, environment)


def _filled(text: str, given: Mapping[str, str]) -> str:
    def fill(found: re.Match[str]) -> str:
        name, kind, other = found.groups()
        if given.get(name):
            return given[name]
        if kind == "?":
            raise KeyError(f"{name}: {other}")
        return other or ""

    return _VARIABLE.sub(fill, text)


@dataclass(frozen=True)
class Stage:
    """One stage of the Dockerfile."""

    base: str
    user: str | None
    environment: dict[str, str]
    entrypoint: list[str]
    command: list[str]
    port: int | None
    healthcheck: bool


def stages() -> dict[str, Stage]:
    """The stages by name, each with what it inherits."""
    text = (ROOT / "Dockerfile").read_text("utf-8").replace("\\\n", " ")
    found: dict[str, Stage] = {}
    for part in re.split(r"^(?=FROM )", text, flags=re.MULTILINE)[1:]:
        base, name = re.findall(r"^FROM (\S+) AS (\w+)$", part, re.MULTILINE)[0]
        below = found.get(base)
        lines = [line.split(maxsplit=1) for line in part.splitlines() if re.match(r"[A-Z]+ ", line)]
        said = dict(lines)
        environment = dict(below.environment) if below else {}
        for word, rest in lines:
            environment |= dict(_ENV.findall(rest)) if word == "ENV" else {}
        found[name] = Stage(
            base=below.base if below else base,
            user=said.get("USER", below.user if below else None),
            environment=environment,
            entrypoint=json.loads(said.get("ENTRYPOINT", "[]")),
            command=json.loads(said.get("CMD", "[]")),
            port=int(said["EXPOSE"]) if "EXPOSE" in said else None,
            healthcheck="HEALTHCHECK" in said,
        )
    return found
