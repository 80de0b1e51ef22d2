"""A prefix that lies on disk is forgotten with no engine at hand, whichever model computed it."""

from pathlib import Path

from engine.model import CacheSpec
from engine.states.prefix_files import PrefixFiles, forget_on_disk

SECRET = bytes(range(32))


def kept(folder: Path, name: str, identity: str) -> PrefixFiles:
    files = PrefixFiles(folder, secret=SECRET, identity=identity)
    part = files.write(files.pin_of(name), b"tokens", b"state", given_up=lambda: False)
    assert part is not None
    files.place(files.pin_of(name), part)
    return files


def test_one_name_goes_for_all_models_and_the_others_stay(tmp_path: Path) -> None:
    files = kept(tmp_path, "agent-1", "model a")
    kept(tmp_path, "agent-1", "model b")
    kept(tmp_path, "agent-2", "model a")
    assert len(list(tmp_path.iterdir())) == 3
    forget_on_disk(CacheSpec(folder=tmp_path, key=SECRET.hex()), "agent-1")
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(files.pin_of("agent-2"))


def test_where_nothing_is_kept_nothing_is_made(tmp_path: Path) -> None:
    forget_on_disk(CacheSpec(), "agent-1")
    forget_on_disk(CacheSpec(folder=tmp_path / "none", key=SECRET.hex()), "agent-1")
    assert list(tmp_path.iterdir()) == []
