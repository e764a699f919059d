"""Standard output may go away or be full. Neither is a traceback: the one is how `| head` ends us, the other fails."""

import os
import sys
from collections.abc import Callable

EXIT_OK, EXIT_FAILED, EXIT_USAGE, EXIT_INTERRUPTED = 0, 1, 2, 130


def ended_well(program: str, body: Callable[[], int]) -> int:
    """The exit code of `body`, with what it printed written out; 0 as soon as the reader has left, 1 and a line on
    stderr when it cannot be written."""
    if sys.stdout is None:  # started with a closed descriptor
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115  (it stands for stdout until the process ends)
    try:
        code = body()
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        _write_no_more()
        return EXIT_OK
    except OSError as failure:
        _write_no_more()
        print(f"{program}: {failure}", file=sys.stderr)
        return EXIT_FAILED
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED


def _write_no_more() -> None:
    """What is still buffered must not be tried again at exit."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
