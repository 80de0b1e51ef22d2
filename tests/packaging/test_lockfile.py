"""Reading lock files and cutting single requirements out of them."""

from pathlib import Path

import pytest

from steps.lockfile import Pin, find_pin, read_pins

HASH = "sha256:" + "0" * 64


def lock(folder: Path, text: str) -> Path:
    path = folder / "some.txt"
    path.write_text(text)
    return path


def test_a_pin_has_a_version_a_marker_and_its_hashes(tmp_path: Path):
    path = lock(
        tmp_path, f"colorama==0.4.6 ; sys_platform == 'win32' \\\n    --hash={HASH} \\\n    --hash={HASH}\n"
    )
    assert read_pins(path) == [
        Pin(name="colorama", version="0.4.6", marker="sys_platform == 'win32'", hashes=(HASH, HASH))
    ]


def test_what_is_cut_out_reads_like_what_was_there(tmp_path: Path):
    text = f"a==1 ; python_full_version < '3.12' \\\n    --hash={HASH}\nb==2 \\\n    --hash={HASH}\n"
    pins = read_pins(lock(tmp_path, text))
    assert "".join(pin.as_lines() for pin in pins) == text


@pytest.mark.parametrize(
    "line", ["a>=1", "--index-url https://example.org", "a @ https://example.org/a.whl", "-e ."]
)
def test_a_line_that_is_no_exact_pin_is_refused_with_its_number(tmp_path: Path, line: str):
    with pytest.raises(ValueError, match="line 3"):
        read_pins(lock(tmp_path, f"a==1 \\\n    --hash={HASH}\n{line}\n"))


def test_a_package_that_is_not_locked_is_named(tmp_path: Path):
    with pytest.raises(LookupError, match="does not lock elsewhere"):
        find_pin(lock(tmp_path, f"a==1 \\\n    --hash={HASH}\n"), "elsewhere")
