"""The engine's source: downloaded once, checked against the lock, and unpacked at a place where a build can go on."""

import hashlib
import shutil
import tarfile
import tempfile
from pathlib import Path

from steps.commands import Runner
from steps.failure import SetupFailed
from steps.lockfile import Pin


class EngineSource:
    """The source distribution of a pin, in Hearth's own cache."""

    def __init__(self, *, python: Path, runner: Runner, cache: Path) -> None:
        self._python = str(python)
        self._runner = runner
        self._cache = cache

    def unpacked(self, pin: Pin) -> Path:
        """The source tree, kept at one place so that a build can be taken up again. Raises SetupFailed."""
        digest = pin.hashes[0].removeprefix("sha256:")
        home = self._cache / "source" / digest[:16]
        ready = home / "unpacked"
        if ready.is_file():
            return home / ready.read_text(encoding="utf-8")
        archive = self._archive(pin, digest)
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir(parents=True)
        with tarfile.open(archive) as tar:
            if hasattr(tarfile, "data_filter"):
                tar.extractall(home, filter="data")
            else:  # Python before 3.11.4; the archive's hash has been checked
                tar.extractall(home)  # noqa: S202
        folder = next(path.name for path in home.iterdir() if path.is_dir())
        ready.write_text(folder, encoding="utf-8")
        return home / folder

    def _archive(self, pin: Pin, digest: str) -> Path:
        kept = self._cache / "source" / f"{digest}.tar.gz"
        if kept.is_file() and _sha256(kept) == digest:
            return kept
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=kept.parent) as folder:
            wanted = Path(folder) / "wanted.txt"
            wanted.write_text(pin.as_lines(), encoding="utf-8")
            download = [self._python, "-m", "pip", "download", "--no-deps", "--no-build-isolation"]
            checked = ["--require-hashes", "--no-binary", pin.name, "--dest", folder, "-r", str(wanted)]
            done = self._runner.run([*download, *checked])
            found = next(iter(Path(folder).glob("*.tar.gz")), None)
            if not done or found is None or _sha256(found) != digest:
                raise SetupFailed(
                    f"The engine's source could not be downloaded. The last lines:\n{self._runner.tail(6)}\n"
                    "Check the network and pip's settings, then run the same command again."
                )
            found.replace(kept)
        return kept


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
