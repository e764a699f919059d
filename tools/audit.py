"""make audit: licences and advisories of everything that the locks name, Python and Rust.

Licences need no network. Advisories come from the tools that keep databases of them, pip-audit and cargo-audit, where
these are installed; they are not in the locks, since only this verb wants them. What could not be checked is said, and
fails like a finding: silence must not pass for a clean bill. audit.toml has what is accepted, why, and until when.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import Any, NamedTuple

from licences import accepted

ROOT = Path(__file__).resolve().parent.parent
LOCKS = (ROOT / "requirements" / "run.txt", ROOT / "requirements" / "dev.txt")
MANIFEST, CARGO_LOCK = ROOT / "crate" / "Cargo.toml", ROOT / "crate" / "Cargo.lock"

Run = Callable[[Sequence[str | Path]], str]
"""stdout of a command. Raises NotChecked."""


class NotChecked(Exception):
    """Why something could not be looked at."""


class Advisory(NamedTuple):
    id: str
    names: frozenset[str]
    """The id and its aliases."""
    package: str


@dataclass(frozen=True, slots=True)
class Known:
    """An advisory that is accepted until a day, when somebody looks again."""

    id: str
    package: str
    until: date
    reason: str


@dataclass(frozen=True, slots=True)
class Rules:
    licences: frozenset[str]
    licence_words: Mapping[str, str]
    known: Sequence[Known]


def read_rules(text: str) -> Rules:
    fields = tomllib.loads(text)
    return Rules(
        frozenset(fields["licences"]), fields["licence_words"], [Known(**each) for each in fields["exceptions"]]
    )


def run(command: Sequence[str | Path]) -> str:
    """Whatever it ends with: both tools end with 1 when they have found something."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if not done.stdout.strip():
        lines = done.stderr.strip().splitlines() or [f"{command[0]} said nothing"]
        raise NotChecked(lines[-1])
    return done.stdout


# Licences


def python_licences(rules: Rules) -> Iterator[tuple[str, str]]:
    """(package, licence) of those that are locked and installed here."""
    for name in sorted({name for lock in LOCKS for name in re.findall(r"^([\w.-]+)==", lock.read_text(), re.M)}):
        try:
            yield name, python_licence(distribution(name), rules.licence_words)
        except PackageNotFoundError:
            continue  # of another platform


def python_licence(package: Distribution, words: Mapping[str, str]) -> str:
    """As an expression, from whichever field the package has it in."""
    fields = package.metadata
    if expression := fields.get("License-Expression"):
        return expression
    classifiers = [each.rpartition(" :: ")[2] for each in fields.get_all("Classifier") or [] if "License ::" in each]
    named = [words[each] for each in (*classifiers, fields.get("License") or "") if each in words]
    return named[-1] if named else (fields.get("License") or "none named").splitlines()[0]


def rust_licences(run: Run) -> Iterator[tuple[str, str]]:
    """(crate, licence) of all that is compiled in."""
    packages = json.loads(run(["cargo", "metadata", "--locked", "--format-version", "1", "--manifest-path", MANIFEST]))
    for package in packages["packages"]:
        if package["source"] is not None:
            yield package["name"], package["license"] or "none named"


def refused(packages: Iterator[tuple[str, str]], licences: frozenset[str]) -> list[str]:
    return [f"{name}: licence {licence}" for name, licence in packages if not accepted(licence, licences)]


# Advisories


def python_advisories(run: Run) -> Iterator[Advisory]:
    command = [tool("pip-audit"), "--disable-pip", "--require-hashes", "--format", "json", "--progress-spinner", "off"]
    found = parsed(run([*command, *(part for lock in LOCKS for part in ("--requirement", lock))]))
    for package in found["dependencies"]:
        if "skip_reason" in package:
            raise NotChecked(package["skip_reason"])
        for each in package["vulns"]:
            yield Advisory(each["id"], frozenset([each["id"], *each.get("aliases", ())]), package["name"])


def rust_advisories(run: Run) -> Iterator[Advisory]:
    """Vulnerabilities, and warnings: what nobody maintains is a finding too."""
    command = [tool("cargo-audit"), "audit", "--json", "--file", CARGO_LOCK]
    if database := os.environ.get("ADVISORY_DB"):
        command += ["--db", database, "--no-fetch"]
    found = parsed(run(command))
    for each in (*found["vulnerabilities"]["list"], *(each for kind in found["warnings"].values() for each in kind)):
        if each.get("advisory"):
            name = each["advisory"]["id"]
            yield Advisory(name, frozenset([name, *each["advisory"].get("aliases", ())]), each["package"]["name"])


def tool(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        raise NotChecked(
            f"{name} is not installed; put it on the PATH (pipx install pip-audit, cargo install cargo-audit)"
        )
    return path


def parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise NotChecked(text.strip().splitlines()[-1]) from error


def judged(advisories: Iterator[Advisory], known: Sequence[Known], today: date) -> list[str]:
    """What is not accepted, or not any more."""
    found = []
    for advisory in advisories:
        exception = next(
            (each for each in known if each.id in advisory.names and each.package == advisory.package), None
        )
        if exception is None:
            found.append(f"{advisory.package}: {advisory.id}")
        elif exception.until < today:
            found.append(f"{advisory.package}: {advisory.id} was accepted until {exception.until}, look again")
    return found


def main() -> int:
    rules, today = read_rules(Path(__file__).with_name("audit.toml").read_text()), datetime.now(UTC).date()
    checks: dict[str, Callable[[], list[str]]] = {
        "licences of Python packages": lambda: refused(python_licences(rules), rules.licences),
        "licences of crates": lambda: refused(rust_licences(run), rules.licences),
        "advisories of Python packages": lambda: judged(python_advisories(run), rules.known, today),
        "advisories of crates": lambda: judged(rust_advisories(run), rules.known, today),
    }
    results = [report(what, check) for what, check in checks.items()]
    for each in rules.known:
        print(f"accepted until {each.until}: {each.package} {each.id}: {' '.join(each.reason.split())}")
    return 0 if all(results) else 1


def report(what: str, check: Callable[[], list[str]]) -> bool:
    """Prints how a check ended; whether it was made and found nothing."""
    try:
        found = check()
    except NotChecked as reason:
        print(f"{what}: NOT CHECKED: {reason}")
        return False
    print(f"{what}: {'ok' if not found else 'FOUND'}")
    print("".join(f"    {line}\n" for line in found), end="")
    return not found


if __name__ == "__main__":
    sys.exit(main())
