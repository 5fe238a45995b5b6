"""Archives and checksums, against zipfile and hashlib."""

import hashlib
import zipfile

import pytest

from orchestai_jax.workers import WorkerError


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
