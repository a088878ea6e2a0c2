"""Data sets of the Hugging Face hub as sources, streamed: only what is read is downloaded."""

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from keyscope.worker.corpus.files import Skip
from keyscope.worker.corpus.interface import Record, SourceNotFound, SourceUnreadable, Streamed, UnsupportedSource
from keyscope.worker.corpus.tables import Columns


class HubDataset(Streamed):
    """A data set on the hub, or a local folder in the hub's layout; its split `train`, else the first one."""

    def __init__(self, name: str, config: str | None) -> None:
        super().__init__(Path(name).resolve().name if Path(name).is_dir() else name)
        self._dataset = name
        self._config = config

    def records(self, languages: Collection[str]) -> Iterator[Record | Skip]:
        """See `Streamed.records`."""
        rows = iter(self._rows())
        columns: Columns | None = None
        number = 0
        while True:
            try:
                row = next(rows)
            except StopIteration:
                return
            except Exception as error:  # readers, decoders and the network raise anything
                raise SourceUnreadable(f"hf:{self._dataset} broke off after {number} rows: {_said(error)}") from error
            number += 1
            columns = columns or Columns.find(row.keys(), f"hf:{self._dataset}")
            record = columns.record(row, number, languages)
            if record is not None:
                yield record

    def _rows(self) -> Any:
        try:
            import datasets
        except ImportError as error:
            raise UnsupportedSource(
                f"hf:{self._dataset} needs the package datasets, which is not installed: pip install datasets"
            ) from error
        try:
            splits = datasets.load_dataset(self._dataset, self._config, streaming=True)
        except Exception as error:  # as above
            raise SourceNotFound(
                f"hf:{self._dataset}{':' + self._config if self._config else ''} cannot be opened: {_said(error)}; "
                "check the name, the configuration and the network"
            ) from error
        return splits["train"] if "train" in splits else next(iter(splits.values()))


def _said(error: Exception) -> str:
    return str(error).strip().splitlines()[0].rstrip(".") if str(error).strip() else type(error).__name__
