import errno
from pathlib import Path

import pytest

from keyscope.worker.corpus.spool import ScratchUnwritable, Spool


def test_what_was_appended_is_read_back_in_any_order(tmp_path):
    with Spool(tmp_path / "new", "texts") as spool:
        extents = [spool.append(text) for text in (b"one", b"", b"three" * 10_000)]
        assert spool.read(extents[2]) == b"three" * 10_000
        extents.append(spool.append(b"four"))
        assert [spool.read(extent) for extent in extents[::-1]] == [b"four", b"three" * 10_000, b"", b"one"]
    assert (tmp_path / "new/texts").read_bytes() == b"one" + b"three" * 10_000 + b"four"


def test_a_spool_without_a_name_leaves_nothing_behind(tmp_path):
    with Spool(tmp_path) as spool:
        assert spool.read(spool.append(b"text")) == b"text"
        assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ScratchUnwritable, match=r"file/texts cannot be written: .*choose another scratch directory"):
        Spool(tmp_path / "file", "texts")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_an_error_that_says_so():
    spool = Spool(Path("/dev"), "full")
    with pytest.raises(ScratchUnwritable, match="No space left on device") as failure:
        spool.append(b"x" * 100_000)
    assert isinstance(failure.value.__cause__, OSError)
    assert failure.value.__cause__.errno == errno.ENOSPC
    spool.close()
