"""The base class of every error shown to people as a sentence."""


class KeyscopeError(Exception):
    """A problem whose message names the thing, the value and what to do.

    `code` is its machine-readable name in JSON, `status` the HTTP status the servers answer with.
    """

    code = "error"
    status = 500

    @property
    def detail(self) -> str:
        """The sentence to show."""
        return str(self)
