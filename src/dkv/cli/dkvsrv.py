"""dkvsrv: settings in, server out. Exit codes: 0 after a signal, 1 failure, 2 settings that cannot be used."""

import os
import sys
from collections.abc import Sequence

import dkv
from dkv.cli.output import EXIT_FAILED, ended_well
from dkv.settings import USAGE, SettingsError, help_text, load, parse_argv, report


def main(argv: Sequence[str] | None = None) -> int:
    words = sys.argv[1:] if argv is None else argv
    return ended_well("dkvsrv", lambda: _main(words))


def _main(argv: Sequence[str]) -> int:
    """A client's installation has this command, too, but not all that a server needs."""
    try:
        return _serve(argv)
    except ModuleNotFoundError as missing:
        if missing.name is None or missing.name.partition(".")[0] == "dkv":
            raise
        print(f"dkvsrv: the server needs {missing.name}, which pip install 'dkv[server]' brings", file=sys.stderr)
        return EXIT_FAILED


def _serve(argv: Sequence[str]) -> int:
    try:
        given = parse_argv(argv)
        if given.action == "help":
            print(help_text())
            return 0
        if given.action == "version":
            print(f"dkvsrv {dkv.__version__}")
            return 0
        loaded = load(given, os.environ)
    except SettingsError as error:
        print(f"dkvsrv: {error}", file=sys.stderr)
        if error.usage:
            print(USAGE, file=sys.stderr)
        return 2
    if given.action == "check-config":
        for warning in loaded.warnings:
            print(f"[WARN] {warning}", file=sys.stderr)
        print(report(loaded))
        return 0
    from dkv.server.main import run  # The engine is loaded only by a server that starts.

    return run(loaded.settings, loaded.warnings)


if __name__ == "__main__":
    sys.exit(main())
