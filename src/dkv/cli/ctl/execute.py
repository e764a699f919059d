"""Runs one command and says how it ended, in words or as a document."""

import os

from dkv.cli.ctl.gotext import go_name, go_text
from dkv.cli.ctl.invocation import Failed, Session
from dkv.cli.ctl.table import Command
from dkv.cli.output import EXIT_FAILED, EXIT_OK
from dkv.model.errors import DkvError


def execute(session: Session, command: Command, arguments: list[str]) -> int:
    """The exit code. Raises UsageError for arguments that only the command itself can judge."""
    try:
        return command.run(session, [os.fsencode(argument) for argument in arguments]) or EXIT_OK
    except Failed as failure:
        fields, text = {"message": str(failure)}, str(failure)
    except DkvError as error:
        first = arguments[0] if arguments else ""
        fields = {"code": go_name(error.code), "message": str(error)}
        text = command.failure.format(error=go_text(error), first=first)
    session.result({"error": fields}, text)
    return EXIT_FAILED
