"""How both servers are run: descriptors, and what reaches their logs."""

import gc
import logging
import subprocess
import sys

import pytest

from keyscope.serving import listening, logs
from keyscope.serving.logs import Seldom, WithoutQuery


def test_a_server_takes_all_descriptors_it_may():
    code = (
        "import resource; from keyscope.serving.connections import connection_limit, raise_descriptor_limit; "
        "raise_descriptor_limit(); print(resource.getrlimit(resource.RLIMIT_NOFILE), connection_limit())"
    )
    limited = ["sh", "-c", 'ulimit -S -n 100 && ulimit -H -n 1000 && exec "$@"', "sh", sys.executable, "-c", code]
    assert subprocess.run(limited, capture_output=True, text=True, check=True).stdout == "(1000, 1000) 500\n"


def test_a_server_looks_for_cycles_of_objects_seldom_and_leaves_the_process_as_it_was():
    before = gc.get_threshold()
    with listening.few_collections():
        assert gc.get_threshold()[0] > 10 * before[0]
        assert gc.get_freeze_count()
    assert gc.get_threshold() == before
    assert not gc.get_freeze_count()


def record(message: str, *arguments: object) -> logging.LogRecord:
    return logging.LogRecord("any", logging.INFO, __file__, 1, message, arguments, None)


def test_a_message_that_repeats_is_logged_once_a_minute_and_others_always(monkeypatch: pytest.MonkeyPatch):
    seldom = Seldom("no more files")
    assert seldom.filter(record("no more files\nsocket: 3"))
    assert not seldom.filter(record("no more files\nsocket: 4"))
    assert seldom.filter(record("something else"))
    later = logs.time.monotonic() + logs.EVERY_SECONDS
    monkeypatch.setattr(logs.time, "monotonic", lambda: later)
    assert seldom.filter(record("no more files\nsocket: 3"))


@pytest.mark.parametrize(
    ("address", "logged"),
    [
        ("/lens?run=alpha&text=secret%20code", "/lens?..."),
        ("/sign-in/provider/return?code=secret&state=s", "/sign-in/provider/return?..."),
        ("/runs/alpha", "/runs/alpha"),
    ],
)
def test_addresses_are_logged_without_their_query(address: str, logged: str):
    line = record('%s - "%s %s HTTP/%s" %d', "127.0.0.1:5", "GET", address, "1.1", 200)
    assert WithoutQuery().filter(line)
    assert line.getMessage() == f'127.0.0.1:5 - "GET {logged} HTTP/1.1" 200'
