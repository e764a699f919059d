"""make audit: licences, advisories with their exceptions, and what could not be checked."""

import json
from datetime import date
from pathlib import Path
from typing import Any

import audit
import pytest
from audit import Advisory, Known, NotChecked
from licences import accepted

TODAY = date(2027, 1, 1)
KNOWN = [Known("RUSTSEC-1", "protobuf", date(2027, 6, 1), "why")]


@pytest.mark.parametrize(
    ("expression", "is_accepted"),
    [
        ("MIT", True),
        ("GPL-3.0", False),
        ("MIT OR GPL-3.0", True),
        ("GPL-3.0/MIT", True),
        ("Apache-2.0 / MIT", True),
        ("MIT AND GPL-3.0", False),
        ("GPL-3.0 OR MIT AND Zlib", True),
        ("(MIT OR GPL-3.0) AND Zlib", True),
        ("(MIT OR GPL-3.0) AND GPL-3.0", False),
        ("Apache-2.0 WITH LLVM-exception", True),
        ("MIT WITH LLVM-exception", False),
        ("none named", False),
        ("MIT Zlib", False),
        ("MIT OR", False),
        ("MIT WITH", False),
        ("(MIT", False),
        (")", False),
        ("", False),
    ],
)
def test_licence_expression_is_judged_as_a_whole(expression: str, is_accepted: bool) -> None:
    """A choice needs one that is accepted, a sum all of them; what is no expression is not accepted."""
    licences = {"MIT", "Zlib", "Apache-2.0", "Apache-2.0 WITH LLVM-exception"}
    assert accepted(expression, licences) is is_accepted


def test_licences_of_this_tree_are_accepted() -> None:
    """Every locked package that is installed here, by the rules that are committed."""
    rules = audit.read_rules((audit.ROOT / "tools" / "audit.toml").read_text())
    found = list(audit.python_licences(rules))
    assert ("protobuf", "BSD-3-Clause") in found
    assert audit.refused(iter(found), rules.licences) == []


def test_licences_of_crates_come_from_cargo() -> None:
    """Ours is left out; a crate that names none is refused."""
    packages = [
        {"name": "ours", "source": None, "license": None},
        {"name": "good", "source": "registry", "license": "MIT"},
        {"name": "bad", "source": "registry", "license": None},
    ]
    found = audit.rust_licences(lambda command: json.dumps({"packages": packages}))
    assert audit.refused(found, frozenset({"MIT"})) == ["bad: licence none named"]


@pytest.fixture
def _tools(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: f"/bin/{name}")


@pytest.mark.usefixtures("_tools")
def test_python_advisories_are_read_from_pip_audit() -> None:
    """Aliases count as names."""
    vulnerability = {"id": "PYSEC-1", "aliases": ["CVE-1"], "fix_versions": []}
    packages = [{"name": "a", "version": "1", "vulns": [vulnerability]}, {"name": "b", "version": "1", "vulns": []}]
    (found,) = audit.python_advisories(lambda command: json.dumps({"dependencies": packages}))
    assert found == Advisory("PYSEC-1", frozenset({"PYSEC-1", "CVE-1"}), "a")


@pytest.mark.usefixtures("_tools")
def test_python_package_skipped_is_not_taken_for_clean() -> None:
    """pip-audit ends well when it could not look a package up."""
    packages = [{"name": "a", "skip_reason": "not found: a"}]
    with pytest.raises(NotChecked, match="not found: a"):
        list(audit.python_advisories(lambda command: json.dumps({"dependencies": packages})))


@pytest.mark.usefixtures("_tools")
def test_rust_advisories_are_read_from_cargo_audit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Vulnerabilities and warnings; a database of one's own is used without the network."""
    package = {"name": "protobuf", "version": "2.28.0"}
    report = {
        "vulnerabilities": {"list": [{"advisory": {"id": "RUSTSEC-1", "aliases": ["CVE-1"]}, "package": package}]},
        "warnings": {
            "unmaintained": [{"advisory": {"id": "RUSTSEC-2"}, "package": package}],
            "yanked": [{"package": {}}],
        },
    }
    monkeypatch.setenv("ADVISORY_DB", "/db")
    commands: list[Any] = []
    found = list(audit.rust_advisories(lambda command: commands.append(command) or json.dumps(report)))
    assert [(each.id, each.package) for each in found] == [("RUSTSEC-1", "protobuf"), ("RUSTSEC-2", "protobuf")]
    assert commands[0][-3:] == ["--db", "/db", "--no-fetch"]


def test_advisory_accepted_is_no_finding_until_its_day() -> None:
    """Of that package alone, under any of its names."""
    accepted_one = Advisory("CVE-1", frozenset({"CVE-1", "RUSTSEC-1"}), "protobuf")
    other = Advisory("RUSTSEC-1", frozenset({"RUSTSEC-1"}), "other")
    assert audit.judged(iter([accepted_one, other]), KNOWN, TODAY) == ["other: RUSTSEC-1"]
    (late,) = audit.judged(iter([accepted_one]), KNOWN, date(2027, 6, 2))
    assert late == "protobuf: CVE-1 was accepted until 2027-06-01, look again"


def test_tool_that_is_missing_or_silent_is_not_checked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """With the reason: what to install, or the last line that it said."""
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(NotChecked, match="pip-audit is not installed"):
        list(audit.python_advisories(lambda command: ""))
    with pytest.raises(NotChecked, match=r"^no network$"):
        audit.run(["sh", "-c", "echo first >&2; echo no network >&2; exit 1"])
    with pytest.raises(NotChecked, match="sh said nothing"):
        audit.run(["sh", "-c", "exit 1"])
    with pytest.raises(NotChecked, match="not json"):
        audit.parsed("x\nnot json\n")


def test_report_says_how_a_check_ended(capsys: pytest.CaptureFixture[str]) -> None:
    """Only a check that was made and found nothing is ok."""

    def unknown() -> list[str]:
        raise NotChecked("why")

    assert audit.report("one", list)
    assert not audit.report("two", lambda: ["a: B"])
    assert not audit.report("three", unknown)
    assert capsys.readouterr().out == "one: ok\ntwo: FOUND\n    a: B\nthree: NOT CHECKED: why\n"
