"""Text to tokens and back, with the vocabulary of the loaded model.

Runs in: engine child, engine thread only.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterable
from typing import Any

import llama_cpp

_CONTROL = llama_cpp.LLAMA_TOKEN_ATTR_CONTROL
_SPECIAL = _CONTROL | llama_cpp.LLAMA_TOKEN_ATTR_UNKNOWN
_NO_TOKEN = -1
_PIECE_BYTES = 256


class Vocabulary:
    """Wraps a llama_vocab pointer; valid as long as its model."""

    def __init__(self, pointer: Any) -> None:
        self.pointer = pointer
        self.size: int = llama_cpp.llama_vocab_n_tokens(pointer)
        self._pieces: dict[int, bytes] = {}
        self._buffer = ctypes.create_string_buffer(_PIECE_BYTES)
        self.bos_text = self._text(llama_cpp.llama_vocab_bos(pointer))
        self.eos_text = self._text(llama_cpp.llama_vocab_eos(pointer))

    def control_tokens(self) -> dict[str, int]:
        """The control tokens by the texts that the tokenizer turns into them."""
        return {self._text(token): token for token in range(self.size) if self.is_control(token)}

    def is_control(self, token: int) -> bool:
        """Whether the token is a sign for the model and no text."""
        return bool(llama_cpp.llama_vocab_get_attr(self.pointer, token) & _SPECIAL)

    def reveal(self, tokens: Iterable[int]) -> None:
        """Let piece() give the texts of these control tokens, because somebody reads them."""
        self._pieces.update({token: self._text(token).encode() for token in tokens})

    def end_tokens(self) -> list[int]:
        """All tokens that end a generation, the model's own end of text first."""
        first = llama_cpp.llama_vocab_eos(self.pointer)
        others = [token for token in range(self.size) if token != first and self.is_end(token)]
        return [first, *others] if first != _NO_TOKEN else others

    def is_end(self, token: int) -> bool:
        """Whether the token ends a generation."""
        return bool(llama_cpp.llama_vocab_is_eog(self.pointer, token))

    def piece(self, token: int) -> bytes:
        """The bytes of a token, maybe part of a code point; empty for control tokens."""
        known = self._pieces.get(token)
        if known is None:
            known = self._pieces[token] = self._read_piece(token, self._buffer, special=False)
        return known

    def shown(self, token: int) -> bytes:
        """The bytes of a token for people to look at: those of a control token too."""
        return self.piece(token) or self._text(token).encode()

    def raw_pieces(self) -> list[bytes]:
        """The bytes of all tokens, those of control tokens too; may be called from any thread."""
        buffer = ctypes.create_string_buffer(_PIECE_BYTES)
        return [self._read_piece(token, buffer, special=True) for token in range(self.size)]

    def opening(self) -> list[int]:
        """What an empty prompt is made of: the model's begin of text, or else its end of text."""
        tokens = (llama_cpp.llama_vocab_bos(self.pointer), llama_cpp.llama_vocab_eos(self.pointer))
        return [next(token for token in tokens if token != _NO_TOKEN)]

    def tokenize_prompt(self, prompt: str) -> list[int]:
        """Tokens of a rendered template: control texts count, and there is exactly one BOS if the model wants one."""
        has_bos = bool(self.bos_text) and prompt.startswith(self.bos_text)
        return self._tokenize(prompt, add_special=not has_bos, parse_special=True)

    def tokenize_text(self, text: str) -> list[int]:
        """Tokens of plain text; control texts in it are only text."""
        return self._tokenize(text, add_special=False, parse_special=False)

    def tokenize_document(self, text: str) -> list[int]:
        """Tokens of plain text with the model's own marks around it, as an embedding model reads it."""
        return self._tokenize(text, add_special=True, parse_special=False)

    def _tokenize(self, text: str, *, add_special: bool, parse_special: bool) -> list[int]:
        data = text.encode("utf-8")
        room = len(data) + 8
        for _ in range(2):
            tokens = (llama_cpp.llama_token * room)()
            count = llama_cpp.llama_tokenize(
                self.pointer, data, len(data), tokens, room, add_special, parse_special
            )
            if count >= 0:
                return tokens[:count]
            room = -count
        raise RuntimeError("llama_tokenize asked for more room twice")

    def _text(self, token: int) -> str:
        if token == _NO_TOKEN:
            return ""
        text = llama_cpp.llama_vocab_get_text(self.pointer, token)
        return text.decode("utf-8", "replace") if text else ""

    def _read_piece(self, token: int, buffer: Any, *, special: bool) -> bytes:
        size = llama_cpp.llama_token_to_piece(self.pointer, token, buffer, len(buffer), 0, special)
        if size < 0:
            buffer = ctypes.create_string_buffer(-size)
            size = llama_cpp.llama_token_to_piece(self.pointer, token, buffer, len(buffer), 0, special)
        return bytes(buffer.raw[:size])
