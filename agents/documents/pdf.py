"""Has a PDF's text taken out by a child process, so that a hostile or endless file can neither hang nor kill the runtime."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agents.documents import pdf_worker
from agents.errors import DocumentProblem

TIMEOUT_S = 60.0
MEMORY_BYTES = 1 << 30
_POLL_S = 0.2
# Printing leaves joined letters and tabs where a writer typed letters and blanks.
_PLAIN = str.maketrans(
    {"\t": " ", "\u00a0": " ", "ﬀ": "ff", "ﬁ": "fi", "ﬂ": "fl", "ﬃ": "ffi", "ﬄ": "ffl", "ﬅ": "st", "ﬆ": "st"}
)
_PASSED_ON = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT", "TMPDIR", "TEMP")


@dataclass(frozen=True, kw_only=True)
class PdfText:
    """What a PDF says; pages are parted by an empty line."""

    text: str = field(repr=False)
    pages: int


def worker_command() -> list[str]:
    """How this program starts the child."""
    return [sys.executable, "-I", str(Path(pdf_worker.__file__).resolve())]


def extract_pdf(
    data: bytes,
    *,
    name: str,
    limit_chars: int,
    timeout_s: float = TIMEOUT_S,
    memory_bytes: int = MEMORY_BYTES,
    cancelled: threading.Event | None = None,
    command: Sequence[str] | None = None,
) -> PdfText:
    """The text of a PDF; raises DocumentProblem. Blocks for `timeout_s` at most: call it in a thread.

    `name` is only for the sentences. Setting `cancelled` ends the child at once.
    """
    limits = [str(limit_chars), f"{timeout_s:.3f}", str(memory_bytes)]
    environment = {key: os.environ[key] for key in _PASSED_ON if key in os.environ}
    with subprocess.Popen(
        [*(command or worker_command()), *limits],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
    ) as child:
        try:
            output = _talk(child, data, time.monotonic() + timeout_s, cancelled)
        finally:
            child.kill()
    if output is None:
        raise DocumentProblem(
            f"{name} took longer than {timeout_s:.0f} seconds to read; save it anew as a simpler PDF or as text."
        )
    return _understand(_parse(output), name, limit_chars)


def _talk(
    child: subprocess.Popen[bytes], data: bytes, deadline: float, cancelled: threading.Event | None
) -> bytes | None:
    """What the child wrote until it ended; None when the time was over."""
    unsent: bytes | None = data
    while time.monotonic() < deadline:
        try:
            output, _ = child.communicate(unsent, timeout=_POLL_S)
        except subprocess.TimeoutExpired:
            unsent = None  # communicate() goes on with the rest by itself
        else:
            return None if time.monotonic() >= deadline else output
        if cancelled is not None and cancelled.is_set():
            raise DocumentProblem("Reading was stopped.")
    return None


def _parse(output: bytes) -> Mapping[str, Any]:
    try:
        answer = json.loads(output)
    except ValueError:  # it crashed
        return {"outcome": pdf_worker.BROKEN}
    return answer if isinstance(answer, dict) else {"outcome": pdf_worker.BROKEN}


def _understand(answer: Mapping[str, Any], name: str, limit_chars: int) -> PdfText:
    match answer.get("outcome"), answer.get("text"), answer.get("pages"):
        case pdf_worker.TEXT, str(text), int(pages):
            # Broken fonts yield halves of surrogate pairs, which no file or database takes.
            whole = text.encode("utf-8", "replace").decode()
            return PdfText(text=whole.translate(_PLAIN), pages=pages)
        case pdf_worker.ENCRYPTED, _, _:
            sentence = f"{name} is protected by a password; save it without one."
        case pdf_worker.TOO_LONG, _, _:
            sentence = (
                f"{name} holds more than {limit_chars:,} characters of text; split it into smaller files."
            )
        case pdf_worker.TOO_BIG, _, _:
            sentence = f"{name} needs too much memory to be read; save it anew as a simpler PDF or as text."
        case _:
            sentence = (
                f"{name} is not a readable PDF, it may be damaged; open it in a viewer and save it anew."
            )
    raise DocumentProblem(sentence)
