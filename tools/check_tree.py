"""Checks what no other tool checks: facts about the committed tree as a whole.

The locks name no place to download from, scripts can be executed and stop at the first error, and nothing that was
left to be done later is hidden in a comment.
"""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PLACE = re.compile(r"://|--(extra-)?index|--find-links|@ file")
LEFT_OVER = re.compile(r"\b(TO" + r"DO|FIX" + r"ME|X" + r"XX)\b")


def tracked() -> list[Path]:
    """Files of the tree as git knows it; in an unpacked archive without git, none."""
    if not (ROOT / ".git").exists():
        return []
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return [path for name in names.split("\0") if name and (path := ROOT / name).is_file()]


def faults(path: Path) -> list[str]:
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return []
    found = []
    if path.parent.name == "requirements":
        found += [f"names a place: {line}" for line in text.splitlines() if PLACE.search(line)]
    if text.startswith("#!"):
        if not path.stat().st_mode & 0o100:
            found.append("starts with #! and is not executable")
        if re.match(r"#!.*\b(ba)?sh\b", text) and not re.search(r"^set -eu", text, re.MULTILINE):
            found.append("a shell script without set -eu")
    if path.suffix in {".py", ".pyi", ".rs", ".proto", ".sh"}:
        found += [f"line {n}: left over" for n, line in enumerate(text.splitlines(), 1) if LEFT_OVER.search(line)]
    return found


def main() -> int:
    lines = [f"{path.relative_to(ROOT)}: {fault}" for path in tracked() for fault in faults(path)]
    print("\n".join(lines), end="\n" if lines else "")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
