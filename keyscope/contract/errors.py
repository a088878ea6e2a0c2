"""The root of every error that is shown to a person as a sentence."""


class KeyscopeError(Exception):
    """A problem whose message names the thing, the value and what to do about it.

    `code` is the machine-readable name used in JSON answers, `status` the HTTP status the web servers answer with.
    """

    code = "error"
    status = 500

    @property
    def detail(self) -> str:
        """The sentence to show."""
        return str(self)
