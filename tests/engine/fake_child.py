"""An engine child without a model: the real guard, pipes and loop around the echo runner of support.py.

Faults come through ENGINE_FAULT as in the real child; FAKE_CHILD picks misbehaviour that the real one doesn't have.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from engine.child.channel import Inbox, Outbox
from engine.child.faults import Faults
from engine.child.guard import PARENT_PID_NAME, die_with_parent, private_channel
from engine.child.runner import Runner
from engine.child.server import EngineServer
from engine.errors import ModelInvalid
from engine.messages import Load
from engine.schedule.scheduler import SPARE_SLOTS
from tests.engine.support import EchoRunner


def load_runner(load: Load, _aborted: object) -> Runner:
    if os.environ.get("FAKE_CHILD") == "invalid":
        raise ModelInvalid("The model file can't be loaded; choose another.")
    # it takes a moment for each batch, so that a test can act in between
    return EchoRunner(
        n_batch=64, n_ctx=load.plan.n_ctx or 4096, n_seq_ids=load.n_slots + SPARE_SLOTS + 4, delay_s=0.02
    )


def main() -> None:
    incoming, outgoing = private_channel()
    die_with_parent(int(os.environ[PARENT_PID_NAME]))
    if os.environ.get("FAKE_CHILD") == "garbage":
        os.write(outgoing, b"\xff\xff\xff\xff this is no frame")
        time.sleep(60)
    inbox, outbox = Inbox(incoming), Outbox(outgoing)
    threading.Thread(target=inbox.read_forever, daemon=True).start()
    faults = Faults.from_environment(os.environ)
    faults.reach("start")
    server = EngineServer(
        inbox=inbox, send=outbox.send, beat=outbox.beat, faults=faults, load_runner=load_runner
    )
    server.run(build="fake")


main()
