"""The end of a cluster's run: everything heals, every operation ends, and all nodes agree with what was seen."""

from collections.abc import Mapping, Sequence
from typing import Any

from dkv.cluster.formation import Way
from dkv.testing import checks
from dkv.testing.clients import ALL_KEYS, GROUP_OF
from dkv.testing.cluster.clock_checks import stands_still
from dkv.testing.cluster.member import Member
from dkv.testing.cluster.operator import Kind as Wanted
from dkv.testing.cluster.replicas import differences
from dkv.testing.cluster.world import ClusterWorld
from dkv.testing.cluster_restores import left_over
from dkv.testing.ending import FOLLOW_ROUNDS_MAX, PROBE_KEY, PROBES, REST_MS, UPKEEP_ROUNDS
from dkv.testing.history import Call, Entry, Kind, Status
from dkv.testing.levels import levels_kept
from dkv.testing.machine import Life
from dkv.testing.network import CALM, NO_CUTS
from dkv.testing.parts import per_vbucket
from dkv.testing.protocol import Method
from dkv.testing.world import Broken
from dkv.vbucket.routing import FIRST_VBUCKET, vbucket_of

MEMBERS_ROUNDS_MAX = 12_000
"""What was asked for before may go on for a minute."""
COMMITTED_MS_MAX = 100
TOLD_MS_MAX = 30
"""What a leader waits for the next append, the way, and a few turns; a third of the time between two heartbeats."""
REST_ROUNDS_MAX = 3_000
"""Of 10 ms each: some twenty elections."""


class ClusterEnding:
    """Used once, when the schedule of `world` is over."""

    def __init__(self, world: ClusterWorld) -> None:
        self._world = world

    def run(self) -> None:
        """Raises Broken when a promise was broken."""
        world = self._world
        world.callers.stop_following()
        self._heal()
        self._settle_members()
        self._rest()
        for member in world.in_use:
            world.end_life(member, "the last one", member.power_loss)
        self._heal()
        world.pass_time(REST_MS)
        for _ in range(UPKEEP_ROUNDS):
            world.round()
        self._rest()
        self._expire_on()
        replicas = self._lives()[0].node.vbuckets.values()
        expired_at = {each.vbucket: each.replica.log_time for each in replicas}  # another leader may move it meanwhile
        final = self._read_everywhere()
        final[PROBE_KEY] = self._probe()
        self._tell()
        self._follow()
        self._rest()
        self._check(final, expired_at)

    def _check(self, final: Mapping[bytes, bytes | None], expired_at: Mapping[int, int]) -> None:
        world, vbuckets = self._world, self._world.vbuckets
        complaints: list[str] = []
        for vbucket, history in per_vbucket(world.history, len(vbuckets)).items():
            replica = self._lives()[0].node.vbuckets[vbucket].replica
            found = [
                *differences(world.in_use, vbucket),
                *checks.only_written_values(history),
                *checks.acknowledged_present(history, final),
                *checks.change_numbers_whole(history, replica.change_number),
                *checks.batches_whole(history, GROUP_OF),
                *checks.expired_gone(history, final, expired_at[vbucket]),
                *levels_kept(history),
                *checks.linearizable(history),
            ]
            if world.callers.of_all is not None:
                found += checks.followed(history, world.callers.of_all.parts[vbucket])
            if vbucket == FIRST_VBUCKET:
                found += left_over(world.in_use, vbuckets)
                found += [complaint for each in world.callers.followers for complaint in checks.followed(history, each)]
            complaints += [f"vBucket {vbucket}: {complaint}" for complaint in found]
        if complaints:
            raise Broken("\n".join(complaints[:5]))

    def _lives(self) -> list[Life]:
        """Of a healed cluster: every machine runs."""
        return [member.life for member in self._world.in_use if member.life is not None]

    def _heal(self) -> None:
        """Nothing is wrong any more, and every machine runs whose disk is what was written."""
        world = self._world
        for member in world.members:
            if member.is_damaged:
                world.give_up(member, "its disk is damaged")
        world.network.cut(NO_CUTS)
        world.network.weather = CALM
        for member in world.members:
            world.pause(member, False)
            member.heal()
            member.has_slow_disk = False
            world.start(member)

    def _settle_members(self) -> None:
        """What the operator has begun comes to an end: every vBucket has the same members, and all of them are well."""
        world, operator = self._world, self._world.operator
        for _ in range(MEMBERS_ROUNDS_MAX):
            world.round(50)
            for member in world.members:
                world.start(member)
            self._retire()
            if self._are_members_settled():
                operator.forget()
                return
            if operator.call_id is None:
                self._tidy_members()
        conf = {vbucket: world.known.known.get(vbucket) for vbucket in world.vbuckets}
        raise Broken(f"the members do not settle: {conf}, wanted: {operator.aim}")

    def _retire(self) -> None:
        """Who has no part in the cluster any more may not know it; it is stopped, as an operator would."""
        world, here = self._world, self._world.known.anywhere()
        for member in world.members:
            if member.life is not None and here and member.node_id not in here:
                world.give_up(member, "it has no part in the cluster")

    def _are_members_settled(self) -> bool:
        world = self._world
        is_well = all(map(world.operator.is_healthy, world.known.anywhere()))
        is_idle = all(member.newcomer is None for member in world.members) and not world.operator.has_open_calls
        return is_idle and is_well and world.known.is_even() and not world.known.has_pending(world.in_use)

    def _tidy_members(self) -> None:
        """Who waits for an operator waits no more; who is in a part of the vBuckets only, or will not come back, is
        removed; who asks a node that is none any more asks another."""
        world, operator, known = self._world, self._world.operator, self._world.known
        if not known.is_formed:
            return
        here = known.anywhere()
        for member in world.members:
            if (newcomer := member.newcomer) is None:
                continue
            if member.node_id not in here and newcomer.wish.way is not Way.JOIN:
                world.give_up(member, "nobody adds it")
                return
            asked = [world.members[number - 1] for number in newcomer.wish.others]
            if not any(each.node_id in here for each in asked):
                world.end_life(member, "whom it asks is no member any more", member.crash_process)
                member.wish = operator.wish(member, len(world.vbuckets))
                return
        asked = [each for each in world.members if each.life is not None and each.node_id in here]
        for node in sorted(here):
            is_whole = all(node in known.nodes_of(vbucket) for vbucket in world.vbuckets)
            machine = operator.held_by(node)
            if (is_whole and operator.is_healthy(node)) or machine is None:
                continue
            is_coming = machine.newcomer is not None and machine.node_id == node
            operator.want(Wanted.ADD if is_coming else Wanted.REMOVE, machine, node)
            world.trace.add(f"operator: {operator.ask(world.rng.choice(asked))}")
            return

    def _rest(self, at: Sequence[Member] = ()) -> None:
        """No new operations: those under way are repeated, at one of these nodes, until they end, and every replica has
        applied everything."""
        world = self._world
        for _ in range(REST_ROUNDS_MAX):
            for client in world.callers.everyone:
                if client.call is not None and client.call_id is None:
                    world.callers.act(client, at)
            world.round()
            for member in world.members:
                world.start(member)  # a disk that had failed before it was healed ends its process now
            if self._is_at_rest():
                return
        open_calls = [str(client.call) for client in world.callers.everyone if client.call is not None]
        states = [life.raft.status(vbucket) for life in self._lives() for vbucket in world.vbuckets]
        raise Broken(f"no rest: {open_calls}, {states}")

    def _is_at_rest(self) -> bool:
        lives = self._lives()
        if len(lives) < len(self._world.in_use) or any(each.call is not None for each in self._world.callers.everyone):
            return False
        if self._world.callers.restorer.call is not None:
            return False
        if any(life.edge.waiting() + life.edge.open_calls() for life in lives):
            return False
        return all(self._is_even(vbucket, lives) for vbucket in self._world.vbuckets)

    def _is_even(self, vbucket: int, lives: list[Life]) -> bool:
        """All are at the same place, and know who leads."""
        states: list[Mapping[str, Any]] = [life.raft.status(vbucket) for life in lives]
        ends = {(each["term"], each["leader"], each["commit"], each["last_index"]) for each in states}
        applied = [life.node.vbuckets[vbucket].replica.applied_index for life in lives]
        ends |= {(states[0]["term"], states[0]["leader"], index, index) for index in applied}
        return len(ends) == 1 and states[0]["leader"] != 0

    def _expire_on(self) -> None:
        """A leader that doubts its clock has heard from the others, and goes on."""
        world = self._world
        for _ in range(REST_ROUNDS_MAX):
            if not any(
                stands_still(each, world.members) for life in self._lives() for each in life.node.vbuckets.values()
            ):
                return
            world.round()
        raise Broken("a majority of clocks agrees, and a leader lets nothing expire")

    def _one(self, method: Method, entries: tuple[Entry, ...], member: Member) -> Call:
        """One operation alone, at one node, which has to succeed."""
        kind = Kind.GET if method is Method.MULTI_GET else Kind.PUT
        call = self._world.callers.prober.begin(method, kind, entries)
        self._rest([member])
        if call.status is not Status.OK:
            raise Broken(f"refused by node {member.number}, at rest: {call}")
        return call

    def _read_everywhere(self) -> dict[bytes, bytes | None]:
        """Every key, as every node tells it; that they agree is for the checkers to say."""
        final: dict[bytes, bytes | None] = {}
        for member in self._world.in_use:
            seen = self._one(Method.MULTI_GET, tuple(map(Entry, ALL_KEYS)), member).seen
            final = dict(zip(ALL_KEYS, seen, strict=True))
        return final

    def _probe(self) -> bytes:
        """Writes on a quiet cluster, through any node, take the next numbers, one each. Returns the last value."""
        vbucket = vbucket_of(PROBE_KEY, len(self._world.vbuckets))
        before = self._lives()[0].node.vbuckets[vbucket].replica.change_number
        value = b""
        for i in range(1, PROBES + 1):
            value = b"p%d" % i
            member = self._world.in_use[i % len(self._world.in_use)]
            call = self._one(Method.PUT, (Entry(PROBE_KEY, value),), member)
            if call.change_number != before + i:
                raise Broken(f"change number {before + i} was expected: {call}")
        return value

    def _tell(self) -> None:
        """One more write: followers know that it is committed soon after its leader does, not by the next heartbeat."""
        world, vbucket = self._world, vbucket_of(PROBE_KEY, len(self._world.vbuckets))
        leaders = [member for member in world.in_use if member.life and member.life.node.vbuckets[vbucket].is_leader]
        if len(leaders) != 1 or (life := leaders[0].life) is None:
            return
        before: Mapping[str, Any] = life.raft.status(vbucket)
        world.callers.prober.begin(Method.PUT, Kind.PUT, (Entry(PROBE_KEY, b"p%d" % PROBES),))
        world.callers.act(world.callers.prober, leaders)
        for _ in range(COMMITTED_MS_MAX):
            world.round(1)
            if life.raft.status(vbucket)["commit"] > before["commit"]:
                break
        for _ in range(TOLD_MS_MAX):
            world.round(1)
        states: list[Mapping[str, Any]] = [each.raft.status(vbucket) for each in self._lives()]
        is_led = all(each["term"] == before["term"] for each in states)
        late = [each for each in states if each["commit"] <= before["commit"]]
        if is_led and late:
            raise Broken(f"{TOLD_MS_MAX} ms after the leader of vBucket {vbucket}, these know of no commit: {late}")
        self._rest()

    def _follow(self) -> None:
        """Who follows gets to the latest change, wherever it was."""
        latest = {vbucket: each.replica.change_number for vbucket, each in self._lives()[0].node.vbuckets.items()}
        followers = self._world.callers.all_followers
        for _ in range(FOLLOW_ROUNDS_MAX):
            late = [each for each in followers if not each.has_all(latest)]
            if not late:
                self._world.callers.stop_following()
                return
            for follower in late:
                self._world.callers.follow(follower, leaves=0.0)
            self._world.round()
        raise Broken(f"the latest changes are {latest}, followers are at {[each.place for each in followers]}")
