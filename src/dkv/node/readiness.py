"""Whether the node serves, for all of its vBuckets together: what health checks, /readyz and load balancers are told.

After a start it does once it has served every vBucket, however many there are: nobody should be sent to it, or go on to
restart the next node, before. From then on it does as long as it serves any. A vBucket without a leader, for the second
that an election takes or longer, is so on every node: if it took them all out of service, it would take all other
vBuckets with it. Its own calls are refused, and the log names it.
"""

from collections.abc import Mapping

from dkv.node.hosted import Hosted


class Readiness:
    """Owned by the node. A look costs what one vBucket costs, unless many are ill."""

    def __init__(self, vbuckets: Mapping[int, Hosted]) -> None:
        self._vbuckets = vbuckets
        self._never_served = set(vbuckets)

    @property
    def is_serving(self) -> bool:
        """Calls can be answered."""
        if self._never_served:
            self._never_served = {each for each in self._never_served if not self._vbuckets[each].is_serving}
        return not self._never_served and any(hosted.is_serving for hosted in self._vbuckets.values())
