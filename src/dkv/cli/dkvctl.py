"""dkvctl: one command to a server. Exit codes: 0 done, 1 the server or the connection failed, 2 usage.

Results and error lines go to stdout, as the original's; the banner and usage go to stderr, so that values can be piped.
"""

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import dkv
from dkv.cli.ctl.argv import Plan, plan
from dkv.cli.ctl.execute import execute
from dkv.cli.ctl.invocation import BadPair, Options, Session, UsageError, write_result
from dkv.cli.ctl.usage import help_text
from dkv.cli.output import EXIT_FAILED, EXIT_OK, EXIT_USAGE, ended_well
from dkv.client.sync import Client
from dkv.model.errors import DkvError

Connect = Callable[[Options], Client]

CONNECT_TIMEOUT_S = 5.0
REFUSED_S = 0.3
"""Where nobody listens nobody may ever; a server that is being restarted is back in that time as a rule."""
NODE_TIMEOUT_S = 1.0
"""For each of many nodes of which some may be down."""
_HINT = "(dkvctl --help shows how)"


def main(argv: Sequence[str] | None = None, connect: Connect | None = None) -> int:
    """`connect` is for tests: to the server, and to other nodes of its cluster."""
    words = sys.argv[1:] if argv is None else argv
    return ended_well("dkvctl", lambda: _main(words, connect or _connect, connect or _reach))


def _main(argv: Sequence[str], connect: Connect, reach: Connect) -> int:
    if not argv:
        print(help_text(), file=sys.stderr)
        return EXIT_USAGE
    try:
        asked = plan(argv)
        if asked.action:
            print(help_text() if asked.action == "help" else f"dkvctl {dkv.__version__}")
            return EXIT_OK
        return _execute(asked, connect, reach)
    except BadPair as error:
        print(error)
        return EXIT_USAGE
    except UsageError as error:
        print(f"{error}\n{_HINT}", file=sys.stderr)
        return EXIT_USAGE


def _execute(asked: Plan, connect: Connect, reach: Connect) -> int:
    try:
        connection = connect(asked.options)
    except (DkvError, OSError) as error:
        fields = {"error": {"code": "Unavailable", "message": str(error)}}
        write_result(sys.stdout.buffer, asked.options, fields, f"Unable to create DKV client. Error: {error}")
        return EXIT_FAILED
    with connection as client:
        session = Session(
            client,
            sys.stdout.buffer,
            time.time,
            asked.options,
            lambda address: reach(replace(asked.options, address=address)),
            _shell,
        )
        codes = [execute(session, command, arguments) for command, arguments in asked.steps]
    return max(codes)


def _shell(session: Session) -> int:
    from dkv.cli.ctl.shell import shell  # Loaded by those who type.

    return shell(session)


def _connect(options: Options) -> Client:
    from dkv.client.connecting import open_client  # The native module is loaded by whoever connects.
    from dkv.client.url import Options as ClientOptions

    authority = f" (:authority = {options.authority})" if options.authority else ""
    print(f"Connecting to DKV service at {options.address}{authority}...", end="", file=sys.stderr, flush=True)
    try:
        first, *others = (each.strip() for each in options.address.split(","))
        client = open_client(ClientOptions(first, authority=options.authority or None, others=tuple(others)))
        client.wait_until_connected(CONNECT_TIMEOUT_S, refused=REFUSED_S)
    except (DkvError, OSError):
        print(file=sys.stderr)
        raise
    print("DONE", file=sys.stderr, flush=True)
    return client


def _reach(options: Options) -> Client:
    from dkv.client.connecting import open_client
    from dkv.client.url import Options as ClientOptions

    return open_client(ClientOptions(options.address, NODE_TIMEOUT_S, authority=options.authority or None))


if __name__ == "__main__":
    sys.exit(main())
