"""Checks a GGUF file before llama.cpp sees it: a bounded reader of the header that believes no number in it.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. Checked are the magic, the version, the counts,
every key and tensor record, the alignment, and each tensor's place against the length of the file.
"""

from __future__ import annotations

import hashlib
import os
import stat
import struct
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from engine.errors import ModelInvalid, ModelMissing

MAX_TENSORS = 65_536
MAX_KEYS = 65_536
MAX_KEY_BYTES = 65_535
MAX_TENSOR_NAME_BYTES = 63
MAX_DIMS = 4
# Strings of all lists of the header together: bounds the time; the largest vocabularies have about 600,000.
MAX_ARRAY_STRINGS = 4_000_000
MAX_KEPT_STRING_BYTES = 1_000_000
MAX_HEADER_BYTES = 64 * 1024 * 1024  # the largest known headers have about 20 MB
N_SAMPLES, SAMPLE_BYTES = 64, 4096  # of the weights, at even distances: a training changes nearly all of them
DEFAULT_ALIGNMENT = 32
_STRING, _ARRAY = 8, 9
_POOLING_NONE = 0

# GGUF value type -> struct format of one little-endian value
_SCALARS: Mapping[int, struct.Struct] = {
    0: struct.Struct("<B"),
    1: struct.Struct("<b"),
    2: struct.Struct("<H"),
    3: struct.Struct("<h"),
    4: struct.Struct("<I"),
    5: struct.Struct("<i"),
    6: struct.Struct("<f"),
    7: struct.Struct("<?"),
    10: struct.Struct("<Q"),
    11: struct.Struct("<q"),
    12: struct.Struct("<d"),
}
_U32 = struct.Struct("<I")
_U64 = struct.Struct("<Q")

# ggml tensor type -> (elements in a block, bytes in a block); the real tests compare it with the library's own table
TENSOR_TYPES: Mapping[int, tuple[int, int]] = {
    0: (1, 4),
    1: (1, 2),
    2: (32, 18),
    3: (32, 20),
    6: (32, 22),
    7: (32, 24),
    8: (32, 34),
    9: (32, 36),
    10: (256, 84),
    11: (256, 110),
    12: (256, 144),
    13: (256, 176),
    14: (256, 210),
    15: (256, 292),
    16: (256, 66),
    17: (256, 74),
    18: (256, 98),
    19: (256, 50),
    20: (32, 18),
    21: (256, 110),
    22: (256, 82),
    23: (256, 136),
    24: (1, 1),
    25: (1, 2),
    26: (1, 4),
    27: (1, 8),
    28: (1, 8),
    29: (256, 56),
    30: (1, 2),
    34: (256, 54),
    35: (256, 66),
    39: (32, 17),
    40: (64, 36),
    41: (128, 18),
    42: (64, 18),
}


@dataclass(frozen=True, kw_only=True)
class GgufFacts:
    """What the header says, as far as it was checked."""

    version: int
    architecture: str
    n_tensors: int
    size_bytes: int
    data_offset: int
    # sha256 of the header, the file's length and samples of the weights: tells models apart without reading all of them.
    # Two trainings of one model have the same header, and states of one are nonsense to the other.
    fingerprint: str
    weight_bytes_per_token: (
        int  # read to compute one token: all tensors but a table of which only a row is looked up
    )
    kv_values_per_token: (
        int | None
    )  # numbers that the KV cache keeps; None where the layers differ or keep none
    n_layers: int | None
    n_ctx_train: int | None
    has_window: bool  # some layers keep only the newest tokens
    makes_vectors: (
        bool  # an embedding model or a reranker: it says how the states of its tokens become one vector
    )


class _Refused(Exception):
    """The header is not to be trusted; the text completes the sentence 'The file … '."""


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._end = len(data)
        self.at = 0

    @property
    def left(self) -> int:
        return self._end - self.at

    def skip(self, size: int) -> None:
        if size > self.left:
            raise _Refused("is cut off: its header does not end inside the file")
        self.at += size

    def number(self, layout: struct.Struct) -> int | float | bool:
        start = self.at
        self.skip(layout.size)
        value: int | float | bool = layout.unpack_from(self._data, start)[0]
        return value

    def count(self, layout: struct.Struct = _U64) -> int:
        return int(self.number(layout))

    def text(self, limit_bytes: int, what: str) -> bytes:
        size = self.count()
        if size > limit_bytes:
            raise _Refused(f"is damaged: {what} claims {size:,} bytes")
        start = self.at
        self.skip(size)
        return self._data[start : self.at]


class _Header:
    """One pass over a header; parse() either returns or raises _Refused."""

    def __init__(self, head: bytes, size_bytes: int) -> None:
        self._head = head
        self._size_bytes = size_bytes
        self._reader = _Reader(head)
        self._strings_left = MAX_ARRAY_STRINGS
        self._values: dict[bytes, int | float | bytes] = {}
        self._lists: set[bytes] = set()  # keys whose value above is the length of a list
        self._tensor_bytes: dict[bytes, int] = {}
        self.n_tensors = 0
        self.version = 0
        self.data_offset = 0

    @property
    def architecture(self) -> str:
        value = self._values.get(b"general.architecture", b"")
        if not isinstance(value, bytes) or not value:
            raise _Refused("does not name its architecture")
        return value.decode("utf-8", "replace")

    @property
    def weight_bytes_per_token(self) -> int:
        total = sum(self._tensor_bytes.values())
        # without a tensor "output.weight" the table of embeddings is also the last matrix, and read as a whole
        is_only_looked_up = b"output.weight" in self._tensor_bytes
        return total - self._tensor_bytes.get(b"token_embd.weight", 0) * is_only_looked_up

    @property
    def makes_vectors(self) -> bool:
        return bool(self.number("pooling_type", _POOLING_NONE))

    @property
    def kv_values_per_token(self) -> int | None:
        n_layers, n_heads, width = (
            self.number(key) for key in ("block_count", "attention.head_count", "embedding_length")
        )
        if not n_layers or not n_heads or not width:
            return None
        n_kv_heads = self.number("attention.head_count_kv", n_heads)
        key_length = self.number("attention.key_length", width // n_heads)
        value_length = self.number("attention.value_length", width // n_heads)
        if n_kv_heads is None or key_length is None or value_length is None:
            return None
        return n_layers * n_kv_heads * (key_length + value_length)

    def number(self, key: str, default: int | None = None) -> int | None:
        """A whole number of this architecture; None where it is a list or something else."""
        full_key = f"{self.architecture}.{key}".encode()
        value = self._values.get(full_key, default)
        is_number = isinstance(value, int) and not isinstance(value, bool) and full_key not in self._lists
        return int(value) if is_number and value is not None else None

    def parse(self) -> None:
        reader = self._reader
        if self._head[:4] != b"GGUF":
            raise _Refused("is not a GGUF model")
        reader.skip(4)
        self.version = reader.count(_U32)
        if self.version in {2 << 24, 3 << 24}:
            raise _Refused("was made for big-endian computers")
        if self.version not in {2, 3}:
            raise _Refused(f"has GGUF version {self.version}, and this engine reads 2 and 3")
        self.n_tensors = reader.count()
        n_keys = reader.count()
        if not 0 < self.n_tensors <= MAX_TENSORS:
            raise _Refused(f"is damaged: it claims {self.n_tensors:,} tensors")
        if n_keys > MAX_KEYS:
            raise _Refused(f"is damaged: it claims {n_keys:,} keys")
        for _ in range(n_keys):
            self._key()
        self._tensors(self._alignment())

    def _key(self) -> None:
        key = self._reader.text(MAX_KEY_BYTES, "a key")
        if key in self._values:
            raise _Refused("is damaged: it has a key twice")
        kind = self._reader.count(_U32)
        if kind == _ARRAY:
            self._lists.add(key)
        self._values[key] = self._array() if kind == _ARRAY else self._value(kind)

    def _value(self, kind: int) -> int | float | bytes:
        if kind == _STRING:
            return self._reader.text(self._reader.left, "a text")[:MAX_KEPT_STRING_BYTES]
        layout = _SCALARS.get(kind)
        if layout is None:
            raise _Refused(f"is damaged: value type {kind} does not exist")
        return self._reader.number(layout)

    def _array(self) -> int:
        kind = self._reader.count(_U32)
        n_items = self._reader.count()
        if kind == _STRING:
            # each string takes 8 bytes at least, so the file's own length bounds this loop; the budget bounds the time
            if n_items * 8 > self._reader.left or n_items > self._strings_left:
                raise _Refused(f"is damaged: a list claims {n_items:,} texts")
            self._strings_left -= n_items
            for _ in range(n_items):
                self._reader.skip(self._reader.count())
        else:
            layout = _SCALARS.get(kind)
            if layout is None:
                raise _Refused(f"is damaged: a list of value type {kind} does not exist")
            self._reader.skip(n_items * layout.size)
        return n_items

    def _alignment(self) -> int:
        alignment = self._values.get(b"general.alignment", DEFAULT_ALIGNMENT)
        if not isinstance(alignment, int) or not 1 <= alignment <= 65_536 or alignment & (alignment - 1):
            raise _Refused("is damaged: its alignment is not a power of two")
        return alignment

    def _tensors(self, alignment: int) -> None:
        places: list[tuple[int, int]] = []
        for _ in range(self.n_tensors):
            name = self._reader.text(MAX_TENSOR_NAME_BYTES, "a tensor's name")
            if name in self._tensor_bytes:
                raise _Refused("is damaged: it has a tensor twice")
            size_bytes = self._tensor_bytes[name] = self._tensor_size_bytes()
            offset = self._reader.count()
            if offset % alignment:
                raise _Refused("is damaged: a tensor is not aligned")
            places.append((offset, size_bytes))
        self.data_offset = (self._reader.at + alignment - 1) // alignment * alignment
        data_bytes = self._size_bytes - self.data_offset
        missing_bytes = max(offset + size for offset, size in places) - data_bytes
        if missing_bytes > 0:
            raise _Refused(f"is cut off: {missing_bytes:,} bytes are missing at its end")

    def _tensor_size_bytes(self) -> int:
        n_dims = self._reader.count(_U32)
        if n_dims > MAX_DIMS:
            raise _Refused(f"is damaged: a tensor claims {n_dims} dimensions")
        dims = [self._reader.count() for _ in range(n_dims)]
        n_elements = 1
        for dim in dims:
            n_elements *= dim
        if not 0 < n_elements < 2**63:
            raise _Refused("is damaged: a tensor's shape is impossible")
        kind = self._reader.count(_U32)
        if kind not in TENSOR_TYPES:
            raise _Refused(f"uses number format {kind}, which this engine does not know")
        block, block_bytes = TENSOR_TYPES[kind]
        if (dims[0] if dims else 1) % block:
            raise _Refused("is damaged: a tensor's rows do not fit its number format")
        return n_elements // block * block_bytes


def parse_header(head: bytes, size_bytes: int) -> GgufFacts:
    """Check the first bytes of a GGUF file of the given size.

    Raises ValueError whose text completes the sentence "The file … ".
    """
    header = _Header(head, size_bytes)
    try:
        header.parse()
        architecture = header.architecture
    except _Refused as refused:
        raise ValueError(str(refused)) from None
    digest = hashlib.sha256(size_bytes.to_bytes(8, "little"))
    digest.update(head[: header.data_offset])
    return GgufFacts(
        version=header.version,
        architecture=architecture,
        n_tensors=header.n_tensors,
        size_bytes=size_bytes,
        data_offset=header.data_offset,
        fingerprint=digest.hexdigest(),
        weight_bytes_per_token=header.weight_bytes_per_token,
        kv_values_per_token=header.kv_values_per_token,
        n_layers=header.number("block_count"),
        n_ctx_train=header.number("context_length"),
        has_window=bool(header.number("attention.sliding_window")),
        makes_vectors=header.makes_vectors,
    )


def check_model_file(path: Path) -> GgufFacts:
    """Read and check the header of a model file. Raises ModelMissing or ModelInvalid, each one sentence."""
    try:
        # O_NONBLOCK: a FIFO put in the place of a model must not hold the caller
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except (FileNotFoundError, NotADirectoryError):
        raise ModelMissing(f"There is no model file at {path}; choose an existing GGUF file.") from None
    except PermissionError:
        if path.is_dir():  # Windows answers so for a folder
            raise ModelInvalid(f"{path} is a folder; choose the GGUF file inside it.") from None
        raise ModelInvalid(f"The model file {path} may not be read; allow it or choose another.") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "the name is not valid"
        raise ModelInvalid(f"The model file {path} can't be opened ({reason}); choose another.") from None
    try:
        return _check_open_file(path, descriptor)
    finally:
        os.close(descriptor)


def _check_open_file(path: Path, descriptor: int) -> GgufFacts:
    facts = os.fstat(descriptor)
    if stat.S_ISDIR(facts.st_mode):
        raise ModelInvalid(f"{path} is a folder; choose the GGUF file inside it.")
    if not stat.S_ISREG(facts.st_mode):
        raise ModelInvalid(f"{path} is not a regular file; choose a GGUF file.")
    if facts.st_size == 0:
        raise ModelInvalid(f"The model file {path} is empty; download it again.")
    try:
        # read, not mapped: a file that shrinks meanwhile must not end the caller with SIGBUS
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            header = parse_header(file.read(MAX_HEADER_BYTES), facts.st_size)
            return replace(header, fingerprint=_with_samples(header, file))
    except ValueError as refused:
        raise ModelInvalid(
            f"The model file {path} {refused}; download it again or choose another GGUF file."
        ) from None
    except OSError as error:
        raise ModelInvalid(
            f"The model file {path} can't be read ({error.strerror}); choose another."
        ) from None


def _with_samples(header: GgufFacts, file: BinaryIO) -> str:
    digest = hashlib.sha256(header.fingerprint.encode())
    data_bytes = header.size_bytes - header.data_offset
    for number in range(N_SAMPLES):
        file.seek(header.data_offset + data_bytes * number // N_SAMPLES)
        digest.update(file.read(SAMPLE_BYTES))
    return digest.hexdigest()
