"""Where things lie in a home directory; shared with the clients, so it imports nothing heavy."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

import platformdirs

HOME_VARIABLE = "HEARTH_HOME"

# sun_path holds 108 bytes on Linux and 104 on macOS and the BSDs, the closing NUL included (unix(7), unix(4)).
SOCKET_PATH_MAX_BYTES = 107 if sys.platform.startswith("linux") else 103


def default_home() -> Path:
    """The home directory when none is named: $HEARTH_HOME, else the platform's data folder."""
    named = os.environ.get(HOME_VARIABLE)
    return Path(named).expanduser().absolute() if named else Path(platformdirs.user_data_dir("hearth", False))


def assets_dir() -> Path:
    """The folder of icons, demo documents and other files that ship with Hearth."""
    frozen_root = getattr(sys, "_MEIPASS", None)
    root = Path(frozen_root) if frozen_root else Path(__file__).resolve().parent.parent
    return root / "assets"


@dataclass(frozen=True)
class HomePaths:
    """The files of one home directory. Everything in it belongs to the one runtime that holds its lock."""

    root: Path

    @property
    def lock(self) -> Path:
        return self.root / "runtime.lock"

    @property
    def socket(self) -> Path:
        """The runtime's HTTP socket."""
        return self.root / "hearth.sock"

    @property
    def owner(self) -> Path:
        """Pid of the runtime that holds the lock, for messages only: the lock decides."""
        return self.root / "runtime.pid"

    @property
    def database(self) -> Path:
        return self.root / "hearth.db"

    @property
    def backups(self) -> Path:
        """Copies of the database, each encrypted with its key."""
        return self.root / "backups"

    def has_database(self) -> bool:
        """Whether there is a database, or was one: its backups need the same key."""
        return self.database.exists() or any(self.backups.glob("hearth-*.db"))

    @property
    def key_info(self) -> Path:
        """How the database's key is kept (never the key itself)."""
        return self.root / "key.json"

    @property
    def api_key(self) -> Path:
        """The key for programs that come over TCP, when no other file is named."""
        return self.root / "api.key"

    @property
    def engine_state(self) -> Path:
        """Settings that the engine found safe on this machine."""
        return self.root / "engine.json"

    @property
    def prefixes(self) -> Path:
        """What the engine computed for the fixed beginnings of prompts, each file encrypted."""
        return self.root / "prefixes"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def runtime_log(self) -> Path:
        return self.logs / "runtime.log"

    @property
    def engine_log(self) -> Path:
        return self.logs / "engine.log"

    def socket_problem(self) -> str | None:
        """One sentence when the socket's path is longer than the system allows, else None."""
        length = len(os.fsencode(self.socket))
        if length <= SOCKET_PATH_MAX_BYTES:
            return None
        return (
            f"The home directory's path is too long for a socket ({length} bytes, at most "
            f"{SOCKET_PATH_MAX_BYTES}); name a shorter one with --home."
        )
