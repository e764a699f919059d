"""The command line of dkvbench."""

import pytest

from dkv import __version__
from dkv.cli import dkvbench
from dkv.cli.bench_flags import FLAGS, FlagError, help_text, parse, said

DEFAULTS = {
    "batchSize": 10, "dkvSvcHost": "localhost", "dkvSvcPort": 8080, "name": "", "numHotKeys": 100, "parallelism": 2,
    "protoDir": "./pkg/serverpb", "totalNumKeys": 1000, "valueSizeInBytes": 10,
}  # fmt: skip


def test_flags_are_the_originals_with_its_defaults() -> None:
    """In its order, which is that of their names."""
    assert parse([]).values == DEFAULTS
    assert [flag.name for flag in FLAGS] == sorted(DEFAULTS)


@pytest.mark.parametrize(
    "words",
    [
        ["-name", "Get", "-parallelism", "8"],
        ["--name=Get", "--parallelism=8"],
        ["-parallelism=3", "--name", "Get", "-parallelism", "8"],
    ],
)
def test_flags_take_one_dash_or_two_and_both_kinds_of_values(words: list[str]) -> None:
    """The last of two wins."""
    assert parse(words).values == {**DEFAULTS, "name": "Get", "parallelism": 8}


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["Get"], "not a flag: Get"),
        (["---name", "Get"], "not a flag: ---name"),
        (["-"], "not a flag: -"),
        (["-n", "Get"], "unknown flag: -n"),
        (["-name"], "flag needs an argument: -name"),
        (["-parallelism", "0"], "-parallelism is a whole number from 1 to 100000, not '0'"),
        (["-totalNumKeys", "1e6"], "-totalNumKeys is a whole number from 1 to 100000000, not '1e6'"),
        (["-dkvSvcPort", "-1"], "-dkvSvcPort is a whole number from 1 to 65535, not '-1'"),
        (["-batchSize", "9" * 5000], "-batchSize is a whole number from 1 to 10000"),
    ],
)
def test_line_that_means_nothing_is_refused(words: list[str], text: str) -> None:
    """Nothing is ignored."""
    with pytest.raises(FlagError) as refusal:
        parse(words)
    assert str(refusal.value).startswith(text)


@pytest.mark.parametrize(
    ("words", "address"),
    [
        ([], "localhost:8080"),
        (["-dkvSvcHost", "::1", "-dkvSvcPort", "1"], "[::1]:1"),
        (["-dkvSvcHost", "unix:/run/dkv.sock"], "unix:/run/dkv.sock"),
    ],
)
def test_address_is_of_host_and_port(words: list[str], address: str) -> None:
    """Or of a socket."""
    assert parse(words).address == address


def test_flags_are_said_as_the_original_says_them() -> None:
    """`name (usage): value`, below a line of its own."""
    first, *flags, last = said(parse(["-name", "Get"]))
    assert (first, last) == ("Launching benchmarks with following flags:", "")
    assert flags[3] == "name (Benchmark to run: Insert, Update, Get, GetAll): Get"
    assert [line.partition(" (")[0] for line in flags] == sorted(DEFAULTS)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["-name", "X"], "dkvbench: Unknown or invalid benchmark name given: 'X'\n"),
        (["-name", "getall", "-numHotKeys", "9"], "dkvbench: Batch size must be less than or equal to"),
        ([], "dkvbench: Unknown or invalid benchmark name given: ''\n"),
        (["-parallelism", "x"], "dkvbench: -parallelism is a whole number"),
    ],
)  # fmt: skip
def test_usage_error_ends_with_2_before_anything_else(
    capsys: pytest.CaptureFixture[str], words: list[str], text: str
) -> None:
    """On stderr, with a way out."""
    assert dkvbench.main(words) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith(text)
    assert output.err.endswith("(dkvbench -help shows how)\n")


@pytest.mark.parametrize(("word", "start"), [("-help", "Usage: dkvbench"), ("--version", f"dkvbench {__version__}\n")])
def test_help_and_version_are_on_stdout(capsys: pytest.CaptureFixture[str], word: str, start: str) -> None:
    """Asked for, they are results."""
    assert dkvbench.main([word]) == 0
    assert capsys.readouterr().out.startswith(start)


def test_help_names_every_flag_with_its_default() -> None:
    """In lines that a terminal has room for."""
    lines = help_text().splitlines()
    for flag in FLAGS:
        (line,) = [line for line in lines if line.startswith(f"  -{flag.name} ")]
        assert not flag.default or line.endswith(f"[{flag.default}]")
    assert max(map(len, lines)) <= 120
