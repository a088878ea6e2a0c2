"""The errors of the app, with their HTTP status and what exists instead."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from keyscope.contract.errors import KeyscopeError
from keyscope.contract.keys import KeyId, Stack


@dataclass(frozen=True, slots=True)
class Exists:
    """What exists instead of the thing requested; empty if unknown."""

    runs: tuple[str, ...] = ()
    run_id: str | None = None
    n_layers: int | None = None
    layer: int | None = None
    n_keys: int | None = None


class NotFound(KeyscopeError, status=404):
    """The thing requested does not exist; `exists` lists what does."""

    def __init__(self, detail: str, exists: Exists | None = None) -> None:
        super().__init__(detail)
        self.exists = exists or Exists()


class UnknownRun(NotFound):
    """The runs directory has no run of that name."""

    def __init__(self, run_id: str, runs: list[str]) -> None:
        known = f"there are {', '.join(runs)}" if runs else "there are no runs yet"
        super().__init__(f"there is no run {run_id!r}: {known}", Exists(runs=tuple(runs)))


class UnknownLayer(NotFound):
    """A run has no such layer."""

    def __init__(self, run_id: str, layer: int, n_layers: int) -> None:
        super().__init__(
            f"{run_id} has no layer {layer}: its layers are 0 to {n_layers - 1}",
            Exists(run_id=run_id, n_layers=n_layers),
        )


class UnknownKey(NotFound):
    """A layer has no such key."""

    def __init__(self, run_id: str, key: KeyId, n_layers: int, n_keys: int) -> None:
        super().__init__(
            f"{run_id} has no key {key}: layer {key.layer} has {replace(key, index=0)} to {replace(key, index=n_keys - 1)}",
            Exists(run_id=run_id, n_layers=n_layers, layer=key.layer, n_keys=n_keys),
        )


class OtherStack(NotFound):
    """A run has the keys of another stack."""

    def __init__(self, run_id: str, key: KeyId, stack: Stack, others: Sequence[str] = ()) -> None:
        of = {"L": "a model with one stack", "E": "an encoder", "D": "a decoder"}[stack]
        super().__init__(
            f"{run_id} has no key {key}: it is a run of {of}, whose keys have names like {replace(key, stack=stack)}"
            + (f"; {', '.join(others)} has those of the other stack" if others else ""),
            Exists(run_id=run_id, runs=tuple(others)),
        )


class InvalidParameter(KeyscopeError, status=422):
    """A parameter has an invalid value."""
