"""What an operator must hear of, once when it begins and once when it is over.

What is of a vBucket is looked for in all of them. It is told again when it comes to more of them, and is over when it
is over in all.
"""

import logging
from collections.abc import Collection, Mapping

from dkv.node.node import Node

TEXTS: Mapping[str, tuple[str, str]] = {
    "disk": ("the disk is nearly full: writes are refused", "the disk has room again: writes are taken"),
    "engine": ("the engine takes no writes: they are refused", "the engine takes writes again"),
    "clock": ("the clock is ahead of what is believed{where}: no key expires", "the clock is believed again"),
    "wrong": (
        "the clock of this node is ahead of most others' by more than an hour: set it",
        "the clock of this node agrees with most others' again",
    ),
    "removed": ("this node was removed from the cluster{where}: it serves no more", "this node is a member again"),
    "refused": (
        "no other node lets this one in: if it was removed it can come back with an empty folder only",
        "other nodes let this one in again",
    ),
    "leader": ("no leader is known{where}: calls are refused", "calls are answered again"),
}
NAMED_MAX = 5
"""VBuckets are named; beyond so many they are counted."""
NODE = frozenset((0,))
NOWHERE: frozenset[int] = frozenset()


class Conditions:
    """Owns what was said last."""

    def __init__(self, node: Node, logger: logging.Logger) -> None:
        self._node, self._logger = node, logger
        self._told = dict.fromkeys(TEXTS, NOWHERE)
        self._told["clock"] = self._now()["clock"]  # the start has spoken of it

    def look(self) -> None:
        """Says what has changed since the last look."""
        for name, where in self._now().items():
            told, self._told[name] = self._told[name], where
            if where - told:
                self._logger.warning("%s", TEXTS[name][0].format(where=named(where, len(self._node.vbuckets))))
            elif told and not where:
                self._logger.warning("%s", TEXTS[name][1])

    def _now(self) -> dict[str, frozenset[int]]:
        """Where each holds: vBuckets, or `NODE`."""
        node = self._node
        ill = [hosted for hosted in node.vbuckets.values() if not hosted.is_serving]
        removed = frozenset(hosted.vbucket for hosted in ill if hosted.is_removed)
        is_refused = node.peering is not None and node.peering.is_refused and not removed
        is_wrong = node.duties is not None and node.duties.clocks.is_own_wrong
        return {
            "disk": _of_node(node.disk.full(node.clock.now()) is not None),
            "engine": _of_node(node.store.pressure().stopped),
            "clock": disbelieved(node),
            "wrong": _of_node(is_wrong),
            "removed": removed,
            "refused": _of_node(is_refused),
            "leader": frozenset(hosted.vbucket for hosted in ill),
        }


def disbelieved(node: Node) -> frozenset[int]:
    """The vBuckets led here in which nothing expires (INVARIANTS 7)."""
    led = (hosted for hosted in node.vbuckets.values() if hosted.is_leader)
    return frozenset(hosted.vbucket for hosted in led if hosted.replica.clock.frozen)


def named(vbuckets: Collection[int], of: int) -> str:
    """As in ` in vBuckets 2, 5 and 7`; nothing where there is only one."""
    if of == 1:
        return ""
    if len(vbuckets) == of:
        return f" in all {of} vBuckets"
    names = [str(vbucket) for vbucket in sorted(vbuckets)]
    if len(names) == 1:
        return f" in vBucket {names[0]}"
    if len(names) > NAMED_MAX:
        return f" in vBuckets {', '.join(names[:NAMED_MAX])} and {len(names) - NAMED_MAX} others"
    return f" in vBuckets {', '.join(names[:-1])} and {names[-1]}"


def _of_node(holds: bool) -> frozenset[int]:
    return NODE if holds else NOWHERE
