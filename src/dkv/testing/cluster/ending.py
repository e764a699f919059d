"""The end of a cluster's run: everything heals, every operation ends, and all nodes agree with what was seen."""

from collections.abc import Mapping, Sequence
from typing import Any

from dkv.testing import checks
from dkv.testing.clients import ALL_KEYS, GROUP_OF
from dkv.testing.cluster.member import Member
from dkv.testing.cluster.replicas import differences
from dkv.testing.cluster.world import ClusterWorld
from dkv.testing.cluster_restores import left_over
from dkv.testing.ending import FOLLOW_ROUNDS_MAX, PROBE_KEY, PROBES, REST_MS, UPKEEP_ROUNDS
from dkv.testing.history import Call, Entry, Kind, Status
from dkv.testing.levels import levels_kept
from dkv.testing.machine import VBUCKET, Life
from dkv.testing.network import CALM, NO_CUTS
from dkv.testing.protocol import Method
from dkv.testing.world import Broken

REST_ROUNDS_MAX = 3_000
"""Of 10 ms each: some twenty elections."""


class ClusterEnding:
    """Used once, when the schedule of `world` is over."""

    def __init__(self, world: ClusterWorld) -> None:
        self._world = world

    def run(self) -> None:
        """Raises Broken when a promise was broken."""
        world = self._world
        world.stop_following()
        self._heal()
        self._rest()
        for member in world.in_use:
            world.end_life(member, "the last one", member.power_loss)
        self._heal()
        world.pass_time(REST_MS)
        for _ in range(UPKEEP_ROUNDS):
            world.round()
        self._rest()
        expired_at = self._lives()[0].replica.log_time  # another leader may move it while we read
        final = self._read_everywhere()
        final[PROBE_KEY] = self._probe()
        self._follow()
        self._rest()
        self._check(final, expired_at)

    def _check(self, final: Mapping[bytes, bytes | None], expired_at: int) -> None:
        world, history = self._world, self._world.history
        replica = self._lives()[0].replica
        complaints = [
            *differences(world.in_use),
            *left_over(world.in_use),
            *checks.only_written_values(history),
            *checks.acknowledged_present(history, final),
            *checks.change_numbers_whole(history, replica.change_number),
            *checks.batches_whole(history, GROUP_OF),
            *checks.expired_gone(history, final, expired_at),
            *levels_kept(history),
            *checks.linearizable(history),
            *(complaint for each in world.followers for complaint in checks.followed(history, each)),
        ]
        if complaints:
            raise Broken("\n".join(complaints[:5]))

    def _lives(self) -> list[Life]:
        """Of a healed cluster: every machine runs."""
        return [member.life for member in self._world.in_use if member.life is not None]

    def _heal(self) -> None:
        """Nothing is wrong any more, and every machine runs whose disk is what was written."""
        world = self._world
        for member in world.in_use:
            if member.store.damaged:
                world.give_up(member, "its disk is damaged")
        world.network.cut(NO_CUTS)
        world.network.weather = CALM
        for member in world.in_use:
            world.pause(member, False)
            member.heal()
            member.has_slow_disk = False
            world.start(member)

    def _rest(self, at: Sequence[Member] = ()) -> None:
        """No new operations: those under way are repeated, at one of these nodes, until they end, and every replica has
        applied everything."""
        world = self._world
        for _ in range(REST_ROUNDS_MAX):
            for client in world.everyone:
                if client.call is not None and client.call_id is None:
                    world.act(client, at)
            world.round()
            for member in world.in_use:
                world.start(member)  # a disk that had failed before it was healed ends its process now
            if self._is_at_rest():
                return
        open_calls = [str(client.call) for client in world.everyone if client.call is not None]
        raise Broken(f"no rest: {open_calls}, {[life.raft.status(VBUCKET) for life in self._lives()]}")

    def _is_at_rest(self) -> bool:
        lives = self._lives()
        if len(lives) < len(self._world.in_use) or any(each.call is not None for each in self._world.everyone):
            return False
        if self._world.operator.call is not None:
            return False
        if any(life.edge.waiting() + life.edge.open_calls() for life in lives):
            return False
        states: list[Mapping[str, Any]] = [life.raft.status(VBUCKET) for life in lives]
        ends = {(each["term"], each["leader"], each["commit"], each["last_index"]) for each in states}
        ends |= {(states[0]["term"], states[0]["leader"], *[life.replica.applied_index] * 2) for life in lives}
        return len(ends) == 1 and states[0]["leader"] != 0

    def _one(self, method: Method, entry: Entry, member: Member) -> Call:
        """One operation alone, at one node, which has to succeed."""
        call = self._world.prober.begin(method, Kind.GET if method is Method.GET else Kind.PUT, (entry,))
        self._rest([member])
        if call.status is not Status.OK:
            raise Broken(f"refused by node {member.number}, at rest: {call}")
        return call

    def _read_everywhere(self) -> dict[bytes, bytes | None]:
        """Every key, as every node tells it; that they agree is for the checkers to say."""
        final: dict[bytes, bytes | None] = {}
        for member in self._world.in_use:
            for key in ALL_KEYS:
                final[key] = self._one(Method.GET, Entry(key), member).seen[0]
        return final

    def _probe(self) -> bytes:
        """Writes on a quiet cluster, through any node, take the next numbers, one each. Returns the last value."""
        before = self._lives()[0].replica.change_number
        value = b""
        for i in range(1, PROBES + 1):
            value = b"p%d" % i
            member = self._world.in_use[i % len(self._world.in_use)]
            call = self._one(Method.PUT, Entry(PROBE_KEY, value), member)
            if call.change_number != before + i:
                raise Broken(f"change number {before + i} was expected: {call}")
        return value

    def _follow(self) -> None:
        """Who follows gets to the latest change, wherever it was."""
        latest = self._lives()[0].replica.change_number
        for _ in range(FOLLOW_ROUNDS_MAX):
            late = [each for each in self._world.followers if each.next_number <= latest]
            if not late:
                self._world.stop_following()
                return
            for follower in late:
                self._world.follow(follower, leaves=0.0)
            self._world.round()
        raise Broken(f"the latest change is {latest}, followers are at {[each.next_number for each in late]}")
