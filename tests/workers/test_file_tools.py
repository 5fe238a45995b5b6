"""Archives, checksums, text files, against zipfile and hashlib."""

import csv
import hashlib
import zipfile

import pytest

from orchestai_jax.workers import WorkerError, file_tools


def test_an_archive_holds_its_files_unchanged(do, samples):
    name = do("zip_files_deflate", first="photo.png", second="sales.csv", third="article.txt", name="my päck/../x.zip")
    with zipfile.ZipFile(samples / name["archive"]) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["photo.png", "sales.csv", "article.txt"]
        for member in archive.namelist():
            assert archive.read(member) == (samples / member).read_bytes()
    assert (samples / name["archive"]).parent.is_relative_to(samples / "out")


def test_files_of_one_name_are_numbered_and_one_file_is_packed_once(do, tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "ä.txt").write_text("1")
    (tmp_path / "sub" / "ä.txt").write_text("2")
    name = do("zip_files_deflate", root=tmp_path, first="ä.txt", second="sub/ä.txt", third="./ä.txt")["archive"]
    with zipfile.ZipFile(tmp_path / name) as archive:
        assert {member: archive.read(member) for member in archive.namelist()} == {"ä.txt": b"1", "ä (2).txt": b"2"}


@pytest.mark.parametrize("algorithm", ["sha256", "sha1", "md5", "blake2b"])
def test_checksums_are_those_of_hashlib(do, samples, algorithm):
    expected = hashlib.new(algorithm, (samples / "music.wav").read_bytes()).hexdigest()
    assert do("checksum_file_hashlib", file="music.wav", algorithm=algorithm)["checksum"] == expected


def test_an_empty_file_has_a_checksum_and_a_place_in_an_archive(do, tmp_path):
    (tmp_path / "empty").touch()
    assert do("checksum_file_hashlib", root=tmp_path, file="empty")["checksum"] == hashlib.sha256().hexdigest()
    name = do("zip_files_deflate", root=tmp_path, first="empty")["archive"]
    assert zipfile.ZipFile(tmp_path / name).read("empty") == b""
    with pytest.raises(WorkerError, match="must be one of sha256, sha1, md5, blake2b, not 'crc'"):
        do("checksum_file_hashlib", root=tmp_path, file="empty", algorithm="crc")


def test_an_archive_is_listed_and_unpacked(do, samples):
    with (samples / do("list_archive_zip", archive="packed.zip")["table"]).open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["name"], int(row["bytes"])) for row in rows] == [
        ("data/sales.csv", (samples / "sales.csv").stat().st_size),
        ("notes.txt", 6),
    ]
    for member in ("data/sales.csv", "sales.csv"):
        path = samples / do("unpack_file_zip", archive="packed.zip", member=member)["file"]
        assert path.read_bytes() == (samples / "sales.csv").read_bytes()
        assert path.suffix == ".csv"


def test_archives_that_are_not_unpacked(do, tmp_path):
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as archive:
        archive.writestr("../../up.txt", "x")
        archive.writestr("b.txt", "y")
    # where the member says that it lies does not matter: it gets a name in the output folder
    name = do("unpack_file_zip", root=tmp_path, archive="evil.zip", member="up.txt")["file"]
    assert (tmp_path / name).parent.is_relative_to(tmp_path / "out")
    with pytest.raises(WorkerError, match=r"2 members that could be meant; member is one of \.\./\.\./up\.txt, b\.txt"):
        do("unpack_file_zip", root=tmp_path, archive="evil.zip")
    with pytest.raises(WorkerError, match=r"no member 'c\.txt'"):
        do("unpack_file_zip", root=tmp_path, archive="evil.zip", member="c.txt")
    (tmp_path / "no.zip").write_bytes(b"PK nothing")
    with pytest.raises(WorkerError, match=r"'no\.zip' is not a readable ZIP archive"):
        do("list_archive_zip", root=tmp_path, archive="no.zip")
    data = bytearray((tmp_path / "evil.zip").read_bytes())
    data[data.index(b"b.txt") + 5] ^= 0xFF  # the content is not what the checksum says
    (tmp_path / "torn.zip").write_bytes(data)
    with pytest.raises(WorkerError, match=r"'b\.txt' cannot be unpacked: Bad CRC"):
        do("unpack_file_zip", root=tmp_path, archive="torn.zip", member="b.txt")
    assert not list((tmp_path / "out").rglob("*.part*"))


def test_a_member_larger_than_the_archive_says_is_not_unpacked(do, tmp_path, monkeypatch):
    with zipfile.ZipFile(tmp_path / "big.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("big.txt", b"0" * 5_000_000)
    monkeypatch.setattr(file_tools, "MAX_ARCHIVE_BYTES", 1_000_000)
    with pytest.raises(WorkerError, match="has 5000000 bytes; at most 1000000 are unpacked"):
        do("unpack_file_zip", root=tmp_path, archive="big.zip")


def test_a_text_is_written_and_read_back(do, tmp_path):
    name = do("write_file_text", root=tmp_path, text="grün\nrot", name="../../a b.md")["file"]
    assert (tmp_path / name).suffix == ".md"
    assert (tmp_path / name).parent.is_relative_to(tmp_path / "out")
    assert do("read_file_text", root=tmp_path, file=name) == {"text": "grün\nrot"}
    with pytest.raises(WorkerError, match=r"name must end in one of .*, not '\.exe'"):
        do("write_file_text", root=tmp_path, text="x", name="a.exe")
    (tmp_path / "b.bin").write_bytes(b"\0\1")
    with pytest.raises(WorkerError, match="is a binary file"):
        do("read_file_text", root=tmp_path, file="b.bin")


def test_a_table_becomes_markdown(do, tmp_path):
    (tmp_path / "t.csv").write_text('a,b\n1,"x|y"\n,"two\nlines"\n3,z\n')
    name = do("table_to_markdown_pipes", root=tmp_path, table="t.csv", rows=2)["text"]
    assert (tmp_path / name).read_text() == "| a | b |\n| --- | --- |\n| 1 | x\\|y |\n|  | two lines |\n"
