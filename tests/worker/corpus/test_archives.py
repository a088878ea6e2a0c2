import gzip
import stat
import tarfile
import tracemalloc
import zipfile

import pytest

from keyscope.worker.corpus.archives import TarArchive, ZipArchive
from keyscope.worker.corpus.files import MAX_BYTES, Skip, Skipped
from keyscope.worker.corpus.interface import SourceUnreadable
from tests.worker.corpus.trees import LANGUAGES, write_tar, write_zip

FILES = {
    "folder.py/": "",
    "./a.py": "a = 1\n",
    "src/B.java": "class B {}\n",
    "src/readme.md": "",
    ".git/c.py": "",
    "src/d.go": "package d\n",
}
UNSAFE = {"../up.py": "x", "src/../../up.py": "x", "/etc/root.py": "x"}
TAR_MODES = {"t.tar": "w", "t.tar.gz": "w:gz", "t.tgz": "w:gz", "t.tar.xz": "w:xz"}


def contents(source) -> dict[str, bytes]:
    try:
        return {path: source.read(path) for path in source.paths(LANGUAGES)}
    finally:
        source.close()


def reason_for(source, path) -> Skip:
    with pytest.raises(Skipped) as skipped:
        source.read(path)
    return skipped.value.reason


def expected() -> dict[str, bytes]:
    return {"a.py": b"a = 1\n", "src/B.java": b"class B {}\n", "src/d.go": b"package d\n"}


@pytest.mark.parametrize("name", ["a.zip", "a.whl"])
def test_a_zip_archive_is_read_in_place(tmp_path, name):
    assert contents(ZipArchive(write_zip(tmp_path / name, FILES), name)) == expected()


@pytest.mark.parametrize("name", TAR_MODES)
def test_a_tar_archive_is_read_whatever_its_compression(tmp_path, name):
    path = write_tar(tmp_path / name, TAR_MODES[name], FILES)
    assert contents(TarArchive(path, name, tmp_path)) == expected()
    assert list(tmp_path.iterdir()) == [path]


def test_members_that_lead_out_of_an_archive_are_ignored(tmp_path):
    assert not contents(ZipArchive(write_zip(tmp_path / "a.zip", UNSAFE), "a.zip"))
    assert not contents(TarArchive(write_tar(tmp_path / "a.tar", "w", UNSAFE), "a.tar", tmp_path))


def test_links_and_devices_in_archives_are_counted_and_not_read(tmp_path):
    members = [tarfile.TarInfo(f"{kind.decode()}.py") for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE)]
    for member, kind in zip(members, (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE), strict=True):
        member.type, member.linkname = kind, "a.py"
    tar = write_tar(tmp_path / "a.tar", "w", {"a.py": "a = 1\n"}, members)
    source = TarArchive(tar, "a.tar", tmp_path)
    found = list(source.paths(LANGUAGES))
    source.close()
    assert sorted(found) == ["a.py", Skip.LINK, Skip.LINK, Skip.SPECIAL_FILE]

    link = zipfile.ZipInfo("link.py")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(link, "/etc/passwd")
    assert list(ZipArchive(tmp_path / "a.zip", "a.zip").paths(LANGUAGES)) == [Skip.LINK]


def test_the_last_of_two_members_of_one_name_counts(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.py", "old")
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("a.py", "new")
    assert contents(ZipArchive(tmp_path / "a.zip", "a.zip")) == {"a.py": b"new"}


def test_a_member_that_unpacks_beyond_the_limit_is_too_large_and_never_held(tmp_path):
    bomb = {"bomb.py": "\n" * 20_000_000, "a.py": "a = 1\n"}
    archives = [
        ZipArchive(write_zip(tmp_path / "a.zip", bomb), "a.zip"),
        TarArchive(write_tar(tmp_path / "a.tgz", "w:gz", bomb), "a.tgz", tmp_path),
    ]
    del bomb
    for archive in archives:
        tracemalloc.start()
        assert "bomb.py" in set(archive.paths(LANGUAGES))
        assert reason_for(archive, "bomb.py") == Skip.TOO_LARGE
        assert archive.read("a.py") == b"a = 1\n"
        assert tracemalloc.get_traced_memory()[1] < 10 * MAX_BYTES
        tracemalloc.stop()
        archive.close()


def test_a_zip_member_that_lies_about_its_size_is_stopped_at_the_limit(tmp_path):
    path = write_zip(tmp_path / "a.zip", {"bomb.py": "\n" * 5_000_000})
    data = path.read_bytes()
    path.write_bytes(data.replace((5_000_000).to_bytes(4, "little"), (10).to_bytes(4, "little")))
    archive = ZipArchive(path, "a.zip")
    assert list(archive.paths(LANGUAGES)) == ["bomb.py"]
    assert reason_for(archive, "bomb.py") in (Skip.TOO_LARGE, Skip.UNREADABLE)
    archive.close()


def test_encrypted_and_damaged_members_are_unreadable(tmp_path):
    path = write_zip(tmp_path / "a.zip", {"a.py": "a = 1\n" * 100, "b.py": "b = 2\n" * 100})
    data = bytearray(path.read_bytes())
    directory = data.index(b"PK\1\2")
    data[directory + 8] |= 1  # the flag of an encrypted member, in the archive's directory
    second = data.index(b"PK\3\4", 10)
    data[second + 40] ^= 0xFF
    path.write_bytes(data)
    archive = ZipArchive(path, "a.zip")
    assert list(archive.paths(LANGUAGES)) == ["a.py", "b.py"]
    assert reason_for(archive, "a.py") == reason_for(archive, "b.py") == Skip.UNREADABLE
    archive.close()


def test_what_is_no_archive_is_refused_by_name(tmp_path):
    (tmp_path / "a.zip").write_bytes(b"hello")
    (tmp_path / "a.tgz").write_bytes(b"hello")
    with pytest.raises(SourceUnreadable, match=r"a\.zip is not a zip archive"):
        ZipArchive(tmp_path / "a.zip", "a.zip")
    with pytest.raises(SourceUnreadable, match=r"a\.tgz is not a tar archive"):
        contents(TarArchive(tmp_path / "a.tgz", "a.tgz", tmp_path))


@pytest.mark.parametrize("name", TAR_MODES)
def test_a_tar_archive_cut_short_is_refused_rather_than_read_in_part(tmp_path, name):
    files = {f"{number}.py": "".join(str(hash((number, line))) + "\n" for line in range(900)) for number in range(20)}
    path = write_tar(tmp_path / name, TAR_MODES[name], files)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(SourceUnreadable, match="truncated"):
        contents(TarArchive(path, name, tmp_path))


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK])
def test_headers_of_a_tar_archive_are_never_read_beyond_a_limit(tmp_path, kind):
    header = tarfile.TarInfo("header")
    header.type, header.size = kind, 64_000_000
    with gzip.open(tmp_path / "a.tgz", "wb", 1) as file:
        file.write(header.tobuf(tarfile.USTAR_FORMAT))
        for _ in range(64):
            file.write(b"a" * 1_000_000)
        file.write(tarfile.TarInfo("a.py").tobuf(tarfile.USTAR_FORMAT))
    tracemalloc.start()
    try:
        with pytest.raises(SourceUnreadable, match=r"headers of a member have over 1,000,000 bytes") as refused:
            contents(TarArchive(tmp_path / "a.tgz", "a.tgz", tmp_path))
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()
    assert "\n" not in refused.value.detail


def test_many_headers_of_a_whole_archive_are_not_kept(tmp_path):
    path = tmp_path / "a.tar"
    with path.open("wb") as file:
        for number in range(40):
            record = f" name{number}={'a' * 500_000}\n".encode()
            header = tarfile.TarInfo("header")
            header.type, header.size = tarfile.XGLTYPE, len(record) + 6
            file.write(header.tobuf(tarfile.USTAR_FORMAT) + f"{header.size}".encode() + record)
            file.write(bytes(-header.size % tarfile.BLOCKSIZE) + tarfile.TarInfo("a.py").tobuf(tarfile.USTAR_FORMAT))
    tracemalloc.start()
    try:
        assert list(contents(TarArchive(path, "a.tar", tmp_path))) == ["a.py"]
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


def test_a_tar_archive_may_be_compressed_otherwise_than_its_name_says(tmp_path):
    path = write_tar(tmp_path / "a.tar.gz", "w", FILES)
    assert contents(TarArchive(path, "a.tar.gz", tmp_path)) == expected()


def test_what_is_no_tar_archive_is_refused_in_one_line(tmp_path):
    (tmp_path / "a.tgz").write_bytes(b"no archive" * 100)
    with pytest.raises(SourceUnreadable) as refused:
        contents(TarArchive(tmp_path / "a.tgz", "a.tgz", tmp_path))
    assert "\n" not in refused.value.detail
