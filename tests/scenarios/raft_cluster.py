"""Several Raft objects of one group, a disk each and a network, moved one step at a time by a scenario.

Nothing moves unless a command says so. A disk keeps what was synced; a crash loses the rest. The network keeps messages
in order until they are delivered or dropped.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from raft_messages import KINDS, entry_text, fields, message_text

from dkv._native import Raft

GROUP = 1
FIRST = (1, 1)
"""(index, term) behind which every log begins."""
ROLES = ("follower", "candidate", "leader", "pre-candidate")
CHANGES = {"v": 0, "r": 1, "l": 2}
TRANSITIONS = {"auto": 0, "implicit": 1, "explicit": 2}
Conf = tuple[list[int], list[int], list[int], list[int], bool]
Entry = tuple[int, int, int, bytes]


@dataclass
class Disk:
    """What a replica wrote; `unsynced` is lost in a crash."""

    conf: Conf
    hard: tuple[int, int, int] = (1, 0, 1)
    prev: tuple[int, int] = FIRST
    """(index, term) of the entry before the first one."""
    entries: list[Entry] = field(default_factory=list)
    applied: int = 1
    unsynced: list[tuple[int, tuple[int, int, int] | None, list[Entry]]] = field(default_factory=list)
    staged: tuple[int, int, Conf] | None = None
    """(index, term, members) of a snapshot whose rows are all there, beside those that are served."""
    installed_term: int | None = None
    """Of `applied`, when nothing was applied behind an installed snapshot."""

    def term(self, index: int) -> int:
        return dict([self.prev, *(entry[:2] for entry in self.entries)]).get(index, 0)

    def flip(self) -> None:
        assert self.staged is not None
        (self.applied, self.installed_term, self.conf), self.staged = self.staged, None

    def follow_snapshot(self) -> None:
        """The log begins anew behind an installed snapshot, unless it has been there."""
        self.sync()
        if self.installed_term is not None and self.term(self.applied) != self.installed_term:
            term, vote, _ = self.hard
            newer = self.installed_term > term
            self.hard = (self.installed_term, 0, self.applied) if newer else (term, vote, self.applied)
            self.prev, self.entries = (self.applied, self.installed_term), []

    def cut(self, index: int) -> None:
        self.prev = next((entry[:2] for entry in self.entries if entry[0] == index), self.prev)
        self.entries = [entry for entry in self.entries if entry[0] > index]

    def read(self, low: int, high: int) -> tuple[int, list[Entry]]:
        """(term of the entry before, entries [low, high)); nothing when some of it was cut."""
        terms = {self.prev[0]: self.prev[1]} | {entry[0]: entry[1] for entry in self.entries}
        if low - 1 not in terms:
            return 0, []
        return terms[low - 1], [entry for entry in self.entries if low <= entry[0] < high]

    def sync(self) -> list[int]:
        """The ready numbers that are durable now."""
        done, self.unsynced = self.unsynced, []
        for _, hard, entries in done:
            self.hard = hard or self.hard
            if entries:
                self.entries = [entry for entry in self.entries if entry[0] < entries[0][0]] + entries
        return [number for number, _, _ in done]


class Replica:
    def __init__(self, number: int, disk: Disk, vow_ticks: int = 0) -> None:
        self.number, self.disk, self._vow_ticks = number, disk, vow_ticks
        self.waiting: list[tuple[int, bytes]] = []
        """Messages that may leave once a ready number is durable."""
        self.wanted: list[tuple[int, int]] = []
        self.raft = self._raft()
        self.open()

    def _raft(self) -> Raft:
        return Raft(seed=self.number, vow_ticks=self._vow_ticks, asks_for_vows=self._vow_ticks > 0)

    def open(self) -> None:
        disk = self.disk
        disk.follow_snapshot()
        index, term = disk.prev
        self.raft.open_group(GROUP, self.number, disk.conf, disk.applied, disk.hard, index, term, disk.entries)

    def close(self) -> None:
        self.waiting = []
        self.raft.close_group(GROUP)

    def crash(self) -> None:
        """Lose what was not synced, and start again. What was applied is on the disk with its members."""
        self.disk.unsynced, self.waiting = [], []
        self.raft = self._raft()
        self.open()


class Cluster:
    """The commands of a scenario; each returns the lines it has to say."""

    def __init__(self) -> None:
        self.replicas: dict[int, Replica] = {}
        self.network: list[tuple[int, int, bytes]] = []
        """(from, to, message), in order of sending."""
        self.duplicates: list[tuple[int, int, bytes]] = []
        self.isolated: set[int] = set()
        self.vow_ticks = 0
        self.commands: dict[str, Callable[..., Iterable[str]]] = {
            "vows": self.vows,
            "members": self.members,
            "join": self.join,
            "lead": self.lead,
            "campaign": self.campaign,
            "tick": self.tick,
            "propose": self.propose,
            "change": self.change,
            "read": self.read,
            "lease": self.lease,
            "transfer": self.transfer,
            "ready": self.ready,
            "sync": self.sync,
            "deliver": self.deliver,
            "duplicate": self.duplicate,
            "late": self.late,
            "drop": self.drop,
            "stabilize": self.stabilize,
            "forget": self.forget,
            "cut": self.cut,
            "fetch": self.fetch,
            "copy": self.copy,
            "flip": self.flip,
            "open": self.open,
            "report": self.report,
            "watch": self.watch,
            "drowsy": self.drowsy,
            "sleep": self.sleep,
            "wake": self.wake,
            "isolate": self.isolate,
            "heal": self.heal,
            "crash": self.crash,
            "status": self.status,
        }

    def vows(self, ticks: str) -> Iterable[str]:
        """Those that come from now on ask for vows, and keep them for so long, also right after they were opened."""
        self.vow_ticks = int(ticks)
        return []

    def members(self, *numbers: str) -> Iterable[str]:
        conf: Conf = ([int(number) for number in numbers], [], [], [], False)
        for number in conf[0]:
            self.replicas[number] = Replica(number, Disk(conf), self.vow_ticks)
        return []

    def join(self, number: str, *words: str) -> Iterable[str]:
        """A replica without a log, that a change of members will add: it starts from the first members; with `empty`
        not even from them."""
        conf = next(iter(self.replicas.values())).disk.conf
        first: Conf = ([voter for voter in conf[0] if voter != int(number)], [], [], [], False)
        disk = Disk(([], [], [], [], False), (1, 0, 0), (0, 0), applied=0) if words else Disk(first)
        self.replicas[int(number)] = Replica(int(number), disk)
        return []

    def lead(self, number: str) -> Iterable[str]:
        """An election that meets nothing, of which only the end is told."""
        self._raft(number).campaign(GROUP)
        for _ in self.stabilize():
            pass
        return self.status(number)

    def campaign(self, number: str) -> Iterable[str]:
        return [] if self._raft(number).campaign(GROUP) else ["refused"]

    def tick(self, number: str, count: str = "1") -> Iterable[str]:
        self._raft(number).tick(int(count))
        return []

    def propose(self, number: str, *words: str) -> Iterable[str]:
        place = self._raft(number).propose(GROUP, " ".join(words).encode())
        return [f"{place[0]}/{place[1]}" if place else "refused"]

    def change(self, number: str, *words: str) -> Iterable[str]:
        """`v4` makes 4 a voter, `l4` a learner, `r4` removes it; a transition may follow."""
        transition = TRANSITIONS[words[-1]] if words and words[-1] in TRANSITIONS else 0
        changes = [(CHANGES[word[0]], int(word[1:])) for word in words if word not in TRANSITIONS]
        place = self._raft(number).propose_conf_change(GROUP, changes, transition)
        return [f"{place[0]}/{place[1]}" if place else "refused"]

    def read(self, number: str, context: str) -> Iterable[str]:
        return [] if self._raft(number).read_index(GROUP, context.encode()) else ["refused"]

    def lease(self, number: str) -> Iterable[str]:
        """(term, commit index) up to which it could answer by itself."""
        place = self._raft(number).lease_place(GROUP)
        return [f"{place[0]}/{place[1]}" if place else "none"]

    def transfer(self, number: str, to: str) -> Iterable[str]:
        return [] if self._raft(number).transfer_leader(GROUP, int(to)) else ["refused"]

    def ready(self, number: str) -> Iterable[str]:
        """Take what Raft has: writes go to the disk, messages to the network, committed entries are applied."""
        replica = self.replicas[int(number)]
        writes, groups = replica.raft.ready()
        for _, ready_number, hard, entries in writes.items():
            replica.disk.unsynced.append((ready_number, hard, entries))
            yield f"write {ready_number}: {_hard_text(hard)}{_entries_text(entries)}".rstrip()
        for news, ready_number, after in groups:
            _, committed, messages, reads, lost, leadership, fetches, *rest = news
            needy, all_matched, transfer = rest
            if leadership is not None:
                leader, role, term = leadership
                yield f"{ROLES[role]} in term {term}, leader {leader or 'unknown'}"
            yield from self._send(replica.number, [message for _, message in messages])
            for _, message in after:
                replica.waiting.append((ready_number, message))
                yield f"after {ready_number}: {message_text(message)}"
            yield from self._apply(replica, committed)
            yield from (f"read {context.decode()} at {index}" for context, index in reads)
            yield from (f"read {context.decode()} is lost" for context in lost)
            replica.wanted += fetches
            yield from (f"wants {low} to {high - 1} of the log" for low, high in fetches)
            yield from (f"{peer} needs a snapshot" for peer in needy)
            if all_matched is not None:
                yield f"all voters have {all_matched}"
            if transfer is not None:
                yield f"{transfer[0]} {'leads' if transfer[1] else 'was not to be had as leader'}"

    def sync(self, number: str) -> Iterable[str]:
        replica = self.replicas[int(number)]
        if not (durable := replica.disk.sync()):
            return
        replica.raft.persisted([(GROUP, each) for each in durable])
        free = [message for ready_number, message in replica.waiting if ready_number <= durable[-1]]
        replica.waiting = [each for each in replica.waiting if each[0] > durable[-1]]
        yield from self._send(replica.number, free)

    def deliver(self, number: str, sender: str = "") -> Iterable[str]:
        """What is on its way to a replica arrives, all or what one sender sent."""
        arriving = [each for each in self.network if each[1] == int(number) and sender in ("", str(each[0]))]
        self.network = [each for each in self.network if each not in arriving]
        mine = [message for _, _, message in arriving]
        for message, reason in zip(mine, self._step(int(number), mine), strict=True):
            yield f"{message_text(message)}{f': ignored, {reason}' if reason else ''}"

    def duplicate(self, number: str, sender: str) -> Iterable[str]:
        """The network keeps a copy of what is under way between two; `late` lets the copies arrive."""
        self.duplicates = [each for each in self.network if each[:2] == (int(sender), int(number))]
        return []

    def late(self) -> Iterable[str]:
        self.network += self.duplicates
        return []

    def drop(self, number: str, kind: str = "") -> Iterable[str]:
        """Lose what is on its way to a replica, all or of one kind."""
        kept = []
        for each in self.network:
            if each[1] == int(number) and kind in ("", KINDS[fields(each[2]).number(1)]):
                yield message_text(each[2])
            else:
                kept.append(each)
        self.network = kept

    def stabilize(self, *numbers: str) -> Iterable[str]:
        """Ready, sync and deliver, by number, until nothing moves."""
        chosen = [int(number) for number in numbers] or sorted(self.replicas)
        moved = True
        while moved:
            moved = False
            for number in chosen:
                for name, command in (("ready", self.ready), ("sync", self.sync), ("deliver", self.deliver)):
                    lines = list(command(str(number)))
                    moved = moved or bool(lines)
                    yield from (f"{name} {number}: {line}" for line in lines)

    def forget(self, number: str, index: str) -> Iterable[str]:
        """Keep entries up to `index` on disk only."""
        self._raft(number).compact(GROUP, int(index))
        return []

    def cut(self, number: str, index: str) -> Iterable[str]:
        """Keep no entries up to `index`, not on disk either."""
        replica = self.replicas[int(number)]
        replica.raft.cut(GROUP, int(index))
        replica.disk.cut(int(index))
        return []

    def fetch(self, number: str, count: str = "1000") -> Iterable[str]:
        """Read what Raft wants of the log, at most so many entries of each range."""
        replica = self.replicas[int(number)]
        wanted, replica.wanted = replica.wanted, []
        for low, high in wanted:
            prev_term, entries = replica.disk.read(low, min(high, low + int(count)))
            replica.raft.fetched(GROUP, low, prev_term, entries)
            yield f"{_entries_text(entries) or 'nothing'}"

    def copy(self, number: str, to: str) -> Iterable[str]:
        """All rows of a snapshot of one replica arrive at another, which keeps them beside its own."""
        disk = self.replicas[int(number)].disk
        index, term = disk.applied, disk.term(disk.applied)
        self.replicas[int(to)].disk.staged = index, term, disk.conf
        return [f"{term}/{index}"]

    def flip(self, number: str) -> Iterable[str]:
        """The replica serves from the snapshot that was copied to it, and stops its group until `open`."""
        replica = self.replicas[int(number)]
        assert replica.disk.staged is not None
        index, term, _ = replica.disk.staged
        if not replica.raft.may_install(GROUP, index, term):
            return ["refused"]
        replica.close()
        replica.disk.flip()
        return []

    def open(self, number: str) -> Iterable[str]:
        self.replicas[int(number)].open()
        return self.status(number)

    def report(self, number: str, peer: str, index: str = "") -> Iterable[str]:
        """Tell a leader that a snapshot is installed as of an index, or without one that it failed."""
        self._raft(number).report_snapshot(GROUP, int(peer), int(index) if index else None)
        return []

    def watch(self, number: str) -> Iterable[str]:
        self._raft(number).watch_all(GROUP, True)
        return [f"all voters have {self._raft(number).all_matched(GROUP)}"]

    def drowsy(self, number: str, ticks: str) -> Iterable[str]:
        """Whether a leader that has had nothing to do for so many ticks may sleep, and where it stands."""
        places = self._raft(number).drowsy(int(ticks))
        return [f"{term}/{index}" for _, term, index in places] or ["no"]

    def sleep(self, number: str, place: str) -> Iterable[str]:
        term, index = map(int, place.split("/"))
        return ["refused"] if self._raft(number).sleep([(GROUP, term, index)]) else []

    def wake(self, number: str, word: str = "") -> Iterable[str]:
        """Let time pass again; with `lost`, the leader is known to be."""
        self._raft(number).wake([GROUP], leader_is_lost=word == "lost")
        return []

    def isolate(self, number: str) -> Iterable[str]:
        """Nothing reaches it or leaves it, what is under way included."""
        self.isolated.add(int(number))
        self.network = [each for each in self.network if int(number) not in each[:2]]
        return []

    def heal(self, number: str) -> Iterable[str]:
        self.isolated.discard(int(number))
        return []

    def crash(self, number: str) -> Iterable[str]:
        self.replicas[int(number)].crash()
        return []

    def status(self, number: str) -> Iterable[str]:
        status = self._raft(number).status(GROUP)
        voters, learners, outgoing, next_learners, _ = status["conf"]
        yield (
            f"{ROLES[status['role']]} term {status['term']} commit {status['commit']} applied {status['applied']} "
            f"last {status['last_index']}{' asleep' if status['asleep'] else ''}"
        )
        parts = {"voters": voters, "learners": learners, "outgoing": outgoing, "next learners": next_learners}
        yield ", ".join(f"{name} {' '.join(map(str, ids))}" for name, ids in parts.items() if ids) or "no members"

    def _raft(self, number: str) -> Raft:
        return self.replicas[int(number)].raft

    def _send(self, sender: int, messages: Iterable[bytes]) -> Iterable[str]:
        for message in messages:
            to = fields(message).number(2)
            is_lost = to not in self.replicas or self.isolated & {sender, to}
            if not is_lost:
                self.network.append((sender, to, message))
            yield f"{message_text(message)}{' (lost)' if is_lost else ''}"

    def _step(self, number: int, messages: list[bytes]) -> list[str]:
        ignored = dict(self.replicas[number].raft.step([(GROUP, message) for message in messages]))
        return [ignored.get(position, "") for position in range(len(messages))]

    def _apply(self, replica: Replica, committed: list[Entry]) -> Iterable[str]:
        for index, term, kind, data in committed:
            yield f"apply {entry_text(index, term, kind, data)}"
            if kind:
                replica.disk.conf = replica.raft.apply_conf_change(GROUP, index, data)
            replica.disk.applied, replica.disk.installed_term = index, None
        if committed:
            replica.raft.applied([(GROUP, committed[-1][0])])


def _hard_text(hard: tuple[int, int, int] | None) -> str:
    return "" if hard is None else f"term {hard[0]} vote {hard[1]} commit {hard[2]} "


def _entries_text(entries: list[Entry]) -> str:
    return f"[{', '.join(entry_text(*entry) for entry in entries)}]" if entries else ""
