"""Rules about the checkout itself: what the locks hold, what packaging may not hold, and that the import contracts bite."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from steps.lockfile import Pin, read_pins

ROOT = Path(__file__).resolve().parent.parent.parent
REQUIREMENTS = ROOT / "packaging" / "requirements"
LOCKS = sorted(REQUIREMENTS.glob("*.txt"))
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
WANTED = [
    *PROJECT["project"]["dependencies"],
    *PROJECT["project"]["optional-dependencies"]["model"],
    *PROJECT["dependency-groups"]["dev"],
    *PROJECT["dependency-groups"]["build"],
    *PROJECT["build-system"]["requires"],
]


def locked() -> dict[str, list[Pin]]:
    pins: dict[str, list[Pin]] = {}
    for path in LOCKS:
        for pin in read_pins(path):
            pins.setdefault(canonicalize_name(pin.name), []).append(pin)
    return pins


def test_the_three_locks_are_there():
    assert [path.name for path in LOCKS] == ["build.txt", "engine.txt", "hearth.txt"]


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: path.name)
def test_every_locked_file_has_a_hash(path: Path):
    assert [pin.name for pin in read_pins(path) if not pin.hashes] == []


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: path.name)
def test_a_lock_names_no_host_and_no_place(path: Path):
    assert (
        re.findall(r"\w+://\S+|--\w*index\w*|--find-links|(?:^|\s)/\S+", path.read_text(encoding="utf-8"))
        == []
    )


@pytest.mark.parametrize("wanted", WANTED)
def test_every_dependency_is_locked_at_a_version_that_it_allows(wanted: str):
    requirement = Requirement(wanted)
    pins = locked().get(canonicalize_name(requirement.name), [])
    assert pins, f"{requirement.name} is in no lock: run make lock"
    assert all(requirement.specifier.contains(pin.version) for pin in pins)


def test_the_engine_is_locked_to_its_source_alone():
    assert len(locked()["llama-cpp-python"][0].hashes) == 1


def test_packages_in_two_locks_have_one_version():
    different = {
        name: {pin.version for pin in pins}
        for name, pins in locked().items()
        if not any(pin.marker for pin in pins)
    }
    assert {name: versions for name, versions in different.items() if len(versions) > 1} == {}


def test_the_pythons_of_the_set_up_are_those_of_the_project():
    from steps.pythons import CANDIDATES, NEWEST, OLDEST

    allowed = SpecifierSet(PROJECT["project"]["requires-python"])
    minors = [f"3.{minor}" for minor in range(20) if allowed.contains(f"3.{minor}.5")]
    assert minors == [f"3.{minor}" for minor in range(OLDEST[1], NEWEST[1] + 1)]
    assert {f"python{minor}" for minor in minors} < set(CANDIDATES)


def test_packaging_holds_no_package_that_would_hide_the_library_of_that_name():
    assert list((ROOT / "packaging").rglob("__init__.py")) == []


def test_no_import_contract_ignores_anything():
    contracts = PROJECT["tool"]["importlinter"]["contracts"]
    assert [contract["name"] for contract in contracts if contract.get("ignore_imports")] == []


def test_no_type_checker_override_hides_errors():
    hidden = {"ignore_errors", "follow_imports"}
    overrides = PROJECT["tool"]["mypy"].get("overrides", [])
    assert [override["module"] for override in overrides if hidden & override.keys()] == []


# One import for each contract that breaks it. A contract that is not named here fails the test below.
OFFENCES = {
    "app reaches no engine, no database, no scheduler and no server": (
        "agents/contract.py",
        "import sqlcipher3",
    ),
    "agents reaches no window and no native engine": ("engine/core.py", "import llguidance"),
    "engine knows nothing of agents, windows, databases and servers": (
        "engine/core.py",
        "import agents.paths",
    ),
    "app meets agents only in the contract and the paths": ("app/cli/main.py", "from agents import runtime"),
    "agents meets engine only in its public modules": ("agents/runtime.py", "from engine import batching"),
    "Qt only in app.desktop": ("app/cli/main.py", "import PySide6.QtCore"),
    "llama.cpp only in engine.llama": ("engine/batching.py", "import llama_cpp"),
    "the alarm clock only in agents.scheduling": ("agents/runtime.py", "import apscheduler"),
    "the file watcher only in agents.watching": ("agents/runtime.py", "import watchdog"),
    "the system bus only in agents.surroundings": ("agents/runtime.py", "import dbus_fast"),
    "the keyring only in agents.credentials": ("agents/runtime.py", "import keyring"),
    "the database only in agents.storage": ("agents/runtime.py", "import sqlcipher3"),
    "the web server only in agents.api": ("agents/runtime.py", "import fastapi"),
    "the metrics library only in agents.api": ("agents/runtime.py", "import prometheus_client"),
    "the graphics card's meter only in agents.models": ("agents/runtime.py", "import pynvml"),
    "PDF only in agents.documents": ("agents/runtime.py", "from pypdf import PdfReader"),
}

LAWFUL = {
    "app/__init__.py": "",
    "app/cli/__init__.py": "",
    "app/cli/main.py": "from agents import contract, paths",
    "app/desktop/__init__.py": "import PySide6.QtWidgets",
    "agents/__init__.py": "",
    "agents/contract.py": "import pydantic",
    "agents/paths.py": "",
    "agents/runtime.py": "from engine import core\nfrom agents import storage",
    "agents/storage/__init__.py": "import sqlcipher3, sqlite_utils",
    "agents/documents/pdf.py": "import pypdf",
    "agents/documents/__init__.py": "",
    "engine/__init__.py": "",
    "engine/core.py": "",
    "engine/batching.py": "",
    "engine/llama/__init__.py": "import llama_cpp, llguidance",
}


def verdicts(house: Path) -> dict[str, bool]:
    """Run the contracts of the real pyproject.toml on the small house; which of them are kept."""
    done = subprocess.run(
        [Path(sys.executable).parent / "lint-imports", "--no-logo", "--no-cache"],
        cwd=house, capture_output=True, text=True, check=False,
    )  # fmt: skip
    found = re.findall(r"^(.+) (KEPT|BROKEN)$", done.stdout, re.MULTILINE)
    assert found, done.stdout + done.stderr
    return {name: verdict == "KEPT" for name, verdict in found}


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """A small house with the real contracts, in which every import is lawful."""
    (tmp_path / "tests" / "tools").mkdir(parents=True)
    for kept in ("pyproject.toml", "tests/tools/import_contracts.py"):
        (tmp_path / kept).write_bytes((ROOT / kept).read_bytes())
    for name, text in LAWFUL.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text + "\n")
    return tmp_path


def test_a_lawful_house_keeps_every_contract(house: Path):
    assert verdicts(house) == dict.fromkeys(OFFENCES, True)


@pytest.mark.parametrize("contract", OFFENCES)
def test_each_contract_bites(house: Path, contract: str):
    where, offence = OFFENCES[contract]
    with (house / where).open("a") as module:
        module.write(offence + "\n")
    assert verdicts(house)[contract] is False
