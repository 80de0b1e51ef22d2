"""Entry point of the engine child: `python -m engine`, started by the supervisor and by nobody else.

Runs in: engine child, main thread.
"""

from __future__ import annotations

import faulthandler
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from engine.child.guard import (
    PARENT_PID_NAME,
    die_with_parent,
    forbid_network_and_programs,
    limit_resources,
    private_channel,
)
from engine.pace.os_priority import lead_session, priority_of

MEMORY_SHARE = 0.9


def main() -> int:
    """Close the doors, connect the pipes, bring up llama.cpp, serve until the parent ends."""
    parent_pid = os.environ.get(PARENT_PID_NAME, "")
    if not parent_pid.isdecimal():
        sys.stderr.write("This is the engine's own process; start Hearth with `hearth` instead.\n")
        return 2
    incoming, outgoing = private_channel()
    lead_session()
    die_with_parent(int(parent_pid))
    import psutil

    limit_resources(int(psutil.virtual_memory().total * MEMORY_SHARE))
    sys.dont_write_bytecode = True
    faulthandler.enable(file=sys.stderr)  # a native crash leaves the names of functions in the log, no values
    if not forbid_network_and_programs():
        sys.stderr.write("engine: this system offers no filter for system calls\n")
    _serve(incoming, outgoing)
    return 0


def _serve(incoming: int, outgoing: int) -> None:
    from engine.child.channel import Inbox, Outbox
    from engine.child.faults import Faults
    from engine.child.server import EngineServer
    from engine.host.gguf import check_model_file
    from engine.messages import Load, LoadProgress

    inbox, outbox = Inbox(incoming), Outbox(outgoing)
    threading.Thread(target=inbox.read_forever, name="engine-inbox", daemon=True).start()
    faults = Faults.from_environment(os.environ)
    faults.reach("start")

    # only now: loading native libraries is the first thing that can go wrong on a strange computer
    from engine.llama.embedder import LlamaEmbedder
    from engine.llama.library import LlamaLibrary
    from engine.llama.runner import LlamaRunner

    library = LlamaLibrary()

    def load_runner(load: Load, aborted: Callable[[], bool]) -> LlamaRunner | LlamaEmbedder:
        kind = LlamaEmbedder if check_model_file(Path(load.path)).makes_vectors else LlamaRunner
        return kind(
            load,
            library=library,
            beat=outbox.beat,
            aborted=aborted,
            on_progress=lambda fraction: outbox.send(LoadProgress(fraction=fraction)),
        )

    server = EngineServer(
        inbox=inbox,
        send=outbox.send,
        beat=outbox.beat,
        faults=faults,
        load_runner=load_runner,
        process=priority_of(os.getpid()),
    )
    server.run(build=library.build, devices=library.devices)


if __name__ == "__main__":
    sys.exit(main())
