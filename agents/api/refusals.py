"""What a model route refuses, apart from how each API words it: a status, one sentence, a code and the field at fault."""

from __future__ import annotations

from engine.errors import (
    EngineDied,
    EngineError,
    EngineStopped,
    ModelError,
    PromptTooLong,
    RequestError,
    SchemaUnsupported,
)

BUSY = "engine_busy"
INTERNAL = "internal"
TOO_SLOW = 408
TOO_LARGE = 413
PROMPT = "messages"  # the field of the prompt, as most APIs call it
CLIENT_GONE = 499  # nobody reads it; the number that web servers log for this


class Refusal(Exception):
    """Ends a request; str() is one sentence for the caller. `retry` tells whether asking again makes sense."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        retry: bool | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.param = param
        self.retry = retry

    @property
    def headers(self) -> dict[str, str]:
        """What the official clients read before they ask again by themselves; the rest of a body is not read."""
        if self.retry is None:
            return {"Connection": "close"} if self.status in (TOO_LARGE, TOO_SLOW) else {}
        return {"Retry-After": "1"} if self.retry else {"x-should-retry": "false"}


def invalid(message: str, *, param: str | None = None, code: str | None = None) -> Refusal:
    """A request that can never be served as it is."""
    return Refusal(400, message, code=code, param=param)


def too_long(error: PromptTooLong, *, param: str) -> Refusal:
    """More than the model takes at once; `param` is the field that holds it."""
    return invalid(str(error), code="context_length_exceeded", param=param)


def internal() -> Refusal:
    """A bug: the place is in the log, and nothing of it in the answer."""
    return Refusal(
        500, "An internal error happened; the log names the place in the code.", code=INTERNAL, retry=False
    )


def client_gone() -> Refusal:
    """The caller closed the connection."""
    return Refusal(CLIENT_GONE, "The caller went away.")


def from_engine(error: EngineError) -> Refusal:
    """The engine's error as a status: 400 the request's fault, 429 later, 503 not now, 500 it can't be served."""
    text = str(error)
    match error:
        case PromptTooLong():
            return too_long(error, param=PROMPT)
        case SchemaUnsupported():
            return invalid(text, code=error.code)
        case RequestError() if error.code == BUSY:
            return Refusal(429, text, code=error.code, retry=True)
        case RequestError():
            return invalid(text, code=error.code)
        case ModelError():
            return Refusal(503, text, code=error.code, retry=False)
        case EngineStopped():
            return Refusal(503, text, code=error.code, retry=True)
        case EngineDied():
            return Refusal(500, text, code=error.code, retry=False)
        case _:
            return Refusal(500, text, code=error.code)
