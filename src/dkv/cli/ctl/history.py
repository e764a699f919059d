"""What was typed into `dkvctl shell`, from one day to the next: one line an entry, readable by its owner alone.

Values do not belong in a file that nobody thinks of: lines of commands that carry one (set, mput, cas) are remembered
while the shell runs, and not written. Nor is a line that was not understood; it may be such a one, misspelt.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

LINES_MAX = 1_000


def default_path(environ: Mapping[str, str]) -> Path:
    """By the XDG rules: state of this user on this machine."""
    state = environ.get("XDG_STATE_HOME", "")
    folder = Path(state) if os.path.isabs(state) else Path(environ.get("HOME") or Path.home(), ".local", "state")
    return folder / "dkv" / "shell_history"


def read(path: Path) -> list[str]:
    """The lines kept, oldest first; none when there is no file that can be read."""
    try:
        return path.read_text(encoding="utf-8", errors="surrogateescape").splitlines()[-LINES_MAX:]
    except OSError:
        return []


def keep(path: Path, lines: Sequence[str]) -> None:
    """Adds lines behind those that are there now, also of another shell, and lets go of the oldest. Raises OSError."""
    if not lines:
        return
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    kept = [*read(path), *lines][-LINES_MAX:]
    aside = path.with_name(f"{path.name}.{os.getpid()}")
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(descriptor, "w", encoding="utf-8", errors="surrogateescape") as file:
        file.writelines(f"{line}\n" for line in kept)
    os.replace(aside, path)
