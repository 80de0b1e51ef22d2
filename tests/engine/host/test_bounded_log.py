"""The child's log stays small and private."""

from pathlib import Path

from engine.host.bounded_log import BoundedLog


def test_the_log_never_exceeds_its_limit_and_keeps_the_newest(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "engine.log"
    log = BoundedLog(path, limit_bytes=1000)
    for number in range(500):
        log.write(b"line %03d\n" % number)
    log.write(b"x" * 5000)
    log.write(b"last\n")
    log.close()
    files = sorted(entry.name for entry in path.parent.iterdir())
    assert files == ["engine.log", "engine.log.1"]
    assert sum(entry.stat().st_size for entry in path.parent.iterdir()) <= 1000
    assert path.read_bytes().endswith(b"last\n")
    assert path.stat().st_mode & 0o777 == 0o600


def test_it_goes_on_after_close_and_appends(tmp_path: Path) -> None:
    path = tmp_path / "engine.log"
    log = BoundedLog(path)
    log.write(b"a")
    log.close()
    log.write(b"b")
    log.close()
    assert path.read_bytes() == b"ab"


def test_no_file_or_no_place_is_no_error(tmp_path: Path) -> None:
    BoundedLog(None).write(b"x")
    blocked = tmp_path / "file"
    blocked.write_bytes(b"")
    BoundedLog(blocked / "engine.log").write(b"x")
    assert blocked.read_bytes() == b""
