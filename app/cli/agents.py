"""`hearth agents`: list, show, add, remove, choose folders, pause, resume, run now, next due times."""

from __future__ import annotations

import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from app.cli.agent_words import describe_agent, describe_agents, describe_due_times, describe_waking
from app.cli.common import (
    Invocation,
    WorkFailed,
    WrongInput,
    absolute,
    home_option,
    json_option,
    read_text_file,
    request,
    shared_options,
)
from app.cli.moments import MOMENT
from app.cli.output import complain, emit, file_name, one_line, say

if TYPE_CHECKING:
    from agents.contract import AgentDetail, AgentInfo
    from app.client import RuntimeClient

_SOURCE_LIMIT_BYTES = 200_000
_MOST_DUE_TIMES = 10_000  # that the runtime looks ahead
_SHOWN_DUE_TIMES, _SHOWN_IN_A_SPAN = 10, 100


@click.group()
@home_option
@json_option
def agents() -> None:
    """See, add and steer agents."""


@agents.command("list")
@shared_options
def list_agents(call: Invocation) -> None:
    """List the agents with their state and their last run."""
    with call.runtime() as client:
        found = client.agents()
    if call.json:
        emit(found)
    elif not found:
        say("No agents yet; `hearth agents add FILE` adds one.")
    else:
        say(describe_agents(found))


@agents.command()
@shared_options
@click.argument("name")
def show(call: Invocation, name: str) -> None:
    """Show one agent: what it may touch, its folders, its definition."""
    with call.runtime() as client:
        agent = client.agent(name)
    if call.json:
        emit(agent)
    else:
        say(describe_agent(agent))


@agents.command()
@shared_options
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--yes", is_flag=True, help="Grant what the agent asks for, without a question.")
@click.option("--replace", is_flag=True, help="Make it a new revision of the agent with the same name.")
def add(call: Invocation, file: Path, yes: bool, replace: bool) -> None:
    """Add an agent from FILE (Markdown with front matter).

    It shows what the agent asks for, and needs a yes for what has not been granted before.
    """
    source = read_text_file(file, what="agent file", limit_bytes=_SOURCE_LIMIT_BYTES)
    with call.runtime() as client:
        agent = _add(client, source, yes=yes, replace=replace)
    if call.json:
        emit(agent)
        return
    say(f"Added {agent.name}, revision {agent.revision}.")
    for ask in agent.asks:
        say(f"  it may {ask}")
    said = [describe_waking(agent)] if agent.triggers or agent.paused else []
    for sentence in (*said, *agent.notes):
        say(sentence)


@agents.command()
@shared_options
@click.argument("name")
@click.option("--yes", is_flag=True, help="Remove it without a question.")
def remove(call: Invocation, name: str, yes: bool) -> None:
    """Remove agent NAME; its runs and results stay readable."""
    with call.runtime() as client:
        agent = client.agent(name)  # a wrong name is said before anything is asked
        if not yes:
            _ask_removal(agent.name)
        client.remove_agent(agent.name)
    if call.json:
        emit({"removed": agent.name})
    else:
        say(f"Removed {agent.name}; its runs and results stay readable.")


@agents.command()
@shared_options
@click.argument("name")
@click.argument("folders", type=click.Path(path_type=Path), nargs=-1, required=True, metavar="DIR...")
def folders(call: Invocation, name: str, folders: tuple[Path, ...]) -> None:
    """Choose the folders that agent NAME watches and may read.

    They replace the ones before; naming them is the consent. A paused agent begins to work.
    """
    from agents.contract import FoldersChange

    body = request(FoldersChange, folders=[absolute(folder, what="folder") for folder in folders])
    with call.runtime() as client:
        agent = client.set_folders(name, body)
    if call.json:
        emit(agent)
    else:
        say(f"{agent.name} watches {', '.join(agent.folders)}.")


@agents.command()
@shared_options
@click.argument("name")
def pause(call: Invocation, name: str) -> None:
    """Let agent NAME rest; a run that has begun ends first."""
    with call.runtime() as client:
        agent = client.pause(name)
    _show_change(call, agent, f"{agent.name} is paused.")


@agents.command()
@shared_options
@click.argument("name", required=False, metavar="[NAME]")
@click.option(
    "--all",
    "everybody",
    is_flag=True,
    help="Let all agents go on after `hearth stop --agents`; one that is paused on its own stays paused.",
)
def resume(call: Invocation, name: str | None, everybody: bool) -> None:
    """Let agent NAME work again, on what arrived meanwhile too."""
    if (name is None) != everybody:
        raise WrongInput("Name one agent, or say --all.")
    with call.runtime() as client:
        if name is None:
            switched = client.switch_agents(stopped=False)
            if call.json:
                emit(switched)
            else:
                say(f"The agents are at work again. {switched.note or ''}".rstrip())
            return
        agent = client.resume(name)
    _show_change(call, agent, f"{agent.name} is at work again.")


@agents.command("next")
@shared_options
@click.argument("name")
@click.option(
    "-n",
    "n",
    type=click.IntRange(1, _MOST_DUE_TIMES),
    metavar="N",
    help="At most so many; otherwise 10, or 100 where --to says the end.",
)
@click.option(
    "--from", "start", type=MOMENT, help="Begin there instead of now; the past can be looked at too."
)
@click.option("--to", "end", type=MOMENT, help="End there.")
def next_due(
    call: Invocation, name: str, n: int | None, start: datetime | None, end: datetime | None
) -> None:
    """Show when agent NAME is due next.

    Times are dates with or without a time, by your clock: 2026-12-01, "2026-12-01 09:00", today, tomorrow. What the
    change to or from daylight saving does to a time is said beside it.
    """
    if end is not None and end <= (start or datetime.now().astimezone()):
        raise WrongInput(
            "--to lies before --from; swap them."
            if start
            else "--to lies in the past; name the beginning with --from."
        )
    shown = n or (_SHOWN_DUE_TIMES if end is None else _SHOWN_IN_A_SPAN)
    with call.runtime() as client:
        found = client.due_times(name, n=shown if end is None else _MOST_DUE_TIMES, start=start, end=end)
    if call.json:
        emit(found if n is None else found[:n])
    elif not found:
        say(f"{name} is not due in that time.")
    else:
        say(describe_due_times(found[:shown]))
        if len(found) > shown:
            say(_rest(len(found), shown))


def _rest(n_found: int, shown: int) -> str:
    """How many due times of a span were not shown, and how to see them."""
    rest = f"{n_found - shown:,}" + (" or more" if n_found == _MOST_DUE_TIMES else "")
    return f"… and {rest} others in that time; `-n {n_found}` shows them."


@agents.command()
@shared_options
@click.argument("name")
@click.argument("file", type=click.Path(path_type=Path), required=False)
def run(call: Invocation, name: str, file: Path | None) -> None:
    """Let agent NAME work at once: look at its folders, or write.

    With FILE it works on that file again, even if this version was handled before.
    """
    from agents.contract import RunNow

    body = request(RunNow, file=None if file is None else absolute(file, what="file"))
    with call.runtime() as client:
        started = client.run_agent(name, body)
    if call.json:
        emit(started)
        return
    say(started.message)
    for one in started.runs:
        say(f"  run {one.id}  {file_name(one.file)}  (`hearth runs follow {one.id}`)")


# --- consent -------------------------------------------------------------------------------------


def _add(client: RuntimeClient, source: str, *, yes: bool, replace: bool) -> AgentDetail:
    from agents.contract import AgentAdd
    from app.client import ProblemReported

    try:
        return client.add_agent(request(AgentAdd, source=source, accept=yes, replace=replace))
    except ProblemReported as error:
        if error.problem.code == "conflict" and not replace:
            raise WorkFailed(f"{error} `hearth agents add --replace` does that.", code="conflict") from None
        asks = error.problem.details.get("asks")
        if error.problem.code != "needs_consent" or not isinstance(asks, list):
            raise
        _ask_consent([str(ask) for ask in asks])
    return client.add_agent(request(AgentAdd, source=source, accept=True, replace=replace))


def _ask_consent(asks: list[str]) -> None:
    """Returns when a person at the terminal said yes. stdout stays free for the answer."""
    wanted = "; ".join(asks)
    if not sys.stdin.isatty():
        raise WrongInput(
            f"This agent asks for: {wanted}. Say yes to it with --yes.",
            code="needs_consent",
            details={"asks": asks},
        )
    complain("This agent asks for:")
    for ask in asks:
        complain(f"  - {ask}")
    if not click.confirm("Grant it?", default=False, err=True):
        raise WrongInput("Nothing was added.")


def _ask_removal(name: str) -> None:
    """Returns when a person at the terminal said yes."""
    if not sys.stdin.isatty():
        raise WrongInput(f"Removing {name} needs a yes; say it with --yes.")
    if not click.confirm(
        f"Remove {one_line(name)}? Its runs and results stay readable.", default=False, err=True
    ):
        raise WrongInput("Nothing was removed.")


def _show_change(call: Invocation, agent: AgentInfo, sentence: str) -> None:
    if call.json:
        emit(agent)
    else:
        say(sentence)
