"""Reads hash-locked requirement files and cuts single requirements out of them."""

import re
from dataclasses import dataclass
from pathlib import Path

_PIN = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^ ;\\]+)(?: *; *(?P<marker>[^\\]+?))? *\\?$")
_HASH = re.compile(r"--hash=(sha256:[0-9a-f]{64})")


@dataclass(frozen=True, kw_only=True)
class Pin:
    """One locked requirement: a name, an exact version, where it applies, and the files it may be."""

    name: str
    version: str
    marker: str
    hashes: tuple[str, ...]

    def as_lines(self) -> str:
        """The requirement as pip reads it."""
        marker = f" ; {self.marker}" if self.marker else ""
        files = "".join(f" \\\n    --hash={digest}" for digest in self.hashes)
        return f"{self.name}=={self.version}{marker}{files}\n"


def read_pins(path: Path) -> list[Pin]:
    """All pins of a lock file, in order. Raises ValueError for a line that is neither a pin nor a hash."""
    pins: list[Pin] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        pin, digest = _PIN.match(line), _HASH.search(line)
        if pin is not None:
            pins.append(
                Pin(name=pin["name"], version=pin["version"], marker=(pin["marker"] or "").strip(), hashes=())
            )
        elif digest is not None and pins:
            last = pins[-1]
            pins[-1] = Pin(
                name=last.name, version=last.version, marker=last.marker, hashes=(*last.hashes, digest[1])
            )
        else:
            raise ValueError(f"{path.name}, line {number}: neither a pinned requirement nor a sha256 hash")
    return pins


def find_pin(path: Path, name: str) -> Pin:
    """The one pin called `name`. Raises LookupError if the file has none."""
    for pin in read_pins(path):
        if pin.name == name:
            return pin
    raise LookupError(f"{path.name} does not lock {name}")
