"""HTTP over the runtime's Unix socket with QNetworkAccessManager: one call with one answer, or a stream of events.

Runs in: desktop process, main thread; nothing here waits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from PySide6.QtCore import QObject, QUrl, Signal
from PySide6.QtNetwork import QNetworkAccessManager, QNetworkReply, QNetworkRequest

from agents.contract import ErrorBody, Problem
from app.desktop.link.sse import SseParser, StreamTooLongError

T = TypeVar("T")

CALL_TIMEOUT_S = 30.0
_FIRST_ERROR_STATUS = 400
_NOT_REACHED = frozenset(
    {
        QNetworkReply.NetworkError.ConnectionRefusedError,
        QNetworkReply.NetworkError.RemoteHostClosedError,
        QNetworkReply.NetworkError.HostNotFoundError,
        QNetworkReply.NetworkError.UnknownNetworkError,
        QNetworkReply.NetworkError.TemporaryNetworkFailureError,
    }
)


@dataclass(frozen=True, kw_only=True)
class Trouble:
    """Why a call brought no answer: one sentence for the user, a code for the program."""

    code: str
    message: str
    details: dict[str, Any] = field(default_factory=dict)
    unreachable: bool = False  # no runtime answered at all

    @classmethod
    def of(cls, problem: Problem) -> Trouble:
        return cls(code=problem.code, message=problem.message, details=problem.details)


UNREACHABLE = Trouble(
    code="unreachable",
    message="Hearth's background part does not answer at the moment; it is being started again.",
    unreachable=True,
)
TOO_SLOW = Trouble(code="timeout", message="Hearth's background part took too long to answer; try again.")
NOT_UNDERSTOOD = Trouble(
    code="not_understood",
    message="Hearth's background part gave an answer that this window does not understand; "
    "quit Hearth with its agents and start it again.",
)


class HttpClient(QObject):
    """Sends requests to one socket. After `close` nothing is called back any more."""

    def __init__(self, socket: Path, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._socket = socket
        self._manager = self._new_manager()
        self._retired: list[QNetworkAccessManager] = []
        self._calls: set[QNetworkReply] = set()
        self._streams: set[SseStream] = set()
        self._closed = False

    def call(
        self,
        method: str,
        path: str,
        *,
        read: Callable[[bytes], T],
        done: Callable[[T], None],
        failed: Callable[[Trouble], None],
        body: BaseModel | None = None,
        timeout_s: float = CALL_TIMEOUT_S,
    ) -> None:
        """One request; exactly one of `done` and `failed` is called later, unless the client is closed before."""
        if self._closed:
            return
        request = self._request(path)
        request.setTransferTimeout(round(timeout_s * 1000))
        reply = self._send(method, request, body)
        self._calls.add(reply)
        reply.finished.connect(lambda: self._finish(reply, read, done, failed))

    def stream(self, path: str, body: BaseModel | None = None) -> SseStream:
        """Opens a stream of server-sent events: POST with a body, else GET."""
        request = self._request(path)
        request.setRawHeader(b"Accept", b"text/event-stream")
        stream = SseStream(self._send("POST" if body is not None else "GET", request, body), self)
        self._streams.add(stream)
        stream.finished.connect(lambda trouble: self._stream_ended(stream, trouble))
        return stream

    def _stream_ended(self, stream: SseStream, trouble: Trouble | None) -> None:
        self._streams.discard(stream)
        if trouble is not None and trouble.unreachable and not self._closed:
            self._renew()

    def close(self) -> None:
        """Ends everything that is under way."""
        self._closed = True
        for stream in tuple(self._streams):
            stream.close()
        for reply in tuple(self._calls):
            reply.abort()

    def _new_manager(self) -> QNetworkAccessManager:
        manager = QNetworkAccessManager(self)
        manager.setRedirectPolicy(QNetworkRequest.RedirectPolicy.ManualRedirectPolicy)
        return manager

    def _renew(self) -> None:
        """Each connection to a local socket that fails takes one of the manager's six channels out of use for good
        (seen in Qt 6.12); after six, requests wait for ever. So a manager that saw one fail is replaced."""
        self._retired.append(self._manager)
        self._manager = self._new_manager()
        for manager in tuple(self._retired):
            if not any(reply.isRunning() for reply in manager.findChildren(QNetworkReply)):
                self._retired.remove(manager)
                manager.deleteLater()

    def _request(self, path: str) -> QNetworkRequest:
        request = QNetworkRequest(QUrl("unix+http://localhost" + path, QUrl.ParsingMode.StrictMode))
        request.setAttribute(QNetworkRequest.Attribute.FullLocalServerNameAttribute, str(self._socket))
        request.setAttribute(
            QNetworkRequest.Attribute.CacheLoadControlAttribute,
            QNetworkRequest.CacheLoadControl.AlwaysNetwork,
        )
        return request

    def _send(self, method: str, request: QNetworkRequest, body: BaseModel | None) -> QNetworkReply:
        if body is not None:
            request.setHeader(QNetworkRequest.KnownHeaders.ContentTypeHeader, "application/json")
        data = body.model_dump_json().encode() if body is not None else b""
        return self._manager.sendCustomRequest(request, method.encode(), data)

    def _finish(
        self,
        reply: QNetworkReply,
        read: Callable[[bytes], T],
        done: Callable[[T], None],
        failed: Callable[[Trouble], None],
    ) -> None:
        self._calls.discard(reply)
        reply.deleteLater()
        if self._closed:
            return
        data = _bytes_of(reply)
        trouble = trouble_of(reply, data)
        if trouble is not None:
            if trouble.unreachable:
                self._renew()
            failed(trouble)
            return
        try:
            value = read(data)
        except ValidationError:
            failed(NOT_UNDERSTOOD)
            return
        done(value)


class SseStream(QObject):
    """One open stream. `payload` brings each `data:`; then `finished` comes once, with a Trouble or None."""

    opened = Signal()
    payload = Signal(str)
    finished = Signal(object)

    def __init__(self, reply: QNetworkReply, parent: QObject) -> None:
        super().__init__(parent)
        self._reply = reply
        self._parser = SseParser()
        self._refused = b""
        self._ended = False
        self._trouble: Trouble | None = None
        reply.metaDataChanged.connect(self._headers)
        reply.readyRead.connect(self._read)
        reply.finished.connect(self._finish)

    def close(self) -> None:
        """Closes the connection; for /v1/chat that stops the generation. `finished` still comes."""
        if not self._ended:
            self._reply.abort()

    def _headers(self) -> None:
        if 0 < status_of(self._reply) < _FIRST_ERROR_STATUS:
            self.opened.emit()

    def _read(self) -> None:
        data = _bytes_of(self._reply)
        if status_of(self._reply) >= _FIRST_ERROR_STATUS:
            self._refused += data
            return
        try:
            payloads = self._parser.feed(data)
        except StreamTooLongError:
            self._trouble = NOT_UNDERSTOOD
            self._reply.abort()
            return
        for each in payloads:
            if self._ended:
                return
            self.payload.emit(each)

    def _finish(self) -> None:
        if self._ended:
            return
        self._read()
        self._ended = True
        self._reply.deleteLater()
        cancelled = self._reply.error() is QNetworkReply.NetworkError.OperationCanceledError
        trouble = None if cancelled else trouble_of(self._reply, self._refused)
        self.finished.emit(self._trouble or trouble)
        self.deleteLater()


def status_of(reply: QNetworkReply) -> int:
    """The HTTP status, 0 before there is one."""
    status = reply.attribute(QNetworkRequest.Attribute.HttpStatusCodeAttribute)
    return status if isinstance(status, int) else 0


def trouble_of(reply: QNetworkReply, data: bytes) -> Trouble | None:
    """What a finished reply failed of, or None."""
    if status_of(reply) >= _FIRST_ERROR_STATUS:
        try:
            return Trouble.of(ErrorBody.model_validate_json(data).error)
        except ValidationError:
            return NOT_UNDERSTOOD
    error = reply.error()
    if error is QNetworkReply.NetworkError.NoError:
        return None
    if error in (QNetworkReply.NetworkError.OperationCanceledError, QNetworkReply.NetworkError.TimeoutError):
        return TOO_SLOW
    if error in _NOT_REACHED or status_of(reply) == 0:
        return UNREACHABLE
    return NOT_UNDERSTOOD


def _bytes_of(reply: QNetworkReply) -> bytes:
    return bytes(reply.readAll().data()) if reply.isOpen() else b""
