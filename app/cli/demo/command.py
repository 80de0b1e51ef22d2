"""The command `hearth demo`: sets the stage, lets the show play, tells about it, and leaves nothing behind."""

from __future__ import annotations

import sys

import click

from app.cli.common import Invocation, shared_options


@click.command()
@shared_options
@click.option(
    "--keep", is_flag=True, help="Keep the home and its folder; no process is left running either way."
)
def demo(call: Invocation, keep: bool) -> int:
    """Watch the main job: documents arrive, an agent digests them.

    It makes a throw-away home with a watched folder, starts a runtime, lets three documents arrive one after another,
    and shows each step on the built-in model as it happens. In the middle of the last run it kills the engine, to show
    that the work goes on. With --home it uses that empty directory as the home, and DIR-inbox as the watched folder.

    The exit code is 0 when all three runs succeeded and the engine came back.
    """
    from agents.paths import HomePaths
    from app.cli.demo.report import JsonReporter, PersonReporter
    from app.cli.demo.show import Outcome, Show
    from app.cli.demo.stage import ended_by_signals, kill_engine, open_stage, running_runtime
    from app.cli.output import complain
    from app.cli.screen import Screen
    from app.client import ClientError, RuntimeClient

    screen = Screen(sys.stdout, log_hints=True)
    reporter = JsonReporter() if call.json else PersonReporter(screen)
    named_home = call.paths.root if call.named_home is not None else None
    problem: ClientError | None = None
    outcome = Outcome()
    with ended_by_signals(), open_stage(named_home, keep=keep) as stage:
        reporter.opened(stage)
        try:
            with running_runtime(stage) as process, RuntimeClient(HomePaths(stage.home)) as client:
                show = Show(
                    client=client,
                    inbox=stage.inbox,
                    documents=stage.documents,
                    drop=stage.drop,
                    kill=lambda pid: kill_engine(process.pid, pid),
                    reporter=reporter,
                )
                outcome = show.outcome
                show.play()
        except ClientError as error:
            problem = error
        finally:
            screen.clear()
        ok = problem is None and outcome.ok(len(stage.documents))
        reporter.done(outcome, ok=ok, kept=keep, problem=str(problem) if problem else None)
    if problem is not None and call.json:  # `done` has told a program; it is the last line
        complain(str(problem))
        return problem.exit_code
    if problem is not None:
        raise problem
    return 0 if ok else 1
