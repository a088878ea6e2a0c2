"""What was read from a run file last; a run file never changes, so nothing kept can become wrong."""

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Recent(Generic[K, V]):
    """The values used last, by key; threads may share it."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._kept: OrderedDict[K, V] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: K, read: Callable[[K], V]) -> V:
        """The value of a key, read if it is not kept."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        value = read(key)  # outside the lock: two threads may read the same, but none waits for another's reading
        self.keep({key: value})
        return value

    def known(self, keys: list[K]) -> dict[K, V]:
        """Those of the keys that are kept, with their values."""
        with self._lock:
            found = {key: self._kept[key] for key in keys if key in self._kept}
            for key in found:
                self._kept.move_to_end(key)
        return found

    def keep(self, values: dict[K, V]) -> None:
        """Keep values; the ones used longest ago make room for them."""
        with self._lock:
            self._kept.update(values)
            while len(self._kept) > self._size:
                self._kept.popitem(last=False)
