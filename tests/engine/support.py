"""Factories for the engine's tests: a tiny GGUF image, requests, and a small runner that needs no model."""

from __future__ import annotations

import struct
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine.core import JsonSchema, Message, Priority, Request, SamplingParams
from engine.messages import Load, Loaded
from engine.model import CacheSpec, KvType, ModelSpec
from engine.pace.os_priority import Lanes
from engine.pace.pacer import Pacer
from engine.pace.pacing import ChunkSizer, FixedThreads
from engine.plans import LoadPlan
from engine.safe_settings import LoadSettings
from engine.states.snapshots import StateIdentity
from engine.text.generation import CallReader, Chosen, TokenChooser
from tests.engine.fake_context import FakeContext

ROOT = Path(__file__).resolve().parents[2]
FAKE_CHILD = (sys.executable, str(Path(__file__).with_name("fake_child.py")))


def gguf_text(text: bytes) -> bytes:
    return struct.pack("<Q", len(text)) + text


def gguf_key(key: bytes, kind: int, value: bytes) -> bytes:
    return gguf_text(key) + struct.pack("<I", kind) + value


def gguf_tensor(name: bytes = b"w", dims: tuple[int, ...] = (32, 2), kind: int = 2, offset: int = 0) -> bytes:
    return (
        gguf_text(name)
        + struct.pack("<I", len(dims))
        + b"".join(struct.pack("<Q", dim) for dim in dims)
        + struct.pack("<IQ", kind, offset)
    )


ARCHITECTURE = gguf_key(b"general.architecture", 8, gguf_text(b"llama"))


def gguf_image(
    *,
    magic: bytes = b"GGUF",
    version: int = 3,
    keys: tuple[bytes, ...] = (
        ARCHITECTURE,
        gguf_key(b"tokens", 9, struct.pack("<IQ", 8, 2) + gguf_text(b"a") + gguf_text(b"b")),
        gguf_key(b"scores", 9, struct.pack("<IQ", 6, 2) + struct.pack("<ff", 0.5, 1.5)),
    ),
    tensors: tuple[bytes, ...] = (gguf_tensor(),),
    n_keys: int | None = None,
    n_tensors: int | None = None,
    data: bytes = bytes(36),
    alignment: int = 32,
) -> bytes:
    """A small, well-formed image (one Q4_0 tensor of 36 bytes), or one with the given faults."""
    head = (
        magic
        + struct.pack(
            "<IQQ",
            version,
            len(tensors) if n_tensors is None else n_tensors,
            len(keys) if n_keys is None else n_keys,
        )
        + b"".join(keys)
        + b"".join(tensors)
    )
    return head + bytes(-len(head) % alignment) + data


def model_file(folder: Path, image: bytes | None = None) -> ModelSpec:
    """A model on disk that passes the file check; only the fake child can "load" it."""
    path = folder / "tiny.gguf"
    path.write_bytes(gguf_image() if image is None else image)
    return ModelSpec(path=path, name="tiny")


def load_message(**changes: Any) -> Load:
    defaults: dict[str, Any] = {
        "path": "/m.gguf",
        "plan": LoadPlan(),
        "settings": LoadSettings(),
        "n_slots": 1,
        "n_threads": None,
        "draft_path": None,
        "speculate": False,
        "cache": CacheSpec(),
        "self_test": False,
    }
    return Load(**(defaults | changes))


def request(
    text: str = "hello",
    *,
    request_id: str = "r1",
    priority: Priority = Priority.NORMAL,
    json_schema: Mapping[str, Any] | None = None,
    speculate: bool = True,
    **sampling: Any,
) -> Request:
    return Request(
        id=request_id,
        messages=(Message(role="user", content=text),),
        sampling=SamplingParams(**sampling),
        constraint=JsonSchema(schema=json_schema) if json_schema is not None else None,
        priority=priority,
        speculate=speculate,
    )


def message(text: str, role: str = "user") -> Message:
    return Message(role=role, content=text)


class EchoChooser(TokenChooser):
    """Says the prompt's words again, one token a byte, then ends."""

    def __init__(self, prompt: list[int]) -> None:
        self._left = list(prompt)
        self.closed = False

    @property
    def complete(self) -> bool:
        return False

    def opening(self) -> list[int]:
        return []

    def choose(self, row: int) -> Chosen:
        return Chosen(tokens=[self._left.pop(0)] if self._left else [])

    def close(self) -> None:
        self.closed = True


class EchoRunner:
    """A runner whose tokens are bytes and whose answer is the prompt."""

    def __init__(
        self,
        *,
        n_batch: int = 4,
        n_ctx: int = 64,
        n_seq_ids: int = 8,
        can_rewind: bool = True,
        delay_s: float = 0.0,
    ) -> None:
        self.n_batch = n_batch
        self.n_ctx = n_ctx
        self.n_seq_ids = n_seq_ids
        self.can_rewind = can_rewind
        self.context = FakeContext(n_ctx=n_ctx, n_seq_ids=n_seq_ids, can_rewind=can_rewind, delay_s=delay_s)
        self.draft_source = None
        self.choosers: list[EchoChooser] = []

    def facts(self) -> Loaded:
        return Loaded(
            description="echo",
            n_ctx=self.n_ctx,
            n_ctx_train=self.n_ctx,
            n_vocab=256,
            n_params=1,
            size_bytes=1,
            n_threads=1,
            n_layers=1,
            memory_bytes=1,
            n_slots=1,
            n_gpu_layers=0,
            kv_type=KvType.F16,
            flash_attention=False,
            has_chat_template=False,
        )

    def state_identity(self) -> StateIdentity:
        return StateIdentity(
            model="echo", build="none", kv_type=KvType.F16, flash_attention=False, n_ctx=self.n_ctx
        )

    def prompt_tokens(self, request: Request) -> list[int]:
        text = request.prompt or "".join(message.content for message in request.messages)
        return list(text.encode())

    def count_tokens(self, text: str) -> int:
        return len(text.encode())

    def tokenize(self, text: str) -> list[int]:
        return list(text.encode())

    def piece(self, token: int) -> bytes:
        return bytes([token])

    def new_chooser(self, request: Request, prompt: list[int]) -> TokenChooser:
        chooser = EchoChooser(prompt)
        self.choosers.append(chooser)
        return chooser

    def call_reader(self, request: Request) -> CallReader | None:
        return None

    def close(self) -> None:
        pass


def fixed_pacer(n_threads: int) -> Pacer:
    """Always so many threads, all batches in one lane, chunks of the usual size."""
    lanes = Lanes(None, has_background_thread=False)
    return Pacer(threads=FixedThreads(n_threads), chunks=ChunkSizer(n_batch=512), lanes=lanes)
