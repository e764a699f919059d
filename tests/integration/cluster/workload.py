"""Clients that write unique values to few keys through all nodes, and what they saw, to be judged at the end.

They are the Python client, whose word on a failed call is taken: "nothing happened" is checked as much as "done". Some
stay with one node whatever becomes of it, a leader that was cut off among them; some know all nodes and go on to the
next one when one does not answer, with the same session, so that what they ask for twice must happen once.
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
from dkv.client.connecting import open_client
from dkv.client.sync import Client
from dkv.client.url import Options
from dkv.testing.checks import linearizable, only_written_values
from dkv.testing.history import Call, Entry, History, Kind, Status

KEYS = 6
PATIENCE_SECONDS = 5.0
"""Of one operation, all its attempts together: longer than an election, or it would be unknown after each."""
PROGRESS_SECONDS_MAX = 60


class Worker:
    """One client, one operation at a time."""

    def __init__(self, number: int, client: Client, workload: "Workload", address: str = "") -> None:
        """`address`: of the node that it stays with; empty: it goes where it is answered."""
        self.number, self.client, self.address = number, client, address
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
        for key in self._workload.all_keys:
            self._try(Kind.GET, Entry(key))


def client_of(addresses: Sequence[str], patience_seconds: float, first: int = 0) -> Client:
    """Of one node, or of several, the one at place `first` before all others. Nodes have other names for each other
    than sockets, so where those are given nobody is asked for more."""
    address, *others = *addresses[first:], *addresses[:first]
    is_learning = bool(others) and not address.startswith("unix:")
    return open_client(Options(address, timeout_s=patience_seconds, others=tuple(others), learns_members=is_learning))


class Workload:
    """Runs while it is entered. A client stays with each node, as many in all know all of them."""

    def __init__(
        self,
        name: str,
        addresses: Sequence[str],
        patience_seconds: float = PATIENCE_SECONDS,
        pause_seconds: float = 0.0,
    ) -> None:
        """`pause_seconds`: between two calls of a client."""
        self._pause_seconds = pause_seconds
        self._prefix = f"{name}/".encode()
        self.keys: list[bytes] = []
        """Those of this page."""
        self.all_keys: list[bytes] = []
        self.turn_page()
        self.history = History()
        self._lock, self._is_over = threading.Lock(), threading.Event()
        self.workers: list[Worker] = []
        for number, address in enumerate(addresses):
            staying = client_of([address], patience_seconds)
            roaming = client_of(addresses, patience_seconds, first=number)
            self.workers.append(Worker(2 * number, staying, self, address))
            self.workers.append(Worker(2 * number + 1, roaming, self))
        self._threads = [threading.Thread(target=self._run, args=(worker,)) for worker in self.workers]

    @property
    def roaming(self) -> list[Worker]:
        return [worker for worker in self.workers if not worker.address]

    def staying(self, *addresses: str) -> list[Worker]:
        """Those who stay with these nodes."""
        return [worker for worker in self.workers if worker.address in addresses]

    def turn_page(self) -> None:
        """Other keys from now on: histories of a key stay short enough to be judged, however long it all goes on."""
        first = len(self.all_keys)
        self.keys = [self._prefix + b"%d" % number for number in range(first, first + KEYS)]
        self.all_keys += self.keys

    def _run(self, worker: Worker) -> None:
        while not self._is_over.is_set():
            worker.step()
            if self._pause_seconds:
                self._is_over.wait(self._pause_seconds)

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
        chosen = self.roaming if workers is None else workers
        goals = {worker.number: worker.done + count for worker in chosen}
        deadline = time.monotonic() + PROGRESS_SECONDS_MAX
        while any(worker.done < goals[worker.number] for worker in chosen):
            assert time.monotonic() < deadline, f"no progress: {[(w.number, w.done, w.errors[-1:]) for w in chosen]}"
            time.sleep(0.01)

    def fail(self, count: int) -> None:
        """Until each client has failed so often, more."""
        goals = {worker.number: len(worker.errors) + count for worker in self.workers}
        deadline = time.monotonic() + PROGRESS_SECONDS_MAX
        while any(len(worker.errors) < goals[worker.number] for worker in self.workers):
            assert time.monotonic() < deadline, f"no failure: {[(w.number, w.done) for w in self.workers]}"
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

    def check(self, gone: Sequence[str] = ()) -> None:
        """Every client reads every key once more, but those who stay with nodes that are not there any more; then all
        that was seen is judged, and the history of a node."""
        there = [worker for worker in self.workers if worker.address not in gone]
        for worker in there:
            worker.read_all()
        complaints = [*linearizable(self.history), *only_written_values(self.history), *self._once(there[0].client)]
        self.close()
        assert not complaints, "\n".join(complaints)

    def summary(self) -> str:
        """How the calls ended."""
        ends = Counter(call.status.value for call in self.history.calls)
        return f"{len(self.history.calls)} calls: " + ", ".join(f"{count} {end}" for end, count in ends.items())

    def _once(self, client: Client) -> Iterator[str]:
        """What was acknowledged is in the change feed once; nothing is there twice, and nothing that was refused."""
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
