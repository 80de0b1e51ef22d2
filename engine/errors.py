"""What can go wrong in the engine, each as one sentence with its remedy.

EngineError
├── ModelError          the model can't be used
│   ├── ModelMissing    no file there
│   ├── ModelInvalid    a file, but not one that can be loaded
│   ├── ModelTooLarge   no room for it on this machine
│   └── ModelSetAside   crashed the engine too often; refused until it is retried
├── RequestError        this request can't be served; the engine is well
│   ├── RequestInvalid
│   ├── PromptTooLong
│   ├── SchemaUnsupported
│   └── EngineBusy      too many others at once
├── EngineDied          the child died twice under this request
└── EngineStopped       the engine was asked to stop
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar


class EngineError(Exception):
    """Base of all engine errors; str() is a sentence for the user, code is stable for programs."""

    code: ClassVar[str] = "engine_error"

    @property
    def details(self) -> dict[str, int | str]:
        """Safe facts beside the sentence; never text of the user."""
        return {}


class ModelError(EngineError):
    """The model can't be used."""

    code = "model_error"


class ModelMissing(ModelError):
    """No model file at the given place."""

    code = "model_missing"


class ModelInvalid(ModelError):
    """The file exists and is no model that this engine can load."""

    code = "model_invalid"


class ModelTooLarge(ModelError):
    """The model, or what was asked for with it, does not fit into this machine's memory."""

    code = "model_too_large"


class ModelSetAside(ModelError):
    """The model crashed the engine too often and is refused until it is retried."""

    code = "model_set_aside"


class RequestError(EngineError):
    """This request can't be served; others can."""

    code = "request_error"


class RequestInvalid(RequestError):
    """A field of the request is out of its range."""

    code = "request_invalid"


class PromptTooLong(RequestError):
    """The prompt leaves no room for an answer in the context, or a text is longer than an embedding model takes."""

    code = "prompt_too_long"

    def __init__(self, prompt_tokens: int, n_ctx: int, *, text_number: int | None = None) -> None:
        super().__init__(
            f"The prompt has {prompt_tokens:,} tokens and the model's context holds {n_ctx:,}; "
            "shorten the text or split it."
            if text_number is None
            else f"Text {text_number:,} has {prompt_tokens:,} tokens and the model takes {n_ctx:,} at a time; "
            "split the text."
        )
        self.prompt_tokens = prompt_tokens
        self.n_ctx = n_ctx
        self.text_number = text_number  # of several to embed, counted from 1

    @property
    def details(self) -> dict[str, int | str]:
        """The two sizes, and which text it is."""
        sizes: dict[str, int | str] = {"prompt_tokens": self.prompt_tokens, "n_ctx": self.n_ctx}
        return sizes if self.text_number is None else sizes | {"text_number": self.text_number}


class SchemaUnsupported(RequestError):
    """The JSON schema uses something that can't be enforced while decoding."""

    code = "schema_unsupported"

    def __init__(self, keyword: str) -> None:
        super().__init__(f"The JSON schema can't be enforced ({keyword}); leave that part out.")
        self.keyword = keyword

    @property
    def details(self) -> dict[str, int | str]:
        """The keyword, or the engine's short reason."""
        return {"keyword": self.keyword}


class EngineBusy(RequestError):
    """More requests are in flight than the engine takes; the same request can be served later."""

    code = "engine_busy"


class EngineDied(EngineError):
    """The child died twice while it served this request."""

    code = "engine_died"


class EngineStopped(EngineError):
    """The engine was stopped before the request was done."""

    code = "engine_stopped"


_BY_CODE: Mapping[str, type[EngineError]] = {
    cls.code: cls
    for cls in (
        EngineError,
        ModelMissing,
        ModelInvalid,
        ModelTooLarge,
        ModelSetAside,
        RequestInvalid,
        EngineBusy,
        EngineDied,
        EngineStopped,
    )
}


def error_from_wire(code: str, message: str, details: Mapping[str, int | str]) -> EngineError:
    """Build the error that the child reported; an unknown code becomes a plain EngineError."""
    if code == PromptTooLong.code:
        number = details.get("text_number")
        return PromptTooLong(
            int(details.get("prompt_tokens", 0)),
            int(details.get("n_ctx", 0)),
            text_number=None if number is None else int(number),
        )
    if code == SchemaUnsupported.code:
        return SchemaUnsupported(str(details.get("keyword", "an unknown keyword")))
    return _BY_CODE.get(code, EngineError)(message)
