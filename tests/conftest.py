"""What holds for all tests."""

import os
import signal

# before anybody imports torch: servers, browsers and tests share few cores, and idle threads that spin would take them
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# The name by which Starlette's test client calls every server; where nobody signs in, names have to be known.
os.environ.setdefault("KEYSCOPE_TRUSTED_HOSTS", "testserver")


def pytest_configure() -> None:
    # A shell starts what it puts into the background deaf to Ctrl-C, and so would be what tests start and interrupt.
    signal.signal(signal.SIGINT, signal.default_int_handler)
