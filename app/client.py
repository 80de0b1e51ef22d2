"""The command line's way to the runtime: typed calls over HTTP on the home's Unix socket.

Runs in: the short-lived command line, and any thread that waits for a runtime to come up (app.launch).

    ClientError              str() is one sentence for the user; `exit_code` is what the command line ends with
    ├── RuntimeUnreachable   the runtime does not answer, or went away while it did (3)
    │   ├── NotRunning       nothing listens on the home's socket, whether there is a socket file or not
    │   └── NotAnswering     it listens, and said nothing for as long as an answer may take
    ├── VersionMismatch      something answers, but in another version of the contract (1)
    └── ProblemReported      the runtime said what is wrong (2 for wrong input, else 1)
"""

from __future__ import annotations

import errno
import shlex
import socket
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from types import TracebackType
from typing import Any, TypeVar
from urllib.parse import quote

import httpx2
from pydantic import BaseModel, TypeAdapter, ValidationError

from agents import contract
from agents.paths import HomePaths, default_home
from app.holding import holder_pid

Answer = TypeVar("Answer")

CONNECT_TIMEOUT_S = 5.0
ANSWER_TIMEOUT_S = 30.0
# Looking at folders or checking an engine reads disks, which may be slow ones.
LONG_ANSWER_TIMEOUT_S = 300.0

_NOT_LISTENING = frozenset({errno.ENOENT, errno.ECONNREFUSED, errno.ENOTDIR, errno.ECONNRESET})
_USAGE_CODES = frozenset({"usage", "needs_consent", "home", "key"})


class ClientError(Exception):
    """What the user should read; str() is one sentence, `code` is the same for programs."""

    exit_code = 1
    code = "failed"


class RuntimeUnreachable(ClientError):
    """The runtime does not answer, or went away while it did."""

    exit_code = 3
    code = "unreachable"


class NotRunning(RuntimeUnreachable):
    """Nothing listens on the home's socket. A socket file that a killed runtime left behind changes nothing."""

    code = "not_running"


class NotAnswering(RuntimeUnreachable):
    """The runtime listens, and said nothing for as long as an answer may take: it is frozen, or very busy."""


class VersionMismatch(ClientError):
    """The runtime speaks another version of the contract than this program."""

    code = "version_mismatch"


class ProblemReported(ClientError):
    """The runtime refused or failed, and said why."""

    def __init__(self, problem: contract.Problem, http_status: int) -> None:
        super().__init__(problem.message)
        self.problem = problem
        self.http_status = http_status
        wrong_input = problem.code in _USAGE_CODES or http_status in (400, 422)
        self.exit_code = 2 if wrong_input else 1


def home_argument(home: HomePaths) -> str:
    """` --home DIR` for a command that a sentence recommends; empty when the default home is meant."""
    return "" if home.root == default_home() else f" --home {shlex.quote(str(home.root))}"


class RuntimeClient:
    """Talks to the runtime of one home. Every call raises ClientError, and only that, when it can't be answered."""

    def __init__(self, paths: HomePaths, *, answer_timeout_s: float = ANSWER_TIMEOUT_S) -> None:
        self.paths = paths
        self.answer_timeout_s = answer_timeout_s
        self._timeout = httpx2.Timeout(answer_timeout_s, connect=CONNECT_TIMEOUT_S)
        # A connection on a Unix socket costs microseconds; a kept one may have been closed by the other side.
        transport = httpx2.HTTPTransport(
            uds=str(paths.socket), limits=httpx2.Limits(max_keepalive_connections=0), trust_env=False
        )
        self._http = httpx2.Client(
            transport=transport, base_url="http://localhost", timeout=self._timeout, trust_env=False
        )

    def __enter__(self) -> RuntimeClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    # --- engine and status -----------------------------------------------------------------------

    def status(self, *, timeout_s: float | None = None) -> contract.Status:
        """Raises VersionMismatch before anything else is read from an answer that this program can't know."""
        response = self._send("GET", "/v1/status", timeout_s=timeout_s)
        try:
            spoken = response.json().get("api_version")
        except (ValueError, AttributeError):
            spoken = None
        if spoken != contract.API_VERSION:
            raise VersionMismatch(
                f"The runtime for {self.paths.root} is of another version of Hearth than this program (contract "
                f"{spoken}, here {contract.API_VERSION}); end it with `hearth stop{home_argument(self.paths)}` "
                "and start it again."
            )
        return self._parse(contract.Status, response)

    def doctor(self) -> contract.DoctorReport:
        return self._call(contract.DoctorReport, "GET", "/v1/doctor", timeout_s=LONG_ANSWER_TIMEOUT_S)

    def retry_engine(self) -> contract.EngineInfo:
        """Tries models again that were set aside; it answers when they are loaded, or raises ProblemReported."""
        return self._call(contract.EngineInfo, "POST", "/v1/engine/retry", timeout_s=LONG_ANSWER_TIMEOUT_S)

    def models(self) -> list[contract.ModelInfo]:
        return self._call(list[contract.ModelInfo], "GET", "/v1/engine/models")

    def unload_model(self, model_id: str) -> contract.ModelInfo:
        """Gives a model's memory back; it answers when the memory is free."""
        path = f"/v1/engine/models/{quote(model_id, safe='')}/unload"
        return self._call(contract.ModelInfo, "POST", path, timeout_s=LONG_ANSWER_TIMEOUT_S)

    def stop(self) -> None:
        """Asks the runtime to end in order; it answers before it has ended."""
        self._send("POST", "/v1/stop")

    # --- agents ----------------------------------------------------------------------------------

    def agents(self) -> list[contract.AgentInfo]:
        return self._call(list[contract.AgentInfo], "GET", "/v1/agents")

    def agent(self, name: str) -> contract.AgentDetail:
        return self._call(contract.AgentDetail, "GET", _agent_path(name))

    def add_agent(self, request: contract.AgentAdd) -> contract.AgentDetail:
        """ProblemReported with code "needs_consent" lists in `details["asks"]` what has not been granted."""
        return self._call(contract.AgentDetail, "POST", "/v1/agents", body=request)

    def set_folders(self, name: str, request: contract.FoldersChange) -> contract.AgentDetail:
        return self._call(contract.AgentDetail, "PUT", _agent_path(name, "folders"), body=request)

    def remove_agent(self, name: str) -> None:
        """Its runs and results stay readable."""
        self._send("DELETE", _agent_path(name))

    def pause(self, name: str) -> contract.AgentInfo:
        return self._call(contract.AgentInfo, "POST", _agent_path(name, "pause"))

    def due_times(
        self, name: str, *, n: int, start: datetime | None = None, end: datetime | None = None
    ) -> list[contract.DueTime]:
        """What the agent's timed triggers would do from `start` (now) on, the earliest first."""
        query = {"n": n, "start": _moment(start), "end": _moment(end)}
        return self._call(
            list[contract.DueTime],
            "GET",
            _agent_path(name, "next"),
            query=query,
            timeout_s=LONG_ANSWER_TIMEOUT_S,
        )

    def limits(self) -> contract.Limits:
        return self._call(contract.Limits, "GET", "/v1/limits")

    def change_limits(self, change: contract.LimitsChange) -> contract.Limits:
        """Sets the limits that `change` names; None lifts one."""
        return self._call(contract.Limits, "PATCH", "/v1/limits", body=change)

    def switch_agents(self, *, stopped: bool) -> contract.AgentsSwitched:
        """Stops everything that agents do, or lets them go on."""
        body = contract.AgentsSwitch(stopped=stopped)
        return self._call(contract.AgentsSwitched, "POST", "/v1/agents-switch", body=body)

    def resume(self, name: str) -> contract.AgentInfo:
        return self._call(contract.AgentInfo, "POST", _agent_path(name, "resume"))

    def run_agent(self, name: str, request: contract.RunNow) -> contract.RunsStarted:
        return self._call(
            contract.RunsStarted,
            "POST",
            _agent_path(name, "run"),
            body=request,
            timeout_s=LONG_ANSWER_TIMEOUT_S,
        )

    # --- runs ------------------------------------------------------------------------------------

    def runs(
        self,
        *,
        agent: str | None = None,
        status: str | None = None,
        trigger: str | None = None,
        search: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int | None = None,
        before: int | None = None,
    ) -> list[contract.RunInfo]:
        """Newest first."""
        query = {
            "agent": agent,
            "status": status,
            "trigger": trigger,
            "search": search,
            "since": _moment(since),
            "until": _moment(until),
            "limit": limit,
            "before": before,
        }
        return self._call(list[contract.RunInfo], "GET", "/v1/runs", query=query)

    def occurrences(
        self,
        *,
        agent: str | None = None,
        status: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int | None = None,
        before: int | None = None,
    ) -> list[contract.OccurrenceInfo]:
        """Due times, newest rows first, also those that led to no run."""
        query = {
            "agent": agent,
            "status": status,
            "since": _moment(since),
            "until": _moment(until),
            "limit": limit,
            "before": before,
        }
        return self._call(list[contract.OccurrenceInfo], "GET", "/v1/occurrences", query=query)

    def occurrence(self, occurrence_id: int) -> contract.OccurrenceDetail:
        return self._call(contract.OccurrenceDetail, "GET", f"/v1/occurrences/{occurrence_id}")

    def run(self, run_id: int) -> contract.RunDetail:
        return self._call(contract.RunDetail, "GET", f"/v1/runs/{run_id}")

    def cancel_run(self, run_id: int) -> contract.RunInfo:
        return self._call(contract.RunInfo, "POST", f"/v1/runs/{run_id}/cancel")

    def retry_run(self, run_id: int) -> contract.RunInfo:
        """The same work as a new run."""
        return self._call(contract.RunInfo, "POST", f"/v1/runs/{run_id}/retry")

    def replay_run(self, run_id: int, request: contract.Replay) -> contract.RunInfo:
        """A new run that takes the recorded steps of an old one and asks the model anew."""
        return self._call(contract.RunInfo, "POST", f"/v1/runs/{run_id}/replay", body=request)

    # --- streams ---------------------------------------------------------------------------------

    @contextmanager
    def events(self, *, silence_s: float | None = None) -> Iterator[Iterator[contract.Event]]:
        """Opens the stream of events; read the state once it is open, and nothing falls between the two.

        The iterator ends when the stream ends, breaks, or says nothing for `silence_s`: then open it again and read
        the state anew. Events of a kind that this program doesn't know are passed over.
        """
        with self._stream("GET", "/v1/events", silence_s=silence_s) as stream:
            yield _events(stream)

    def chat(self, request: contract.ChatRequest) -> Generator[contract.ChatEvent, None, None]:
        """Yields up to and including ChatDone or ChatFailed. Closing the iterator stops the generation."""
        with self._stream("POST", "/v1/chat", body=request) as stream:
            for message in _until_broken(stream):
                event = _chat_event(message.data)
                if event is not None:
                    yield event
                if isinstance(event, contract.ChatDone | contract.ChatFailed):
                    return
        home = home_argument(self.paths)
        raise RuntimeUnreachable(
            f"Hearth ended in the middle of the answer; start it with `hearth serve{home}` and ask again."
        )

    # --- transport -------------------------------------------------------------------------------

    def _call(
        self,
        kind: type[Answer],
        method: str,
        path: str,
        *,
        body: BaseModel | None = None,
        query: dict[str, Any] | None = None,
        timeout_s: float | None = None,
    ) -> Answer:
        return self._parse(kind, self._send(method, path, body=body, query=query, timeout_s=timeout_s))

    def _send(
        self,
        method: str,
        path: str,
        *,
        body: BaseModel | None = None,
        query: dict[str, Any] | None = None,
        timeout_s: float | None = None,
    ) -> httpx2.Response:
        given = {key: value for key, value in (query or {}).items() if value is not None}
        timeout = self._timeout if timeout_s is None else httpx2.Timeout(timeout_s, connect=CONNECT_TIMEOUT_S)
        request = self._http.build_request(method, path, params=given, timeout=timeout, **_json_body(body))
        response = self._open(request)
        self._raise_problem(response)
        return response

    @contextmanager
    def _stream(
        self, method: str, path: str, *, body: BaseModel | None = None, silence_s: float | None = None
    ) -> Iterator[httpx2.EventSource]:
        timeout = httpx2.Timeout(silence_s, connect=CONNECT_TIMEOUT_S)
        request = self._http.build_request(method, path, timeout=timeout, **_json_body(body))
        response = self._open(request, stream=True)
        try:
            if response.is_error:
                response.read()
                self._raise_problem(response)
            yield httpx2.EventSource(response)
        finally:
            response.close()

    def _parse(self, kind: type[Answer], response: httpx2.Response) -> Answer:
        try:
            return TypeAdapter(kind).validate_json(response.content)
        except ValidationError as error:
            raise self._not_understood(response.status_code) from error

    def _raise_problem(self, response: httpx2.Response) -> None:
        if not response.is_error:
            return
        try:
            problem = contract.ErrorBody.model_validate_json(response.content).error
        except ValidationError as error:
            raise self._not_understood(response.status_code) from error
        raise ProblemReported(problem, response.status_code)

    def _not_understood(self, http_status: int) -> ProblemReported:
        message = (
            f"The runtime for {self.paths.root} gave an answer that this program does not understand (HTTP "
            f"{http_status}); end it with `hearth stop{home_argument(self.paths)}`, start it again, and look at "
            f"{self.paths.runtime_log} if that does not help."
        )
        return ProblemReported(contract.Problem(code="not_understood", message=message), http_status)

    def _open(self, request: httpx2.Request, *, stream: bool = False) -> httpx2.Response:
        self._knock()
        try:
            return self._http.send(request, stream=stream)
        except httpx2.TimeoutException as error:
            raise self._silent() from error
        except httpx2.ConnectError as error:
            raise self._not_running() from error
        except httpx2.TransportError as error:
            raise RuntimeUnreachable(self._broken_sentence()) from error

    def _knock(self) -> None:
        """Sees whether anybody listens: the plain system error says why not, which the HTTP library's hides.

        It also leaves a refused socket to the garbage collector, at every try of somebody who waits for a start.
        """
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as knock:
            knock.settimeout(CONNECT_TIMEOUT_S)
            try:
                knock.connect(str(self.paths.socket))
            except TimeoutError as error:
                raise self._silent() from error
            except OSError as error:
                if error.errno in _NOT_LISTENING:
                    raise self._not_running() from error
                reason = error.strerror or str(error)
                raise RuntimeUnreachable(
                    f"The socket {self.paths.socket} can't be opened: {reason}."
                ) from error

    def _not_running(self) -> NotRunning:
        home, argument = self.paths.root, home_argument(self.paths)
        return NotRunning(
            f"Hearth is not running for {home}; start it with `hearth serve{argument}`, or open the desktop with "
            f"`hearth{argument}`."
        )

    def _silent(self) -> NotAnswering:
        """What does not answer can't be asked to end either."""
        pid = holder_pid(self.paths)
        who = f" (process {pid})" if pid else ""
        remedy = f"`kill -9 {pid}`" if pid else f"`kill -9` and the number in {self.paths.owner}"
        return NotAnswering(
            f"The runtime for {self.paths.root}{who} does not answer; try again in a moment, or end it with {remedy} "
            "and start it again: runs go on from their last finished step."
        )

    def _broken_sentence(self) -> str:
        return (
            f"The runtime for {self.paths.root} ended in the middle of an answer; look at "
            f"{self.paths.runtime_log}, then try again."
        )


def _moment(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()


def _agent_path(name: str, action: str = "") -> str:
    path = f"/v1/agents/{quote(name, safe='', errors='replace')}"
    return f"{path}/{action}" if action else path


def _json_body(body: BaseModel | None) -> dict[str, Any]:
    if body is None:
        return {}
    return {
        "content": body.model_dump_json(exclude_unset=True),
        "headers": {"Content-Type": "application/json"},
    }


def _until_broken(stream: httpx2.EventSource) -> Iterator[httpx2.ServerSentEvent]:
    """A stream that breaks or falls silent ends like any other: what its reader lacks tells the difference."""
    with suppress(httpx2.TransportError):
        yield from stream


def _events(stream: httpx2.EventSource) -> Iterator[contract.Event]:
    for message in _until_broken(stream):
        event = _event(message.data)
        if event is not None:
            yield event


def _event(data: str) -> contract.Event | None:
    try:
        return contract.Event.model_validate_json(data)
    except ValidationError:
        return None


def _chat_event(data: str) -> contract.ChatEvent | None:
    try:
        event: contract.ChatEvent = contract.CHAT_EVENT.validate_json(data)
    except ValidationError:
        return None
    return event
