"""What the desktop remembers between starts: kept in the home directory, never globally.

Runs in: desktop process, main thread.
"""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import QByteArray, QSettings

from app.desktop.theme.theme import ThemeChoice


class DesktopSettings:
    """A small INI file. Nothing is written before the runtime has made the home directory."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._file = home / "desktop.ini"
        self._store = QSettings(str(self._file), QSettings.Format.IniFormat)

    @property
    def theme(self) -> ThemeChoice:
        try:
            return ThemeChoice(str(self._store.value("theme", ThemeChoice.SYSTEM)))
        except ValueError:
            return ThemeChoice.SYSTEM

    @theme.setter
    def theme(self, choice: ThemeChoice) -> None:
        self._set("theme", choice.value)

    @property
    def geometry(self) -> QByteArray | None:
        value = self._store.value("geometry")
        return value if isinstance(value, QByteArray) else None

    @geometry.setter
    def geometry(self, geometry: QByteArray) -> None:
        self._set("geometry", geometry)

    @property
    def told_about_closing(self) -> bool:
        """Whether the user has read that closing the window keeps the agents."""
        return str(self._store.value("told_about_closing")) == "true"

    @told_about_closing.setter
    def told_about_closing(self, told: bool) -> None:
        self._set("told_about_closing", "true" if told else "false")

    def _set(self, name: str, value: object) -> None:
        if not self._home.is_dir():
            return
        self._store.setValue(name, value)
        self._store.sync()
        if self._file.exists():
            self._file.chmod(0o600)
