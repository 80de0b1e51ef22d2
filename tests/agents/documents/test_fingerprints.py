"""Versions of a file are told apart by their bytes, or without them where they can't be read."""

import hashlib
import os
import threading
from pathlib import Path

import pytest

from agents.documents import FileChanging, FileGone, fingerprint, fingerprints
from agents.documents.fingerprints import is_unread


def test_the_hash_and_the_state_are_those_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"x" * 3_000_000)
    content_hash, state = fingerprint(path, tmp_path)
    status = path.stat()
    assert content_hash == state.content_hash == hashlib.sha256(b"x" * 3_000_000).hexdigest()
    assert (state.path, state.size_bytes) == (path, 3_000_000)
    assert (state.mtime_ns, state.inode) == (status.st_mtime_ns, status.st_ino)
    assert not is_unread(content_hash)


def test_a_large_file_is_identified_by_size_and_time(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"0123456789")
    os.utime(path, ns=(5, 5))
    content_hash, state = fingerprint(path, tmp_path, limit_bytes=9)
    assert content_hash == "unread:10:5"
    assert is_unread(state.content_hash)


def test_a_link_is_identified_as_itself_and_never_followed(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "inbox").mkdir()
    link = tmp_path / "inbox" / "a.txt"
    link.symlink_to(tmp_path / "secret")
    content_hash, state = fingerprint(link, tmp_path / "inbox")
    assert is_unread(content_hash)
    assert state.inode == link.lstat().st_ino


def test_a_file_that_is_gone_says_so(tmp_path: Path) -> None:
    with pytest.raises(FileGone):
        fingerprint(tmp_path / "a.txt", tmp_path)


@pytest.mark.parametrize("change", [b"longer than it was before", b""])
def test_a_file_that_changes_meanwhile_has_no_fingerprint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: bytes
) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"before")
    real = os.read

    def read_and_change(descriptor: int, length: int) -> bytes:
        data = real(descriptor, length)
        path.write_bytes(change)
        return data

    monkeypatch.setattr(fingerprints.os, "read", read_and_change)
    with pytest.raises(FileChanging):
        fingerprint(path, tmp_path)


def test_hashing_can_be_stopped(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"x" * 3_000_000)
    stop = threading.Event()
    stop.set()
    with pytest.raises(FileChanging):
        fingerprint(path, tmp_path, cancelled=stop)
