"""Asks a granted host for a page, and nobody else: each address is checked, and then connected to, before anything is sent.

Runs in: the runtime's event loop; names are resolved in its worker threads. Import it when a page is asked for: httpx2 costs a runtime
that never does some 7 MB.

A name is resolved once for each request and the connection goes to an address that was checked, so a name that means something else a
moment later (DNS rebinding) changes nothing. One address in the answer that may not be asked refuses the whole answer. TLS still
verifies the certificate of the host that the URL names. Proxies, .netrc, cookies and compressed bodies are not used; a server that
can only be reached through a proxy can't be asked.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import asynccontextmanager

import httpx2

from agents.gates.addresses import Address, is_odd_number, literal, may_be_asked
from agents.gates.url import MAX_ETAG_CHARS, FetchProblem, Page

LIMIT_BODY_BYTES = 5 * 1024 * 1024
MAX_REDIRECTS = 3
MAX_PORT = 65_535
SILENCE_S = 10.0  # between two signs of the server; the gate's own time limit is for the whole

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""The addresses of a host, as text. Raises OSError."""


async def resolve(host: str, port: int) -> Sequence[str]:
    """As the system resolves names."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[4][0]) for address in found))


class PageFetcher:
    """Follows the interface of agents.gates.url.Fetch."""

    def __init__(self, *, resolve: Resolve = resolve, tls: ssl.SSLContext | None = None) -> None:
        self._resolve = resolve
        self._tls = tls

    async def __call__(self, url: str, hosts: Collection[str], etag: str | None) -> Page:
        """Raises FetchProblem. It has no time limit for the whole: the caller sets one."""
        granted = {_plain_host(host) for host in hosts}
        target = _parse(url)
        if self._tls is None:
            self._tls = await asyncio.to_thread(httpx2.create_ssl_context, trust_env=False)
        for _ in range(MAX_REDIRECTS + 1):
            addresses = await self._addresses(target, granted)
            async with self._answer(target, addresses, etag) as response:
                if response.has_redirect_location:
                    target = _redirected(target, response.headers["location"])
                    continue
                return await _page_of(response)
        raise FetchProblem(f"the server sends from one address to the next, more than {MAX_REDIRECTS} times")

    async def _addresses(self, target: httpx2.URL, granted: Collection[str]) -> list[Address]:
        """Where the connection may go. Raises FetchProblem when the host, or one of its addresses, is not allowed."""
        host = _host_of(target)
        if host not in granted:
            raise FetchProblem(f"the agent may not ask {host}; add it to its hosts")
        if is_odd_number(host):
            raise FetchProblem(f"{host} is neither a name nor a plain address")
        address = literal(host)
        if address is not None:
            addresses = [address]
        else:
            addresses = await self._look_up(host, _port(target))
        for address in addresses:
            if not may_be_asked(address, host=host, granted=granted):
                raise FetchProblem(
                    f"{host} leads to {address}, which is not on the internet; nothing was asked"
                )
        return addresses

    async def _look_up(self, host: str, port: int) -> list[Address]:
        try:
            found = await self._resolve(host, port)
            addresses = [ipaddress.ip_address(text) for text in found]
        except (OSError, UnicodeError, ValueError):
            addresses = []
        if not addresses:
            raise FetchProblem(f"the address of {host} can't be found")
        return addresses

    @asynccontextmanager
    async def _answer(
        self, target: httpx2.URL, addresses: Sequence[Address], etag: str | None
    ) -> AsyncIterator[httpx2.Response]:
        async with self._client() as client:
            try:
                response = await _first_answer(client, target, addresses, etag)
                try:
                    yield response
                finally:
                    await response.aclose()
            except (httpx2.HTTPError, httpx2.StreamError, httpx2.InvalidURL) as error:
                raise FetchProblem(_failure(_host_of(target), error)) from error

    def _client(self) -> httpx2.AsyncClient:
        """A new one for each request: nothing of one answer reaches the next request."""
        return httpx2.AsyncClient(
            verify=self._tls if self._tls is not None else True,
            trust_env=False,
            follow_redirects=False,
            timeout=SILENCE_S,
            limits=httpx2.Limits(max_connections=1, max_keepalive_connections=0),
        )


async def _first_answer(
    client: httpx2.AsyncClient, target: httpx2.URL, addresses: Sequence[Address], etag: str | None
) -> httpx2.Response:
    """Of the first address that a connection can be made to."""
    for number, address in enumerate(addresses, 1):
        request = client.build_request(
            "GET",
            target.copy_with(host=str(address)),  # so that nobody looks the name up again
            headers=_headers(target, etag),
            extensions={"sni_hostname": _host_of(target)},
        )
        try:
            return await client.send(request, stream=True)
        except (httpx2.ConnectError, httpx2.ConnectTimeout):
            if number == len(addresses):
                raise
    raise AssertionError("there is at least one address")


def _parse(url: str) -> httpx2.URL:
    try:
        target = httpx2.URL(url)
    except (httpx2.InvalidURL, ValueError, TypeError) as error:
        raise FetchProblem("the address is no web address") from error
    if target.scheme not in ("http", "https") or not target.host:
        raise FetchProblem("the address is no web address; it begins with https:// or http://")
    if not 0 < _port(target) <= MAX_PORT:
        raise FetchProblem("the address names a port that there is not")
    if target.userinfo:
        raise FetchProblem("the address holds a user name or a password; none is sent")
    return target.copy_with(fragment=None)


def _redirected(target: httpx2.URL, location: str) -> httpx2.URL:
    try:
        following = _parse(str(target.join(location)))
    except (httpx2.InvalidURL, ValueError) as error:
        raise FetchProblem("the server sends to something that is no web address") from error
    if target.scheme == "https" and following.scheme == "http":
        raise FetchProblem("the server sends from https to http, where anybody on the way could answer")
    return following


def _plain_host(host: str) -> str:
    """As hosts are compared: lower case, no dot at the end, addresses in their shortest form."""
    host = host.strip("[]").rstrip(".").lower()
    address = literal(host)
    return host if address is None else str(address)


def _host_of(target: httpx2.URL) -> str:
    """In ASCII, as it is looked up and as the server's certificate names it."""
    return _plain_host(target.raw_host.decode("ascii"))


def _port(target: httpx2.URL) -> int:
    default = 443 if target.scheme == "https" else 80
    return default if target.port is None else target.port


def _headers(target: httpx2.URL, etag: str | None) -> dict[str, str]:
    headers = {
        "Host": target.netloc.decode("ascii"),
        "User-Agent": "Hearth",
        "Accept": "*/*",
        "Accept-Encoding": "identity",
        "Connection": "close",
    }
    if etag is not None:
        headers["If-None-Match"] = etag
    return headers


async def _page_of(response: httpx2.Response) -> Page:
    if response.status_code == 304:
        return Page(etag=None, body=None)
    if response.status_code != 200:
        raise FetchProblem(f"the server answered with {response.status_code}")
    etag = response.headers.get("etag")
    if etag and len(etag) <= MAX_ETAG_CHARS and etag.isascii():
        return Page(etag=etag, body=None)
    body = bytearray()
    async for chunk in response.aiter_raw():
        body += chunk
        if len(body) > LIMIT_BODY_BYTES:
            raise FetchProblem("the page has no ETag and more than 5 MB, too much to compare")
    return Page(etag=None, body=bytes(body))


def _failure(host: str, error: Exception) -> str:
    if isinstance(error, httpx2.ConnectError) and isinstance(_root(error), ssl.SSLError):
        return f"{host} has no certificate that can be trusted"
    if isinstance(error, httpx2.TimeoutException):
        return f"{host} did not answer in time"
    return f"{host} can't be reached, or broke off its answer"


def _root(error: BaseException) -> BaseException:
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    return error
