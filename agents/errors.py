"""The runtime's errors.

HearthError                what the user can mend: str() is one sentence with the remedy
├── UsageProblem           wrong input: an agent file, a folder, a name (HTTP 400, exit code 2)
│   └── NeedsConsent       the definition asks for capabilities that nobody has granted yet (HTTP 409)
├── NotFound               no such agent, run or conversation (HTTP 404, exit code 1)
├── Conflict               the state does not allow it: a finished run can't be cancelled (HTTP 409, exit code 1)
├── HomeProblem            the home directory can't be used: not writable, path too long (exit code 2)
├── ListenProblem          the address for other programs can't be listened on (exit code 1)
├── AlreadyRunning         another runtime owns this home (exit code 1)
├── KeyProblem             the database's key is missing or needs a choice (exit code 2)
├── StoreProblem           the database can't be opened or written (exit code 1)
│   ├── WrongKey           the key does not open it; the file is untouched
│   ├── NewerSchema        a newer Hearth wrote it; the file is untouched
│   ├── Damaged            not a readable database; the file is untouched
│   └── DiskFull           no space left; nothing acknowledged is lost
└── DocumentProblem        a file can't be digested: empty, binary, too large, encrypted (ends its run as failed)

Anything else is a bug: it is logged without private text, and the user reads "internal error".
"""

from __future__ import annotations


class HearthError(Exception):
    """Something the user can mend; str() is one sentence that says how."""

    code = "error"
    http_status = 500
    exit_code = 1


class UsageProblem(HearthError):
    code = "usage"
    http_status = 400
    exit_code = 2


class NeedsConsent(UsageProblem):
    """`asks` lists, in the user's words, what the definition wants and does not have yet."""

    code = "needs_consent"
    http_status = 409

    def __init__(self, asks: tuple[str, ...]) -> None:
        super().__init__("This agent asks for: " + "; ".join(asks) + ". Say yes to add it.")
        self.asks = asks


class NotFound(HearthError):
    code = "not_found"
    http_status = 404


class Conflict(HearthError):
    code = "conflict"
    http_status = 409


class HomeProblem(HearthError):
    code = "home"
    exit_code = 2


class ListenProblem(HearthError):
    code = "listen"


class AlreadyRunning(HearthError):
    code = "already_running"


class KeyProblem(HearthError):
    code = "key"
    exit_code = 2


class StoreProblem(HearthError):
    code = "store"


class WrongKey(StoreProblem):
    code = "wrong_key"


class NewerSchema(StoreProblem):
    code = "newer_schema"


class Damaged(StoreProblem):
    code = "damaged"


class DiskFull(StoreProblem):
    code = "disk_full"
    http_status = 507


class DocumentProblem(HearthError):
    code = "document"
