"""A key is made once, kept where the user chose, never shown, and never replaced by a weaker way in silence."""

from __future__ import annotations

import json
import os
import re
import threading
from pathlib import Path
from types import ModuleType

import keyring
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keyring import backend as keyring_backend
from keyring.backends import SecretService, Windows, chainer, fail, kwallet, libsecret, macOS, null
from keyring.errors import KeyringLocked, PasswordSetError

from agents.clock import SystemClock
from agents.credentials import (
    KeyKind,
    KeyOptions,
    ResolvedKey,
    decode_recovery_code,
    encode_recovery_code,
    recovery_code_of,
    remember_key,
    resolve_key,
)
from agents.credentials.vault import ALLOWED_BACKENDS, find_os_vault
from agents.errors import Damaged, KeyProblem, WrongKey
from agents.paths import HomePaths
from agents.storage import Store

NOTHING = KeyOptions()
KEYS = st.binary(min_size=32, max_size=32)


class FakeVault:
    """A keyring in memory."""

    def __init__(self) -> None:
        self.secrets: dict[str, str] = {}

    def get(self, account: str) -> str | None:
        return self.secrets.get(account)

    def put(self, account: str, secret: str) -> None:
        self.secrets[account] = secret


@pytest.fixture
def home(tmp_path: Path) -> HomePaths:
    return HomePaths(tmp_path)


@pytest.fixture
def vault() -> FakeVault:
    return FakeVault()


def resolve(home: HomePaths, vault: FakeVault | None, options: KeyOptions = NOTHING) -> ResolvedKey:
    return resolve_key(home, options, find_vault=lambda: vault, keyring_timeout_s=5)


def refused(home: HomePaths, vault: FakeVault | None, options: KeyOptions = NOTHING) -> str:
    with pytest.raises(KeyProblem) as caught:
        resolve(home, vault, options)
    assert re.fullmatch(r"[^\n]+\.", str(caught.value))
    assert caught.value.exit_code == 2
    return str(caught.value)


async def seal(home: HomePaths, key: ResolvedKey) -> None:
    """Opens the home's database with a key, which makes it when there is none."""
    store = await Store.open(home.database, key, clock=SystemClock())
    await store.close()


# --- recovery code ---


@given(KEYS)
def test_a_recovery_code_brings_the_key_back(raw: bytes) -> None:
    code = encode_recovery_code(raw)

    assert re.fullmatch(r"([A-Z2-7]{7}-){7}[A-Z2-7]{7}", code)
    assert decode_recovery_code(code) == raw


@given(KEYS)
def test_a_recovery_code_may_be_typed_carelessly(raw: bytes) -> None:
    code = encode_recovery_code(raw)
    careless = code.replace("-", " \n").lower().replace("o", "0").replace("i", "1").replace("b", "8")

    assert decode_recovery_code(careless) == raw


@given(KEYS, st.integers(0, 55), st.sampled_from("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"))
def test_one_wrong_letter_is_noticed(raw: bytes, place: int, letter: str) -> None:
    letters = encode_recovery_code(raw).replace("-", "")
    typo = letters[:place] + letter + letters[place + 1 :]
    if typo == letters:
        return

    with pytest.raises(KeyProblem, match="has a typo"):
        decode_recovery_code(typo)


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda code: code[:-1], "has 55 letters and digits instead of the 56"),
        (lambda code: code + "A", "has 57 letters"),
        (lambda code: "", "has 0 letters"),
        (lambda code: code[:8] + "9" + code[9:], "typo in group 2"),
        (lambda code: code[:-1] + "é", "typo in group 8"),
    ],
)
def test_a_code_that_is_not_one_is_told_why(spoil: object, sentence: str) -> None:
    assert callable(spoil)
    with pytest.raises(KeyProblem, match=sentence):
        decode_recovery_code(spoil(encode_recovery_code(bytes(range(32)))))


def test_a_printed_key_shows_nothing() -> None:
    raw = bytes(range(32))
    shown = repr(ResolvedKey(kind=KeyKind.KEYRING, raw=raw)) + repr(
        ResolvedKey(kind=KeyKind.PASSPHRASE, passphrase="open sesame")
    )
    shown += repr(KeyOptions(passphrase="open sesame"))

    for secret in (repr(raw), raw.hex(), encode_recovery_code(raw), "open sesame"):
        assert secret not in shown


# --- keyring ---


async def test_a_new_home_keeps_a_fresh_key_in_the_keyring_and_finds_it_again(
    home: HomePaths, vault: FakeVault
) -> None:
    first = resolve(home, vault)
    await seal(home, first)
    second = resolve(home, vault)

    assert (first.kind, first.created, first.in_keyring) == (KeyKind.KEYRING, True, True)
    assert (second.raw, second.created) == (first.raw, False)
    assert list(vault.secrets.values()) == [recovery_code_of(first)]


async def test_two_homes_have_two_keys(tmp_path: Path, vault: FakeVault) -> None:
    homes = [HomePaths(tmp_path / name) for name in "ab"]
    for home in homes:
        home.root.mkdir()

    assert len({resolve(home, vault).raw for home in homes}) == 2
    assert len(vault.secrets) == 2


def test_what_a_home_remembers_is_private_and_holds_no_key(home: HomePaths, vault: FakeVault) -> None:
    key = resolve(home, vault)
    remembered = home.key_info.read_text()

    assert home.key_info.stat().st_mode & 0o777 == 0o600
    assert json.loads(remembered)["kind"] == "keyring"
    assert key.raw is not None
    assert key.raw.hex() not in remembered
    assert encode_recovery_code(key.raw) not in remembered
    assert [path.name for path in home.root.iterdir()] == ["key.json"]


def test_a_start_that_died_before_the_database_was_made_uses_the_same_key_again(
    home: HomePaths, vault: FakeVault
) -> None:
    first = resolve(home, vault)
    second = resolve(home, vault)

    assert (second.raw, second.created) == (first.raw, True)


@pytest.mark.parametrize("option", [NOTHING, KeyOptions(insecure=True), KeyOptions(passphrase="other")])
async def test_a_home_that_lost_its_database_and_every_backup_does_not_begin_anew_in_silence(
    home: HomePaths, vault: FakeVault, option: KeyOptions
) -> None:
    key = resolve(home, vault)
    await seal(home, key)
    remember_key(home, key)
    home.database.unlink()
    before = home.key_info.read_bytes()

    with pytest.raises(
        Damaged, match=r"^The database .*hearth\.db is missing .*key\.json away to begin anew\.$"
    ):
        resolve(home, vault, option)

    assert home.key_info.read_bytes() == before
    assert [path.name for path in home.root.iterdir()] == ["key.json"]
    home.key_info.rename(home.root / "old.json")
    assert resolve(home, vault).created


async def test_a_home_that_an_older_hearth_made_is_known_as_used_from_its_next_start_on(
    home: HomePaths, vault: FakeVault
) -> None:
    key = resolve(home, vault)
    await seal(home, key)
    older = {name: value for name, value in json.loads(home.key_info.read_text()).items() if name != "used"}
    home.key_info.write_text(json.dumps(older))

    again = resolve(home, vault)
    assert again.raw == key.raw
    remember_key(home, again)

    assert json.loads(home.key_info.read_text()) == {**older, "used": True}


def test_without_a_keyring_the_choices_are_named_and_nothing_is_stored(home: HomePaths) -> None:
    sentence = refused(home, None)

    for choice in ("--key-file FILE", "--passphrase", "--passphrase-stdin", "--insecure-no-encryption"):
        assert choice in sentence
    assert list(home.root.iterdir()) == []


async def test_a_lost_keyring_entry_asks_for_the_recovery_code(home: HomePaths, vault: FakeVault) -> None:
    await seal(home, resolve(home, vault))
    vault.secrets.clear()

    assert "recovery code" in refused(home, vault)
    assert "--key-file FILE" in refused(home, vault)
    assert "--insecure-no-encryption" not in refused(home, None)
    assert vault.secrets == {}


async def test_a_damaged_keyring_entry_asks_for_the_recovery_code(home: HomePaths, vault: FakeVault) -> None:
    await seal(home, resolve(home, vault))
    for account in vault.secrets:
        vault.secrets[account] = "something else"

    assert "recovery code" in refused(home, vault)


async def test_the_recovery_code_in_a_file_opens_the_home_when_the_keyring_is_lost(
    home: HomePaths, vault: FakeVault
) -> None:
    key = resolve(home, vault)
    await seal(home, key)
    vault.secrets.clear()
    written = home.root / "recovery.txt"
    written.write_text(f"{recovery_code_of(key)}\n".lower())
    written.chmod(0o600)

    recovered = resolve(home, vault, KeyOptions(key_file=written))
    await seal(home, recovered)
    remember_key(home, recovered)

    assert recovered.raw == key.raw
    assert resolve(home, None).raw == key.raw


def test_a_keyring_that_forgets_at_once_is_not_trusted(home: HomePaths) -> None:
    class Forgetful(FakeVault):
        def put(self, account: str, secret: str) -> None:
            pass

    assert "did not keep the key" in refused(home, Forgetful())
    assert not home.key_info.exists()


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (KeyringLocked("entry 7 of me"), "is locked"),
        (PasswordSetError("entry 7 of me"), "failed"),
        (RuntimeError("x"), "failed"),
    ],
)
def test_a_keyring_that_fails_is_one_sentence_without_its_details(
    home: HomePaths, error: Exception, sentence: str
) -> None:
    class Broken(FakeVault):
        def put(self, account: str, secret: str) -> None:
            raise error

    message = refused(home, Broken())

    assert sentence in message
    assert "entry 7" not in message
    assert "--key-file" in message


def test_a_keyring_that_blocks_is_given_up(home: HomePaths) -> None:
    go_on = threading.Event()

    class Blocking(FakeVault):
        def put(self, account: str, secret: str) -> None:
            go_on.wait(10)

    try:
        with pytest.raises(KeyProblem, match="did not answer in 0.05 s; unlock it"):
            resolve_key(home, NOTHING, find_vault=Blocking, keyring_timeout_s=0.05)
    finally:
        go_on.set()


class StoredInPlainText(keyring_backend.KeyringBackend):
    """What keyrings.alt offers when nothing better is there."""

    priority = 9.0  # type: ignore[assignment]

    def get_password(self, service: str, username: str) -> str | None:
        raise AssertionError("a backend outside the list was asked")

    def set_password(self, service: str, username: str, password: str) -> None:
        raise AssertionError("a backend outside the list was told the key")


@pytest.mark.parametrize(
    "found",
    [StoredInPlainText(), fail.Keyring(), null.Keyring(), chainer.ChainerBackend()],
    ids=["plain text", "fail", "null", "chainer"],
)
def test_a_backend_outside_the_list_is_not_used(
    home: HomePaths, monkeypatch: pytest.MonkeyPatch, found: keyring_backend.KeyringBackend
) -> None:
    monkeypatch.delenv("PYTHON_KEYRING_BACKEND", raising=False)
    monkeypatch.setattr(keyring.core, "load_config", lambda: None)
    monkeypatch.setattr(keyring_backend, "get_all_keyring", lambda: [found])

    with pytest.raises(KeyProblem, match="There is no keyring"):
        resolve_key(home, NOTHING)

    assert list(home.root.iterdir()) == []


def test_a_plain_text_backend_named_in_the_environment_is_not_used(
    home: HomePaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = ModuleType("keyrings_alt_file")
    module.PlaintextKeyring = StoredInPlainText  # type: ignore[attr-defined]
    monkeypatch.setitem(__import__("sys").modules, "keyrings_alt_file", module)
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyrings_alt_file.PlaintextKeyring")

    with pytest.raises(KeyProblem, match="There is no keyring"):
        resolve_key(home, NOTHING)


def test_an_allowed_backend_is_used_even_when_a_louder_one_is_there(
    home: HomePaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: dict[tuple[str, str], str] = {}

    class Keyring(keyring_backend.KeyringBackend):
        priority = 5.0  # type: ignore[assignment]

        def get_password(self, service: str, username: str) -> str | None:
            return kept.get((service, username))

        def set_password(self, service: str, username: str, password: str) -> None:
            kept[service, username] = password

    # The real one needs a session bus to say even how it is called; the list knows backends by name.
    Keyring.__module__, Keyring.__qualname__ = "keyring.backends.SecretService", "Keyring"
    monkeypatch.delenv("PYTHON_KEYRING_BACKEND", raising=False)
    monkeypatch.setattr(keyring.core, "load_config", lambda: None)
    backends = [StoredInPlainText(), Keyring(), fail.Keyring()]
    monkeypatch.setattr(keyring_backend, "get_all_keyring", lambda: backends)

    key = resolve_key(home, NOTHING)

    account = json.loads(home.key_info.read_text())["account"]
    assert kept == {("hearth", account): recovery_code_of(key)}


def test_every_name_on_the_list_is_a_backend_of_the_library() -> None:
    classes = (
        SecretService.Keyring,
        kwallet.DBusKeyring,
        kwallet.DBusKeyringKWallet4,
        libsecret.Keyring,
        macOS.Keyring,
        Windows.WinVaultKeyring,
    )

    assert {f"{found.__module__}.{found.__qualname__}" for found in classes} == ALLOWED_BACKENDS


def test_a_backend_that_does_not_exist_is_one_sentence(
    home: HomePaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "no_such_module.Keyring")

    with pytest.raises(KeyProblem, match="The keyring failed"):
        resolve_key(home, NOTHING)


def test_this_machine_is_looked_at_without_harm() -> None:
    vault = find_os_vault()

    assert vault is None or callable(vault.get)


# --- key file ---


async def test_a_new_home_makes_its_key_file_and_remembers_it(home: HomePaths) -> None:
    file = home.root / "throwaway.key"
    before = os.umask(0o022)
    try:
        key = resolve(home, None, KeyOptions(key_file=file))
    finally:
        os.umask(before)
    await seal(home, key)

    assert file.stat().st_mode & 0o777 == 0o600
    assert file.read_text() == f"{recovery_code_of(key)}\n"
    assert (key.kind, key.created) == (KeyKind.KEY_FILE, True)
    again = resolve(home, None)
    assert (again.raw, again.created) == (key.raw, False)


def test_a_key_file_that_is_there_is_used_for_a_new_home(home: HomePaths) -> None:
    file = home.root / "mine.key"
    file.write_text(encode_recovery_code(bytes(range(32))))
    file.chmod(0o600)

    assert resolve(home, None, KeyOptions(key_file=file)).raw == bytes(range(32))


async def test_no_key_file_is_made_for_a_database_that_has_a_key(home: HomePaths) -> None:
    await seal(home, resolve(home, None, KeyOptions(key_file=home.root / "a.key")))
    (home.root / "a.key").unlink()

    for options in (NOTHING, KeyOptions(key_file=home.root / "b.key")):
        assert "There is no key file" in refused(home, None, options)
    assert not list(home.root.glob("*.key"))


@pytest.mark.skipif(os.name != "posix", reason="POSIX permissions")
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_key_file_that_others_can_read_is_refused(home: HomePaths, mode: int) -> None:
    file = home.root / "open.key"
    file.write_text(encode_recovery_code(bytes(32)))
    file.chmod(mode)

    assert "chmod 600" in refused(home, None, KeyOptions(key_file=file))


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (
            lambda path: path.write_bytes(os.urandom(32)),
            "key file .*odd.key has .* instead of the 56 of a key",
        ),
        (lambda path: path.write_text(""), "has 0 letters"),
        (lambda path: path.mkdir(), "key file"),
        (os.mkfifo, "odd.key is not a file"),
        (lambda path: path.symlink_to(path.with_name("x") / "y"), "There is no key file"),
    ],
    ids=["random bytes", "empty", "folder", "pipe", "link to nowhere"],
)
def test_something_that_is_no_key_file_is_refused(home: HomePaths, make: object, sentence: str) -> None:
    file = home.root / "odd.key"
    assert callable(make)
    make(file)
    if not file.is_symlink():
        file.chmod(0o700 if file.is_dir() else 0o600)

    assert re.search(sentence, refused(home, None, KeyOptions(key_file=file)))


def test_a_key_file_in_a_folder_that_is_not_there_is_refused(home: HomePaths) -> None:
    assert "can't be made" in refused(home, None, KeyOptions(key_file=home.root / "no" / "such.key"))


# --- passphrase, none, changes of mind ---


async def test_a_home_with_a_passphrase_asks_for_it_at_each_start(home: HomePaths) -> None:
    key = resolve(home, None, KeyOptions(passphrase="Smør\u0301"))
    await seal(home, key)

    assert (key.kind, key.raw, recovery_code_of(key)) == (KeyKind.PASSPHRASE, None, None)
    assert "--passphrase" in refused(home, None)
    assert "Smør" not in home.key_info.read_text(encoding="utf-8")
    await seal(home, resolve(home, None, KeyOptions(passphrase="Smør\u0301")))
    with pytest.raises(WrongKey):
        await seal(home, resolve(home, None, KeyOptions(passphrase="smør")))


def test_an_accent_may_be_typed_in_two_ways(home: HomePaths) -> None:
    composed = resolve(home, None, KeyOptions(passphrase="caf\u00e9"))

    assert resolve(home, None, KeyOptions(passphrase="cafe\u0301")) == composed


@pytest.mark.parametrize("passphrase", ["", "  \n", "\udcff"])
def test_a_passphrase_that_is_none_is_refused(home: HomePaths, passphrase: str) -> None:
    assert "passphrase" in refused(home, None, KeyOptions(passphrase=passphrase))


async def test_no_encryption_happens_only_when_asked_for_and_is_then_remembered(home: HomePaths) -> None:
    key = resolve(home, None, KeyOptions(insecure=True))
    await seal(home, key)

    assert not key.encrypts
    assert resolve(home, None).kind is KeyKind.NONE


def test_two_options_at_once_are_refused(home: HomePaths) -> None:
    assert "choose one" in refused(home, None, KeyOptions(passphrase="x", insecure=True))


async def test_another_option_than_remembered_is_tried_and_changes_nothing_when_it_does_not_open(
    home: HomePaths, vault: FakeVault
) -> None:
    await seal(home, resolve(home, vault))
    remembered = home.key_info.read_bytes()

    for options in (KeyOptions(passphrase="guess"), KeyOptions(insecure=True)):
        with pytest.raises(WrongKey):
            await seal(home, resolve(home, vault, options))

    assert home.key_info.read_bytes() == remembered
    await seal(home, resolve(home, vault))


@pytest.mark.parametrize(
    "content", [None, "", "{}", "[]", '{"version": 1, "kind": "magic", "account": "a"}', '{"version": 2}']
)
async def test_a_lost_memory_needs_an_option_and_is_written_anew(
    home: HomePaths, vault: FakeVault, content: str | None
) -> None:
    key = resolve(home, vault)
    await seal(home, key)
    if content is None:
        home.key_info.unlink()
    else:
        home.key_info.write_text(content)

    assert "key.json is missing or can't be read" in refused(home, vault)

    file = home.root / "recovery.txt"
    file.write_text(recovery_code_of(key) or "")
    file.chmod(0o600)
    recovered = resolve(home, vault, KeyOptions(key_file=file))
    await seal(home, recovered)
    remember_key(home, recovered)
    assert resolve(home, vault).raw == key.raw
