"""Tiny models with random weights, one for each kind of memory that llama.cpp has.

A model is some hundred kilobytes, written in milliseconds. Its vocabulary is the printable ASCII characters, or that of
another GGUF file. What it writes makes no sense and depends on every token before: enough to notice a wrong state.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from pathlib import Path
from typing import Any

import numpy as np

from engine.host.gguf import MAX_HEADER_BYTES, _Header
from tests.engine.support import gguf_image, gguf_key, gguf_tensor, gguf_text

N_EMBD, N_HEADS, HEAD = 64, 2, 32
N_FF = 128
N_CTX_TRAIN = 4096
SLIDING_WINDOW = 32
END = "<|end|>"
TEMPLATE = "{% for message in messages %}{{ message.role }}: {{ message.content }}\n{% endfor %}assistant: "
_U32, _F32, _BOOL, _STRING, _ARRAY, _I32 = 4, 6, 7, 8, 9, 5
_ALIGNMENT = 32


class Kind(StrEnum):
    """What the model keeps of the tokens before."""

    LLAMA = "llama"  # keys and values of all of them
    GEMMA3 = "gemma3"  # in most layers only of the newest: a sliding window
    MAMBA = "mamba"  # one state, which can't go back
    LFM2 = "lfm2"  # a hybrid: short convolutions and attention
    BERT = "bert"  # nothing: an encoder


class Pooling(IntEnum):
    """How the states of a text's tokens become one vector, as the format numbers it."""

    MEAN = 1
    FIRST = 2
    LAST = 3
    RANK = 4


Shapes = Mapping[str, tuple[int, ...]]  # of tensors, the fastest dimension first


@dataclass(frozen=True, kw_only=True)
class _Plan:
    keys: Mapping[str, Any]
    n_layers: int
    shared: Shapes
    layers: Sequence[Shapes] = field(repr=False)


def write_model(
    path: Path,
    kind: Kind,
    *,
    seed: int = 0,
    pooling: Pooling | None = None,
    vocabulary_of: Path | None = None,
) -> Path:
    """Write a model; the same arguments give the same bytes."""
    vocabulary, n_vocab = _words(kind) if vocabulary_of is None else _words_of(vocabulary_of)
    plan = _PLANS[kind](n_vocab)
    keys = {
        "context_length": N_CTX_TRAIN if kind is not Kind.BERT else 128,
        "embedding_length": N_EMBD,
        "block_count": plan.n_layers,
        **plan.keys,
        **({} if pooling is None else {"pooling_type": int(pooling)}),
    }
    shapes = dict(plan.shared)
    for number, layer in enumerate(plan.layers):
        shapes |= {f"blk.{number}.{name}": dims for name, dims in layer.items()}
    records, data = _tensors(shapes, np.random.default_rng(seed), is_large=vocabulary_of is not None)
    header = (
        _key("general.architecture", kind.value),
        _key("tokenizer.chat_template", TEMPLATE),
        *(_key(f"{kind.value}.{name}", value) for name, value in keys.items()),
        *vocabulary,
    )
    path.write_bytes(gguf_image(keys=header, tensors=records, data=data, alignment=_ALIGNMENT))
    return path


# -- architectures: keys and tensors as src/models/*.cpp of llama.cpp reads them -----------------------------

_ATTENTION: Shapes = {
    "attn_q.weight": (N_EMBD, N_HEADS * HEAD),
    "attn_k.weight": (N_EMBD, N_HEADS * HEAD),
    "attn_v.weight": (N_EMBD, N_HEADS * HEAD),
    "attn_output.weight": (N_HEADS * HEAD, N_EMBD),
}
_FEED_FORWARD: Shapes = {
    "ffn_norm.weight": (N_EMBD,),
    "ffn_gate.weight": (N_EMBD, N_FF),
    "ffn_up.weight": (N_EMBD, N_FF),
    "ffn_down.weight": (N_FF, N_EMBD),
}
_HEADS: Mapping[str, Any] = {
    "attention.head_count": N_HEADS,
    "attention.head_count_kv": N_HEADS,
    "attention.layer_norm_rms_epsilon": 1e-5,
    "feed_forward_length": N_FF,
    "rope.dimension_count": HEAD,
}


def _ends(n_vocab: int, norm: str = "output_norm.weight") -> Shapes:
    return {"token_embd.weight": (N_EMBD, n_vocab), norm: (N_EMBD,), "output.weight": (N_EMBD, n_vocab)}


def _llama(n_vocab: int) -> _Plan:
    layer = {"attn_norm.weight": (N_EMBD,), **_ATTENTION, **_FEED_FORWARD}
    return _Plan(keys=_HEADS, n_layers=2, shared=_ends(n_vocab), layers=[layer] * 2)


def _gemma3(n_vocab: int) -> _Plan:
    layer = {
        "attn_norm.weight": (N_EMBD,),
        "attn_q_norm.weight": (HEAD,),
        "attn_k_norm.weight": (HEAD,),
        "post_attention_norm.weight": (N_EMBD,),
        "post_ffw_norm.weight": (N_EMBD,),
        **_ATTENTION,
        **_FEED_FORWARD,
    }
    keys = {
        **_HEADS,
        "attention.key_length": HEAD,
        "attention.value_length": HEAD,
        "attention.sliding_window": SLIDING_WINDOW,
    }
    return _Plan(keys=keys, n_layers=6, shared=_ends(n_vocab), layers=[layer] * 6)


def _mamba(n_vocab: int) -> _Plan:
    n_inner, n_state, n_rank, n_kernel = 2 * N_EMBD, 8, 4, 4
    layer = {
        "attn_norm.weight": (N_EMBD,),
        "ssm_in.weight": (N_EMBD, 2 * n_inner),
        "ssm_conv1d.weight": (n_kernel, n_inner),
        "ssm_conv1d.bias": (n_inner,),
        "ssm_x.weight": (n_inner, n_rank + 2 * n_state),
        "ssm_dt.weight": (n_rank, n_inner),
        "ssm_dt.bias": (n_inner,),
        "ssm_a": (n_state, n_inner),
        "ssm_d": (n_inner,),
        "ssm_out.weight": (n_inner, N_EMBD),
    }
    keys = {
        "ssm.conv_kernel": n_kernel,
        "ssm.inner_size": n_inner,
        "ssm.state_size": n_state,
        "ssm.time_step_rank": n_rank,
        "attention.layer_norm_rms_epsilon": 1e-5,
        "attention.head_count": 0,
        "feed_forward_length": 0,
    }
    return _Plan(keys=keys, n_layers=2, shared=_ends(n_vocab), layers=[layer] * 2)


def _lfm2(n_vocab: int) -> _Plan:
    n_kernel = 3
    convolution = {
        "attn_norm.weight": (N_EMBD,),
        "shortconv.conv.weight": (n_kernel, N_EMBD),
        "shortconv.in_proj.weight": (N_EMBD, 3 * N_EMBD),
        "shortconv.out_proj.weight": (N_EMBD, N_EMBD),
        **_FEED_FORWARD,
    }
    attention = {
        "attn_norm.weight": (N_EMBD,),
        "attn_q_norm.weight": (HEAD,),
        "attn_k_norm.weight": (HEAD,),
        **_ATTENTION,
        **_FEED_FORWARD,
    }
    layers = [convolution, attention, convolution, attention]
    keys = {
        **_HEADS,
        "shortconv.l_cache": n_kernel,
        "attention.head_count_kv": [N_HEADS if layer is attention else 0 for layer in layers],
    }
    return _Plan(
        keys=keys, n_layers=len(layers), shared=_ends(n_vocab, "token_embd_norm.weight"), layers=layers
    )


def _bert(n_vocab: int) -> _Plan:
    layer = {
        **_ATTENTION,
        "attn_output_norm.weight": (N_EMBD,),
        "attn_output_norm.bias": (N_EMBD,),
        "ffn_up.weight": (N_EMBD, N_FF),
        "ffn_down.weight": (N_FF, N_EMBD),
        "layer_output_norm.weight": (N_EMBD,),
        "layer_output_norm.bias": (N_EMBD,),
    }
    shared = {
        "token_embd.weight": (N_EMBD, n_vocab),
        "token_types.weight": (N_EMBD, 2),
        "position_embd.weight": (N_EMBD, 128),
        "token_embd_norm.weight": (N_EMBD,),
        "token_embd_norm.bias": (N_EMBD,),
    }
    keys = {
        "attention.head_count": N_HEADS,
        "attention.layer_norm_epsilon": 1e-12,
        "attention.causal": False,
        "feed_forward_length": N_FF,
    }
    return _Plan(keys=keys, n_layers=2, shared=shared, layers=[layer] * 2)


_PLANS = {
    Kind.LLAMA: _llama,
    Kind.GEMMA3: _gemma3,
    Kind.MAMBA: _mamba,
    Kind.LFM2: _lfm2,
    Kind.BERT: _bert,
}


# -- vocabularies --------------------------------------------------------------------------------------------


def _words(kind: Kind) -> tuple[list[bytes], int]:
    """One token a printable character, so that no token is half a code point."""
    characters = [chr(code) for code in range(0x21, 0x7F)]
    if kind is Kind.BERT:
        special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
        words = [*special, *(f"\u2581{letter}" for letter in characters), *characters]
        return [
            _key("tokenizer.ggml.model", "bert"),
            _key("tokenizer.ggml.tokens", words),
            _key("tokenizer.ggml.token_type", [3] * len(special) + [1] * (len(words) - len(special))),
            _key("tokenizer.ggml.token_type_count", 2),
            *(
                _key(f"tokenizer.ggml.{name}_token_id", number)
                for number, name in enumerate(("padding", "unknown", "bos", "seperator", "mask"))
            ),
            _key("tokenizer.ggml.eos_token_id", 3),
        ], len(words)
    words = [END, *characters, "\u0120", "\u010a", "th"]  # a blank, a new line, and one merge
    return [
        _key("tokenizer.ggml.model", "gpt2"),
        _key("tokenizer.ggml.pre", "gpt-2"),
        _key("tokenizer.ggml.tokens", words),
        _key("tokenizer.ggml.token_type", [3] + [1] * (len(words) - 1)),
        _key("tokenizer.ggml.merges", ["t h"]),
        _key("tokenizer.ggml.bos_token_id", 0),
        _key("tokenizer.ggml.eos_token_id", 0),
        _key("tokenizer.ggml.add_bos_token", False),
    ], len(words)


class _KeysOf(_Header):
    """Reads a header and keeps the bytes of the keys that describe the vocabulary."""

    def __init__(self, path: Path) -> None:
        with path.open("rb") as file:
            self.head = file.read(MAX_HEADER_BYTES)
        self.kept: list[bytes] = []
        super().__init__(self.head, path.stat().st_size)
        self.parse()

    def _key(self) -> None:
        known, start = set(self._values), self._reader.at
        super()._key()
        (name,) = set(self._values) - known
        if name.startswith(b"tokenizer.ggml."):
            self.kept.append(self.head[start : self._reader.at])

    @property
    def n_vocab(self) -> int:
        return int(self._values[b"tokenizer.ggml.tokens"])


def _words_of(path: Path) -> tuple[list[bytes], int]:
    header = _KeysOf(path)
    return header.kept, header.n_vocab


# -- bytes ---------------------------------------------------------------------------------------------------


def _key(name: str, value: Any) -> bytes:
    kind, data = _value(value)
    return gguf_key(name.encode(), kind, data)


def _value(value: Any) -> tuple[int, bytes]:
    match value:
        case bool():
            return _BOOL, struct.pack("<?", value)
        case int():
            return _U32, struct.pack("<I", value)
        case float():
            return _F32, struct.pack("<f", value)
        case str():
            return _STRING, gguf_text(value.encode())
        case list():
            kinds, items = zip(*map(_value, value), strict=True)
            kind = _I32 if kinds[0] == _U32 else kinds[0]
            return _ARRAY, struct.pack("<IQ", kind, len(items)) + b"".join(items)
        case _:
            raise TypeError(type(value))


def _tensors(shapes: Shapes, rng: np.random.Generator, *, is_large: bool) -> tuple[tuple[bytes, ...], bytes]:
    records: list[bytes] = []
    data = bytearray()
    for name, dims in shapes.items():
        values = _weights(name, dims, rng)
        is_half = is_large and len(dims) == 2
        records.append(gguf_tensor(name.encode(), dims, 1 if is_half else 0, len(data)))
        data += values.astype("<f2" if is_half else "<f4").tobytes()
        data += bytes(-len(data) % _ALIGNMENT)
    return tuple(records), bytes(data)


def _weights(name: str, dims: tuple[int, ...], rng: np.random.Generator) -> Any:
    """Values that keep the states alive: neither do they vanish, nor does one token drown all others."""
    shape = dims[::-1]
    if name.endswith("ssm_a"):
        return -np.broadcast_to(np.arange(1, dims[0] + 1, dtype=np.float64), shape)
    if name.endswith("ssm_dt.bias"):
        return rng.uniform(-4.0, -1.0, shape)
    if name.endswith(("attn_q_norm.weight", "attn_k_norm.weight")):
        return rng.uniform(1.5, 2.5, shape)  # a token looks at a few others, not at the mean of all
    if "norm.weight" in name or name.endswith("ssm_d"):
        return rng.uniform(0.8, 1.2, shape)
    if name.endswith("bias"):
        return rng.normal(0.0, 0.1, shape)
    if name == "token_embd.weight":
        return rng.normal(0.0, 1.0, shape)
    values = rng.normal(0.0, (3.0 if name.endswith("attn_output.weight") else 1.5) / dims[0] ** 0.5, shape)
    if name == "output.weight":
        values[0] = 0.0  # the end of the text is never the likeliest
    return values
