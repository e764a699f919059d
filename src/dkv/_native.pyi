"""The native module: HTTP/2 and HTTP/1.1 at the edge, the Raft core, and the synced log under it.

Only `dkv.edge` imports it. Nothing in it calls back into Python, but a `Relay` for a log
and links that are simulated; nothing in it decides anything about keys or values.
All waits release the interpreter lock and end within 100 ms of a signal. A native panic ends the process.
"""

from collections.abc import Sequence
from typing import Protocol, final

# (method number, call ids, messages): the calls of one method that arrived since the last poll, in order of arrival.
type CallBatch = tuple[int, list[int], list[bytes]]
# (call id, HTTP method, path with query, body)
type HttpRequest = tuple[int, str, str, bytes]
# (call id, gRPC code, message, serialised google.rpc.Status or b"", retry delay in ms or -1)
type Finish = tuple[int, int, str, bytes, int]
# What there is to tell of one group: (group, committed entries, messages [(peer, bytes)] to send, confirmed reads
# [(context, index)], lost reads [context], (leader, role, term) or None if unchanged, [low, high) of the log that
# followers far behind need: see `Raft.fetched`, followers that need a snapshot: see `Raft.report_snapshot`, what all
# voters have on disk if it changed: see `Raft.watch_all`, (to, whether it leads) of a transfer that ended).
type GroupNews = tuple[
    int,
    list[EntryTuple],
    list[tuple[int, bytes]],
    list[tuple[bytes, int]],
    list[bytes],
    tuple[int, int, int] | None,
    list[tuple[int, int]],
    list[int],
    int | None,
    tuple[int, bool] | None,
]
# (voters, learners, voters_outgoing, learners_next, auto_leave)
type Conf = tuple[list[int], list[int], list[int], list[int], bool]
# (index, term, kind 0 normal 1 conf change 2 conf change v2, data)
type EntryTuple = tuple[int, int, int, bytes]

@final
class Bell:
    """What the node's thread sleeps on: rung by the edge and by the log. Any thread may ring."""

    def __new__(cls) -> Bell: ...
    def ring(self) -> None: ...
    def wait(self, timeout_ms: int) -> bool: ...

def changes_of_puts(entry: bytes, first_number: int, log_time: int) -> tuple[bytes, int] | None:
    """(the changes of an entry of the log as in a message of the feed, the number behind them), if it is nothing but
    puts that stay for ever, MultiPuts among them. None: it has something else, or is damaged. That all of it took
    effect is for the caller to know."""

@final
class EdgeServer:
    """A gRPC server (HTTP/2, one native thread) whose calls Python takes and answers in batches."""

    def __new__(
        cls,
        bell: Bell,
        methods: Sequence[tuple[str, int]],
        *,
        request_bytes_max: int = ...,
        reply_bytes_max: int = ...,
        inbox_bytes_max: int = ...,
        inbox_bytes_max_per_connection: int = ...,
        inbox_calls_max: int = ...,
        streams_max_per_connection: int = ...,
        stream_buffer_bytes: int = ...,
        unread_bytes_max: int = ...,
        unread_bytes_max_per_connection: int = ...,
        unread_timeout_ms: int = ...,
        header_bytes_max: int = ...,
        connections_max: int = ...,
        keepalive_interval_ms: int = ...,
        keepalive_timeout_ms: int = ...,
        overload_retry_delay_ms: int = ...,
        request_timeout_ms: int = ...,
    ) -> EdgeServer:
        """`methods[i]` is (path, mode) of method number `i`. Modes: 0 one message and one reply; 1 one message and a
        stream of replies; 2 a conversation, two streams: every message of the caller comes out of `poll` as a call of
        its own as soon as it is whole, in order, all under the call id of the stream, and each wants exactly one item.
        When the caller asks no more, or the server stops, the edge ends a conversation itself once all is answered,
        and tells it as closed; Python ends it only to fail it."""

    def listen(self, address: str) -> str:
        """Serve gRPC on `host:port` or `unix:/path`; returns the bound address. OSError if it is in use."""

    def listen_http(self, address: str) -> str:
        """Serve HTTP/1.1 on `host:port`; returns the bound address. OSError if it is in use."""

    def poll(
        self, timeout_ms: int, calls_max: int
    ) -> tuple[list[CallBatch], list[int], list[tuple[int, int]], list[HttpRequest]]:
        """Wait for the bell (unless news is at hand) and take what arrived.

        Returns (calls, closed, progress, http): calls grouped by method; ids of calls handed out before that ended
        without Python (cancelled, connection lost, deadline passed, conversation over); (call id, bytes buffered now)
        of reply streams that have drained below half of `stream_buffer_bytes` since Python last sent on them; HTTP
        requests. Expired and cancelled calls are answered or dropped here and never handed out.
        """

    def emit(
        self,
        call_ids: list[int],
        messages: list[bytes],
        items: list[tuple[int, list[bytes]]],
        finished: list[Finish],
        http: list[tuple[int, int, str, bytes, bool]],
    ) -> None:
        """Answer, in one crossing: `messages[i]` ends unary call `call_ids[i]` with OK; `items` are messages of reply
        streams; `finished` ends a call or stream with a status (after its items); `http` is
        (call id, status, content type, body, whether more of the body follows under the same id; its reader loses
        the connection when it leaves 16 parts untaken, and whoever leaves before the last part is told as closed).
        Unknown ids are callers who left: ignored. A stream that holds eight times `stream_buffer_bytes` unread and is
        sent more is ended with RESOURCE_EXHAUSTED and told as closed. So ends a long unary reply beyond
        `unread_bytes_max` of the node or of its connection, or not read for the time-out."""

    def stats(self) -> dict[str, object]:
        """Counters for /metrics: `calls` {(method path, gRPC code): count}, `latency` {method path: (bucket counts,
        sum in seconds)}, `latency_bounds` (upper bounds in seconds), `connections`, `inbox_calls`, `inbox_bytes`,
        `unread_bytes`, `overloaded`, `streams`."""

    def keep_ended_calls(self, micros_min: int | None) -> None:
        """Keep every call that ends from now on and took at least so long, for `take_ended_calls`; None: no call."""

    def take_ended_calls(self) -> tuple[list[tuple[int, str, int, float, float, float, int, int, str]], int]:
        """What was kept since the last time, at most 65,536, and how many there was no room for. Each is (Unix time
        of its end in ms, method path, gRPC code, seconds to receive it, to serve it and to send its reply, bytes of
        its messages, bytes of its reply, peer)."""

    def stop_accepting(self) -> None:
        """Close the listeners and send GOAWAY; open calls go on, and polls go on delivering what they sent."""

    def open_calls(self) -> int:
        """gRPC calls and HTTP requests whose replies are not over."""

    def close(self) -> None:
        """Drop every connection and end the thread. Idempotent."""

@final
class PeerLinks:
    """The links of a node to the others of its cluster, on the network thread of its server: two streams to each node
    that is known, one for small messages and one for bulk, and the streams that those nodes open."""

    def __new__(
        cls,
        server: EdgeServer,
        cluster: bytes,
        node: int,
        *,
        queue_bytes_max: int = ...,
        bulk_bytes_max: int = ...,
        message_bytes_max: int = ...,
        inbox_bytes_max: int = ...,
        bulk_inbox_bytes_max: int = ...,
        beat_ms: int = ...,
        silence_ms: int = ...,
    ) -> PeerLinks:
        """From now on the server accepts streams of known nodes. ValueError when it has links already."""

    def know(self, node: int, address: str) -> None:
        """Where a node is reached. Connects, and reconnects by itself. ValueError when it is no address."""

    def forget(self, node: int) -> None:
        """No stream to it any more, none from it accepted."""

    def send(self, messages: Sequence[tuple[int, bytes]]) -> None:
        """(node, message), in one crossing and with one wake-up. Never waits: over `queue_bytes_max` for a node its
        oldest are dropped, and counted, as are those above `message_bytes_max`; what is for an unknown node is dropped
        without a count. ValueError, with nothing taken, for an empty message."""

    def send_bulk(self, node: int, message: bytes) -> bool:
        """False: no room now or ever, or no such node; nothing was taken."""

    def receive(self) -> list[tuple[int, bytes]]:
        """(node, message) of both lanes since the last call. The bell of the server rings for them. A node that neither
        polls nor receives nor looks at its links for `silence_ms` is down for the others."""

    def links(self) -> dict[int, tuple[bool, int, str, int, int]]:
        """(up, since in ms from the making of the links, refusal, queued bytes of small messages, how many of them were
        dropped since the node is known under its address) of each known node.
        Up: within the last `silence_ms` it answered a beat on our stream, and was heard on its own."""

    def close(self) -> None:
        """Forget all nodes. Idempotent."""

@final
class EdgeClient:
    """A gRPC client connection, reconnecting with back-off. Blocking; thread-safe. A forked child connects afresh.

    `fate`, here and below: 0, the status is the server's; 1, the status is ours and the request never left this
    process; 2, the status is ours and the server may have the request.
    """

    def __new__(cls, address: str, *, authority: str | None = ..., reply_bytes_max: int = ...) -> EdgeClient: ...
    def connect(self, timeout_ms: int, refused_ms: int | None = None) -> None:
        """Raises ConnectionError when no connection comes up in time: `refused_ms` where nobody listens, if given."""

    def call(
        self, path: str, message: bytes, timeout_ms: int, metadata: Sequence[tuple[str, str]] = ...
    ) -> tuple[int, str, bytes, bytes, int]:
        """Returns (gRPC code, status message, status details, reply message, fate). Never raises for a remote failure.
        A negative `timeout_ms` is no deadline, here and in `stream`."""

    def stream(
        self, path: str, message: bytes, timeout_ms: int, metadata: Sequence[tuple[str, str]] = ...
    ) -> EdgeStream: ...
    def close(self) -> None: ...

@final
class EdgeLoopClient:
    """The same for an event loop: no method blocks. What has ended waits to be taken; the first of it writes one byte
    into the bell, and nothing more is written until it was taken."""

    def __new__(
        cls, address: str, bell: int, *, authority: str | None = ..., reply_bytes_max: int = ...
    ) -> EdgeLoopClient:
        """`bell` is the descriptor of one end of a socket pair, whose other end the loop watches."""

    def send(self, calls: Sequence[tuple[int, str, bytes, int]]) -> None:
        """Start calls (id, path, message, timeout in ms, negative for none), in order. Each id is used once."""

    def cancel(self, ids: Sequence[int]) -> None:
        """End calls, also on the wire. Those that have ended already are told all the same."""

    def stream(self, id: int, path: str, message: bytes, timeout_ms: int) -> EdgeStream:
        """Start a call whose reply is a stream; `take` names it whenever it has something after it had nothing."""

    def take(
        self,
    ) -> tuple[list[int], list[bytes], list[tuple[int, int, str, bytes, int]], list[int]]:
        """What has ended since the last time: ids and replies, side by side, of the calls that went well; (id, code,
        message, details, fate) of the others; ids of streams to take from."""

    def close(self) -> None: ...

@final
class EdgeStream:
    """The reply stream of a call. One reader."""

    def next(self, messages_max: int, timeout_ms: int = ...) -> tuple[list[bytes], tuple[int, str, bytes, int] | None]:
        """Wait for messages, at most `timeout_ms` (negative: for ever). Returns (messages, None), with none when the
        time was over first, or (last messages, (code, message, details, fate)) at the end. Of an EdgeClient's."""

    def take(self, messages_max: int) -> tuple[list[bytes], tuple[int, str, bytes, int] | None]:
        """What is there now, as from `next`; does not wait."""

    def cancel(self) -> None: ...

@final
class Writes:
    """What one `Raft.ready()` wants written, for all groups. Owned by Rust; handed to `Log.append` as it is."""

    def is_empty(self) -> bool: ...
    def items(self) -> list[tuple[int, int, tuple[int, int, int] | None, list[EntryTuple]]]:
        """Plain values, for a simulated log: (group, ready number, (term, vote, commit) or None, entries)."""

@final
class Raft:
    """Many Raft groups behind one object. No I/O, no clock, no chance: ticks, seed and durability come from outside.

    One thread drives it: persisted, step, tick, propose, ready -> Log.append -> Log.durable -> persisted ...
    """

    def __new__(
        cls,
        *,
        seed: int,
        election_ticks: int = ...,
        election_ticks_max: int = ...,
        heartbeat_ticks: int = ...,
        vow_ticks: int = ...,
        asks_for_vows: bool = ...,
    ) -> Raft:
        """A leader is missed after more than `election_ticks` and at most `election_ticks_max`, drawn for each group,
        replica and term; all leaders send their heartbeats in the same of `heartbeat_ticks` ticks. For `vow_ticks` a
        replica grants no vote and does not stand once it was opened, and once a leader has asked for a vow: one that
        `asks_for_vows` does with every read index."""

    def open_group(
        self,
        group: int,
        replica: int,
        conf: Conf,
        applied: int,
        hard_state: tuple[int, int, int],
        prev_index: int,
        prev_term: int,
        entries: Sequence[EntryTuple],
        *,
        log_first: int | None = ...,
    ) -> None:
        """Start or restart a group: members as of `applied`; `entries` follow (prev_index, prev_term) contiguously and
        reach back to `applied` + 1 at least. The log on disk begins at `log_first`; None: where `entries` begin.
        ValueError when the parts contradict each other."""

    def close_group(self, group: int) -> bool: ...
    def campaign(self, group: int) -> bool:
        """Stand for election now. False: not now, a write is still open."""

    def tick(self, count: int) -> None:
        """Let time pass in all groups that are awake."""

    def drowsy(self, ticks: int) -> list[tuple[int, int, int]]:
        """(group, term, last index) of the leaders here that have had nothing to do for so many ticks, and whose
        members all have, and know as committed, all there is. Costs as much as the groups that are awake."""

    def sleep(self, places: Sequence[tuple[int, int, int]]) -> list[int]:
        """Put groups to sleep that stand at (group, term, last index), leaders or followers: no time passes in them.
        Returns those that did not. Any way into a group but a late reply wakes it, and its timers begin anew."""

    def wake(self, groups: Sequence[int], *, leader_is_lost: bool = ...) -> None:
        """Let time pass again. With `leader_is_lost` who follows stands for election soon, and votes for who does."""

    def step(self, messages: Sequence[tuple[int, bytes]]) -> list[tuple[int, str]]:
        """Peer messages (group, bytes). Returns those that were ignored: (position, reason)."""

    def propose(self, group: int, data: bytes) -> tuple[int, int] | None:
        """Returns (term, index) of the entry, or None when this replica is not the leader or cannot take it now."""

    def propose_conf_change(
        self, group: int, changes: Sequence[tuple[int, int]], transition: int, context: bytes = ...
    ) -> tuple[int, int] | None:
        """`changes`: (kind, replica) with kind 0 voter, 1 remove, 2 learner; none leaves a joint state. `transition`: 0
        automatic, 1 joint with automatic leave, 2 joint with explicit leave. None: refused, nothing was proposed."""

    @staticmethod
    def decode_conf_change(data: bytes) -> tuple[list[tuple[int, int]], bytes]:
        """(changes, context) of an entry of kind 2; one by which Raft leaves a joint state has neither."""

    def apply_conf_change(self, group: int, index: int, data: bytes) -> Conf: ...
    def read_index(self, group: int, context: bytes) -> bool: ...
    def lease_place(self, group: int) -> tuple[int, int] | None:
        """(term, commit index) of a replica that may hold a lease, as far as Raft can tell: it leads, has committed in
        its term, and has not begun to hand leadership over in it."""

    def transfer_leader(self, group: int, to: int) -> bool:
        """Start handing leadership over. Proposals are refused until it is done or an election timeout has passed;
        `ready` tells which."""

    def may_install(self, group: int, index: int, term: int) -> bool:
        """Whether a snapshot as of (index, term) brings this replica what its own log does not."""

    def report_snapshot(self, group: int, replica: int, index: int | None) -> None:
        """How a snapshot that `ready` wanted for `replica` ended: installed as of an index, or None, and then it is
        wanted again at the follower's next reply at the latest."""

    def all_matched(self, group: int) -> int:
        """The smallest index that all voters have on disk; 0 when this replica does not lead."""

    def watch_all(self, group: int, is_watched: bool) -> None:
        """Whether `ready` tells when that has changed."""

    def persisted(self, acks: Sequence[tuple[int, int]]) -> None:
        """The writes of (group, ready number) are durable, and of all earlier numbers of the group."""

    def ready(self) -> tuple[Writes, list[tuple[GroupNews, int, list[tuple[int, bytes]]]]]:
        """Only groups with work: (news, number, messages to send once the write of that number is durable); 0 when
        there is no such write. For those who look at Raft alone: a `Relay` takes it, writes, and holds back."""

    def applied(self, marks: Sequence[tuple[int, int]]) -> None:
        """(group, index): entries up to here are applied."""

    def compact(self, group: int, index: int) -> None:
        """Forget entries up to `index` in memory (the log keeps its own bounds). What every member is known to have is
        forgotten without being told."""

    def cut(self, group: int, index: int) -> None:
        """The log on disk has been cut up to `index`, and so is what is in memory."""

    def fetched(self, group: int, low: int, prev_term: int, entries: Sequence[EntryTuple]) -> None:
        """What `ready` wanted to have of the log, from `low` on behind an entry of `prev_term`; nothing when it could
        not be read, and then it is wanted again at the follower's next reply."""

    def status(self, group: int) -> dict[str, object]:
        """role (0 follower 1 candidate 2 leader 3 pre-candidate), leader, term, vote, commit, persisted, applied,
        first_index, last_index, conf, asleep, peers {replica: (matched, next, state 0 probe 1 replicate 2 snapshot,
        heard from lately)}; peers are what a leader knows."""

    def stats(self) -> dict[str, object]:
        """groups, awake (now); elections begun, leader_changes, proposals, committed entries, and sent and received
        messages {kind: count} (ever)."""

@final
class Log:
    """The log of all groups in a folder: raft-engine on a native thread of its own. One append and one sync for
    everything handed over while the previous sync ran."""

    def __new__(
        cls,
        bell: Bell,
        folder: str,
        *,
        file_bytes: int = ...,
        purge_threshold_bytes: int = ...,
        sync_delay_ms: int = ...,
    ) -> Log:
        """Opens or creates, checks every file for damage (ValueError naming file and offset: a broken batch with a
        valid one behind it is corruption, not a tail), syncs what was found, and starts the thread.
        `sync_delay_ms` slows every sync, for measurements and tests."""

    def groups(self) -> list[int]: ...
    def state(self, group: int) -> tuple[tuple[int, int, int], int, int] | None:
        """(hard state, first index, last index) of a group, or None if the log does not know it."""

    def read(self, group: int, low: int, high: int, bytes_max: int) -> list[EntryTuple]:
        """Entries [low, high), at least one, cut at `bytes_max`. Blocking: for start-up only."""

    def create_group(self, group: int, hard_state: tuple[int, int, int], prev_index: int, prev_term: int) -> None:
        """First state of a group whose log starts behind (prev_index, prev_term); synced before it returns."""

    def reset_group(self, group: int, hard_state: tuple[int, int, int], prev_index: int, prev_term: int) -> None:
        """The log of a group begins anew behind (prev_index, prev_term), in one step. Returns at once; what is handed
        over later is durable only together with it."""

    def prev(self, group: int) -> tuple[int, int]:
        """(index, term) of the entry before the first one kept."""

    def append(self, writes: Writes) -> None:
        """Hand over; returns at once. The bell rings when it is durable. ValueError, with nothing taken, when an entry
        does not follow what the log has."""

    def durable(self) -> list[tuple[int, int]]:
        """(group, ready number) that became durable since the last call. OSError once a write or sync has failed:
        the log never writes again after that."""

    def cut(self, group: int, index: int) -> None:
        """Forget entries up to `index`, later, on the log's thread."""

    def cut_wanted(self) -> list[int]:
        """Groups whose old entries keep files from being freed, since the last call: cut them if you can."""

    def fetch(self, token: int, group: int, low: int, high: int, bytes_max: int) -> None:
        """Read [low, high) on a native thread; the result comes from `fetched`."""

    def fetched(self) -> list[tuple[int, list[EntryTuple] | str]]: ...
    def stats(self) -> dict[str, object]:
        """appends, syncs, in_line_syncs (by a `Relay` on the node's thread, among all), sync_seconds_total,
        sync_seconds_max, sync_buckets (counts; one more than the bounds), sync_bounds (upper bounds in seconds),
        append_bytes, queued_bytes, disk_bytes."""

    def close(self) -> None:
        """Finish what was handed over, sync, end the thread. Idempotent."""

class _RelayLog(Protocol):
    """What a `Relay` needs of a log that is not a `Log`. None of it may call the relay."""

    def failure(self) -> str | None:
        """Why nothing more is written, once a write or sync has failed."""

    def durable(self) -> list[tuple[int, int]]: ...
    def append(self, writes: Writes, /) -> None: ...
    def write_in_line(self) -> bool:
        """Write what is queued at once, if that is little and the disk quick. Whether `durable` has news of it."""

class _RelayLinks(Protocol):
    """The other nodes and the time, where they are simulated. None of it may raise, or call the relay."""

    def now_ms(self) -> int: ...
    def receive(self) -> list[tuple[int, bytes]]: ...
    def send(self, messages: list[tuple[int, bytes]], /) -> None: ...

@final
class Relay:
    """Does for the groups of a `Raft` what asks for no decision, in the node's turns and where it waits between them:
    steps messages of nodes that were heard before, hands writes to the log, sends what may leave, holds back what may
    not. Python is told what is left: entries to apply, leadership, reads, and all else."""

    def __new__(cls, raft: Raft, log: Log | _RelayLog) -> Relay:
        """One for a Raft. Until `serve` or `link` it only advances: Python steps and sends all messages."""

    def serve(self, server: EdgeServer) -> None:
        """From now on `server.poll` waits here; its `PeerLinks`, if there are any, are made. ValueError for a second
        one."""

    def link(self, links: _RelayLinks) -> None:
        """From now on `pass_over` hears and speaks through these. ValueError for second ones."""

    def pass_over(self, is_lone: bool) -> bool:
        """Do what is done where the node waits, once; whether Python has to take a turn. `is_lone`: nobody but one
        caller waits."""

    def receive(self) -> list[tuple[int, bytes]]:
        """(node, message) of what Python has to read."""

    def advance(self, *, in_line: bool = False) -> list[GroupNews | tuple[int, list[EntryTuple]]]:
        """What there is to tell since the last call, of a group with nothing but committed entries as (group, entries);
        messages are among it only for replicas whose node is not known here. With `in_line` a little may be written on
        this thread, where the disk is quick. OSError once a write or sync of the log has failed."""

    def forget(self, group: int) -> None:
        """A group was closed: drops what is held back or to be told of it."""

    def be_patient(self, is_patient: bool) -> None:
        """Whether entries that followers have to apply may wait for others to share a turn with: a few ms, more while
        turns take long. At first they may not."""
