"""The operating system's keyring: only backends that encrypt, and never longer than a time limit."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from agents.errors import KeyProblem

KEYRING_SERVICE = "hearth"
KEYRING_TIMEOUT_S = 30.0  # a locked keyring asks the user, who may not be there

# Backends that keep secrets encrypted under the user's login. Others that happen to be installed write plain text, or nothing.
ALLOWED_BACKENDS = frozenset(
    {
        "keyring.backends.SecretService.Keyring",
        "keyring.backends.kwallet.DBusKeyring",
        "keyring.backends.kwallet.DBusKeyringKWallet4",
        "keyring.backends.libsecret.Keyring",
        "keyring.backends.macOS.Keyring",
        "keyring.backends.Windows.WinVaultKeyring",
    }
)

T = TypeVar("T")


class Vault(Protocol):
    """A place that keeps one secret text for each account."""

    def get(self, account: str) -> str | None: ...

    def put(self, account: str, secret: str) -> None: ...


def find_os_vault() -> Vault | None:
    """The operating system's keyring, when it is one of ALLOWED_BACKENDS; None otherwise."""
    from keyring import backend, core

    named = core.load_env() or core.load_config()
    # Naming another backend by hand, `null` for example, says that the keyring shall not be used.
    candidates = [named] if named is not None else list(backend.get_all_keyring())
    allowed = [candidate for candidate in candidates if _backend_name(candidate) in ALLOWED_BACKENDS]
    return _OsVault(max(allowed, key=lambda found: found.priority)) if allowed else None


def _backend_name(candidate: object) -> str:
    return f"{type(candidate).__module__}.{type(candidate).__qualname__}"


class _OsVault:
    """One allowed backend of the keyring library."""

    def __init__(self, backend: Any) -> None:
        self._backend = backend

    def get(self, account: str) -> str | None:
        found: str | None = self._backend.get_password(KEYRING_SERVICE, account)
        return found

    def put(self, account: str, secret: str) -> None:
        self._backend.set_password(KEYRING_SERVICE, account, secret)


class Keyring:
    """A vault that may block, fail or be missing: each of these becomes one sentence."""

    def __init__(self, find_vault: Callable[[], Vault | None], *, timeout_s: float, remedy: str) -> None:
        self._find_vault = find_vault
        self._timeout_s = timeout_s
        self._remedy = remedy  # what the user can do without a keyring; ends each sentence

    def get(self, account: str) -> str | None:
        return self._ask(lambda vault: vault.get(account))

    def put(self, account: str, secret: str) -> None:
        self._ask(lambda vault: vault.put(account, secret))

    def _ask(self, question: Callable[[Vault], T]) -> T:
        """Asks on a thread of its own. One that hangs is left behind: it is a daemon, and ends with the process."""
        answers: list[T] = []
        failures: list[BaseException] = []

        def ask() -> None:
            try:
                vault = self._find_vault()
                if vault is None:
                    raise KeyProblem(f"There is no keyring to keep this home's key in; {self._remedy}.")
                answers.append(question(vault))
            except BaseException as error:  # noqa: BLE001  # carried to the caller's thread
                failures.append(error)

        thread = threading.Thread(target=ask, name="hearth-keyring", daemon=True)
        thread.start()
        thread.join(self._timeout_s)
        if failures:
            raise self._problem_of(failures[0]) from None
        if not answers:
            raise KeyProblem(
                f"The keyring did not answer in {self._timeout_s:g} s; unlock it and start again, or {self._remedy}."
            )
        return answers[0]

    def _problem_of(self, error: BaseException) -> BaseException:
        from keyring.errors import KeyringError, KeyringLocked

        if isinstance(error, KeyringLocked):
            return KeyProblem(f"The keyring is locked; unlock it and start again, or {self._remedy}.")
        if isinstance(error, KeyringError | OSError | RuntimeError | ImportError | AttributeError):
            # Its text may name the entry; the kind of error is enough to act on.
            return KeyProblem(f"The keyring failed ({type(error).__name__}); repair it, or {self._remedy}.")
        return error
