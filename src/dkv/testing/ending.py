"""The end of a run: everything heals, every operation ends, and what was seen is checked against what is there."""

from dkv.testing import checks
from dkv.testing.clients import ALL_KEYS, GROUP_OF
from dkv.testing.history import Call, Entry, Kind, Status
from dkv.testing.levels import levels_kept
from dkv.testing.machine import Life
from dkv.testing.protocol import Method
from dkv.testing.schedule import JUMP_MS_MAX
from dkv.testing.world import Broken, World
from dkv.vbucket.rows import decode_expiry_key, unnamed_ranges

REST_ROUNDS_MAX = 3_000
"""Rounds in which a healed node has to answer everything that is open."""
REST_MS = 60_000
"""Longer than any time to live: at the end all of them are over."""
FOLLOW_ROUNDS_MAX = 500
UPKEEP_ROUNDS = 100
"""A second, in which clock ticks and sweeps have to come unasked."""
PROBES = 3
PROBE_KEY, RELATIVE_KEY = b"probe", b"relative"


class Ending:
    """Used once, when the schedule of `world` is over."""

    def __init__(self, world: World, *, had_jumps: bool) -> None:
        self._world, self._had_jumps = world, had_jumps

    def run(self) -> None:
        """Raises Broken when a promise was broken."""
        self._world.machine.heal()
        self._world.stop_following()
        self._rest()
        self._world.end_life("the last one", self._world.machine.power_loss)
        self._world.pass_time(REST_MS)
        for _ in range(UPKEEP_ROUNDS):
            self._world.round()
        self._rest()
        self._swept()
        self._nothing_left()
        expired_at = self._expired_at()
        final = {key: self._one(Method.GET, Entry(key)).seen[0] for key in ALL_KEYS}
        final[PROBE_KEY] = self._probe()
        final[RELATIVE_KEY] = self._relative_lifetime()
        self._follow()
        self._check(final, expired_at)

    def _check(self, final: dict[bytes, bytes | None], expired_at: int) -> None:
        history = self._world.history
        latest = self._world.alive().node.sole.replica.change_number
        complaints = [
            *checks.only_written_values(history),
            *checks.acknowledged_present(history, final),
            *checks.change_numbers_whole(history, latest),
            *checks.batches_whole(history, GROUP_OF),
            *checks.expired_gone(history, final, expired_at),
            *levels_kept(history),
            *checks.linearizable(history),
            *(complaint for each in self._world.followers for complaint in checks.followed(history, each)),
        ]
        if complaints:
            raise Broken("\n".join(complaints[:5]))

    def _rest(self) -> None:
        """No new operations: those under way are retried until they end."""
        for _ in range(REST_ROUNDS_MAX):
            for client in self._world.everyone:
                if client.call is not None and client.call_id is None:
                    self._world.act(client)
            self._world.round()
            if self._is_at_rest(self._world.alive()):
                return
        raise Broken(f"no rest: {[str(client.call) for client in self._world.everyone if client.call is not None]}")

    def _is_at_rest(self, life: Life) -> bool:
        is_idle = all(each.call is None for each in self._world.callers)
        return is_idle and life.node.sole.is_readable and life.edge.waiting() + life.edge.open_calls() == 0

    def _one(self, method: Method, entry: Entry) -> Call:
        """One operation alone, which has to succeed."""
        call = self._world.prober.begin(method, Kind.GET if method is Method.GET else Kind.PUT, (entry,))
        self._rest()
        if call.status is not Status.OK:
            raise Broken(f"refused by a node at rest: {call}")
        return call

    def _expired_at(self) -> int:
        """What is due by then has to be gone. Where the clock never jumped, log time has followed it."""
        if self._had_jumps:
            return self._world.alive().node.sole.replica.log_time
        return self._world.machine.clock.now().wall_ms - REST_MS // 2

    def _swept(self) -> None:
        """Nothing that expired by log time is left in the expiry index of a node at rest (INVARIANTS 9)."""
        replica = self._world.alive().node.sole.replica
        scan = self._world.machine.store.scan(*replica.expired_range())
        left = [decode_expiry_key(row_key) for row_key, _ in scan.take(1_000, 1 << 20)]
        scan.close()
        if overdue := [each for each in left if each[0] <= replica.log_time]:
            raise Broken(f"not swept at log time {replica.log_time}: {overdue[:5]}")

    def _nothing_left(self) -> None:
        """No block of spaces but the one that is served has rows: restores that were cut short are cleared away."""
        for start, end in unnamed_ranges([self._world.alive().node.sole.replica.space]):
            scan = self._world.machine.store.scan(start, end)
            if rows := scan.take(1, 1):
                raise Broken(f"a row of no block that is served: {rows[0][0].hex()}")

    def _probe(self) -> bytes:
        """Writes on a quiet node take the next numbers, one each. Returns the last value written."""
        before = self._world.alive().node.sole.replica.change_number
        value = b""
        for i in range(1, PROBES + 1):
            value = b"p%d" % i
            call = self._one(Method.PUT, Entry(PROBE_KEY, value))
            if call.change_number != before + i:
                raise Broken(f"change number {before + i} was expected: {call}")
        return value

    def _follow(self) -> None:
        """Who follows gets to the latest change, wherever it was."""
        latest = self._world.alive().node.sole.replica.change_number
        for _ in range(FOLLOW_ROUNDS_MAX):
            late = [each for each in self._world.followers if each.next_number <= latest]
            if not late:
                return
            for follower in late:
                self._world.follow(follower, leaves=0.0)
            self._world.round()
        raise Broken(f"the latest change is {latest}, followers are at {[each.next_number for each in late]}")

    def _relative_lifetime(self) -> bytes | None:
        """A time to live counts from the time that decides expiry, wherever somebody set the wall clock to."""
        self._world.jump(-JUMP_MS_MAX)
        self._one(Method.PUT, Entry(RELATIVE_KEY, b"r", ttl_ms=REST_MS))
        (seen,) = self._one(Method.GET, Entry(RELATIVE_KEY)).seen
        if seen is None:
            raise Broken(f"a time to live of {REST_MS} ms was over at once, behind a wall clock that was set back")
        return seen
