"""The program that takes the text out of one PDF: bytes on stdin, one JSON object on stdout.

Runs in: a short-lived child of the runtime with limits on time and memory, because PDFs come from anywhere. It is started by its
file's name, so it imports nothing of Hearth.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import sys
from typing import Any

# The words of the answer's "outcome".
TEXT = "text"  # with "text" and "pages"
ENCRYPTED = "encrypted"
BROKEN = "broken"
TOO_LONG = "too_long"  # more characters than allowed
TOO_BIG = "too_big"  # more memory than allowed


def extract(data: bytes, limit_chars: int) -> dict[str, Any]:
    """The answer for one PDF; a document that is encrypted with an empty password counts as open."""
    import pypdf
    from pypdf.errors import PyPdfError

    try:
        reader = pypdf.PdfReader(io.BytesIO(data))
        if reader.is_encrypted and not reader.decrypt(""):
            return {"outcome": ENCRYPTED}
        texts: list[str] = []
        left = limit_chars
        for page in reader.pages:
            texts.append(page.extract_text())
            left -= len(texts[-1])
            if left < 0:
                return {"outcome": TOO_LONG}
        if not texts:
            return {"outcome": BROKEN}
        return {"outcome": TEXT, "text": "\n\n".join(texts), "pages": len(texts)}
    except MemoryError:
        return {"outcome": TOO_BIG}
    except NotImplementedError:  # an encryption that is not known
        return {"outcome": ENCRYPTED}
    except (PyPdfError, Exception):  # noqa: BLE001 - a hostile file can make the parser raise anything at all
        return {"outcome": BROKEN}


def limit_process(timeout_s: float, memory_bytes: int) -> None:
    """Bounds this process by itself, so that it ends even when its parent has died."""
    if hasattr(signal, "setitimer"):
        signal.signal(signal.SIGALRM, signal.SIG_DFL)  # ends the process, also in the middle of native code
        signal.setitimer(signal.ITIMER_REAL, timeout_s)
    if hasattr(os, "nice"):
        os.nice(10)
    try:
        import resource
    except ImportError:  # Windows: the parent's time limit is what there is
        return
    limits = {"RLIMIT_AS": memory_bytes, "RLIMIT_CORE": 0, "RLIMIT_FSIZE": 0}
    for name, limit in limits.items():
        with contextlib.suppress(OSError, ValueError):  # macOS knows RLIMIT_AS but refuses it
            resource.setrlimit(getattr(resource, name), (limit, limit))


def main(arguments: list[str]) -> int:
    """`arguments` are the limits: characters, seconds, bytes of memory."""
    limit_process(float(arguments[1]), int(arguments[2]))
    answer = extract(sys.stdin.buffer.read(), int(arguments[0]))
    sys.stdout.buffer.write(json.dumps(answer).encode("ascii"))
    sys.stdout.buffer.flush()
    return 0


if __name__ == "__main__":
    # No tidying up: freeing a large object tree takes seconds, and the answer is out.
    os._exit(main(sys.argv[1:]))
