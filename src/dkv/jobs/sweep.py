"""Sweeping: removing the rows of what has expired, by commands through the log.

Readers do not need it - log time hides what is due (INVARIANTS 8) - so it may run late and in slices. While
`replica.sweep_due()`, the leader reads the first rows of `replica.expired_range()`, from a view in which everything
applied shows, and proposes what `sweep_command` makes of them. Apply checks every candidate again (INVARIANTS 9),
because a record may have changed between the scan and the entry; so a candidate that is proposed twice does no harm.
"""

from collections.abc import Sequence

from dkv.model.commands import Sweep
from dkv.vbucket.replica import Replica
from dkv.vbucket.rows import decode_expiry_key


def sweep_command(replica: Replica, rows: Sequence[tuple[bytes, bytes]]) -> Sweep | None:
    """The rows that are due, as a command; None when none is, and then the replica knows where its index begins.

    `rows` are the first ones of the index; none: it is empty. How many bounds the work of a turn (INVARIANTS 18).
    """
    candidates = [decode_expiry_key(row_key) for row_key, _ in rows]
    due = tuple(candidate for candidate in candidates if candidate[0] <= replica.log_time)
    if not due:
        replica.note_earliest(candidates[0][0] if candidates else None)
        return None
    return Sweep(due)
