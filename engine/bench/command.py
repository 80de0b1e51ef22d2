"""Reads the command line, brings contenders and rows together, and ends every process whatever happens.

Exit codes: 0 no goal missed · 1 a goal missed, or a measurement failed · 2 wrong usage · 130 interrupted.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from engine.bench.core import BenchFailed, Contender, Embedder, Row, Scale, full_scale, quick_scale
from engine.bench.hearth_engine import HearthEmbedder, HearthEngine
from engine.bench.llama_class import LlamaClass
from engine.bench.llama_server import EMBEDDING_SETTINGS, LlamaServer
from engine.bench.machine import describe_machine, read_bandwidth, usable_cores
from engine.bench.other_programs import fixed_work, spinning
from engine.bench.report import as_json, as_text, missed_sentence, progress_line
from engine.bench.rows.catalogue import ROWS
from engine.bench.stage import Stage
from engine.bench.workload import Workload
from engine.builtin import built_in_embedder, built_in_model
from engine.errors import EngineError, ModelMissing
from engine.host.gguf import check_model_file
from engine.model import ModelSpec

DEFAULT_N_CTX = 8192
EMBEDDING_N_CTX = 4096  # of all slots together
LLAMA_SERVER, LLAMA_CLASS = "llama-server", "llama-cpp-python"
_F16_BYTES = 2


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What the command line asks for."""

    rows: tuple[str, ...]
    scale: Scale
    as_json: bool
    model: ModelSpec
    llama_server: Path | None
    llama_class: bool


class WrongUsage(Exception):
    """The command line can't be understood; str() is one sentence."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise WrongUsage(f"{message[:1].upper()}{message[1:].rstrip('.')}. See `{self.prog} --help`.")


def parse(arguments: Sequence[str]) -> Wish:
    """Raises WrongUsage, and SystemExit after --help."""
    parser = _Parser(
        prog="hearth bench engine",
        description="Measure Hearth's engine, beside other programs where some are named.",
    )
    parser.add_argument(
        "--peer",
        action="append",
        default=[],
        metavar="NAME[=PATH]",
        help=f"a program to compare with: {LLAMA_SERVER}=PATH (`make bench-peer` builds one) or {LLAMA_CLASS}",
    )
    parser.add_argument(
        "--row", action="append", default=[], metavar="NAME", help=f"only this row: {', '.join(ROWS)}"
    )
    parser.add_argument("--repeat", type=int, metavar="N", help="samples of each measurement")
    parser.add_argument("--quick", action="store_true", help="a short look; the numbers are rougher")
    parser.add_argument("--model", type=Path, metavar="FILE", help="another GGUF than the built-in model")
    parser.add_argument("--json", action="store_true", help="write JSON for a program")
    given = parser.parse_args(arguments)
    unknown = [name for name in given.row if name not in ROWS]
    if unknown:
        parser.error(f"there is no row {unknown[0]!r}; the rows are {', '.join(ROWS)}")
    if given.repeat is not None and not 1 <= given.repeat <= 100:
        parser.error("--repeat takes a number from 1 to 100")
    repeat = {} if given.repeat is None else {"repeat": given.repeat}
    try:
        llama_server, llama_class = _peers(given.peer)
        model = _model(given.model)
    except (ValueError, EngineError) as error:
        parser.error(str(error))
    return Wish(
        rows=tuple(name for name in ROWS if name in given.row) or tuple(ROWS),
        scale=quick_scale(**repeat) if given.quick else full_scale(**repeat),
        as_json=given.json,
        model=model,
        llama_server=llama_server,
        llama_class=llama_class,
    )


def _peers(named: Sequence[str]) -> tuple[Path | None, bool]:
    server: Path | None = None
    llama_class = False
    for peer in named:
        name, has_path, path = peer.partition("=")
        if name == LLAMA_SERVER and path:
            server = Path(path).expanduser()
            if not server.is_file():
                raise ValueError(f"there is no program at {server}; `make bench-peer` builds llama-server")
        elif name == LLAMA_CLASS and not has_path:
            llama_class = True
        else:
            raise ValueError(f"--peer takes {LLAMA_SERVER}=PATH or {LLAMA_CLASS}, and not {peer!r}")
    return server, llama_class


def _model(path: Path | None) -> ModelSpec:
    if path is None:
        return built_in_model()
    check_model_file(path.expanduser())
    return ModelSpec(path=path.expanduser().absolute(), name=path.stem)


async def run(wish: Wish) -> list[Row]:
    """Measure every wished row. Raises BenchFailed."""
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="hearth-bench-") as folder:
        async with _stage(wish, Path(folder)) as stage:
            for number, name in enumerate(wish.rows, start=1):
                _say(f"[{number}/{len(wish.rows)}] {name} …")
                for row in await ROWS[name](stage):
                    _say(f"    {progress_line(row)}")
                    rows.append(row)
    return rows


@asynccontextmanager
async def _stage(wish: Wish, folder: Path) -> AsyncIterator[Stage]:
    n_cores = usable_cores()
    facts = check_model_file(wish.model.path)
    async with AsyncExitStack() as to_close:
        ours = HearthEngine(model=wish.model, folder=folder)
        to_close.push_async_callback(ours.close)
        await ours.open(n_parallel=1)
        make_peers = _PeerMaker(wish=wish, n_threads=n_cores, folder=folder)
        peers = make_peers.that_answer(wish.model.path, ours.n_ctx or DEFAULT_N_CTX)
        embedders = make_peers.that_embed()
        for peer in peers:
            to_close.push_async_callback(peer.close)
        for embedder in embedders:
            to_close.push_async_callback(embedder.close)
        yield Stage(
            ours=ours,
            peers=peers,
            embedders=embedders,
            workload=Workload(ours.count_tokens),
            scale=wish.scale,
            n_cores=n_cores,
            spinning=spinning,
            fixed_work=fixed_work,
            read_bandwidth=read_bandwidth,
            bytes_per_token=lambda n_before: (
                facts.weight_bytes_per_token + n_before * (facts.kv_values_per_token or 0) * _F16_BYTES
            ),
        )


@dataclass(frozen=True, kw_only=True)
class _PeerMaker:
    """Makes the contenders that the command line names; none is started yet."""

    wish: Wish
    n_threads: int
    folder: Path

    def that_answer(self, model: Path, n_ctx: int) -> tuple[Contender, ...]:
        peers: list[Contender] = []
        if self.wish.llama_server is not None:
            peers.append(self._server(self.wish.llama_server, model, n_ctx))
        if self.wish.llama_class:
            peers.append(LlamaClass(model=model, n_ctx=n_ctx, n_threads=self.n_threads, folder=self.folder))
        return tuple(peers)

    def that_embed(self) -> tuple[Embedder, ...]:
        """Ours and llama-server, where the embedding model is there."""
        try:
            model = built_in_embedder()
        except ModelMissing:
            return ()
        ours = HearthEmbedder(model=model, folder=self.folder)
        if self.wish.llama_server is None:
            return (ours,)
        return ours, self._server(
            self.wish.llama_server, model.path, EMBEDDING_N_CTX, extra=EMBEDDING_SETTINGS
        )

    def _server(self, program: Path, model: Path, n_ctx: int, extra: tuple[str, ...] = ()) -> LlamaServer:
        return LlamaServer(
            program=program,
            model=model,
            n_ctx=n_ctx,
            n_threads=self.n_threads,
            folder=self.folder,
            extra=extra,
        )


def _say(line: str) -> None:
    """Progress goes to stderr: stdout is the result alone."""
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


def main(arguments: Sequence[str]) -> int:
    """Run one command line; returns the exit code."""
    is_json = "--json" in arguments
    try:
        wish = parse(arguments)
        machine = describe_machine()
        if machine.warning is not None:
            _say(machine.warning)
        rows = asyncio.run(_until_terminated(wish))
    except WrongUsage as error:
        return _end("usage", str(error), 2, as_json=is_json)
    except BenchFailed as error:
        return _end("failed", str(error), 1, as_json=is_json)
    except (KeyboardInterrupt, asyncio.CancelledError):
        _say("Stopped; nothing is left running.")
        return 130
    if wish.as_json:
        sys.stdout.write(json.dumps(as_json(machine, rows), ensure_ascii=False, indent=2) + "\n")
    else:
        sys.stdout.write(as_text(machine, rows) + "\n")
    sys.stdout.flush()
    missed = missed_sentence(rows)
    if missed is not None:
        _say(missed)
    return 0 if missed is None else 1


def _end(code: str, sentence: str, exit_code: int, *, as_json: bool) -> int:
    """One sentence for a person; for a program the object that every command writes when it fails."""
    if as_json:
        sys.stdout.write(
            json.dumps({"error": {"code": code, "message": sentence, "details": {}}}, ensure_ascii=False)
            + "\n"
        )
    _say(sentence)
    return exit_code


async def _until_terminated(wish: Wish) -> list[Row]:
    """A request to end is the same as Ctrl-C: every process is ended in order."""
    task = asyncio.current_task()
    assert task is not None
    with suppress(NotImplementedError):  # Windows has no such handlers
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await run(wish)
