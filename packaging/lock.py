"""Writes packaging/requirements anew from pyproject.toml: exact versions, every file's hash, no host.

Runs in: the project's environment, through `make lock`; needs the command `uv`.
"""

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "packaging" / "requirements"
PLAIN = ["--universal", "--generate-hashes", "--no-emit-index-url", "--no-header", "--no-annotate", "--quiet"]
ENGINE = "llama-cpp-python"


def compile_lock(uv: str, name: str, *arguments: str, text: str | None = None) -> bool:
    """Resolve one set of requirements into one file; the old file stays if that fails."""
    fresh = OUT / f"{name}.new"
    command = [
        uv,
        "pip",
        "compile",
        *PLAIN,
        "--python-version",
        "3.11",
        "--output-file",
        str(fresh),
        *arguments,
    ]
    done = subprocess.run(command, cwd=ROOT, input=text, text=True, check=False, stdout=subprocess.DEVNULL)
    if done.returncode == 0:
        fresh.replace(OUT / name)
    fresh.unlink(missing_ok=True)
    return done.returncode == 0


def main() -> int:
    """Write the three files: build tools, the engine with its model, and everything else."""
    uv = shutil.which("uv")
    if uv is None:
        print("`make lock` needs uv on the search path; install it and run this again.", file=sys.stderr)
        return 1
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    engine = [line for line in project["dependencies"] if line.startswith(ENGINE + "==")]
    engine += project["optional-dependencies"]["model"]
    written = [
        compile_lock(uv, "build.txt", "--group", "pyproject.toml:build"),
        compile_lock(uv, "engine.txt", "--no-deps", "-", text="\n".join(engine)),
        compile_lock(uv, "hearth.txt", "--group", "dev", "--no-emit-package", ENGINE, "pyproject.toml"),
    ]
    return 0 if all(written) else 1


if __name__ == "__main__":
    raise SystemExit(main())
