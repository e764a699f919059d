"""A budget of hostile bytes for every target that `make fuzz` searches for longer, and for dkvctl's command line."""

import contextlib
from collections.abc import Callable

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dkv.cli.ctl.argv import plan
from dkv.cli.ctl.invocation import UsageError
from dkv.testing.seeds import SEEDS
from dkv.testing.targets import TARGETS

EXAMPLES = 300


def mutated(seeds: list[bytes]) -> st.SearchStrategy[bytes]:
    """One of the seeds with a few bytes replaced, or bytes of no origin."""

    def mutate(seed: bytes, at: int, cut: int, put: bytes) -> bytes:
        at %= len(seed) + 1
        return seed[:at] + put + seed[at + cut :]

    near = st.builds(mutate, st.sampled_from(seeds), st.integers(0, 500), st.integers(0, 4), st.binary(max_size=4))
    return st.binary(max_size=80) | near


@pytest.mark.parametrize("name", TARGETS)
def test_target_of_any_bytes_keeps_its_promise(name: str) -> None:
    """Nothing is raised but what the codec promises, and what is accepted means one thing."""

    @settings(max_examples=EXAMPLES, deadline=None, derandomize=True, database=None)
    @given(mutated(SEEDS[name]))
    def check(data: bytes) -> None:
        TARGETS[name](data)

    for seed in SEEDS[name]:
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
