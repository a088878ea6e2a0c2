"""Compresses answers that the server makes itself; third-party scripts lie compressed beside their files.

Compressing a secret beside text that an attacker chooses gives the secret away by the answer's size (BREACH), if they can
have both sent many times. Our pages hold no such secret: forms carry no tokens, since the browser says which site sent
them (see `refuse_cross_site`), sessions are in cookies, and a new token or invitation is shown once, to its own form.
"""

from starlette.middleware import Middleware
from starlette.middleware.gzip import DEFAULT_EXCLUDED_CONTENT_TYPES, GZipMiddleware

from keyscope.app.table_files import FORMATS
from keyscope.app.web.shapes import RUN_FILE

LEVEL = 4
"""Against level 6, 6 to 9 % more bytes for 60 % of the time: 0.7 ms for a page of 74 kB, 10 ms for 0.9 MB of JSON."""
LEAST_BYTES = 1000
"""Less than this fits into one packet anyway."""
COMPRESSED = (FORMATS["parquet"].media_type, RUN_FILE)


def compression() -> Middleware:
    """The middleware that compresses all but event streams and what is compressed already."""
    return Middleware(
        GZipMiddleware,
        minimum_size=LEAST_BYTES,
        compresslevel=LEVEL,
        exclude_content_types=(*DEFAULT_EXCLUDED_CONTENT_TYPES, *COMPRESSED),
    )
