"""Clients that write unique values to few keys through all nodes, and what they saw, to be judged at the end.

They are the Python client, whose word on a failed call is taken: "nothing happened" is checked as much as "done". Some
stay with one node whatever becomes of it, a leader that was cut off among them; some go on to the next node when one
does not answer, with the same session, so that what they ask for twice must happen once.
"""

import random
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Self

import dkv
from dkv.client.changes import ChangeKind
from dkv.client.sync import CallResult, Client, Stream
from dkv.edge import EdgeClient
from dkv.model.errors import Code
from dkv.testing.checks import linearizable, only_written_values
from dkv.testing.history import Call, Entry, History, Kind, Status

KEYS = 6
PATIENCE_SECONDS = 5.0
"""Of one operation, all its attempts together: longer than an election, or it would be unknown after each."""
ATTEMPT_MS_MAX = 1_000
"""Then a client that may ask others does so."""
PROGRESS_SECONDS_MAX = 60
LOST = 2
"""Fate of a call that may have arrived."""


class AnyNode:
    """A connection to whichever node answers: to the next one, when one is away or silent. A `Channel`."""

    def __init__(self, addresses: Sequence[str], first: int) -> None:
        self._channels = [EdgeClient(address) for address in addresses]
        self._at = first % len(self._channels)

    def call(self, path: str, message: bytes, timeout_ms: int, /) -> CallResult:
        code, text, details, reply, fate = self._channels[self._at].call(path, message, min(timeout_ms, ATTEMPT_MS_MAX))
        if code in (Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED):
            self._at = (self._at + 1) % len(self._channels)
        if code == Code.DEADLINE_EXCEEDED and fate == LOST and timeout_ms > ATTEMPT_MS_MAX:
            code = Code.UNAVAILABLE  # of this node; there are others, and time
        return code, text, details, reply, fate

    def stream(self, path: str, message: bytes, timeout_ms: int, /) -> Stream:
        return self._channels[self._at].stream(path, message, timeout_ms)

    def connect(self, timeout_ms: int) -> None:
        self._channels[self._at].connect(timeout_ms)

    def close(self) -> None:
        for channel in self._channels:
            channel.close()


class Worker:
    """One client, one operation at a time."""

    def __init__(self, number: int, client: Client, workload: "Workload", is_roaming: bool) -> None:
        self.number, self.client, self.is_roaming = number, client, is_roaming
        self.done = 0
        """Operations that went well."""
        self.errors: list[dkv.Error] = []
        self._workload, self._chance, self._count = workload, random.Random(number), 0
        self._seen: dict[bytes, bytes | None] = {}

    def step(self) -> None:
        key = self._chance.choice(self._workload.keys)
        draw = self._chance.random()
        self._count += 1
        value = b"%d/%d" % (self.number, self._count)
        if draw < 0.4:
            self._try(Kind.PUT, Entry(key, value))
        elif draw < 0.55:
            self._try(Kind.CAS, Entry(key, value, self._seen.get(key) or b""))
        elif draw < 0.6:
            self._try(Kind.DELETE, Entry(key))
        else:
            self._try(Kind.GET, Entry(key))

    def _try(self, kind: Kind, entry: Entry) -> None:
        call = self._workload.invoke(self.number, kind, entry)
        try:
            self._do(call, entry)
        except dkv.Error as error:
            self.errors.append(error)
            self._workload.failed(call, error)
        else:
            self.done += 1

    def _do(self, call: Call, entry: Entry) -> None:
        key, value = entry.key, entry.value
        took_effect, seen = True, ()
        match call.kind:
            case Kind.PUT:
                self.client.put(key, value)
                self._seen[key] = value
            case Kind.CAS:
                took_effect = self.client.compare_and_set(key, entry.expected or None, value)
            case Kind.DELETE:
                self.client.delete(key)
                self._seen[key] = None
            case _:
                self._seen[key] = self.client.get(key)
                seen = (self._seen[key],)
        self._workload.ok(call, seen, took_effect)

    def read_all(self) -> None:
        """What is there in the end, as this client is told it."""
        for key in self._workload.keys:
            self._try(Kind.GET, Entry(key))


class Workload:
    """Runs while it is entered. Two clients stay with each node, as many in all go where they are answered."""

    def __init__(self, name: str, addresses: Sequence[str]) -> None:
        self.keys = [f"{name}/{number}".encode() for number in range(KEYS)]
        self._prefix = f"{name}/".encode()
        self.history = History()
        self._lock, self._is_over = threading.Lock(), threading.Event()
        self.workers: list[Worker] = []
        for number, address in enumerate(addresses):
            staying = dkv.connect(f"dkv://{address}?timeout={PATIENCE_SECONDS}s")
            roaming = Client(AnyNode(addresses, number), timeout_s=PATIENCE_SECONDS)
            self.workers.append(Worker(2 * number, staying, self, is_roaming=False))
            self.workers.append(Worker(2 * number + 1, roaming, self, is_roaming=True))
        self._threads = [threading.Thread(target=self._run, args=(worker,)) for worker in self.workers]

    def _run(self, worker: Worker) -> None:
        while not self._is_over.is_set():
            worker.step()

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_over.set()
        for thread in self._threads:
            thread.join()

    def close(self) -> None:
        for worker in self.workers:
            worker.client.close()

    # While it runs

    def go_on(self, count: int, workers: Sequence[Worker] | None = None) -> None:
        """Until each of these clients, those that go where they are answered if not said, has done so much more."""
        chosen = [worker for worker in self.workers if worker.is_roaming] if workers is None else workers
        goals = {worker.number: worker.done + count for worker in chosen}
        deadline = time.monotonic() + PROGRESS_SECONDS_MAX
        while any(worker.done < goals[worker.number] for worker in chosen):
            assert time.monotonic() < deadline, f"no progress: {[(w.number, w.done, w.errors[-1:]) for w in chosen]}"
            time.sleep(0.01)

    # What it sees

    def invoke(self, number: int, kind: Kind, entry: Entry) -> Call:
        with self._lock:
            return self.history.invoke(number, kind, (entry,))

    def ok(self, call: Call, seen: tuple[bytes | None, ...], took_effect: bool) -> None:
        with self._lock:
            self.history.ok(call, seen=seen, took_effect=took_effect)

    def failed(self, call: Call, error: dkv.Error) -> None:
        with self._lock:
            if call.is_write and error.may_have_happened:
                self.history.unknown(call)
            else:
                self.history.failed(call)

    # The end

    def check(self) -> None:
        """Every client reads every key once more; then all that was seen is judged, and the history of a node."""
        for worker in self.workers:
            worker.read_all()
        complaints = [*linearizable(self.history), *only_written_values(self.history), *self._once()]
        self.close()
        assert not complaints, "\n".join(complaints)

    def _once(self) -> Iterator[str]:
        """What was acknowledged is in the change feed once; nothing is there twice, and nothing that was refused."""
        client = self.workers[0].client
        through = client.stats().change_number
        changes = client.changes(1, prefix=self._prefix, through=through)
        fed = Counter((change.key, change.value) for change in changes if change.kind is ChangeKind.PUT)
        for call in self.history.calls:
            if call.kind not in (Kind.PUT, Kind.CAS):
                continue
            count = fed[call.entries[0].key, call.entries[0].value]
            is_due = call.status is Status.OK and call.took_effect
            if count > 1 or (is_due and count < 1) or (count and not is_due and not call.is_unknown):
                yield f"{count} times in the history: {call}"
