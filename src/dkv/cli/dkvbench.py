"""dkvbench: one benchmark of the original's, against a server. Exit codes: 0 all calls went well, 1 some failed or the
server is away, 2 usage, 130 after Ctrl-C, with what was measured until then.

The report is on stdout; how far it is, and what went wrong, on stderr.
"""

import os
import signal
import sys
import time
from collections.abc import Sequence
from types import FrameType

import dkv
from dkv.bench.load import Load, Tally
from dkv.bench.text import lines
from dkv.bench.workloads import BadShape, Shape, UnknownName, Workload, workload
from dkv.cli.bench_flags import FlagError, Given, help_text, parse, said
from dkv.cli.ctl.gotext import go_name
from dkv.cli.ctl.progress_bar import ProgressBar
from dkv.cli.ctl.units import count_text
from dkv.cli.output import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_OK, EXIT_USAGE, ended_well
from dkv.model.errors import Code, DkvError

_HINT = "(dkvbench -help shows how)"


def main(argv: Sequence[str] | None = None) -> int:
    words = sys.argv[1:] if argv is None else argv
    return ended_well("dkvbench", lambda: _main(words))


def _main(argv: Sequence[str]) -> int:
    try:
        given = parse(argv)
        if given.action:
            print(help_text() if given.action == "help" else f"dkvbench {dkv.__version__}")
            return EXIT_OK
        shape = Shape(given.number("valueSizeInBytes"), given.number("numHotKeys"), given.number("batchSize"))
        asked = workload(given.text("name"), shape, os.urandom)
    except (FlagError, UnknownName, BadShape) as error:
        print(f"dkvbench: {error}\n{_HINT}", file=sys.stderr)
        return EXIT_USAGE
    print("\n".join([*said(given), asked.title]), flush=True)
    try:
        return _measure(given, asked)
    except DkvError as error:
        print(f"dkvbench: {error}", file=sys.stderr)
        return EXIT_FAILED


def _measure(given: Given, asked: Workload) -> int:
    from dkv.bench.channel import BatchChannel  # The native module is loaded by whoever connects.

    tally, calls = Tally(), given.number("totalNumKeys")
    bar, stop = ProgressBar(amount=count_text), _Stop()

    def goes_on(ended: int) -> bool:
        bar.show("measuring", ended, calls)
        return not stop.is_wanted

    with BatchChannel(given.address) as channel, stop:
        try:
            Load(channel, asked, tally, time.perf_counter, time.sleep).run(calls, given.number("parallelism"), goes_on)
        finally:
            bar.wipe()
    print(_shown("\n".join(["", *lines(asked, tally, lambda code: go_name(Code(code)))])), flush=True)
    return _judged(asked, tally, stop.is_wanted)


def _judged(asked: Workload, tally: Tally, is_interrupted: bool) -> int:
    """The exit code, and on stderr what the figures do not say."""
    if asked.found is not None and tally.codes[0] and not tally.found:
        print("dkvbench: no key was there: Update with the same -numHotKeys writes them", file=sys.stderr)
    if tally.away:
        print(f"dkvbench: gave up, as the server is away: {tally.away}", file=sys.stderr)
    if is_interrupted:
        return EXIT_INTERRUPTED
    return EXIT_FAILED if tally.away or tally.ended > tally.codes[0] else EXIT_OK


class _Stop:
    """Ctrl-C ends the measuring; pressed once more it ends everything."""

    def __init__(self) -> None:
        self.is_wanted = False

    def __enter__(self) -> None:
        self._before = signal.signal(signal.SIGINT, self._pressed)

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGINT, self._before)

    def _pressed(self, _number: int, _frame: FrameType | None) -> None:
        self.is_wanted = True
        signal.signal(signal.SIGINT, self._before)


def _shown(text: str) -> str:
    """The text in signs that this output knows."""
    encoding = sys.stdout.encoding or "ascii"
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        text = text.translate({ord("∎"): "#", ord("µ"): "u"}).encode(encoding, "backslashreplace").decode(encoding)
    return text


if __name__ == "__main__":
    sys.exit(main())
