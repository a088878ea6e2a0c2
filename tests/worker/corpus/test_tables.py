import gzip
import json
from functools import partial

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from keyscope.worker.corpus import tables
from keyscope.worker.corpus.files import MAX_BYTES, Skip
from keyscope.worker.corpus.interface import Record, SourceUnreadable, UnsupportedSource
from keyscope.worker.corpus.tables import JsonLines, Parquet
from tests.worker.corpus.trees import LANGUAGES

ROWS = [
    {"content": "a = 1\r\n", "path": "src/a.py", "repo": "me/one", "lang": "Python", "size": 7},
    {"content": "class B {}", "path": "B.java", "repo": "me/two", "lang": "Java", "size": 10},
    {"content": "int c;", "path": "c.c", "repo": "me/two", "lang": "C", "size": 6},
    {"content": "package d", "path": "/d.go", "repo": "", "lang": "Go", "size": 9},
]
RECORDS = [
    Record("python", "me/one/src/a.py", b"a = 1\r\n", "me/one"),
    Record("java", "me/two/B.java", b"class B {}", "me/two"),
    Record("go", "d.go", b"package d"),
]
COMPRESS = {
    "t.jsonl": bytes,
    "t.jsonl.gz": gzip.compress,
    "t.jsonl.zst": partial(pa.compress, codec="zstd", asbytes=True),
}


def write_lines(path, *lines):
    text = "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines) + "\n"
    path.write_bytes(COMPRESS[path.name](text.encode()))
    return path


def records(path, languages=LANGUAGES):
    reader = Parquet if path.suffix == ".parquet" else JsonLines
    return list(reader(path, path.name).records(languages))


@pytest.mark.parametrize("name", COMPRESS)
def test_json_lines_are_read_in_order_whatever_their_compression(tmp_path, name):
    assert records(write_lines(tmp_path / name, *ROWS)) == RECORDS


def test_a_parquet_file_is_read_in_order(tmp_path):
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "t.parquet")
    assert records(tmp_path / "t.parquet") == RECORDS


def test_the_longer_names_of_the_stack_are_known(tmp_path):
    row = {"content": "x", "max_stars_repo_path": "a.go", "max_stars_repo_name": "me/one", "hexsha": "0"}
    assert records(write_lines(tmp_path / "t.jsonl", row)) == [Record("go", "me/one/a.go", b"x", "me/one")]


def test_the_suffix_tells_the_language_where_no_column_does(tmp_path):
    rows = [{"content": "x", "path": "a.GO", "lang": None}, {"content": "y", "path": "b.txt", "lang": ""}]
    assert records(write_lines(tmp_path / "t.jsonl", *rows)) == [Record("go", "a.GO", b"x")]


def test_a_row_without_a_path_is_named_by_its_number(tmp_path):
    rows = [{"content": "x", "lang": "C"}, {"content": "y", "lang": "python"}]
    assert records(write_lines(tmp_path / "t.jsonl", *rows)) == [Record("python", "row-2.py", b"y")]


def test_rows_that_are_no_files_are_counted_as_unreadable(tmp_path):
    good = {"content": "x", "path": "a.py"}
    path = write_lines(tmp_path / "t.jsonl", good, "{", "[1]", "[" * 100_000, {"path": "b.py"}, {**good, "content": 5})
    assert records(path) == [Record("python", "a.py", b"x"), *[Skip.UNREADABLE] * 5]


def test_half_a_surrogate_pair_goes_on_as_bytes_that_are_no_utf8(tmp_path):
    (record,) = records(write_lines(tmp_path / "t.jsonl", '{"content": "x = \'\\ud800\'", "path": "a.py"}'))
    with pytest.raises(UnicodeDecodeError):
        record.data.decode()


def test_a_line_beyond_the_limit_is_passed_over_in_pieces(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "MAX_JSON_LINE", 100)
    rows = [{"content": content, "path": "a.py"} for content in ("x", "y" * 1000, "z")]
    assert records(write_lines(tmp_path / "t.jsonl", *rows)) == [
        Record("python", "a.py", b"x"),
        Skip.TOO_LARGE,
        Record("python", "a.py", b"z"),
    ]


@pytest.mark.parametrize("row", [{"text": "x", "path": "a.py"}, {"content": "x", "size": 1}])
def test_a_table_without_the_columns_needed_is_refused_with_those_it_has(tmp_path, row):
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "t.parquet")
    for path in (write_lines(tmp_path / "t.jsonl", row), tmp_path / "t.parquet"):
        with pytest.raises(UnsupportedSource, match=f"has the columns {', '.join(row)}: it needs content"):
            records(path)


@pytest.mark.parametrize("name", ["t.jsonl.gz", "t.jsonl.zst", "t.parquet"])
def test_a_damaged_table_is_an_error_and_not_a_short_corpus(tmp_path, name):
    (tmp_path / name).write_bytes(b"\x1f\x8b\x08 no table of any kind")
    with pytest.raises(SourceUnreadable, match=f"{name} is damaged or truncated"):
        records(tmp_path / name)


def test_compressed_parts_may_follow_one_another(tmp_path):
    for name in ("t.jsonl.gz", "t.jsonl.zst"):
        first, second = (write_lines(tmp_path / name, row).read_bytes() for row in ROWS[:2])
        (tmp_path / name).write_bytes(first + second)
        assert records(tmp_path / name) == RECORDS[:2]


@pytest.mark.parametrize("name", ["t.jsonl.gz", "t.jsonl.zst"])
def test_a_compressed_table_cut_short_is_an_error(tmp_path, name):
    path = write_lines(tmp_path / name, *[{**ROWS[0], "content": str(hash(n))} for n in range(5000)])
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(SourceUnreadable, match="truncated"):
        records(path)


def test_only_the_columns_needed_are_read_from_parquet(tmp_path, monkeypatch):
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "t.parquet")
    read = []
    batches = pq.ParquetFile.iter_batches
    monkeypatch.setattr(
        pq.ParquetFile,
        "iter_batches",
        lambda self, **options: (read.extend(options["columns"]), batches(self, **options))[1],
    )
    assert len(records(tmp_path / "t.parquet")) == 3
    assert read == ["content", "path", "repo", "lang"]


@pytest.mark.parametrize("typed", [True, False])
def test_one_long_value_of_many_rows_is_decoded_row_by_row(tmp_path, typed):
    row, n = "a = 1\n" * 1_000_000, 100
    contents = pa.DictionaryArray.from_arrays(pa.array([0] * n + [1]), pa.array([row, "b = 2\n"]))
    table = pa.table({"content": contents, "path": [f"{number}.py" for number in range(n + 1)]})
    pq.write_table(table, tmp_path / "t.parquet", compression="zstd", store_schema=typed)
    assert (tmp_path / "t.parquet").stat().st_size < 20_000
    most = 0
    read = []
    for record in Parquet(tmp_path / "t.parquet", "t").records(LANGUAGES):
        most = max(most, pa.total_allocated_bytes())
        read.append(record)
    assert [len(each.data) for each in read] == [MAX_BYTES + 1] * n + [6]
    assert most < 40_000_000


def test_a_table_whose_content_is_no_text_is_refused(tmp_path):
    pq.write_table(pa.table({"content": [1], "path": ["a.py"]}), tmp_path / "t.parquet")
    with pytest.raises(UnsupportedSource, match=r"has no text in its column content"):
        records(tmp_path / "t.parquet")


def test_a_page_too_large_for_memory_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "PARQUET_MEMORY", "20MB")
    pq.write_table(
        pa.table({"content": ["x" * 40_000_000], "path": ["a.py"]}), tmp_path / "t.parquet", compression="zstd"
    )
    with pytest.raises(SourceUnreadable, match=r"pages that do not fit into 20MB of memory"):
        records(tmp_path / "t.parquet")


@pytest.mark.parametrize("name", ["t.jsonl", "t[1].parquet"])
def test_a_row_with_a_path_of_megabytes_is_skipped(tmp_path, name):
    rows = [{"content": "x", "path": "a" * 1_000_000 + ".py"}, {"content": b"y".decode(), "path": "b.py"}]
    if name == "t.jsonl":
        write_lines(tmp_path / name, *rows)
    else:
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / name)
    assert records(tmp_path / name) == [Skip.TOO_LARGE, Record("python", "b.py", b"y")]
