"""A budget of hostile bytes for every target that `make fuzz` searches for longer, and for dkvctl's command line."""

import contextlib
from collections.abc import Callable

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dkv.cli.ctl.argv import plan
from dkv.cli.ctl.invocation import UsageError
from dkv.model.commands import CompareAndSet, Delete, MultiPut, Put, Session, Sweep
from dkv.model.commands import Tick as ClockTick
from dkv.testing.targets import SERVICES, TARGETS
from dkv.vbucket.entry import encode_entry
from dkv.vbucket.outcomes import EntryOutcomes, encode_outcomes
from dkv.vbucket.rows import encode_row
from dkv.wire import messages as wire

EXAMPLES = 300
TEXTS = {
    "arguments": ["--role\0none", "-dbFolder\0/x", "--db-folder=\0", "-v\0--config\0", "--log-level=debug", "--x", "-"],
    "environment": ["ROLE\0none\0LOG_LEVEL\0debug", "LISTEN_ADDR\0:0", "VERBOSE\0yes", "BLOCK_CACHE_SIZE\0" + "9" * 99],
    "yaml": [
        "role: none\nlisten-addr: '[::1]:8080'\n",
        "a: &a [*a]",
        "? [1]\n: 2",
        "{role: {x: 1}}",
        "- a",
        "\0",
        "1e999: 1",
    ],
    "ini": ["a = b # c\n[x]\nd: 'e'", "= b", "[x", "a = '''", "\ufeffa=b"],
    "urls": ["h:1?timeout=2s", "[::1]:99999", "h?timeout=1e999s", "/path/of/socket", "h?a=b&a=c", "u@h#f"],
    "http": [
        "GET /metrics?x=1",
        "HEAD /healthz",
        "POST /",
        "GET //[",
        "GET http://[x",
        "GET /debug/pprof/profile?seconds=1",
    ],
}
SEEDS: dict[str, list[bytes]] = {name: [text.encode() for text in texts] for name, texts in TEXTS.items()}
SEEDS["entry"] = [
    encode_entry(7, [Put(b"k", b"v"), Put(b"k", b"v", 9, Session(b"s", 1, 0)), Delete(b"k"), ClockTick()]),
    encode_entry(7, [CompareAndSet(b"k", b"a", b"b", 1), MultiPut((Put(b"k", b""),)), Sweep(((1, b"k"),))]),
]
SEEDS["rows"] = [encode_row(b"v", 0), encode_row(b"v", 1 << 60)]
SEEDS["outcomes"] = [encode_outcomes(EntryOutcomes(1, 2, 5, 7))]
SEEDS["services"] = SEEDS["commands"] = [
    bytes((method, 1)) + request.SerializeToString()
    for method in range(len(SERVICES.methods))
    for request in (wire.PutRequest(key=b"k", value=b"v", ttlMs=5, session=b"s", sequence=1), wire.GetRequest(key=b"k"))
]


def mutated(seeds: list[bytes]) -> st.SearchStrategy[bytes]:
    """One of the seeds with a few bytes replaced, or bytes of no origin."""

    def mutate(seed: bytes, at: int, cut: int, put: bytes) -> bytes:
        at %= len(seed) + 1
        return seed[:at] + put + seed[at + cut :]

    near = st.builds(
        mutate, st.sampled_from(seeds or [b""]), st.integers(0, 500), st.integers(0, 4), st.binary(max_size=4)
    )
    return st.binary(max_size=80) | near


@pytest.mark.parametrize("name", TARGETS)
def test_target_of_any_bytes_keeps_its_promise(name: str) -> None:
    """Nothing is raised but what the codec promises, and what is accepted means one thing."""

    @settings(max_examples=EXAMPLES, deadline=None, derandomize=True, database=None)
    @given(mutated(SEEDS.get(name, [])))
    def check(data: bytes) -> None:
        TARGETS[name](data)

    for seed in SEEDS.get(name, []):
        TARGETS[name](seed)
    check()


WORDS = st.sampled_from(
    ["--set", "-set", "-s", "get", "--limit", "--json", "--", "-a", "k:v", "*", "", "--iter=x", "9" * 30]
)


@settings(max_examples=EXAMPLES, deadline=None, derandomize=True)
@given(st.lists(WORDS | st.text(max_size=8), max_size=6))
@example(["\udcff"])
def test_dkvctl_with_any_arguments_has_a_plan_or_says_why_not(argv: list[str]) -> None:
    """A command line is understood or refused with its usage; nothing is carried out that was not asked for."""
    with contextlib.suppress(UsageError):
        found = plan(argv)
        assert all(isinstance(argument, str) for _, arguments in found.steps for argument in arguments)


def test_client_reply_with_a_fixed_field_or_a_long_number_is_read_as_protobuf_reads_it() -> None:
    """Found by fuzzing: eight fixed bytes under the number of the value were taken for the value."""
    check: Callable[[bytes], None] = TARGETS["wire"]
    check(bytes.fromhex("118976d6daa789543fa00601"))
    check(bytes.fromhex("a00601a806ffffffffffffffffff7f"))
