"""The tokenised corpus on disk: text and tokens of every kept file with their places, written once, read in slices."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from keyscope.contract.manifest import Framing, Task
from keyscope.worker.corpus.boilerplate import marked_lines
from keyscope.worker.corpus.files import SourceFile
from keyscope.worker.model.vocabulary import token_bytes
from keyscope.worker.precompute.presets import STRICT, Procedure
from keyscope.worker.progress import Advance

IntArray = npt.NDArray[np.int64]

_FILES = pa.schema(
    [
        ("language", pa.string()),
        ("source", pa.string()),
        ("path", pa.string()),
        ("sha256", pa.string()),
        ("project", pa.string()),
        ("n_tokens", pa.uint32()),
        ("n_bytes", pa.uint32()),
    ]
)
_BOILERPLATE = "boilerplate.bin"
_ROWS_AT_ONCE = 4096
_Number = TypeVar("_Number", bound=np.generic)


@dataclass(frozen=True, slots=True)
class Sharing:
    """How windows are shared out between the stacks of an encoder–decoder."""

    task: Task
    framing: Framing
    spans: npt.NDArray[np.bool_]
    """For the task `denoise`, whether each token of the corpus is in a span."""

    def decoded(self, begin: int, length: int) -> npt.NDArray[np.bool_] | None:
        """Which tokens of a window go to the decoder, [length]; None if the encoder reads them all.

        Args:
            begin: number of the window's first token in the corpus.
            length: tokens of the window.
        """
        if self.task == "encode":
            return None
        if self.task == "continue":
            return np.arange(length) >= (length + 1) // 2
        found = np.array(self.spans[begin : begin + length])
        # spans for which there is no sentinel stay with the encoder
        firsts = np.diff(found, prepend=False) & found
        return found & (np.cumsum(firsts) <= len(self.framing.sentinels))


@dataclass(frozen=True)
class TokenStore:
    """Tokens of all files back to back, in file order.

    A file is identified by its number in that order; its tokens are at `offsets[file]` to `offsets[file + 1]`.
    `languages[file]` indexes `language_names`.
    """

    folder: Path
    token_ids: npt.NDArray[np.int32]
    lines: npt.NDArray[np.uint32]
    columns: npt.NDArray[np.uint32]
    starts: npt.NDArray[np.uint32]
    """Offset of each token in the UTF-8 of its file."""
    boilerplate: npt.NDArray[np.bool_]
    """Whether each token is read for context and counts for nothing: it lies wholly in boilerplate lines, or is not given
    to the decoder that is read."""
    offsets: IntArray
    languages: npt.NDArray[np.int16]
    language_names: tuple[str, ...]
    projects: npt.NDArray[np.int32]
    """Number of each file's project."""
    project_names: tuple[str, ...]
    """Names by that number; one empty name in a corpus kept by a version that did not know projects."""
    seeds: npt.NDArray[np.uint64]
    """One number per file from its content, for random choices that must not depend on order or batches."""
    texts: npt.NDArray[np.uint8]
    """UTF-8 of all files back to back."""
    text_offsets: IntArray
    sharing: Sharing | None = None
    """How an encoder–decoder reads it; None for other models."""

    @property
    def n_files(self) -> int:
        """Files kept."""
        return len(self.offsets) - 1

    @property
    def lengths(self) -> IntArray:
        """Tokens of each file."""
        return np.diff(self.offsets)

    @cached_property
    def counted(self) -> IntArray:
        """Tokens of each file that count: those outside boilerplate."""
        marked = np.concatenate([[0], np.cumsum(self.boilerplate, dtype=np.int64)])
        return self.lengths - np.diff(marked[self.offsets])

    def tokens_of(self, file: int) -> slice:
        """Slice of a file's tokens in the arrays over all tokens."""
        return slice(int(self.offsets[file]), int(self.offsets[file + 1]))

    def numbers(self, files: npt.ArrayLike) -> IntArray:
        """Numbers of the tokens of some files that count, counted through the corpus, [tokens]."""
        spans = [np.arange(self.offsets[file], self.offsets[file + 1]) for file in np.asarray(files)]
        found: IntArray = np.concatenate(spans)
        return found[~self.boilerplate[found]]

    def text(self, file: int) -> bytes:
        """A file's text as UTF-8."""
        return self.texts[self.text_offsets[file] : self.text_offsets[file + 1]].tobytes()

    def files(self) -> pa.Table:
        """language, source, path, sha256, project, n_tokens and n_bytes of every file, in order."""
        return pq.read_table(self.folder / "files.parquet")

    def token_counts(self, vocabulary: int) -> IntArray:
        """Occurrences of each token id among the tokens that count, [vocabulary]."""
        counts = np.zeros(vocabulary, dtype=np.int64)
        for start in range(0, len(self.token_ids), 1 << 22):
            chunk = slice(start, start + (1 << 22))
            counts += np.bincount(self.token_ids[chunk][~self.boilerplate[chunk]], minlength=vocabulary)[:vocabulary]
        return counts


def write_tokens(
    folder: Path,
    files: Iterable[SourceFile],
    tokenizer: PreTrainedTokenizerFast,
    advance: Advance,
    procedure: Procedure = STRICT,
    repeated: Mapping[str, frozenset[int]] = MappingProxyType({}),
) -> None:
    """Tokenise files into `folder`, without special tokens, and mark the tokens of each language's `repeated` lines.

    If the procedure cuts files into pieces, each piece is a file of the store and keeps its line numbers. Text that
    spells a special token (`<|endoftext|>` in a string) is encoded as plain text.
    """
    folder.mkdir(parents=True, exist_ok=True)
    # a copy: live requests use the model's tokenizer at the same time, with other settings
    encoder = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    encoder.encode_special_tokens = True
    table = token_bytes(tokenizer)
    lengths_of = np.array([len(spelled) for spelled in table], dtype=np.int64)
    rows: list[dict[str, object]] = []
    with (
        (folder / "token_ids.bin").open("wb") as ids_file,
        (folder / "lines.bin").open("wb") as lines_file,
        (folder / "columns.bin").open("wb") as columns_file,
        (folder / "starts.bin").open("wb") as starts_file,
        (folder / _BOILERPLATE).open("wb") as boilerplate_file,
        (folder / "texts.bin").open("wb") as texts_file,
        pq.ParquetWriter(folder / "files.parquet", _FILES) as writer,
    ):
        for file in files:
            if procedure.fewest_tokens > len(encoder.encode(file.text, add_special_tokens=False).ids):
                continue
            for first_line, piece in procedure.pieces(file.text):
                encoding = encoder.encode(piece, add_special_tokens=False)
                ids = np.array(encoding.ids, dtype=np.int32)
                starts = _byte_starts(piece, ids, table, lengths_of, encoding.offsets)
                text = piece.encode()
                if procedure.longest_file and len(ids) > procedure.longest_file:
                    ids, starts, text = _cut(ids, starts, text, procedure.longest_file)
                    piece = text.decode()
                lines, columns = _places(text, starts)
                marked = _in_lines(text, starts, marked_lines(piece, repeated.get(file.language, frozenset())))
                arrays = ids, lines + np.uint32(first_line - 1), columns, starts.astype(np.uint32), marked
                streams = ids_file, lines_file, columns_file, starts_file, boilerplate_file
                longest = procedure.window if procedure.lines else None
                for stream, array in zip(streams, arrays, strict=True):
                    array[:longest].tofile(stream)
                texts_file.write(text)
                rows.append(
                    {
                        "language": file.language,
                        "source": file.source,
                        "path": file.path,
                        "sha256": file.sha256 if procedure.lines is None else hashlib.sha256(text).hexdigest(),
                        "project": file.project,
                        "n_tokens": len(ids[:longest]),
                        "n_bytes": len(text),
                    }
                )
                if len(rows) >= _ROWS_AT_ONCE:
                    writer.write_table(pa.Table.from_pylist(rows, schema=_FILES))
                    rows.clear()
            advance(1)
        writer.write_table(pa.Table.from_pylist(rows, schema=_FILES))


def open_tokens(folder: Path) -> TokenStore:
    """Open what `write_tokens` wrote; arrays are memory-mapped. A corpus kept by an older version has no boilerplate."""
    stored = pq.read_schema(folder / "files.parquet").names
    columns = ["language", "sha256", "project", "n_tokens", "n_bytes"]
    table = pq.read_table(folder / "files.parquet", columns=[name for name in columns if name in stored])
    projects = table.column("project").to_pylist() if "project" in stored else [""] * len(table)
    project_names = tuple(dict.fromkeys(projects))
    project = {name: number for number, name in enumerate(project_names)}
    names = table.column("language").to_pylist()
    order = tuple(dict.fromkeys(names))
    code = {name: number for number, name in enumerate(order)}
    seeds = [int(digest[:16], 16) for digest in table.column("sha256").to_pylist()]
    token_ids = _map(folder / "token_ids.bin", np.int32)
    marks = folder / _BOILERPLATE
    return TokenStore(
        folder=folder,
        token_ids=token_ids,
        lines=_map(folder / "lines.bin", np.uint32),
        columns=_map(folder / "columns.bin", np.uint32),
        starts=_map(folder / "starts.bin", np.uint32),
        boilerplate=_map(marks, np.bool_) if marks.exists() else np.zeros(len(token_ids), dtype=np.bool_),
        offsets=_ends(table, "n_tokens"),
        languages=np.array([code[name] for name in names], dtype=np.int16),
        language_names=order,
        projects=np.array([project[name] for name in projects], dtype=np.int32),
        project_names=project_names,
        seeds=np.array(seeds, dtype=np.uint64),
        texts=_map(folder / "texts.bin", np.uint8),
        text_offsets=_ends(table, "n_bytes"),
    )


def _ends(table: pa.Table, sizes: str) -> IntArray:
    """Where each file's part ends, with a leading 0."""
    return np.concatenate([[0], np.cumsum(table.column(sizes).to_numpy(), dtype=np.int64)])


def _map(path: Path, dtype: type[_Number]) -> npt.NDArray[_Number]:
    if path.stat().st_size == 0:
        return np.zeros(0, dtype=dtype)
    return np.memmap(path, dtype=dtype, mode="r")


def _byte_starts(
    text: str,
    ids: npt.NDArray[np.int32],
    table: list[bytes],
    lengths_of: IntArray,
    offsets: list[tuple[int, int]],
) -> IntArray:
    """Offset of each token in the UTF-8 of the text, [tokens].

    Exact if the tokens' bytes add up to the text. For tokenizers that change the text (by a leading space or Unicode
    normalisation) the tokenizer's character offsets are used, which may omit a leading space.
    """
    data = text.encode()
    ends = np.cumsum(lengths_of[ids])
    # character offsets cannot tell apart the tokens that share one character; byte lengths can
    if b"".join(table[token] for token in ids) == data:
        return np.concatenate([[0], ends[:-1]]).astype(np.int64)
    byte_of_char = np.flatnonzero(_starts_character(data))
    byte_of_char = np.append(byte_of_char, len(data))
    return byte_of_char[np.array([start for start, _end in offsets], dtype=np.int64)]


def _cut(
    ids: npt.NDArray[np.int32], starts: IntArray, text: bytes, longest: int
) -> tuple[npt.NDArray[np.int32], IntArray, bytes]:
    """The first `longest` tokens of a file and their text; some fewer if a character would be cut in two."""
    stop = longest
    while stop and text[starts[stop]] & 0xC0 == 0x80:
        stop -= 1
    return ids[:stop], starts[:stop], text[: starts[stop]]


def _starts_character(data: bytes) -> npt.NDArray[np.bool_]:
    starts: npt.NDArray[np.bool_] = (np.frombuffer(data, dtype=np.uint8) & 0xC0) != 0x80
    return starts


def _places(data: bytes, starts: IntArray) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.uint32]]:
    """Line (from 1) and column (from 0, in characters) of byte offsets; a byte inside a character has its column."""
    newlines = np.flatnonzero(np.frombuffer(data, dtype=np.uint8) == ord("\n"))
    lines = np.searchsorted(newlines, starts, side="left")
    line_starts = np.concatenate([[0], newlines + 1])[lines]
    characters = np.concatenate([[0], np.cumsum(_starts_character(data))])
    inside = np.zeros(len(starts), dtype=np.int64)
    within = starts < len(data)
    inside[within] = ~_starts_character(data)[starts[within]]
    columns = characters[starts] - characters[line_starts] - inside
    return (lines + 1).astype(np.uint32), columns.astype(np.uint32)


def _in_lines(data: bytes, starts: IntArray, lines: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Whether each token, from its start to the next one's, lies wholly in the marked lines; a line feed ends its line."""
    newlines = np.flatnonzero(np.frombuffer(data, dtype=np.uint8) == ord("\n"))
    ends = np.append(starts[1:], len(data))
    first, last = (np.searchsorted(newlines, at, side="left") for at in (starts, np.maximum(ends - 1, starts)))
    unmarked = np.concatenate([[0], np.cumsum(~lines)])
    return np.asarray(unmarked[last + 1] == unmarked[first])
