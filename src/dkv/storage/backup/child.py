"""The process that moves the bytes of one backup or restore, at a low priority: `python -m dkv.storage.backup.child`.

It is told what to do in its argument, as JSON, and tells how far it is in lines of JSON on stdout. Its stdin is a
leash: the end of it means that the node has gone, or wants nothing more, and then it clears up after itself and ends.
So nothing is left running when the node was killed, and the node never has to wait for a clearing up.

    keep    -> {"ready": true}, <- facts, once the checkpoint is there, -> {"done": n, "total": m}..., -> {"over": {}}
    fetch   -> {"done": n, "total": m}..., -> {"over": facts}, and the files stay until the leash ends
    either  -> {"error": text, "kind": class of dkv.model.errors}
"""

import errno
import fcntl
import json
import os
import select
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dkv.model.backups import BackupFacts
from dkv.model.errors import BackupFailed, Busy, DkvError
from dkv.storage.backup.copying import Pace
from dkv.storage.backup.fetch import Fetcher
from dkv.storage.backup.keep import Keeper
from dkv.storage.backup.manifest import heard_facts, told_facts
from dkv.storage.backup.places import source, target

NICENESS = 10
TELL_INTERVAL_S = 0.05


class Released(Exception):
    """The leash has ended: nobody waits for this any more."""


def main(task: dict[str, Any]) -> int:
    """Does the task, and says so on stdout. Returns the exit status."""
    os.nice(NICENESS)
    try:
        (_keep if task["do"] == "keep" else _fetch)(task)
    except Released:
        return 0
    except DkvError as error:
        _say({"error": str(error), "kind": type(error).__name__})
    except OSError as error:
        _say({"error": f"{error.filename or 'backup'}: {error.strerror}", "kind": BackupFailed.__name__})
    return 0


def _keep(task: dict[str, Any]) -> None:
    checkpoint = Path(task["checkpoint"])
    try:
        place = target(task["path"], task["root"], task["data"])
        _say({"ready": True})
        facts = _read_facts()
        place.mkdir(exist_ok=True)
        with _locked(place, fcntl.LOCK_EX):
            keeper = Keeper(checkpoint, place, _pace(task), task["free_bytes_min"])
            taken = datetime.now(UTC).isoformat(timespec="seconds")
            _go(keeper.steps(task["engine"], taken, facts), keeper.bytes_total)
    finally:
        shutil.rmtree(checkpoint, ignore_errors=True)
    _say({"over": {}})


def _fetch(task: dict[str, Any]) -> None:
    into = Path(task["into"])
    try:
        place = source(task["path"], task["root"])
        with _locked(place, fcntl.LOCK_SH):
            fetcher = Fetcher(place, into, _pace(task), task["free_bytes_min"])
            _go(fetcher.steps(task["engine"]), fetcher.bytes_total)
        _say({"over": {"facts": told_facts(fetcher.manifest.vbuckets)}})
        sys.stdin.buffer.read()
    finally:
        shutil.rmtree(into, ignore_errors=True)


def _go(steps: Iterator[int], total: int) -> None:
    done, told = 0, 0.0
    for count in steps:
        _stay_leashed(0)
        done += count
        if time.monotonic() - told >= TELL_INTERVAL_S:
            told = time.monotonic()
            _say({"done": min(done, total), "total": total})


def _pace(task: dict[str, Any]) -> Pace:
    return Pace(task["bytes_per_second"], sleep=_stay_leashed)


def _stay_leashed(seconds: float) -> None:
    """Wait for so long, or for the end of the leash."""
    if select.select([sys.stdin], [], [], seconds)[0]:
        raise Released


def _read_facts() -> list[BackupFacts]:
    line = sys.stdin.buffer.readline()
    if not line:
        raise Released
    return heard_facts(json.loads(line))


@contextmanager
def _locked(place: Path, kind: int) -> Iterator[None]:
    """Nobody writes a backup while another reads or writes it, whichever server they belong to."""
    descriptor = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
    try:
        _take_lock(descriptor, kind, place)
        yield
    finally:
        os.close(descriptor)


def _take_lock(descriptor: int, kind: int, place: Path) -> None:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        raise Busy(f"{place} is in use by another backup or restore") from None
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.EOPNOTSUPP, errno.EBADF):  # a file system without such locks
            raise


def _say(news: dict[str, Any]) -> None:
    try:
        print(json.dumps(news), flush=True)
    except BrokenPipeError:
        raise Released from None


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1])))
