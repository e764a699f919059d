"""What every voter has to have on disk: what was acknowledged so, in its log or in a snapshot that it has installed.

True while the voters stay the same: whoever asks knows.
"""

from collections.abc import Iterator, Mapping, Sequence

from dkv.storage.memory import MemoryStore
from dkv.testing.cluster.member import Member
from dkv.testing.cluster.raft_checks import RaftChecks
from dkv.testing.history import Call, Kind
from dkv.testing.log_disk import LogDisk
from dkv.vbucket.entry import decode_entry
from dkv.vbucket.installing import decode_installed, installed_key
from dkv.vbucket.routing import vbucket_of


class AllChecks:
    """Of all vBuckets. `disks`: by vBucket and replica."""

    def __init__(
        self, raft: Mapping[int, RaftChecks], disks: Mapping[int, Mapping[int, LogDisk]], members: Sequence[Member]
    ) -> None:
        self._raft, self._disks, self._members = raft, disks, members

    def look(self, call: Call) -> str:
        """What is wrong with a call that was answered; empty: nothing, or it does not wait for all."""
        if not call.by_all or call.kind is not Kind.PUT or not call.change_numbers:
            return ""
        vbucket = vbucket_of(call.entries[0].key, len(self._disks))
        places = {place for disk in self._disks[vbucket].values() for place in _places_of(call, disk, vbucket)}
        lacking = [self._lacking(vbucket, place) for place in sorted(places)]
        if lacking and all(lacking):
            return f"acknowledged for all, and not on disk at {min(lacking, key=len)}: {call}"
        return ""

    def _lacking(self, vbucket: int, place: tuple[int, int]) -> list[int]:
        """The replicas that have neither the entry at (index, term) nor a snapshot behind it."""
        checks, stores = self._raft[vbucket], {id(each.log_disk): each.store for each in self._members}
        return [
            replica
            for replica, disk in self._disks[vbucket].items()
            if not checks.has(disk, *place) and _installed_index(stores[id(disk)], vbucket) < place[0]
        ]


def _places_of(call: Call, disk: LogDisk, vbucket: int) -> Iterator[tuple[int, int]]:
    """Index and term of the entries of a put, an attempt each, that this disk has and has not cut."""
    log, value = disk.synced.get(vbucket), call.entries[0].value
    for index, term, kind, data in log.entries if log is not None else ():
        if kind == 0 and value in data:
            puts = [each for command in decode_entry(data)[1] for each in getattr(command, "puts", (command,))]
            if any(getattr(put, "value", None) == value for put in puts):
                yield index, term


def _installed_index(store: MemoryStore, vbucket: int) -> int:
    """As of which entry a snapshot was installed last, and was on disk then; 0: none was."""
    row = store.get_many([installed_key(vbucket)])[0]
    return decode_installed(row).log_index if row is not None else 0
