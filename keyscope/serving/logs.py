"""The logs of both servers: as lines of JSON, and without floods and what people read and send in addresses."""

import json
import logging
import sys
import time
from datetime import UTC, datetime
from typing import Literal

from keyscope.serving.requests import REQUEST_ID

LogFormat = Literal["text", "json"]
EVERY_SECONDS = 60.0


class JsonLines(logging.Formatter):
    """One JSON object a line, with the id of the request during which it was logged."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            "request_id": REQUEST_ID.get(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps({name: value for name, value in line.items() if value is not None}, default=str)


def log_json() -> None:
    """Let the whole process log lines of JSON on stderr: our own and uvicorn's information, warnings of all others."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    for name in ("keyscope", "uvicorn"):
        logging.getLogger(name).setLevel(logging.INFO)


class Seldom(logging.Filter):
    """Lets messages that begin with some words through once a minute; the others always."""

    def __init__(self, words: str) -> None:
        super().__init__()
        self.words = words
        self._quiet_until = 0.0

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether to log the message."""
        if not str(record.msg).startswith(self.words):
            return True
        now = time.monotonic()
        if now < self._quiet_until:
            return False
        self._quiet_until = now + EVERY_SECONDS
        return True


class WithoutQuery(logging.Filter):
    """Takes the query out of uvicorn's access log: it can hold people's code, or the code of a sign-in."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Log the message with a shortened address."""
        client, method, address, *rest = record.args  # type: ignore[misc]
        path, mark, _query = str(address).partition("?")
        record.args = (client, method, path + "?..." if mark else path, *rest)
        return True
