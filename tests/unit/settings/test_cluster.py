"""What can be asked for about clusters."""

from typing import Any

import pytest

from dkv.settings import ClusterWish, SettingsError

NEXUS = "--nexus-cluster-url=http://b:2,http://a:1, http://b:2"


def wish(**fields: Any) -> ClusterWish:
    known = {"name": "", "peers": (), "own": "", "join": "", "must_wait": False, "vbuckets": 1, "is_nexus": False}
    return ClusterWish(**(known | fields))


WISHES = [
    ([], None),
    (["--cluster", " prod "], wish(name="prod")),
    (
        ["--cluster", "prod", "--peers", "b:2,a:1,b:2", "--vbuckets=8"],
        wish(name="prod", peers=("a:1", "b:2"), vbuckets=8),
    ),
    (["--join", "a:1"], wish(join="a:1")),
    (["--join", "a:1", "--cluster", "prod"], wish(join="a:1", name="prod")),
    ([NEXUS], wish(name="dkv", peers=("a:1", "b:2"), is_nexus=True)),
    ([NEXUS, "-nexusNodeUrl=http://a:1"], wish(name="dkv", peers=("a:1", "b:2"), own="a:1", is_nexus=True)),
    (
        [NEXUS, "-nexusNodeUrl=http://c:3", "--nexus-cluster-name=prod"],
        wish(name="prod", peers=("a:1", "b:2"), own="c:3", must_wait=True, is_nexus=True),
    ),
    ([NEXUS, "-nexusJoin"], wish(name="dkv", peers=("a:1", "b:2"), must_wait=True, is_nexus=True)),
    ([NEXUS, "--join=a:1"], wish(name="dkv", peers=("a:1", "b:2"), join="a:1", is_nexus=True)),
    (["--nexus-cluster-url="], None),
]


@pytest.mark.parametrize(("words", "wanted"), WISHES)
def test_wish_is_what_was_asked_for(load_from: Any, words: list[str], wanted: ClusterWish | None) -> None:
    """Lists are sorted and without repetition, so that every node has the same one."""
    assert load_from(*words).settings.cluster == wanted


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ([NEXUS, "--peers", "a:1"], "nexus-cluster-url and cluster, peers exclude each other"),
        ([NEXUS, "--cluster", "prod"], "nexus-cluster-url and cluster, peers exclude each other"),
        (["--peers", "a:1", "--cluster", "prod", "--join", "b:1"], "peers and join exclude each other"),
        (["--peers", "a:1"], "peers: the cluster needs a name, --cluster NAME"),
        (["--vbuckets", "8"], "vbuckets: they are fixed when a cluster is formed, --cluster NAME"),
        (["--vbuckets", "8", "--join", "a:1"], "vbuckets: they are fixed when a cluster is formed, --cluster NAME"),
        (["--cluster", "prod", "--vbuckets", "100001"], "vbuckets 100001: at most 100000"),
        (["--cluster", "prod", "--listen-addr", "unix:/s"], "a node of a cluster needs --advertise-addr"),
    ],
)
def test_options_that_contradict_each_other_are_refused(load_from: Any, words: list[str], text: str) -> None:
    """A usage error, with what to do instead."""
    with pytest.raises(SettingsError) as refusal:
        load_from(*words)
    assert str(refusal.value).startswith(text)
    assert refusal.value.usage


def test_wait_for_a_quorum_can_be_set(load_from: Any) -> None:
    """In seconds, as the original's."""
    assert load_from(NEXUS, "-nexusReplTimeout", "7").settings.nexus_repl_timeout_ms == 7_000
