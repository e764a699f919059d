"""The turns of those vBuckets that take part in one round: each has its own columns, their answers leave together."""

from collections.abc import Mapping

from dkv.node.hosted import Hosted
from dkv.ports.clock import Now
from dkv.services.turn import Turn


class Turns(dict[int, Turn]):
    """By vBucket, made as they are asked for. Owned by one round."""

    def __init__(self, vbuckets: Mapping[int, Hosted], now: Now) -> None:
        super().__init__()
        self._vbuckets, self._now = vbuckets, now

    def __missing__(self, vbucket: int) -> Turn:
        replica = self._vbuckets[vbucket].replica
        # Times to live count from the time that decides expiry, also behind a wall clock that was set back.
        log_time = replica.clock.peek(self._now)
        turn = self[vbucket] = Turn(log_time, history_id=replica.history_id, vbucket=vbucket)
        return turn

    def answers(self, into: Turn) -> Turn:
        """What all of them have answered so far, gathered in one of them."""
        if len(self) > 1:
            for turn in self.values():
                if (turn.replies or turn.items or turn.finished or turn.http) and turn is not into:
                    into.reply_ids += turn.reply_ids
                    into.replies += turn.replies
                    into.items += turn.items
                    into.finished += turn.finished
                    into.http += turn.http
                    turn.clear_answers()
        return into
