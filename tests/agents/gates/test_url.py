"""A page is asked for at the computer that was checked, and nowhere else; what it serves is compared."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import ssl
from collections.abc import Collection, Sequence
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from agents.gates import fetching
from agents.gates.addresses import Address
from agents.gates.fetching import LIMIT_BODY_BYTES, MAX_REDIRECTS, PageFetcher
from agents.gates.finding import Finding
from agents.gates.url import FetchProblem, check_url
from agents.triggers import UrlGate
from tests.agents.gates.conftest import WebServer, reply, serving

HERE = "127.0.0.1"


async def look(url: str, state: str | None = None, *, hosts: Collection[str] = (HERE,)) -> Finding:
    return await check_url(UrlGate(url=url), state, hosts=hosts, fetch=PageFetcher())


class Names:
    """A resolver that gives its answers one after the other, the last one for ever."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    async def __call__(self, host: str, _: int) -> Sequence[str]:
        self.asked.append(host)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


# --- what is compared ---


async def test_the_first_look_is_open_and_an_unchanged_page_is_closed() -> None:
    async with serving(reply("200 OK", b"news")) as web:
        first = await look(web.url())
        second = await look(web.url(), first.state)
        web.answer = reply("200 OK", b"other news")
        third = await look(web.url(), second.state)
    assert [(f.is_open, f.detail) for f in (first, second, third)] == [
        (True, "first look at the page"),
        (False, "the page has not changed"),
        (True, "the page has changed"),
    ]


async def test_an_etag_is_told_to_the_server_and_decides() -> None:
    async with serving(reply("200 OK", b"news", ETag='"1"')) as web:
        first = await look(web.url())
        web.answer = reply("304 Not Modified", ETag='"1"')
        second = await look(web.url(), first.state)
        web.answer = reply("200 OK", b"different bytes", ETag='"1"')
        third = await look(web.url(), second.state)
        web.answer = reply("200 OK", b"news", ETag='"2"')
        fourth = await look(web.url(), third.state)
    assert [f.is_open for f in (first, second, third, fourth)] == [True, False, False, True]
    assert "if-none-match" not in web.requests[0]
    assert [request["if-none-match"] for request in web.requests[1:]] == ['"1"', '"1"', '"1"']
    assert second.state == first.state


async def test_a_huge_page_needs_an_etag() -> None:
    body = b"x" * (LIMIT_BODY_BYTES + 1)
    async with serving(reply("200 OK", body)) as web:
        without = await look(web.url())
        web.answer = reply("200 OK", body, ETag='"big"')
        with_etag = await look(web.url())
    assert (without.is_open, without.state) == (False, None)
    assert "more than 5 MB" in without.detail
    assert with_etag.is_open


@pytest.mark.parametrize("status", ["500 Oops", "503 Busy", "404 Not Found", "401 Who", "204 No Content"])
async def test_a_server_in_trouble_keeps_the_gate_closed(status: str) -> None:
    async with serving(reply(status)) as web:
        finding = await look(web.url())
    assert (finding.is_open, finding.detail) == (False, f"the server answered with {status[:3]}")


async def test_a_server_that_is_not_there_or_breaks_off_keeps_the_gate_closed() -> None:
    async def break_off(_: object, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this")

    async with serving(break_off) as web:
        broken = await look(web.url())
    gone = await look(web.url())
    assert [f.detail for f in (broken, gone)] == [f"{HERE} can't be reached, or broke off its answer"] * 2


async def test_nothing_is_sent_but_the_question() -> None:
    async with serving(reply("200 OK", b"", Set_Cookie="a=1")) as web:
        first = await look(web.url("/page?q=1"))
        await look(web.url("/page?q=1"), first.state)
    for request in web.requests:
        assert request == {
            ":path": "/page?q=1",
            "host": f"{HERE}:{web.port}",
            "user-agent": "Hearth",
            "accept": "*/*",
            "accept-encoding": "identity",
            "connection": "close",
            "": "",
        }


# --- who is asked ---

FORMS = {  # URL, and what its host would lead to
    "a name that leads here": ("http://news.example:{port}/", [HERE]),
    "one good and one bad answer": ("http://news.example:{port}/", ["93.184.216.34", HERE]),
    "a bad answer first": ("http://news.example:{port}/", [HERE, "93.184.216.34"]),
    "a name that leads to ::1": ("http://news.example:{port}/", ["::1"]),
    "a mapped answer": ("http://news.example:{port}/", ["::ffff:127.0.0.1"]),
    "a compatible answer": ("http://news.example:{port}/", ["::127.0.0.1"]),
    "a NAT64 answer": ("http://news.example:{port}/", ["64:ff9b::7f00:1"]),
    "a 6to4 answer": ("http://news.example:{port}/", ["2002:7f00:1::1"]),
    "a Teredo answer": ("http://news.example:{port}/", ["2001:0:7f00:1::1"]),
    "an unspecified answer": ("http://news.example:{port}/", ["0.0.0.0"]),  # noqa: S104
    "an unspecified answer in IPv6": ("http://news.example:{port}/", ["::"]),
    "a private answer": ("http://news.example:{port}/", ["10.0.0.1"]),
    "another private answer": ("http://news.example:{port}/", ["192.168.1.1"]),
    "a unique local answer": ("http://news.example:{port}/", ["fd00::1"]),
    "a link-local answer": ("http://news.example:{port}/", ["fe80::1%lo"]),
    "a cloud's own address": ("http://metadata.example/", ["169.254.169.254"]),
    "carrier-grade NAT": ("http://news.example:{port}/", ["100.64.0.1"]),
    "a multicast answer": ("http://news.example:{port}/", ["224.0.0.1"]),
    "another loopback address": ("http://news.example:{port}/", ["127.8.8.8"]),
    "no answer": ("http://news.example:{port}/", []),
    "an answer that is no address": ("http://news.example:{port}/", ["localhost"]),
    "localhost": ("http://localhost:{port}/", [HERE]),
    "localhost with a dot": ("http://localhost.:{port}/", [HERE]),
    "localhost in capitals": ("http://LOCALHOST:{port}/", [HERE]),
    "a name below localhost": ("http://a.localhost:{port}/", [HERE]),
    "a decimal number": ("http://2130706433:{port}/", None),
    "a hexadecimal number": ("http://0x7f000001:{port}/", None),
    "an octal number": ("http://0177.0.0.1:{port}/", None),
    "a short address": ("http://127.1:{port}/", None),
    "a mixed address": ("http://0x7f.0.0.1:{port}/", None),
    "an address with a leading zero": ("http://127.0.0.01:{port}/", None),
    "nothing but zero": ("http://0:{port}/", None),
    "all zeros": ("http://0.0.0.0:{port}/", None),
    "full-width digits": ("http://１２７.０.０.１:{port}/", None),
    "circled digits": ("http://①②⑦.⓪.⓪.①:{port}/", None),
    "an ideographic full stop": ("http://127。0。0。1:{port}/", None),
    "a mapped literal": ("http://[::ffff:127.0.0.1]:{port}/", None),
    "a mapped literal in hexadecimal": ("http://[::ffff:7f00:1]:{port}/", None),
    "an unspecified literal": ("http://[::]:{port}/", None),
    "a literal with a zone": ("http://[fe80::1%25lo]:{port}/", None),
    "a cloud's own literal": ("http://169.254.169.254/", None),
    "a user name": ("http://user@127.0.0.1:{port}/", None),
    "a user name that looks like a host": ("http://example.org@127.0.0.1:{port}/", None),
    "a password": ("http://user:secret@127.0.0.1:{port}/", None),
    "a backslash": ("http://example.org\\@127.0.0.1:{port}/", None),
    "an escaped address": ("http://%31%32%37.0.0.1:{port}/", None),
    "a line break": ("http://127.0.0.1:{port}/\r\nX: y", None),
    "another scheme": ("ftp://127.0.0.1:{port}/", None),
    "a file": ("file:///etc/hostname", None),
    "a file on a host": ("file://127.0.0.1/etc/hostname", None),
    "gopher": ("gopher://127.0.0.1:{port}/", None),
    "no scheme": ("127.0.0.1:{port}/", None),
    "a scheme of nobody": ("//127.0.0.1:{port}/", None),
    "no host": ("http:///path", None),
    "a port out of range": ("http://127.0.0.1:99999/", None),
    "nothing": ("", None),
}  # fmt: skip


@pytest.mark.parametrize(("url", "leads_to"), FORMS.values(), ids=FORMS.keys())
async def test_no_form_of_an_address_leads_to_this_computer(url: str, leads_to: list[str] | None) -> None:
    names = Names(leads_to) if leads_to is not None else fetching.resolve
    async with serving(reply("200 OK")) as web, serving(reply("200 OK"), host="127.8.8.8", port=web.port):
        url = url.format(port=web.port)
        host = url.partition("//")[2].partition("/")[0].rpartition("@")[2].rpartition(":")[0]
        hosts = {host, host.lower(), host.strip("[]"), host.rstrip("."), "127.0.0.1 ", "example.org"}
        if "@" not in url and url.startswith("http://127.0.0.1"):
            hosts |= {HERE}  # for what is refused for another reason than its host
        with pytest.raises(FetchProblem) as problem:
            await PageFetcher(resolve=names)(url, hosts, None)
    assert web.connections == 0
    assert 10 < len(str(problem.value)) < 150


async def test_a_host_that_was_not_granted_is_not_even_looked_up() -> None:
    names = Names([HERE])
    for host in ("other.example", "sub.news.example", "news.example.other", "ews.example"):
        with pytest.raises(FetchProblem, match=f"may not ask {host}; add it to its hosts"):
            await PageFetcher(resolve=names)(f"http://{host}/", ["news.example"], None)
    assert names.asked == []


async def test_an_address_of_the_house_is_asked_when_it_was_granted_itself() -> None:
    async with serving(reply("200 OK", b"mine")) as web:
        assert (await look(web.url(), hosts=["127.0.0.1"])).is_open
        assert not (await look(web.url(), hosts=["127.0.0.2"])).is_open
    assert web.connections == 1


def treat_as_public(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    """For tests without the internet: these addresses of this computer stand for computers out there."""
    public = {ipaddress.ip_address(text) for text in addresses}

    def may_be_asked(address: Address, *, host: str, granted: Collection[str]) -> bool:
        return address in public

    monkeypatch.setattr(fetching, "may_be_asked", may_be_asked)


async def test_a_name_that_changes_its_meaning_after_the_check_changes_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    treat_as_public(monkeypatch, "127.0.0.2")
    names = Names(["127.0.0.2"], [HERE])
    async with (
        serving(reply("200 OK", b"out there"), host="127.0.0.2") as public,
        serving(reply("200 OK"), port=public.port) as private,
    ):
        url = public.url(host="news.example")
        page = await PageFetcher(resolve=names)(url, ["news.example"], None)
        assert page.body == b"out there"
        with pytest.raises(FetchProblem, match="not on the internet"):
            await PageFetcher(resolve=names)(url, ["news.example"], None)
    assert names.asked == ["news.example"] * 2
    assert (public.connections, private.connections) == (1, 0)
    assert public.requests[0]["host"] == f"news.example:{public.port}"


async def test_the_next_address_is_asked_when_the_first_does_not_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    treat_as_public(monkeypatch, "127.0.0.2", "127.0.0.3")
    async with serving(reply("200 OK", b"second"), host="127.0.0.3") as web:
        fetcher = PageFetcher(resolve=Names(["127.0.0.2", "127.0.0.3"]))
        assert (await fetcher(web.url(host="news.example"), ["news.example"], None)).body == b"second"


# --- redirects ---


async def redirected(
    web: WebServer, location: str, hosts: Collection[str] = (HERE,), names: Names | None = None
) -> str:
    web.answer = reply("302 Found", Location=location)
    with pytest.raises(FetchProblem) as problem:
        await PageFetcher(resolve=names or Names([HERE]))(web.url(), hosts, None)
    return str(problem.value)


async def test_each_redirect_is_checked_anew() -> None:
    async with serving(reply("200 OK"), host="127.0.0.2") as inside, serving(reply("200 OK")) as web:
        assert "may not ask 127.0.0.2" in await redirected(web, inside.url())
        assert "not on the internet" in await redirected(
            web, inside.url(host="news.example"), (HERE, "news.example"), Names(["127.0.0.2"])
        )
        assert "neither a name" in await redirected(web, "http://2130706434/", (HERE, "2130706434"))
        assert "may not ask localhost" in await redirected(web, f"//localhost:{inside.port}/")
        assert "no web address" in await redirected(web, "file:///etc/hostname")
        assert "user name" in await redirected(web, f"http://u@127.0.0.1:{web.port}/")
    assert inside.connections == 0


async def test_a_redirect_to_where_the_agent_may_ask_is_followed() -> None:
    async with serving(reply("200 OK", b"moved")) as target, serving(reply("200 OK")) as web:
        web.answer = reply("301 Moved", Location=target.url("/new"))
        assert (await look(web.url())).is_open
    assert target.requests[0][":path"] == "/new"


async def test_a_circle_of_redirects_ends() -> None:
    async with serving(reply("302 Found", Location="/again")) as web:
        finding = await look(web.url())
    assert not finding.is_open
    assert web.connections == MAX_REDIRECTS + 1


# --- TLS ---


def certificate(tmp_path: Path, name: str) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server's context for `name`, and a client's that trusts it alone."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = tmp_path / "certificate.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    pem.write_bytes(made.public_bytes(serialization.Encoding.PEM) + private)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(pem)
    return server, ssl.create_default_context(cafile=str(pem))


async def test_the_certificate_must_be_that_of_the_host_in_the_url(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    treat_as_public(monkeypatch, HERE)
    server, client = certificate(tmp_path, "news.example")
    asked_for: list[str | None] = []
    server.sni_callback = lambda _, name, __: asked_for.append(name)
    async with serving(reply("200 OK", b"news"), tls=server) as web:
        fetcher = PageFetcher(resolve=Names([HERE]), tls=client)
        url = web.url(host="news.example", scheme="https")
        assert (await fetcher(url, ["news.example"], None)).body == b"news"
        for tls, host in ((client, "other.example"), (None, "news.example")):
            with pytest.raises(FetchProblem, match="no certificate that can be trusted"):
                await PageFetcher(resolve=Names([HERE]), tls=tls)(
                    web.url(host=host, scheme="https"), [host], None
                )
        assert asked_for == ["news.example", "other.example", "news.example"]
        web.answer = reply("302 Found", Location="http://news.example/")
        with pytest.raises(FetchProblem, match="from https to http"):
            await fetcher(url, ["news.example"], None)
    assert len(web.requests) == 2


async def test_the_system_resolves_names() -> None:
    assert await fetching.resolve("127.0.0.1", 80) == ["127.0.0.1"]
    with pytest.raises(OSError):
        await fetching.resolve("nobody.invalid", 80)
