"""What every command shares: --home and --json wherever they stand, the connection, and checked input from outside."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from agents.paths import HomePaths, default_home

if TYPE_CHECKING:
    from pydantic import BaseModel

    from app.client import RuntimeClient

    Model = TypeVar("Model", bound=BaseModel)

Command = TypeVar("Command", bound=Callable[..., Any])


class WrongInput(click.ClickException):
    """One sentence about what the user gave; ends with exit code 2. `code` and `details` are for programs."""

    exit_code = 2

    def __init__(self, message: str, *, code: str = "usage", details: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.details = details or {}


class WorkFailed(click.ClickException):
    """One sentence about what did not work; ends with exit code 1. `code` and `details` are for programs."""

    exit_code = 1

    def __init__(self, message: str, *, code: str = "failed", details: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.details = details or {}


class Invocation:
    """What was said about this call as a whole: the home, and whether a person or a program reads the output."""

    def __init__(self) -> None:
        self.named_home: Path | None = None
        self.json = False

    @property
    def paths(self) -> HomePaths:
        """The home's files; refuses a home that no runtime could ever serve."""
        paths = HomePaths((self.named_home or default_home()).expanduser().absolute())
        if paths.root == paths.root.parent:
            raise WrongInput(f"{paths.root} can't be a home; name a folder of its own with --home.")
        problem = paths.socket_problem()
        if problem is not None:
            raise WrongInput(problem)
        return paths

    @contextmanager
    def runtime(self) -> Iterator[RuntimeClient]:
        """A client of a runtime that is up and speaks this program's contract; one that is starting is waited for."""
        from app.cli.output import complain
        from app.client import RuntimeClient
        from app.starting import first_status

        with RuntimeClient(self.paths) as client:
            first_status(client, tell=complain)
            yield client


def home_option(command: Command) -> Command:
    return click.option(
        "--home",
        type=click.Path(file_okay=False),
        metavar="DIR",
        expose_value=False,
        callback=_keep_home,
        help="Hearth's home directory (default: $HEARTH_HOME, else the platform's data folder).",
    )(command)


def json_option(command: Command) -> Command:
    return click.option(
        "--json",
        "as_json",
        is_flag=True,
        expose_value=False,
        callback=_keep_json,
        help="Write JSON for a program instead of text for a person.",
    )(command)


def shared_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """--home and --json, and the Invocation as the command's first argument."""
    return home_option(json_option(click.pass_obj(command)))


def _keep_home(context: click.Context, option: click.Parameter, value: str | None) -> None:
    if value is None:
        return
    if not value:  # `--home "$UNSET"` must not turn the current folder into a home
        raise click.BadParameter("name a directory.", ctx=context, param=option)
    # Options of a command are read after those of its group, so the one that stands last wins.
    context.ensure_object(Invocation).named_home = Path(value)


def _keep_json(context: click.Context, _option: click.Parameter, value: bool) -> None:
    if value:
        context.ensure_object(Invocation).json = True


def read_text_file(path: Path, *, what: str, limit_bytes: int) -> str:
    """A text file that the user named, or WrongInput with one sentence."""
    try:
        with path.open("rb") as file:
            data = file.read(limit_bytes + 1)
    except FileNotFoundError:
        raise WrongInput(f"There is no {what} at {path}.") from None
    except IsADirectoryError:
        raise WrongInput(f"{path} is a folder; name the {what} itself.") from None
    except OSError as error:
        raise WrongInput(f"The {what} {path} can't be read: {error.strerror}.") from None
    if len(data) > limit_bytes:
        raise WrongInput(f"The {what} {path} is too large (more than {limit_bytes:,} bytes).")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise WrongInput(f"The {what} {path} is not UTF-8 text.") from None


def absolute(path: Path, *, what: str) -> str:
    """The path as the runtime, which runs elsewhere, has to be told it. JSON carries Unicode only."""
    text = os.fspath(path.expanduser().absolute())
    try:
        text.encode()
    except UnicodeEncodeError:
        raise WrongInput(f"The name of the {what} is not valid UTF-8; rename it first.") from None
    return text


def request(kind: type[Model], **fields: Any) -> Model:
    """A body of the contract; what lies outside its ranges is the user's input, so it becomes one sentence."""
    from pydantic import ValidationError

    try:
        return kind(**fields)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        name = ".".join(str(part) for part in first["loc"])
        raise WrongInput(f"The {name} can't be used: {first['msg'][:1].lower()}{first['msg'][1:]}.") from None
