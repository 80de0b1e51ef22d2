"""The entry of the runtime process: `python -m agents --home DIR`. Started by `hearth serve` and by the desktop.

Exit codes: 0 stopped in order, 1 it could not serve, 2 wrong usage. Every trouble is one sentence on stderr.
"""

from __future__ import annotations

import argparse
import asyncio
import getpass
import logging
import os
import signal
import sys
import threading
from pathlib import Path

from agents.api import ListenOptions
from agents.clock import SystemClock
from agents.credentials import KeyOptions
from agents.errors import HearthError, UsageProblem
from agents.home import HomeLock
from agents.logs import close_log, open_log
from agents.paths import HomePaths, default_home
from agents.runtime import STOP_TIMEOUT_S, Runtime
from agents.serving import serve
from engine.errors import EngineError

log = logging.getLogger("agents")


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="hearth serve", description="Serves the agents of one home directory."
    )
    parser.add_argument("--home", type=Path, default=None, help="the home directory")
    parser.add_argument(
        "--model", type=Path, default=None, help="a GGUF file to use instead of the built-in model"
    )
    parser.add_argument(
        "--restore-backup",
        action="store_true",
        help="put the newest backup in the place of a damaged database, which is kept beside it",
    )
    parser.add_argument(
        "--listen", metavar="127.0.0.1:PORT", help="serve the models to other programs on this computer"
    )
    parser.add_argument("--api-key-file", type=Path, help="a file that holds the key for --listen")
    key = parser.add_mutually_exclusive_group()
    key.add_argument("--key-file", type=Path, help="a file that holds the database's key")
    key.add_argument("--passphrase", action="store_true", help="ask for the database's passphrase")
    key.add_argument(
        "--passphrase-stdin", action="store_true", help="read the passphrase from standard input"
    )
    key.add_argument("--insecure-no-encryption", action="store_true", help="keep the database in plain form")
    return parser.parse_args(argv)


def _key_options(arguments: argparse.Namespace) -> KeyOptions:
    passphrase: str | None = None
    if arguments.passphrase:
        if not sys.stdin.isatty():
            raise UsageProblem("There is no terminal to ask for the passphrase; use --passphrase-stdin.")
        passphrase = getpass.getpass("Passphrase: ")
    elif arguments.passphrase_stdin:
        passphrase = sys.stdin.readline().rstrip("\n")
    if passphrase == "":
        raise UsageProblem("The passphrase is empty; type at least one character.")
    return KeyOptions(
        key_file=arguments.key_file.expanduser().absolute() if arguments.key_file else None,
        passphrase=passphrase,
        insecure=arguments.insecure_no_encryption,
    )


def _listen_options(arguments: argparse.Namespace) -> ListenOptions | None:
    if arguments.listen is None:
        if arguments.api_key_file is not None:
            raise UsageProblem("--api-key-file needs --listen 127.0.0.1:PORT.")
        return None
    file = arguments.api_key_file.expanduser().absolute() if arguments.api_key_file else None
    return ListenOptions(address=arguments.listen, key_file=file)


async def _serve(paths: HomePaths, arguments: argparse.Namespace) -> None:
    loop = asyncio.get_running_loop()

    def arm_signals(runtime: Runtime) -> None:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(number, runtime.ask_to_stop)

    model = arguments.model.expanduser().absolute() if arguments.model else None
    await serve(
        paths,
        key_options=_key_options(arguments),
        model=model,
        clock=SystemClock(),
        on_runtime=arm_signals,
        on_stop_asked=_arm_last_resort,
        say=_say,
        restore_backup=arguments.restore_backup,
        listen=_listen_options(arguments),
    )


def _arm_last_resort() -> None:
    """Ends the process if an ordered stop hangs: rows are on disk already, and a hanging owner blocks the home."""

    def end() -> None:
        log.error("the ordered stop did not end in %.0f s; ending the process", STOP_TIMEOUT_S)
        os._exit(1)

    timer = threading.Timer(STOP_TIMEOUT_S, end)
    timer.daemon = True
    timer.start()


def _say(sentence: object) -> None:
    sys.stderr.write(f"{sentence}\n")


def main(argv: list[str] | None = None) -> int:
    """Runs the runtime in the foreground and returns its exit code."""
    os.umask(0o077)
    arguments = _arguments(argv)
    paths = HomePaths((arguments.home or default_home()).expanduser().absolute())
    try:
        with HomeLock(paths):
            handler = open_log(paths.runtime_log)
            try:
                asyncio.run(_serve(paths, arguments))
            except (HearthError, EngineError, KeyboardInterrupt):
                raise
            except Exception:
                log.exception("the runtime ended with an unexpected error")
                _say(f"An internal error ended Hearth; {paths.runtime_log} names the place in the code.")
                return 1
            finally:
                close_log(handler)
    except HearthError as error:
        _say(error)
        return error.exit_code
    except EngineError as error:
        _say(error)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
