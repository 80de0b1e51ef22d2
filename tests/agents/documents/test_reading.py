"""Documents as they come: text in several encodings, PDFs of every sort, and all that is none."""

import hashlib
import io
import os
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pypdf
import pytest
from pypdf.generic import DecodedStreamObject, DictionaryObject, NameObject

from agents.documents import DocumentKind, DocumentText, FileGone, opening, pdf, read_document
from agents.errors import DocumentProblem


def write(folder: Path, name: str, data: bytes) -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def make_pdf(
    *pages: str, password: str | None = None, owner_password: str | None = None, padding_bytes: int = 0
) -> bytes:
    """A PDF with one line of text on each page; no text makes a page without a text layer.

    `padding_bytes` of blanks, which compress to almost nothing, go with each page.
    """
    writer = pypdf.PdfWriter()
    font = DictionaryObject(
        {
            NameObject("/Type"): NameObject("/Font"),
            NameObject("/Subtype"): NameObject("/Type1"),
            NameObject("/BaseFont"): NameObject("/Helvetica"),
        }
    )
    for text in pages:
        page = writer.add_blank_page(300, 300)
        page[NameObject("/Resources")] = DictionaryObject(
            {NameObject("/Font"): DictionaryObject({NameObject("/F1"): font})}
        )
        stream = DecodedStreamObject()
        stream.set_data(
            f"BT /F1 12 Tf 20 200 Td ({text}) Tj ET".encode() + b" " * padding_bytes if text else b""
        )
        page[NameObject("/Contents")] = writer._add_object(stream.flate_encode() if padding_bytes else stream)
    if password is not None:
        writer.encrypt(password, owner_password, algorithm="AES-256")
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()


def read(path: Path) -> DocumentText:
    return read_document(path, root=path.parent)


def problem_of(path: Path, *, root: Path | None = None) -> str:
    with pytest.raises(DocumentProblem) as caught:
        read_document(path, root=root or path.parent)
    sentence = str(caught.value)
    assert "\n" not in sentence
    return sentence


# --- text -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ("Grüße\nan alle".encode(), "Grüße\nan alle"),
        ("Grüße".encode("utf-8-sig"), "Grüße"),
        ("Grüße".encode("utf-16"), "Grüße"),
        ("﻿Grüße".encode("utf-16-be"), "Grüße"),
        ("Grüße".encode("utf-32"), "Grüße"),
        ("Ein Brief: „Grüße“ – 5 €".encode("cp1252"), "Ein Brief: „Grüße“ – 5 €"),
        (
            b"Only latin-1 knows \x81 here, among many plain words",
            "Only latin-1 knows \x81 here, among many plain words",
        ),
        (b"one\r\ntwo\rthree\n", "one\ntwo\nthree\n"),
        ("Привет, мир".encode(), "Привет, мир"),
        (b"a form feed\x0c and a tab\t are text", "a form feed\x0c and a tab\t are text"),
    ],
)
def test_text_is_read_in_the_encoding_it_has(tmp_path: Path, data: bytes, text: str) -> None:
    document = read(write(tmp_path, "a.txt", data))
    assert document.text == text
    assert document.kind is DocumentKind.TEXT
    assert document.pages is None
    assert document.content_hash == hashlib.sha256(data).hexdigest()


def test_markdown_is_known_by_its_name_and_words_are_counted(tmp_path: Path) -> None:
    for name in ("a.md", "b.MARKDOWN"):
        document = read(write(tmp_path, name, b"# One\n\ntwo  three"))
        assert (document.kind, document.words) == (DocumentKind.MARKDOWN, 4)


@pytest.mark.parametrize(
    ("name", "data", "problem"),
    [
        ("a.txt", b"", "a.txt is empty; nothing can be said about it."),
        ("a.txt", b" \n\t\r\n ", "a.txt holds only blanks; nothing can be said about it."),
        ("a.txt", b"\xef\xbb\xbf\n", "a.txt holds only blanks; "),
        ("a.txt", b"abc\x00def", "a.txt is binary, not text; save it as UTF-8 text or as a PDF."),
        ("a.txt", bytes(range(1, 256)) * 9, "a.txt is binary or in an unknown encoding; "),
        (
            "a.txt",
            "Привет, мир".encode("cp1251"),
            "a.txt is binary or in an unknown encoding; save it as UTF-8",
        ),
        ("a.txt", "日本語の文書です".encode("shift-jis"), "a.txt is binary or in an unknown encoding; "),
        ("a.txt", b"\xff\xfea", "a.txt begins like Unicode text but is damaged; "),
        ("a.txt", b"\x01\x02\x03 mostly control", "a.txt is binary, not text; "),
        ("a.md", b"PK\x03\x04rest", "a.md is a ZIP archive or an office document, not text; "),
        ("a.txt", b"\x89PNG\r\n\x1a\nrest", "a.txt is a PNG image, not text; "),
        ("a.pdf", b"just words", "a.pdf is not a PDF although it is named like one; "),
        ("a.pdf", b"%PDF-1.7\nnothing more", "a.pdf is not a readable PDF, it may be damaged; "),
    ],
)
def test_what_is_no_text_is_one_sentence(tmp_path: Path, name: str, data: bytes, problem: str) -> None:
    assert problem_of(write(tmp_path, name, data)).startswith(problem)


def test_a_file_of_200_mb_is_refused_without_being_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path, "huge.txt", b"")
    os.truncate(path, 200 * 1024 * 1024)
    monkeypatch.setattr("builtins.open", lambda *_, **__: pytest.fail("it was read"))
    assert problem_of(path) == "huge.txt is too large (200 MB; at most 50 MB); split it into smaller files."


def test_a_text_that_is_too_long_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, "long.txt", b"word " * 3_000)
    with pytest.raises(
        DocumentProblem, match=r"long.txt holds more than 10,000 characters of text; split it"
    ):
        read_document(path, root=tmp_path, limit_chars=10_000)


# --- PDF ------------------------------------------------------------------------------------------


def test_a_pdf_is_read_page_by_page(tmp_path: Path) -> None:
    document = read(write(tmp_path, "a.pdf", make_pdf("First page", "Second page")))
    assert document.text.split("\n\n") == ["First page", "Second page"]
    assert (document.kind, document.pages, document.words) == (DocumentKind.PDF, 2, 4)


def test_a_pdf_under_a_text_files_name_is_read_as_a_pdf(tmp_path: Path) -> None:
    document = read(write(tmp_path, "a.txt", make_pdf("Not what it is called")))
    assert (document.kind, document.text) == (DocumentKind.PDF, "Not what it is called")


def test_a_pdf_that_opens_without_a_password_is_read_although_it_is_encrypted(tmp_path: Path) -> None:
    data = make_pdf("Printing is forbidden", password="", owner_password="owner")
    assert read(write(tmp_path, "a.pdf", data)).text == "Printing is forbidden"


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (make_pdf("Secret", password="geheim"), "a.pdf is protected by a password; save it without one."),
        (
            make_pdf("", ""),
            "a.pdf has no text layer, it may be a scan; run text recognition (OCR) over it first.",
        ),
        (
            make_pdf("Cut off")[:200],
            "a.pdf is not a readable PDF, it may be damaged; open it in a viewer and",
        ),
        (make_pdf("x").replace(b"/Pages", b"/Poges"), "a.pdf is not a readable PDF, it may be damaged; "),
        (b"%PDF-1.4\n" + bytes(range(256)) * 100, "a.pdf is not a readable PDF, it may be damaged; "),
    ],
)
def test_a_bad_pdf_is_one_sentence(tmp_path: Path, data: bytes, problem: str) -> None:
    assert problem_of(write(tmp_path, "a.pdf", data)).startswith(problem)


def test_a_pdf_with_too_much_text_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, "a.pdf", make_pdf(*["a page full of words"] * 10))
    with pytest.raises(DocumentProblem, match=r"a.pdf holds more than 100 characters of text"):
        read_document(path, root=tmp_path, limit_chars=100)


ENDLESS = ["/bin/sh", "-c", "cat >/dev/null; exec sleep 1000", "worker"]


def test_a_pdf_that_takes_too_long_is_given_up_and_its_process_ended() -> None:
    with pytest.raises(DocumentProblem, match=r"a.pdf took longer than 0 seconds to read"):
        pdf.extract_pdf(b"x" * 1_000_000, name="a.pdf", limit_chars=10, timeout_s=0.3, command=ENDLESS)


def test_reading_a_pdf_can_be_stopped() -> None:
    stop = threading.Event()
    threading.Timer(0.2, stop.set).start()
    began_s = time.monotonic()
    with pytest.raises(DocumentProblem, match="stopped"):
        pdf.extract_pdf(b"x", name="a.pdf", limit_chars=10, cancelled=stop, command=ENDLESS)
    assert time.monotonic() - began_s < 30


def test_a_worker_ends_itself_in_time_even_without_a_parent() -> None:
    command = [*pdf.worker_command(), "10", "0.5", str(1 << 30)]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as child:
        # It waits for bytes that never come, until its own alarm rings.
        assert child.wait(timeout=20) == -signal.SIGALRM


def test_a_pdf_that_wants_too_much_memory_is_refused(tmp_path: Path) -> None:
    data = make_pdf("x", padding_bytes=70_000_000)
    assert len(data) < 100_000
    with pytest.raises(DocumentProblem, match=r"a.pdf needs too much memory to be read; save it anew"):
        pdf.extract_pdf(data, name="a.pdf", limit_chars=10, memory_bytes=120 << 20)


def test_a_worker_that_crashes_or_babbles_is_a_bad_pdf() -> None:
    for script in ("kill -SEGV $$", "echo nonsense", "echo []", "true"):
        with pytest.raises(DocumentProblem, match=r"a.pdf is not a readable PDF"):
            pdf.extract_pdf(b"x", name="a.pdf", limit_chars=10, command=["/bin/sh", "-c", script, "worker"])


def test_joined_letters_and_tabs_of_a_printed_page_become_what_was_typed() -> None:
    script = 'cat >/dev/null; printf \'{"outcome": "text", "text": "o\\\\ufb03ce\\\\tof\\\\u00a0the", "pages": 1}\''
    found = pdf.extract_pdf(b"x", name="a.pdf", limit_chars=99, command=["/bin/sh", "-c", script, "worker"])
    assert found.text == "office of the"


def test_the_worker_gets_none_of_the_runtimes_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CANARY_KEY", "secret")
    script = 'cat >/dev/null; printf \'{"outcome": "text", "text": "%s", "pages": 1}\' "<$CANARY_KEY>"'
    found = pdf.extract_pdf(b"x", name="a.pdf", limit_chars=10, command=["/bin/sh", "-c", script, "worker"])
    assert found.text == "<>"


# --- the way to the file --------------------------------------------------------------------------


def test_a_vanished_file_is_said_to_be_gone(tmp_path: Path) -> None:
    with pytest.raises(FileGone, match=r"gone.txt is no longer there"):
        read_document(tmp_path / "gone.txt", root=tmp_path)


def test_folders_pipes_devices_and_sockets_are_no_documents(tmp_path: Path) -> None:
    (tmp_path / "folder.txt").mkdir()
    os.mkfifo(tmp_path / "pipe.txt")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket.txt"))
        assert "folder.txt is a folder, not a document" in problem_of(tmp_path / "folder.txt")
        assert "pipe.txt is not a plain file" in problem_of(tmp_path / "pipe.txt")
        assert "socket.txt is not a plain file" in problem_of(tmp_path / "socket.txt")
    assert "null is not a plain file" in problem_of(Path("/dev/null"), root=Path("/dev"))


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "secret.txt").write_text("secret")
    return folder


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    folder = tmp_path / "inbox"
    folder.mkdir()
    return folder


ESCAPES: dict[str, Callable[[Path, Path], Path]] = {
    "a link": lambda inbox, outside: link(inbox / "a.txt", outside / "secret.txt"),
    "a link in the middle": lambda inbox, outside: link(inbox / "sub", outside) / "secret.txt",
    "a link to a link": lambda inbox, outside: link(inbox / "b", link(inbox / "a", outside)) / "secret.txt",
    "a link within": lambda inbox, _: link(inbox / "a.txt", write(inbox, "real.txt", b"x")),
    "dots": lambda inbox, outside: inbox / ".." / "outside" / "secret.txt",
    "dots after a folder": lambda inbox, outside: inbox / "x" / ".." / ".." / "outside" / "secret.txt",
    "another place": lambda _, outside: outside / "secret.txt",
    "the folder itself": lambda inbox, _: inbox,
    "a name that begins alike": lambda inbox, _: inbox.with_name("inbox-2") / "a.txt",
    "a hard link": lambda inbox, outside: hard_link(inbox / "a.txt", outside / "secret.txt"),
    "proc": lambda inbox, _: link(inbox / "self", Path("/proc/self")) / "environ",
}


def link(path: Path, target: Path) -> Path:
    path.symlink_to(target)
    return path


def hard_link(path: Path, target: Path) -> Path:
    path.hardlink_to(target)
    return path


@pytest.mark.parametrize("escape", ESCAPES)
def test_nothing_outside_the_folder_is_read(inbox: Path, outside: Path, escape: str) -> None:
    assert problem_of(ESCAPES[escape](inbox, outside), root=inbox)


@pytest.mark.parametrize("moment", [0, 1, 2])
def test_a_swap_between_check_and_use_reads_nothing_outside(
    inbox: Path, outside: Path, moment: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder on the way becomes a link to elsewhere right before the n-th file or folder is opened."""
    folder = inbox / "sub"
    folder.mkdir()
    (folder / "secret.txt").write_text("harmless")
    real_open, opened = os.open, 0

    def swap_and_open(name: str | Path, flags: int, *, dir_fd: int | None = None) -> int:
        nonlocal opened
        if opened == moment:
            folder.rename(inbox / "parked")
            folder.symlink_to(outside)
        opened += 1
        return real_open(name, flags, dir_fd=dir_fd)

    monkeypatch.setattr(opening.os, "open", swap_and_open)
    monkeypatch.setattr(opening.os, "supports_dir_fd", {swap_and_open})
    if moment == 2:  # the folder itself was open by then
        assert read_document(folder / "secret.txt", root=inbox).text == "harmless"
    else:
        with pytest.raises(DocumentProblem, match="lies behind a symbolic link"):
            read_document(folder / "secret.txt", root=inbox)
    assert opened == max(moment + 1, 2)


def test_a_root_that_is_a_link_was_chosen_and_is_followed(inbox: Path, tmp_path: Path) -> None:
    (tmp_path / "alias").symlink_to(inbox)
    write(inbox, "a.txt", b"hello")
    assert read_document(tmp_path / "alias" / "a.txt", root=tmp_path / "alias").text == "hello"


def test_names_that_are_no_utf8_can_be_read_and_told(inbox: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(inbox) + b"/caf\xe9.txt"))
    path.write_bytes(b"hello")
    assert read(path).text == "hello"
    path.write_bytes(b"")
    assert problem_of(path) == "caf\ufffd.txt is empty; nothing can be said about it."


@pytest.fixture
def locked_file() -> Iterator[Path]:
    """A file that nobody but root may read; for this test root steps down."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        path = write(Path(folder), "locked.txt", b"secret")
        path.chmod(0)
        was_root = os.geteuid() == 0
        if was_root:
            os.seteuid(65534)
        try:
            yield path
        finally:
            if was_root:
                os.seteuid(0)


def test_an_unreadable_file_is_one_sentence(locked_file: Path) -> None:
    assert problem_of(locked_file) == "Hearth may not read locked.txt; change its permissions."
