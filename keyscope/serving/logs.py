"""What both servers keep out of their logs: floods, and what people read and send in addresses."""

import logging
import time

EVERY_SECONDS = 60.0


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
