"""What an operator must hear of, once when it begins and once when it is over."""

import logging
from collections.abc import Mapping

from dkv.node.node import Node

TEXTS: Mapping[str, tuple[str, str]] = {
    "disk": ("the disk is nearly full: writes are refused", "the disk has room again: writes are taken"),
    "engine": ("the engine takes no writes: they are refused", "the engine takes writes again"),
    "clock": ("the clock is ahead of what is believed: no key expires", "the clock is believed again"),
    "removed": ("this node was removed from the cluster: it serves no more", "this node is a member again"),
    "refused": (
        "no other node lets this one in: if it was removed it can come back with an empty folder only",
        "other nodes let this one in again",
    ),
    "leader": ("no leader is known: calls are refused", "calls are answered again"),
}


class Conditions:
    """Owns what was said last."""

    def __init__(self, node: Node, logger: logging.Logger) -> None:
        self._node, self._logger = node, logger
        self._told = dict.fromkeys(TEXTS, False)
        self._told["clock"] = node.sole.replica.clock.frozen  # the start has spoken of it

    def look(self) -> None:
        """Says what has changed since the last look."""
        for name, holds in self._now().items():
            if holds != self._told[name]:
                self._told[name] = holds
                self._logger.warning("%s", TEXTS[name][0 if holds else 1])

    def _now(self) -> dict[str, bool]:
        node = self._node
        return {
            "disk": node.disk.full(node.clock.now()) is not None,
            "engine": node.store.pressure().stopped,
            "clock": node.sole.replica.clock.frozen,
            "removed": node.sole.is_removed,
            "refused": node.peering is not None and node.peering.is_refused and not node.sole.is_removed,
            "leader": not node.sole.is_serving,
        }
