"""How values of the runtime lie in columns: times, paths, text, definitions.

Times are integer microseconds since 1970 in UTC: they sort, compare and come back exactly, and no time zone can slip in.
Paths and keys are TEXT where their bytes are UTF-8 and BLOB where they are not, because a file's name is bytes and SQLite's text
is not; each name has exactly one such form, so equality and uniqueness hold for both.
"""

from __future__ import annotations

import json
import os
import unicodedata
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from agents.core import AgentDefinition
from agents.triggers import TRIGGER, Trigger

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_DEFINITION = TypeAdapter(AgentDefinition)


def to_us(moment: datetime) -> int:
    """Microseconds since 1970. A naive time is a bug: ValueError."""
    if moment.tzinfo is None:
        raise ValueError("a stored time must be aware")
    return (moment - _EPOCH) // _MICROSECOND


def from_us(value: int) -> datetime:
    return _EPOCH + timedelta(microseconds=value)


def from_us_or_none(value: int | None) -> datetime | None:
    return None if value is None else from_us(value)


def to_name(value: str) -> str | bytes:
    """A file's name, or a key made from one, as text or as the bytes that the system knows it by."""
    raw = os.fsencode(value)
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw


def from_name(value: str | bytes) -> str:
    return os.fsdecode(value if isinstance(value, bytes) else value.encode("utf-8"))


def to_path(path: Path | None) -> str | bytes | None:
    return None if path is None else to_name(str(path))


def from_path(value: str | bytes) -> Path:
    return Path(from_name(value))


def from_path_or_none(value: str | bytes | None) -> Path | None:
    return None if value is None else from_path(value)


def to_text(value: str) -> str:
    """Text that SQLite can hold: half a surrogate pair, which a model can write into JSON, becomes U+FFFD."""
    return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def to_text_or_none(value: str | None) -> str | None:
    return None if value is None else to_text(value)


def to_json(value: Any) -> str:
    """JSON in pure ASCII, so that any str comes back as it was."""
    return json.dumps(value, separators=(",", ":"))


def to_json_or_none(value: Any) -> str | None:
    return None if value is None else to_json(value)


def from_json(value: str) -> Any:
    return json.loads(value)


def from_json_or_none(value: str | None) -> Any:
    return None if value is None else from_json(value)


def name_key(name: str) -> str:
    """The form in which two spellings of one agent's name are equal."""
    return to_text(unicodedata.normalize("NFC", name).casefold())


def definition_to_json(definition: AgentDefinition) -> str:
    """Everything but the triggers, which have rows of their own."""
    plain = _DEFINITION.dump_python(definition, mode="json")
    del plain["triggers"]
    return to_json(plain)


def trigger_to_json(trigger: Trigger) -> str:
    return to_json(TRIGGER.dump_python(trigger, mode="json"))


def definition_from_json(definition: str, triggers: list[tuple[str, str]]) -> AgentDefinition:
    """From the stored definition and, for each trigger, its kind and what it says."""
    plain = [{"on": kind, **from_json(spec)} for kind, spec in triggers]
    return _DEFINITION.validate_python({**from_json(definition), "triggers": plain})
