"""Sending what a restore has staged to the other voters: the leader's side. See docs/design/0024.

A receiver that has lost what it had, by a restart, gets everything again. Whose link is down for a while is not waited
for: it will fetch a snapshot. Who refuses says why, and that ends the restore.
"""

from collections.abc import Mapping
from typing import NamedTuple

from dkv.cluster.spreading import Standing, Verdict, judge
from dkv.jobs.send_snapshot import Sending
from dkv.model.errors import BackupFailed
from dkv.node.allowance import Allowance
from dkv.node.hosted import Hosted
from dkv.node.peering import Peering
from dkv.ports.clock import Now
from dkv.ports.store import Store
from dkv.vbucket.staging import Staged
from dkv.wire.peer import Kind, pack
from dkv.wire.snapshot import Done, Received, pack_done

AWAY_MS = 2_000
"""A link that is down for so long is not waited for."""
NO_QUORUM_MS = 10_000
"""Without a quorum a restore waits for so long, and ends."""
ATTEMPTS_MAX = 5
KINDS = {Kind.SNAPSHOT_OFFER: Kind.STAGE_OFFER, Kind.SNAPSHOT_CHUNK: Kind.STAGE_CHUNK}


class Place(NamedTuple):
    """Whom it is for."""

    vbucket: int
    replica: int


class Transfer:
    """To one replica."""

    def __init__(self, node: int, staged: Staged, sending: Sending, now: Now) -> None:
        self.node: int = node
        self.staged: Staged = staged
        self.sending: Sending | None = sending
        """None: over."""
        self.has_it: bool = False
        self.bytes_sent_before: int = 0
        self.attempts: int = 1
        self.linked_ms: int = now.monotonic_ms

    @property
    def bytes_sent(self) -> int:
        return self.bytes_sent_before + (self.sending.bytes_sent if self.sending is not None else 0)

    def end(self) -> None:
        if self.sending is not None:
            self.bytes_sent_before += self.sending.bytes_sent
            self.sending.close()
            self.sending = None


class Spreading:
    """Of one restore. Owned by the job."""

    def __init__(
        self, staged: Mapping[int, Staged], vbuckets: Mapping[int, Hosted], store: Store, peering: Peering, now: Now
    ) -> None:
        self._vbuckets, self._store, self._peering = {each: vbuckets[each] for each in staged}, store, peering
        self._transfers: dict[Place, Transfer] = {}
        self._allowance = Allowance()
        self._refusal = ""
        self._quorum_ms = now.monotonic_ms
        for vbucket, hosted in self._vbuckets.items():
            for replica in hosted.replica.members[0]:
                if replica != hosted.replica.replica:
                    place = Place(vbucket, replica)
                    sending = self._sending(place, staged[vbucket], now)
                    self._transfers[place] = Transfer(hosted.node_of(replica), staged[vbucket], sending, now)

    def _sending(self, place: Place, staged: Staged, now: Now) -> Sending:
        return Sending(staged.restore_id, place.vbucket, place.replica, self._store, now, staged)

    @property
    def bytes_sent(self) -> int:
        return sum(each.bytes_sent for each in self._transfers.values())

    @property
    def count(self) -> int:
        """To how many replicas."""
        return len(self._transfers)

    @property
    def has_room(self) -> bool:
        """There is something to send, as far as the receivers are concerned."""
        return any(each.sending is not None and each.sending.has_room for each in self._transfers.values())

    def received(self, node: int, vbucket: int, received: Received, now: Now) -> None:
        for transfer in self._from(node, vbucket, received.snapshot_id):
            if transfer.sending is not None:
                transfer.sending.heard(received, now)

    def done(self, node: int, vbucket: int, done: Done) -> None:
        for transfer in self._from(node, vbucket, done.snapshot_id):
            transfer.end()
            transfer.has_it = bool(done.installed_index)
            if not transfer.has_it:
                address = self._address(vbucket, node)
                self._refusal = f"the replica of vBucket {vbucket} on {address} refuses: {done.reason}"

    def _from(self, node: int, vbucket: int, restore_id: bytes) -> list[Transfer]:
        found = [each for place, each in self._transfers.items() if place.vbucket == vbucket and each.node == node]
        return [each for each in found if each.staged.restore_id == restore_id]

    def _address(self, vbucket: int, node: int) -> str:
        members = self._vbuckets[vbucket].replica.directory.members()
        return next((member.address for member in members if member.node == node), f"node {node}")

    def step(self, now: Now) -> None:
        """Once a turn: sends what there is room for."""
        self._allowance.earn(now)
        for place, transfer in self._transfers.items():
            if self._peering.is_linked(transfer.node):
                transfer.linked_ms = now.monotonic_ms
            if transfer.sending is None:
                continue
            if transfer.sending.is_lost(now):
                self._again(place, transfer, now)
            else:
                self._send(place, transfer.node, transfer.sending, now)

    def _send(self, place: Place, node: int, sending: Sending, now: Now) -> None:
        def send(kind: Kind, body: bytes) -> bool:
            return self._peering.peers.send_bulk(node, pack([(KINDS[kind], place.vbucket, body)]))

        self._allowance.bytes_left -= sending.step(send, self._allowance.bytes_left, now)

    def _again(self, place: Place, transfer: Transfer, now: Now) -> None:
        """From the start, if it is worth it."""
        transfer.end()
        if transfer.attempts < ATTEMPTS_MAX:
            transfer.attempts += 1
            transfer.sending = self._sending(place, transfer.staged, now)

    def is_enough(self, now: Now) -> bool:
        """Whether the commands may be proposed. Raises BackupFailed when they never may."""
        if self._refusal:
            raise BackupFailed(f"{self._refusal}: nothing was replaced")
        verdicts = [self._verdict(vbucket, hosted, now) for vbucket, hosted in self._vbuckets.items()]
        if Verdict.NO_QUORUM not in verdicts:
            self._quorum_ms = now.monotonic_ms
        elif now.monotonic_ms - self._quorum_ms >= NO_QUORUM_MS:
            raise BackupFailed("no quorum of the voters is in touch: nothing was replaced")
        return all(verdict is Verdict.GO for verdict in verdicts)

    def _verdict(self, vbucket: int, hosted: Hosted, now: Now) -> Verdict:
        standings = {hosted.replica.replica: Standing.HAS}
        for place, transfer in self._transfers.items():
            if place.vbucket == vbucket:
                standings[place.replica] = _standing(transfer, now)
        return judge(hosted.replica.members[0], standings)

    def close(self) -> None:
        """Nothing more is sent. Idempotent."""
        for transfer in self._transfers.values():
            transfer.end()

    def drop(self) -> None:
        """The commands were never proposed, nor will be: who has something of it may forget it. May be lost."""
        self.close()
        for place, transfer in self._transfers.items():
            never = pack_done(Done(transfer.staged.restore_id, 0, ""))
            self._peering.tell(transfer.node, Kind.STAGE_DROP, place.vbucket, never)


def _standing(transfer: Transfer, now: Now) -> Standing:
    if transfer.has_it:
        return Standing.HAS
    is_gone = transfer.sending is None or now.monotonic_ms - transfer.linked_ms >= AWAY_MS
    return Standing.AWAY if is_gone else Standing.COMING
