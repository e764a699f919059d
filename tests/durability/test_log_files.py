"""The log on real files: what is durable comes back, what is torn is cut, what is damaged is refused."""

import shutil
import struct
import tempfile
import time

import pytest

from dkv._native import Bell, Log, Raft
from dkv.edge.consensus import NativeConsensus

ONE = ([11], [], [], [], False)
HEADER_BYTES = 69


class Node:
    """Groups of one over a real log; `put` returns when the entry is durable and committed."""

    def __init__(self, folder, groups=(1,), applied=None, **options):
        self.bell = Bell()
        self.log = Log(self.bell, str(folder), **options)
        self.consensus = NativeConsensus(Raft(seed=1), self.log)
        self.committed = {group: [] for group in groups}
        for group in groups:
            if self.log.state(group) is None:
                self.consensus.create_group(group, ONE)
            self.consensus.open_group(group, 11, ONE, (applied or {}).get(group, self.log.prev(group)[0]))
            assert self.consensus.campaign(group)
        self.until(lambda: all(self.consensus.status(g)["commit"] == self.log.state(g)[2] for g in groups))

    def until(self, done):
        for _ in range(1000):
            self.take(self.consensus.advance())
            if done():
                return
            self.bell.wait(1000)
        raise AssertionError("the log never got there")

    def take(self, news):
        for ready in news:
            self.committed[ready.vbucket] += ready.committed
            if ready.committed:
                self.consensus.applied([(ready.vbucket, ready.committed[-1][0])])

    def put(self, data, group=1):
        _, index = self.consensus.propose(group, data)
        self.until(lambda: self.committed[group] and self.committed[group][-1][0] >= index)
        return index

    def data(self, group=1):
        return [data for _, _, _, data in self.committed[group] if data]

    def close(self):
        self.consensus.close()


def batches(content):
    """Offsets of the batches in a log file, and its end."""
    offsets = [HEADER_BYTES]
    while offsets[-1] < len(content):
        offsets.append(offsets[-1] + (struct.unpack_from(">Q", content, offsets[-1])[0] >> 8))
    assert offsets[-1] == len(content)
    return offsets


def log_file(folder):
    [path] = folder.glob("*.raftlog")
    return path


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "log"


@pytest.fixture
def killed(written):
    """As `written`, of a process that ended right behind the last entry: the last batch is not sealed."""
    path = log_file(written)
    content = path.read_bytes()
    path.write_bytes(content[: batches(content)[-2]])
    return written


@pytest.fixture
def written(folder):
    """A closed log with the entries a to e, one batch each."""
    node = Node(folder)
    for data in (b"a", b"b", b"c", b"d", b"e"):
        node.put(data)
    node.close()
    return folder


def test_log_reopened_returns_everything_durable(written):
    """After closing and opening, hard state, bounds and entries are what was written."""
    log = Log(Bell(), str(written))
    assert log.groups() == [1]
    hard_state, first, last = log.state(1)
    assert (hard_state[0], hard_state[1], first, last) == (2, 11, 2, 7)
    assert log.prev(1) == (1, 1)
    assert [data for _, _, _, data in log.read(1, first, last + 1, 1 << 20)] == [b"", b"a", b"b", b"c", b"d", b"e"]
    log.close()
    log.close()


def test_node_restarted_commits_the_same_entries(written):
    """A group of one that starts again commits all of its old entries, and goes on."""
    node = Node(written)
    assert node.data() == [b"a", b"b", b"c", b"d", b"e"]
    node.put(b"f")
    node.close()


def test_log_truncated_anywhere_in_last_batch_opens_with_prefix(killed, tmp_path):
    """Wherever the last write was interrupted, everything before it is there and the log takes new entries."""
    content = log_file(killed).read_bytes()
    start = batches(content)[-2]
    for size in range(start, len(content)):
        torn = tmp_path / f"torn{size}"
        shutil.copytree(killed, torn)
        with log_file(torn).open("r+b") as file:
            file.truncate(size)
        log = Log(Bell(), str(torn))
        assert log.state(1)[1:] == (2, 6)
        log.close()
        assert batches(log_file(torn).read_bytes())[-2] == start
    node = Node(torn)
    node.put(b"new")
    assert node.data() == [b"a", b"b", b"c", b"d", b"new"]
    node.close()


def test_log_zeros_behind_last_batch_opens_with_everything(written):
    """Space that was reserved and not written, as a kill leaves it, is no damage."""
    path = log_file(written)
    size = path.stat().st_size
    with path.open("ab") as file:
        file.write(bytes(100_000))
    log = Log(Bell(), str(written))
    assert log.state(1)[2] == 7
    log.close()
    assert batches(path.read_bytes())[-2] == size


def refuses_every_flip(path, content, start, end):
    """A flipped bit in any byte from `start` to `end` is damage, and nothing is changed."""
    for offset in range(start, end):
        damaged = bytearray(content)
        damaged[offset] ^= 0x10
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=rf"{path.name} is damaged at offset {start}\b"):
            Log(Bell(), str(path.parent))
        assert path.read_bytes() == damaged


def test_log_bit_flipped_before_valid_batch_refuses_and_names_file(killed):
    """Every byte of a batch with a valid one behind it."""
    path = log_file(killed)
    content = path.read_bytes()
    refuses_every_flip(path, content, *batches(content)[-3:-1])


def test_log_bit_flipped_in_last_batch_after_an_end_in_order_refuses(written):
    """What was acknowledged last stands before a seal, so that it cannot pass for an interrupted write."""
    path = log_file(written)
    content = path.read_bytes()
    assert b"e" in content[slice(*batches(content)[-3:-1])]
    refuses_every_flip(path, content, *batches(content)[-3:-1])


def test_log_bit_flipped_in_the_seal_loses_nothing(written):
    """Every byte of the seal: it is cut, and everything that it stood for is there."""
    path = log_file(written)
    content = path.read_bytes()
    start, end = batches(content)[-2:]
    for offset in range(start, end):
        damaged = bytearray(content)
        damaged[offset] ^= 0x10
        path.write_bytes(damaged)
        log = Log(Bell(), str(written))
        assert log.state(1)[0][:2] == (2, 11)
        assert log.state(1)[1:] == (2, 7)
        log.close()


def test_log_with_nothing_to_write_seals_its_last_batch_once(folder):
    """A while after the last write there is a batch behind it, and no more than one; then entries go on behind that."""
    node = Node(folder)
    node.put(b"acknowledged")
    path = log_file(folder)
    before = len(whole_batches(path))
    deadline = time.monotonic() + 30
    while len(whole_batches(path)) == before and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(2.5)
    assert len(whole_batches(path)) == before + 1
    node.put(b"more")
    node.close()
    node = Node(folder)
    assert node.data() == [b"acknowledged", b"more"]
    node.close()


def whole_batches(path):
    """Offsets of those in a file whose space is reserved ahead."""
    content = path.read_bytes()
    offsets = [HEADER_BYTES]
    while size := int.from_bytes(content[offsets[-1] : offsets[-1] + 8], "big") >> 8:
        offsets.append(offsets[-1] + size)
    return offsets


def test_log_header_damaged_refuses(written):
    """A broken file header with batches behind it is damage."""
    path = log_file(written)
    content = bytearray(path.read_bytes())
    content[3] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match="offset 0"):
        Log(Bell(), str(written))


def test_log_file_missing_in_the_middle_refuses(folder):
    """A gap between the files is damage: what was in it is lost."""
    node = Node(folder, file_bytes=4096, purge_threshold_bytes=1 << 20)
    for _ in range(10):
        node.put(bytes(2000))
    node.close()
    files = sorted(folder.glob("*.raftlog"))
    assert len(files) > 3
    files[1].unlink()
    with pytest.raises(ValueError, match="missing"):
        Log(Bell(), str(folder))


def test_log_torn_file_that_is_not_last_refuses(folder):
    """Only the last file can end in an interrupted write."""
    node = Node(folder, file_bytes=4096, purge_threshold_bytes=1 << 20)
    for _ in range(10):
        node.put(bytes(2000))
    node.close()
    path = sorted(folder.glob("*.raftlog"))[1]
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match=rf"{path.name}.*later file"):
        Log(Bell(), str(folder))


def test_log_last_file_without_header_opens(folder):
    """A crash while the next file was created loses nothing."""
    node = Node(folder, file_bytes=4096, purge_threshold_bytes=1 << 20)
    for _ in range(6):
        node.put(bytes(2000))
    node.close()
    last = sorted(folder.glob("*.raftlog"))[-1]
    (folder / f"{int(last.stem) + 1:016}.raftlog").write_bytes(b"RAFT-LOG")
    node = Node(folder, file_bytes=4096, purge_threshold_bytes=1 << 20)
    assert len(node.data()) == 6
    node.put(b"more")
    node.close()


def test_log_cut_and_reopened_starts_behind_the_cut(folder):
    """A cut survives: first index, and the term before it."""
    node = Node(folder)
    for number in range(10):
        node.put(b"%d" % number)
    node.consensus.cut(1, 6)
    node.put(b"last")
    assert node.log.state(1)[1:] == (7, 13)
    node.close()
    log = Log(Bell(), str(folder))
    assert log.prev(1) == (6, 2)
    assert log.state(1)[1:] == (7, 13)
    with pytest.raises(ValueError, match="outside"):
        log.read(1, 6, 8, 100)
    log.close()
    node = Node(folder, applied={1: 8})
    assert node.data()[-1] == b"last"
    node.close()


def test_log_cut_twice_at_once_keeps_the_further_one(folder):
    """A nearer cut that is handed over behind a further one, before either is written, does not set the start back."""
    node = Node(folder, sync_delay_ms=50)
    for number in range(4):
        node.put(b"%d" % number)
    node.consensus.propose(1, b"keeps the log's thread busy")
    node.consensus.advance()
    for index in (4, 3, 5, 4):
        node.log.cut(1, index)
    node.until(lambda: node.log.state(1)[1] == 6)
    node.log.cut(1, 4)
    node.close()
    log = Log(Bell(), str(folder))
    assert (log.prev(1), log.state(1)[1:]) == ((5, 2), (6, 7))
    log.close()


def test_log_cut_to_the_end_keeps_the_last_term(folder):
    """A log that is cut completely still knows where it goes on."""
    node = Node(folder)
    index = node.put(b"x")
    node.consensus.cut(1, index)
    node.close()
    log = Log(Bell(), str(folder))
    assert log.state(1)[1:] == (index + 1, index)
    assert log.prev(1) == (index, 2)
    log.close()
    node = Node(folder)
    assert node.put(b"y") == index + 2
    node.close()


def test_log_old_files_are_freed(folder):
    """Behind a cut, files go away once the threshold is passed, and the rest is still there."""
    node = Node(folder, groups=(1, 2), file_bytes=16 << 10, purge_threshold_bytes=64 << 10)
    node.put(b"old and cold", group=2)
    for _ in range(200):
        index = node.put(bytes(4000))
        node.consensus.cut(1, index)
    node.close()
    assert sum(path.stat().st_size for path in folder.iterdir()) < 400_000
    node = Node(folder, groups=(1, 2))
    assert node.data(group=2) == [b"old and cold"]
    node.close()


def test_log_many_groups_share_syncs(folder):
    """Entries of many groups handed over together become durable with few syncs."""
    groups = range(1, 201)
    node = Node(folder, groups=groups)
    before = node.consensus.stats()["syncs"]
    for group in groups:
        node.consensus.propose(group, b"v%d" % group)
    node.until(lambda: all(node.data(group) for group in groups))
    assert node.consensus.stats()["syncs"] - before < 10
    node.close()
    log = Log(Bell(), str(folder))
    assert log.groups() == list(groups)
    assert log.read(77, 3, 4, 100) == [(3, 2, 0, b"v77")]
    log.close()


def test_log_in_use_refuses(written):
    """Two processes never open one log: the second would cut off what the first is writing."""
    log = Log(Bell(), str(written))
    with pytest.raises(ValueError, match="in use"):
        Log(Bell(), str(written))
    log.close()


def test_log_append_with_hole_refuses(folder, tmp_path):
    """Entries that do not follow the log are refused before anything is written."""
    raft = Raft(seed=1)
    raft.open_group(1, 11, ONE, 5, (3, 11, 5), 5, 3, [])
    raft.campaign(1)
    writes, _ = raft.ready()
    log = Log(Bell(), str(folder))
    with pytest.raises(ValueError, match="does not know"):
        log.append(writes)
    log.create_group(1, (1, 0, 1), 1, 1)
    with pytest.raises(ValueError, match="does not follow"):
        log.append(writes)
    with pytest.raises(ValueError, match="exists"):
        log.create_group(1, (1, 0, 1), 1, 1)
    log.close()
    with pytest.raises(ValueError, match="closed"):
        log.create_group(2, (1, 0, 1), 1, 1)


def test_log_overwritten_end_reopens_with_the_new_entries(written):
    """Entries of a later term replace the end of the log, and only they are found afterwards."""
    raft = Raft(seed=1)
    raft.open_group(1, 11, ONE, 4, (5, 11, 4), 4, 2, [])
    raft.campaign(1)
    bell = Bell()
    log = Log(bell, str(written))
    log.append(raft.ready()[0])
    assert log.state(1) == ((6, 11, 4), 2, 5)
    log.close()
    log = Log(Bell(), str(written))
    assert log.state(1) == ((6, 11, 4), 2, 5)
    assert [(index, term) for index, term, _, _ in log.read(1, 2, 9, 1 << 20)] == [(2, 2), (3, 2), (4, 2), (5, 6)]
    log.close()


def test_log_cut_behind_the_end_refuses(written):
    """A cut never goes beyond what is there; one that happened already is no work."""
    log = Log(Bell(), str(written))
    with pytest.raises(ValueError, match="behind the last"):
        log.cut(1, 8)
    log.cut(1, 1)
    assert log.state(1)[1:] == (2, 7)
    assert log.cut_wanted() == []
    log.close()


def test_log_reset_replaces_a_group_in_one_step(written):
    """Behind a reset entries may begin anywhere; nothing of before comes back, and other groups are as they were."""
    log = Log(Bell(), str(written))
    log.cut(1, 3)
    log.reset_group(1, (8, 11, 4), 4, 7)
    assert (log.state(1), log.prev(1)) == (((8, 11, 4), 5, 4), (4, 7))
    with pytest.raises(ValueError, match="outside"):
        log.read(1, 4, 5, 1)
    log.reset_group(1, (8, 11, 90), 90, 8)
    with pytest.raises(ValueError, match="does not know"):
        log.reset_group(5, (1, 0, 1), 1, 1)
    log.close()
    log = Log(Bell(), str(written))
    assert (log.state(1), log.prev(1)) == (((8, 11, 90), 91, 90), (90, 8))
    raft = Raft(seed=1)
    raft.open_group(1, 11, ONE, 90, (8, 11, 90), 90, 8, [])
    raft.campaign(1)
    log.append(raft.ready()[0])
    log.close()
    with pytest.raises(ValueError, match="closed"):
        log.reset_group(1, (8, 11, 90), 90, 8)
    log = Log(Bell(), str(written))
    assert (log.state(1), log.prev(1)) == (((9, 11, 90), 91, 91), (90, 8))
    assert log.read(1, 91, 92, 1) == [(91, 9, 0, b"")]
    log.close()


def test_log_reset_survives_rewriting_of_old_files(folder):
    """raft-engine moves what is old into other files and drops the first: a log that was reset does not come back."""
    node = Node(folder, groups=(1, 2), file_bytes=16 << 10, purge_threshold_bytes=64 << 10)

    def fill():
        oldest = min(folder.glob("*.raftlog"))
        while min(folder.glob("*.raftlog")) <= oldest:
            node.put(b"x" * 1000, group=2)
            node.consensus.cut(2, max(1, node.log.state(2)[2] - 5))

    for number in range(20):
        node.put(b"old %d" % number, group=1)
    fill()
    assert list(folder.glob("*.rewrite")), "what group 1 has is rewritten"
    node.consensus.close_group(1)
    node.log.reset_group(1, (9, 11, 10), 10, 8)
    newest = max(folder.glob("*.raftlog"))
    while newest.exists():
        fill()
    applied = node.log.state(2)[2]
    node.close()
    log = Log(Bell(), str(folder))
    assert (log.state(1), log.prev(1)) == (((9, 11, 10), 11, 10), (10, 8))
    assert log.state(2)[2] == applied
    log.close()


def test_log_of_a_foreign_format_refuses(written):
    """A file with a header of an unknown version is not guessed at."""
    path = log_file(written)
    content = bytearray(path.read_bytes())
    content[HEADER_BYTES - 9] = 9
    path.write_bytes(content)
    with pytest.raises(ValueError, match="offset 0: unknown format 9"):
        Log(Bell(), str(written))


def test_log_folder_that_cannot_be_made_raises_os_error(tmp_path):
    """The operating system's refusals are OSError."""
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OSError, match="file"):
        Log(Bell(), str(tmp_path / "file" / "log"))


def test_log_fetch_returns_entries_or_why_not(written):
    """Reads for lagging followers come back by token."""
    bell = Bell()
    log = Log(bell, str(written))
    log.fetch(5, 1, 3, 6, 1 << 20)
    assert bell.wait(5000)
    assert log.fetched() == [(5, [(3, 2, 0, b"a"), (4, 2, 0, b"b"), (5, 2, 0, b"c")])]
    assert log.fetched() == []
    log.fetch(6, 1, 3, 6, 1)
    assert bell.wait(5000)
    assert [len(entries) for _, entries in log.fetched()] == [1]
    with pytest.raises(ValueError, match="outside"):
        log.fetch(7, 1, 1, 6, 1)
    log.close()


def test_log_slow_sync_holds_back_the_acknowledgement(folder):
    """Nothing is durable before its sync returned, and the bell says when it has."""
    bell = Bell()
    log = Log(bell, str(folder), sync_delay_ms=100)
    log.create_group(1, (1, 0, 1), 1, 1)
    bell.wait(1000)
    raft = Raft(seed=1)
    raft.open_group(1, 11, ONE, 1, (1, 0, 1), 1, 1, [])
    raft.campaign(1)
    log.append(raft.ready()[0])
    assert log.durable() == []
    assert log.stats()["queued_bytes"] > 0
    assert bell.wait(5000)
    assert log.durable() == [(1, 1)]
    assert log.stats()["queued_bytes"] == 0
    log.close()


def test_log_rewritten_and_cut_group_reopens_at_its_cut(folder):
    """A cut holds although the old entries were moved to other files and the file with the cut was freed."""
    options = {"file_bytes": 16 << 10, "purge_threshold_bytes": 64 << 10}
    node = Node(folder, groups=(1, 2), **options)
    kept = 0
    for number in range(300):
        node.consensus.cut(1, node.put(bytes(4000)))
        if number % 5 == 0:
            node.put(b"%d" % number, group=2)
        if number % 40 == 39:
            kept = node.committed[2][-1][0] - 3
            node.consensus.cut(2, kept)
    last = node.committed[2][-1][0]
    node.close()
    for _ in range(2):
        log = Log(Bell(), str(folder), **options)
        assert (log.prev(2), log.state(2)[1:]) == ((kept, 2), (kept + 1, last))
        assert [index for index, _, _, _ in log.read(2, kept + 1, last + 1, 1 << 20)] == list(range(kept + 1, last + 1))
        log.close()


def write_in_line(node):
    """Hands over one entry; returns whether it was written in line. It is durable either way."""
    before = node.log.stats()["in_line_syncs"]
    _, index = node.consensus.propose(1, b"held")
    node.take(node.consensus.advance(in_line=True))
    was_written = node.log.stats()["in_line_syncs"] > before
    assert not was_written or node.consensus.status(1)["commit"] == index  # it waits for nothing else
    node.until(lambda: node.committed[1] and node.committed[1][-1][0] >= index)
    return was_written


def test_entries_on_a_quick_disk_are_written_in_line_and_found_again():
    """Memory stands for a quick disk: after the first syncs the caller's thread writes, and the log is the same."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        node = Node(folder)
        assert sum(write_in_line(node) for _ in range(200)) > 0
        assert node.log.stats()["in_line_syncs"] > 0
        node.close()
        again = Node(folder)
        assert again.data() == [b"held"] * 200
        again.close()


def test_entries_on_a_slow_disk_are_left_to_the_thread(tmp_path):
    """Nobody waits in line for a disk whose syncs take long."""
    node = Node(tmp_path, sync_delay_ms=5)
    assert sum(write_in_line(node) for _ in range(50)) == 0
    assert node.log.stats()["in_line_syncs"] == 0
    node.close()


def test_much_at_once_is_left_to_the_thread(tmp_path):
    """In line goes what is written in no time."""
    node = Node(tmp_path)
    for _ in range(50):
        node.consensus.propose(1, bytes(20_000))
        node.consensus.advance(in_line=True)
        node.until(lambda: node.log.stats()["queued_bytes"] == 0)
    assert node.log.stats()["in_line_syncs"] == 0
    node.close()


def test_entry_held_when_the_log_is_closed_is_written(tmp_path):
    """To close finishes what was handed over, also what nobody was told of yet."""
    node = Node(tmp_path)
    node.consensus.propose(1, b"held")
    node.consensus.advance(in_line=True)
    node.close()
    again = Node(tmp_path)
    assert again.data() == [b"held"]
    again.close()
