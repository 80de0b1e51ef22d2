"""A program that stands in for `python -m agents` where only its start and its end matter; its behaviour is its first word.

serves      answers /v1/status with its own pid until SIGTERM
refuses     prints one sentence and ends with 2
crashes     ends with a traceback
dies        ends with 3 without a word
hangs       never answers
passphrase  prints what it read from stdin as its sentence and ends with 1
"""

from __future__ import annotations

import json
import os
import signal
import socketserver
import sys
import threading
from http.server import BaseHTTPRequestHandler
from pathlib import Path

STATUS = {
    "version": "0.1.0",
    "api_version": 1,
    "pid": os.getpid(),
    "home": "",
    "started_at": "2026-11-20T14:00:00Z",
    "encrypted": True,
    "engine": {"state": "ready"},
    "agents": 0,
    "agents_paused": 0,
    "runs_pending": 0,
    "runs_running": 0,
}


class Answer(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = json.dumps(STATUS).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def address_string(self) -> str:
        return "socket"

    def log_message(self, *_: object) -> None:
        pass


def serve(home: Path) -> None:
    home.mkdir(exist_ok=True)
    stopped = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    with socketserver.ThreadingUnixStreamServer(str(home / "hearth.sock"), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        stopped.wait()
        server.shutdown()


def main() -> None:
    behaviour, home = sys.argv[1], Path(sys.argv[2])
    if behaviour == "serves":
        serve(home)
    elif behaviour == "refuses":
        print("SomeWarning: from a library", file=sys.stderr)
        print(f"The home directory {home} is not writable; name another one with --home.", file=sys.stderr)
        sys.exit(2)
    elif behaviour == "crashes":
        raise ImportError("no module named nonsense")
    elif behaviour == "dies":
        sys.exit(3)
    elif behaviour == "hangs":
        signal.pause()
    elif behaviour == "passphrase":
        print(f"It was {sys.stdin.readline().strip()}.", file=sys.stderr)
        sys.exit(1)


main()
