"""Raft groups over a log in memory: what is committed, what waits for the disk, and that runs can be repeated."""

import pytest

from dkv._native import Raft, Writes
from dkv.edge.consensus import NativeConsensus
from dkv.model.errors import Corrupt, StorageFailed

GROUP = 7
ONE = ([11], [], [], [], False)
THREE = ([11, 12, 13], [], [], [], False)


class MemoryLog:
    """The methods of `Log` over lists; durable when the test says so."""

    def __init__(self):
        self.hard, self.before, self.entries = {}, {}, {}
        self.open = []
        self.failed = None
        self.fetches = []
        self.fetched_most = 1000
        """Entries of one fetch, at most: what its limit of bytes comes to."""

    def create_group(self, group, hard_state, prev_index, prev_term):
        self.hard[group], self.before[group], self.entries[group] = hard_state, (prev_index, prev_term), []

    def reset_group(self, group, hard_state, prev_index, prev_term):
        self.create_group(group, hard_state, prev_index, prev_term)

    def state(self, group):
        if group not in self.hard:
            return None
        index = self.before[group][0]
        return self.hard[group], index + 1, index + len(self.entries[group])

    def prev(self, group):
        return self.before[group]

    def read(self, group, low, high, bytes_max):
        return [entry for entry in self.entries[group] if low <= entry[0] < high]

    def failure(self):
        return self.failed

    def write_in_line(self):
        return False

    def append(self, writes: Writes):
        for group, number, hard_state, entries in writes.items():
            self.hard[group] = hard_state or self.hard[group]
            if entries:
                kept = [entry for entry in self.entries[group] if entry[0] < entries[0][0]]
                self.entries[group] = kept + entries
            self.open.append((group, number))

    def durable(self):
        if self.failed:
            raise OSError(self.failed)
        done, self.open = self.open, []
        return done

    def cut(self, group, index):
        kept = [entry for entry in self.entries[group] if entry[0] > index]
        dropped = [entry for entry in self.entries[group] if entry[0] <= index]
        if dropped:
            self.before[group], self.entries[group] = dropped[-1][:2], kept

    def fetch(self, token, group, low, high, bytes_max):
        self.fetches.append((token, group, low, high))

    def fetched(self):
        asked, self.fetches = self.fetches, []
        return [(token, self.fetched_now(*what)) for token, *what in asked]

    def fetched_now(self, group, low, high):
        if low <= self.before[group][0]:
            return "cut"
        return self.read(group, low, high, 0)[: self.fetched_most]

    def stats(self):
        return {}

    def close(self):
        pass


def open_raft(**given):
    raft = Raft(seed=1)
    usual = {"replica": 11, "conf": ONE, "applied": 1, "hard_state": (1, 0, 1), "prev_index": 1, "prev_term": 1}
    raft.open_group(group=GROUP, **({"entries": []} | usual | given))
    return raft


def drain(raft):
    """Acknowledge everything until nothing happens; returns the committed entries."""
    committed = []
    while True:
        writes, groups = raft.ready()
        committed += [entry for news, _, _ in groups for entry in news[1]]
        if writes.is_empty() and not groups:
            return committed
        raft.persisted([(group, number) for group, number, _, _ in writes.items()])


def test_propose_unpersisted_commits_nothing():
    """An entry of a group of one is committed only after its write was acknowledged."""
    raft = open_raft()
    assert raft.campaign(GROUP)
    drain(raft)
    assert raft.propose(GROUP, b"x") == (2, 3)
    writes, groups = raft.ready()
    [(group, number, hard_state, entries)] = writes.items()
    assert (group, hard_state, entries) == (GROUP, (2, 11, 2), [(3, 2, 0, b"x")])
    assert [entry for news, _, _ in groups for entry in news[1]] == []
    assert raft.ready()[1] == []
    raft.persisted([(GROUP, number)])
    assert drain(raft) == [(3, 2, 0, b"x")]


def test_propose_follower_refuses():
    """Only the leader takes entries; nothing is forwarded."""
    assert open_raft().propose(GROUP, b"x") is None


def test_commit_alone_writes_nothing():
    """A commit index that moves is not worth a sync: it goes with the next write."""
    raft = open_raft()
    raft.campaign(GROUP)
    writes, _ = raft.ready()
    raft.persisted([(GROUP, writes.items()[0][1])])
    writes, groups = raft.ready()
    assert writes.is_empty()
    assert groups[0][0][1] == [(2, 2, 0, b"")]


def test_campaign_open_write_waits():
    """No election while a write is open: Raft would panic when it wins before its own log is durable."""
    raft = open_raft()
    assert raft.campaign(GROUP)
    raft.ready()
    assert not raft.campaign(GROUP)


def test_persisted_future_number_refuses():
    """A number that was never handed out must not count as "everything is durable"."""
    raft = open_raft()
    raft.campaign(GROUP)
    raft.ready()
    with pytest.raises(ValueError, match="handed out"):
        raft.persisted([(GROUP, 99)])


def test_reopened_group_old_acknowledgement_ignored():
    """An acknowledgement of a former life of a group commits nothing in the new one."""
    raft = open_raft()
    raft.campaign(GROUP)
    old = raft.ready()[0].items()[0][1]
    raft.close_group(GROUP)
    raft.open_group(GROUP, 11, ONE, 1, (1, 0, 1), 1, 1, [])
    raft.campaign(GROUP)
    new = raft.ready()[0].items()[0][1]
    raft.persisted([(GROUP, old)])
    assert raft.ready()[1] == []
    raft.persisted([(GROUP, new)])
    assert [entry[0] for entry in raft.ready()[1][0][0][1]] == [2]


@pytest.mark.parametrize(
    "wrong",
    [
        {"replica": 0},
        {"applied": 0},
        {"applied": 2},
        {"prev_index": 0, "applied": 0},
        {"hard_state": (0, 0, 1)},
        {"hard_state": (1, 0, 5)},
        {"entries": [(3, 1, 0, b"")]},
        {"entries": [(2, 0, 0, b"")]},
        {"entries": [(2, 2, 0, b"")]},
        {"entries": [(2, 1, 9, b"")]},
    ],
)
def test_open_group_contradicting_parts_refuses(wrong):
    """Parts that contradict each other are a ValueError, never a panic."""
    with pytest.raises(ValueError, match=r"."):
        open_raft(**wrong)


def test_open_group_committed_unapplied_entries_come_out():
    """After a restart the first ready hands out what is committed and not applied."""
    entries = [(2, 1, 0, b"a"), (3, 1, 0, b"b"), (4, 1, 0, b"c")]
    raft = open_raft(hard_state=(1, 11, 3), applied=2, entries=entries)
    assert drain(raft) == [(3, 1, 0, b"b")]
    raft.campaign(GROUP)
    assert [entry[0] for entry in drain(raft)] == [4, 5]


def test_compact_unapplied_refuses():
    """Entries that are not applied stay."""
    raft = open_raft()
    raft.campaign(GROUP)
    drain(raft)
    with pytest.raises(ValueError, match="not applied"):
        raft.compact(GROUP, 2)
    raft.applied([(GROUP, 2)])
    raft.compact(GROUP, 2)
    assert raft.status(GROUP)["first_index"] == 3


def test_window_of_one_voter_stays_small():
    """What is applied and needed by nobody leaves memory by itself."""
    raft = open_raft()
    raft.campaign(GROUP)
    for _ in range(1000):
        raft.propose(GROUP, b"x")
        committed = drain(raft)
        raft.applied([(GROUP, committed[-1][0])])
        status = raft.status(GROUP)
        assert status["last_index"] - status["first_index"] <= 300
    assert raft.status(GROUP)["applied"] == 1002


def test_step_snapshot_or_forwarded_request_is_ignored():
    """What this replica can not serve is refused with a reason: MsgPropose (2), MsgSnapshot (7)."""
    raft = open_raft()
    message = lambda kind: bytes([0x08, kind, 0x10, 11, 0x18, 12, 0x20, 2])  # noqa: E731
    reasons = [reason for _, reason in raft.step([(GROUP, message(2)), (GROUP, message(7))])]
    assert "forwarded" in reasons[0]
    assert "snapshot" in reasons[1]
    assert raft.status(GROUP)["term"] == 1


def test_unknown_group_raises_key_error():
    """Calls for a group that is not open say so; peer messages for it are ignored with a reason."""
    raft = Raft(seed=1)
    with pytest.raises(KeyError):
        raft.propose(5, b"")
    assert raft.step([(5, b"")]) == [(0, "no group 5")]


def test_step_garbage_is_ignored_with_reason():
    """Bytes that are no message, or for another replica, change nothing."""
    raft = open_raft()
    ignored = raft.step([(GROUP, b"\xff\xff"), (GROUP, b"")])
    assert [position for position, _ in ignored] == [0, 1]


class Cluster:
    """Three nodes whose messages a test carries; every turn of a node makes its writes durable."""

    def __init__(self, seed=1):
        self.logs = {id: MemoryLog() for id in THREE[0]}
        self.nodes = {}
        self.committed = {id: [] for id in THREE[0]}
        self.sent = []
        self.leaderships = []
        self.seed = seed
        for id, log in self.logs.items():
            log.create_group(GROUP, (1, 0, 1), 1, 1)
            self.start(id, 1)

    def start(self, id, applied):
        self.nodes[id] = NativeConsensus(Raft(seed=self.seed), self.logs[id])
        self.nodes[id].open_group(GROUP, id, THREE, applied)

    def turn(self, down=()):
        moved = False
        for id, node in self.nodes.items():
            if id in down:
                continue
            for ready in node.advance():
                moved = True
                self.committed[id] += ready.committed
                if ready.committed:
                    node.applied([(GROUP, ready.committed[-1][0])])
                if ready.leadership:
                    self.leaderships.append((id, ready.leadership))
                for to, message in ready.messages:
                    self.sent.append((to, message))
                    if to not in down:
                        assert self.nodes[to].step([(GROUP, message)]) == []
        return moved

    def settle(self, down=()):
        while self.turn(down) or any(
            self.logs[id].open or self.nodes[id]._asked for id in self.nodes if id not in down
        ):
            pass

    def elect(self, ticks=100, down=()):
        for _ in range(ticks):
            for id, node in self.nodes.items():
                if id not in down:
                    node.tick(1)
            self.settle(down)
        leaders = [id for id, node in self.nodes.items() if id not in down and node.status(GROUP)["role"] == 2]
        assert len(leaders) == 1
        return leaders[0]


def test_three_nodes_elect_and_replicate():
    """Three nodes elect one leader, and what it proposes is committed on all of them in order."""
    cluster = Cluster()
    leader = cluster.elect()
    for number in range(5):
        assert cluster.nodes[leader].propose(GROUP, b"%d" % number)
        cluster.settle()
    cluster.elect(ticks=10)
    for id in THREE[0]:
        assert [data for _, _, _, data in cluster.committed[id] if data] == [b"0", b"1", b"2", b"3", b"4"]


def test_three_nodes_leader_lost_elect_another():
    """Without the leader the other two go on, and it catches up when it is back."""
    cluster = Cluster()
    first = cluster.elect()
    cluster.nodes[first].propose(GROUP, b"a")
    cluster.settle()
    second = cluster.elect(down=(first,))
    assert second != first
    cluster.nodes[second].propose(GROUP, b"b")
    cluster.settle(down=(first,))
    cluster.start(first, 1)
    cluster.committed[first] = []
    cluster.elect(ticks=30)
    assert [data for _, _, _, data in cluster.committed[first] if data] == [b"a", b"b"]


def test_leader_keeps_what_a_lagging_follower_needs():
    """A follower that was away for long is fed from the leader's window; after that the window shrinks."""
    cluster = Cluster()
    leader = cluster.elect()
    away = next(id for id in THREE[0] if id != leader)
    for number in range(600):
        cluster.nodes[leader].propose(GROUP, b"%d" % number)
        cluster.settle(down=(away,))
    assert cluster.nodes[leader].status(GROUP)["first_index"] <= 3
    cluster.elect(ticks=30)
    assert len(cluster.committed[away]) == len(cluster.committed[leader])
    cluster.nodes[leader].propose(GROUP, b"more")
    cluster.settle()
    assert cluster.nodes[leader].status(GROUP)["first_index"] > 300


@pytest.mark.parametrize("fetched_most", [1, 2, 100])
def test_follower_below_the_window_is_fed_from_the_log(fetched_most):
    """What the leader holds on disk only is read for the follower, in as many parts as it takes, until it is even."""
    cluster = Cluster()
    leader = cluster.elect()
    away = next(id for id in THREE[0] if id != leader)
    for number in range(30):
        cluster.nodes[leader].propose(GROUP, b"%d" % number)
        cluster.settle(down=(away,))
    cluster.nodes[leader].release(GROUP, 25)
    cluster.logs[leader].fetched_most = fetched_most
    assert cluster.nodes[leader].status(GROUP)["first_index"] == 26
    cluster.elect(ticks=200)
    assert cluster.committed[away] == cluster.committed[leader]


def test_reads_for_followers_and_for_the_history_do_not_mix():
    """Whoever asked for entries gets its own, whoever collects them; a range that was cut goes to nobody's harm."""
    cluster = Cluster()
    leader = cluster.elect()
    away = next(id for id in THREE[0] if id != leader)
    for number in range(9):
        cluster.nodes[leader].propose(GROUP, b"%d" % number)
        cluster.settle(down=(away,))
    node = cluster.nodes[leader]
    node.release(GROUP, 8)
    node.fetch(1, GROUP, 3, 5, 100)
    cluster.elect(ticks=200)
    assert [(token, [entry[0] for entry in entries]) for token, entries in node.fetched()] == [(1, [3, 4])]
    assert cluster.committed[away] == cluster.committed[leader]


def test_follower_below_the_log_waits_without_harm():
    """Where the log itself is cut only a snapshot helps: the others go on, and no read is asked for in a loop."""
    cluster = Cluster()
    leader = cluster.elect()
    away = next(id for id in THREE[0] if id != leader)
    for number in range(9):
        cluster.nodes[leader].propose(GROUP, b"%d" % number)
        cluster.settle(down=(away,))
    cluster.nodes[leader].cut(GROUP, 8)
    cluster.elect(ticks=50)
    assert cluster.logs[leader].fetches == []
    assert cluster.nodes[leader].propose(GROUP, b"more")
    cluster.settle()
    assert cluster.committed[leader][-1][3] == b"more"
    assert len(cluster.committed[away]) < len(cluster.committed[leader])


def test_transfer_leader_moves_leadership():
    """The leader hands over to a voter that is up to date, and takes no entries meanwhile."""
    cluster = Cluster()
    leader = cluster.elect()
    to = next(id for id in THREE[0] if id != leader)
    raft = cluster.nodes[leader]._raft
    assert not raft.transfer_leader(GROUP, leader)
    assert raft.transfer_leader(GROUP, to)
    assert cluster.nodes[leader].propose(GROUP, b"x") is None
    cluster.settle()
    assert cluster.nodes[to].status(GROUP)["role"] == 2


def test_joint_change_leaves_by_itself_everywhere():
    """A voter is replaced: every node goes through the joint members and out of them again."""
    cluster = Cluster()
    leader = cluster.elect()
    gone = next(id for id in THREE[0] if id != leader)
    raft = cluster.nodes[leader]._raft
    assert raft.propose_conf_change(GROUP, [(1, gone), (2, 14)], 1)
    confs = {id: [] for id in THREE[0]}
    for _ in range(40):
        for id, node in cluster.nodes.items():
            for ready in node.advance():
                for index, _, kind, data in ready.committed:
                    if kind == 2:
                        confs[id].append(node._raft.apply_conf_change(GROUP, index, data))
                if ready.committed:
                    node.applied([(GROUP, ready.committed[-1][0])])
                for to, message in ready.messages:
                    if to in cluster.nodes:
                        cluster.nodes[to].step([(GROUP, message)])
    kept = sorted(set(THREE[0]) - {gone})
    for id in kept:
        assert confs[id] == [(kept, [14], THREE[0], [], True), (kept, [14], [], [], False)]
    assert raft.propose_conf_change(GROUP, [(1, leader)], 0) is None


def test_follower_reply_waits_for_the_log():
    """A follower's reply to an append leaves only after the entries are durable on it."""
    cluster = Cluster()
    leader = cluster.elect()
    follower = next(id for id in THREE[0] if id != leader)
    cluster.nodes[leader].propose(GROUP, b"x")
    [ready] = cluster.nodes[leader].advance()
    message = next(message for to, message in ready.messages if to == follower)
    node, log = cluster.nodes[follower], cluster.logs[follower]
    node.step([(GROUP, message)])
    assert node.advance() == []
    held, log.open = log.open, []
    assert held
    assert node.advance() == []
    log.open = held
    [freed] = node.advance()
    assert [to for to, _ in freed.messages] == [leader]


def test_same_seed_sends_the_same_messages():
    """The same calls with the same seed send the same bytes; another seed elects otherwise."""

    def run(seed):
        cluster = Cluster(seed)
        leader = cluster.elect()
        cluster.nodes[leader].propose(GROUP, b"x")
        cluster.settle()
        return cluster.sent

    assert run(3) == run(3)
    assert len({tuple(run(seed)) for seed in range(8)}) > 1


def test_read_index_is_answered_or_lost():
    """A read is confirmed by a quorum, or reported lost when leadership goes."""
    cluster = Cluster()
    leader = cluster.elect()
    node = cluster.nodes[leader]
    assert node.read_index(GROUP, b"r1")
    reads = []
    for _ in range(4):
        for other in cluster.nodes.values():
            for ready in other.advance():
                reads += ready.reads
                for to, message in ready.messages:
                    cluster.nodes[to].step([(GROUP, message)])
    assert reads == [(b"r1", 2)]
    assert node.read_index(GROUP, b"r2")
    lost = []
    for _ in range(30):
        node.tick(1)
        lost += [context for ready in node.advance() for context in ready.reads_lost]
    assert lost == [b"r2"]


def test_conf_change_adds_learner_then_voter():
    """Members change by proposals that are checked first; the leader does not remove itself."""
    raft = open_raft()
    raft.campaign(GROUP)
    drain(raft)
    raft.applied([(GROUP, 2)])
    assert raft.propose_conf_change(GROUP, [(1, 11)], 0) is None
    assert raft.propose_conf_change(GROUP, [(2, 12)], 0, b"of the directory") == (2, 3)
    [(index, _, kind, data)] = drain(raft)
    assert kind == 2
    assert Raft.decode_conf_change(data) == ([(2, 12)], b"of the directory")
    assert raft.apply_conf_change(GROUP, index, data) == ([11], [12], [], [], False)
    raft.applied([(GROUP, index)])
    assert raft.status(GROUP)["conf"] == ([11], [12], [], [], False)


def test_open_group_applied_ahead_of_log_raises_corrupt():
    """An engine that has applied more than the log holds is corruption, not a state to start from."""
    log = MemoryLog()
    consensus = NativeConsensus(Raft(seed=1), log)
    with pytest.raises(Corrupt, match="does not know"):
        consensus.open_group(GROUP, 11, ONE, 1)
    consensus.create_group(GROUP, ONE)
    with pytest.raises(Corrupt, match="applied to 2"):
        consensus.open_group(GROUP, 11, ONE, 2)


def test_advance_failed_log_raises_storage_failed():
    """A failed write or sync reaches the node as StorageFailed."""
    log = MemoryLog()
    consensus = NativeConsensus(Raft(seed=1), log)
    log.failed = "no space"
    with pytest.raises(StorageFailed, match="no space"):
        consensus.advance()


def test_cut_is_bounded_by_applied():
    """The log never loses what is not applied, whatever index is asked for."""
    log = MemoryLog()
    consensus = NativeConsensus(Raft(seed=1), log)
    consensus.create_group(GROUP, ONE)
    consensus.open_group(GROUP, 11, ONE, 1)
    consensus.campaign(GROUP)
    for _ in range(3):
        consensus.advance()
    consensus.propose(GROUP, b"x")
    consensus.advance()
    consensus.applied([(GROUP, 2)])
    consensus.cut(GROUP, 100)
    assert consensus.log_bounds(GROUP) == (3, 3)
    assert consensus.status(GROUP)["first_index"] == 3
