"""One run: a machine, its clients and a schedule of steps and faults, all drawn from one seed.

Which faults a run has is drawn first, and differently for each seed: a run with everything at once hides what a quiet
run with one kind of fault would show. At the end everything heals, every operation ends, and what the clients saw is
checked against what is there.
"""

from collections.abc import Callable

from dkv.model.errors import Corrupt, StorageFailed
from dkv.model.limits import Limits
from dkv.ports.store import Pressure
from dkv.storage.memory import NO_PRESSURE
from dkv.testing import checks
from dkv.testing.clients import ALL_KEYS, GROUP_OF, Client
from dkv.testing.history import Call, Entry, History, Kind, Status
from dkv.testing.machine import Life, Machine
from dkv.testing.protocol import Method
from dkv.testing.random import stream
from dkv.testing.trace import Trace

CLIENTS = 5
REST_ROUNDS_MAX = 3_000
"""Rounds in which a healed node has to answer everything that is open."""
REST_MS = 60_000
"""Longer than any time to live: at the end all of them are over."""
TICK_ROUNDS = 50
"""Half a second in which an unasked clock tick has to come, be synced and be applied."""
PROBES = 3
PROBE_KEY, RELATIVE_KEY = b"probe", b"relative"
JUMP_MS_MAX = 30 * 60 * 1000
"""Within the bound (one hour) up to which log time may follow a jump unconfirmed."""


class Broken(Exception):
    """A promise was broken; the text says which."""


class World:
    """Everything of one run. `run` may be called once."""

    def __init__(self, seed: int) -> None:
        self._rng = stream(seed, "schedule")
        self.trace, self.history = Trace(), History()
        limits = Limits(entry_bytes_max=self._rng.choice([150, 1 << 20]), sessions_max=self._rng.choice([4, 10_000]))
        self.machine = Machine(seed, limits)
        self._clients = [
            Client(number, stream(seed, f"client {number}"), self.history, has_session=number % 2 == 0)
            for number in range(CLIENTS)
        ]
        self._prober = Client(CLIENTS, stream(seed, "prober"), self.history, has_session=False)
        """Asks alone, at the end; it has no session that a crash could have lost."""
        self._all = [*self._clients, self._prober]
        self._turns_since_fault: int | None = None
        """Turns survived since a disk failed for good."""
        names, weights = zip(*self._draw_weights().items(), strict=True)
        self._names: list[str] = list(names)
        self._weights: list[float] = list(weights)

    @property
    def acknowledged(self) -> int:
        return sum(client.acknowledged for client in self._clients)

    @property
    def unknown(self) -> int:
        return sum(call.is_write and call.status is Status.UNKNOWN for call in self.history.calls)

    def run(self, steps: int) -> None:
        """Raises Broken when the node breaks a promise."""
        self.history.saw_wall_time(self.machine.clock.wall_ms_max)
        for _ in range(steps):
            name = self._rng.choices(self._names, self._weights)[0]
            self._steps()[name]()
        self._finish()

    def _draw_weights(self) -> dict[str, float]:
        weights = {"turn": 30.0, "client": 30.0, "disk": self._rng.choice([8.0, 30.0, 60.0]), "time": 12.0}
        faults = {
            "crash": 0.4, "power": 0.4, "timeout": 2.0, "drop": 0.7, "jump": 0.7, "low": 0.2, "room": 1.0,
            "pressure": 0.4, "relief": 2.0,
            "log sync fails": 0.1, "log full": 0.1, "engine write fails": 0.1, "engine sync fails": 0.1,
            "crash in opening": 0.1,
        }  # fmt: skip
        return weights | {name: weight for name, weight in faults.items() if self._rng.random() < 0.5}

    def _steps(self) -> dict[str, Callable[[], None]]:
        machine = self.machine
        return {
            "turn": self._turn,
            "client": self._client_acts,
            "disk": lambda: self.trace.add(machine.step_disks()),
            "time": lambda: self._pass_time(self._rng.choice([1, 10, 100, 1000])),
            "crash": lambda: self._end_life("crash", machine.crash_process),
            "power": lambda: self._end_life("power loss", machine.power_loss),
            "timeout": self._client_times_out,
            "drop": self._request_is_lost,
            "jump": self._clock_jumps,
            "low": lambda: setattr(machine.store, "free_bytes_now", 0),
            "room": machine.make_room,
            "pressure": lambda: setattr(machine.store, "pressure_now", Pressure(True, 0)),
            "relief": lambda: setattr(machine.store, "pressure_now", NO_PRESSURE),
            "log sync fails": lambda: setattr(machine.log_disk, "sync_fails", True),
            "log full": lambda: setattr(machine.log_disk, "free_bytes", 0),
            "engine write fails": lambda: setattr(machine.store, "fail_next_write", StorageFailed("simulated write")),
            "engine sync fails": lambda: setattr(machine.store, "fail_next_sync", StorageFailed("simulated sync")),
            "crash in opening": self._crash_in_opening,
        }

    # Steps

    def _alive(self) -> Life:
        """The running process, started if there is none; a fault that hits the opening is a crash."""
        while self.machine.life is None:
            try:
                self.machine.start()
                self.trace.add(f"life {self.machine.lives} begins")
            except Corrupt as failure:
                raise Broken(f"a folder that only crashed was refused: {failure}") from failure
            except (StorageFailed, OSError) as failure:
                self._end_life(f"opening failed: {failure}", self.machine.crash_process)
        return self.machine.life

    def _turn(self) -> None:
        life = self._alive()
        life.edge.now_ms = self.machine.clock.now().monotonic_ms
        try:
            life.node.turn(0)
        except Corrupt:
            raise
        except StorageFailed as failure:
            ending = self._rng.choice([self.machine.crash_process, self.machine.power_loss])
            self._end_life(f"the node ends: {failure}", ending)
            return
        self.trace.add(f"turn, applied {life.node.replica.applied_index}, log time {life.node.replica.log_time}")
        self._deliver(life)
        self._must_end_after_failure(life)

    def _deliver(self, life: Life) -> None:
        for reply in life.edge.take_replies():
            client = next((c for c in self._all if c.call_id == reply.call_id), None)
            if client is not None:
                self.trace.add(f"reply to {client.number}: {client.replied(reply)}")
        if life.edge.violations:
            raise Broken("; ".join(life.edge.violations))

    def _must_end_after_failure(self, life: Life) -> None:
        """INVARIANTS 6: a log that failed once is the end of the process, at the next turn that looks."""
        if not life.log.has_failed:
            self._turns_since_fault = None
            return
        self._turns_since_fault = (self._turns_since_fault or 0) + 1
        if self._turns_since_fault > 1:
            raise Broken("the node went on after a write or sync of its log had failed")

    def _client_acts(self) -> None:
        idle = [client for client in self._clients if client.call_id is None]
        if idle:
            self._act(self._rng.choice(idle))

    def _act(self, client: Client) -> None:
        life = self._alive()
        wall_ms = self.machine.clock.now().wall_ms
        line = client.act(lambda method, message: life.edge.call(life.methods[method], message), wall_ms)
        self.trace.add(f"client {client.number}: {line}")

    def _client_times_out(self) -> None:
        waiting = [client for client in self._clients if client.call_id is not None]
        if waiting and self.machine.life is not None:
            client = self._rng.choice(waiting)
            assert client.call_id is not None
            self.machine.life.edge.leave(client.call_id)
            client.lost()
            self.trace.add(f"client {client.number} times out")

    def _request_is_lost(self) -> None:
        waiting = [client for client in self._clients if client.call_id is not None]
        if waiting and self.machine.life is not None:
            client = self._rng.choice(waiting)
            assert client.call_id is not None
            if self.machine.life.edge.drop(client.call_id):
                client.lost()
                self.trace.add(f"request of client {client.number} is lost")

    def _pass_time(self, ms: int) -> None:
        self.machine.clock.advance(ms)
        self.history.saw_wall_time(self.machine.clock.wall_ms_max)
        self.trace.add(f"{ms} ms pass")

    def _clock_jumps(self) -> None:
        self._jump(self._rng.choice([-1, 1]) * self._rng.choice([1, 1_000, 60_000, JUMP_MS_MAX]))

    def _jump(self, ms: int) -> None:
        self.machine.clock.jump_wall(ms)
        self.history.saw_wall_time(self.machine.clock.wall_ms_max)
        self.trace.add(f"the wall clock jumps by {ms} ms")

    def _crash_in_opening(self) -> None:
        """The next process meets a failing engine, its successor does not."""
        self._end_life("crash", self.machine.crash_process)
        self.machine.store.fail_next_sync = StorageFailed("simulated sync in the opening")

    def _end_life(self, why: str, ending: Callable[[], None]) -> None:
        self.trace.add(f"life {self.machine.lives} is over: {why}, {ending.__name__}")
        ending()
        self.machine.heal()
        self._turns_since_fault = None
        for client in self._all:
            if client.call_id is not None:
                client.lost()

    # The end

    def _finish(self) -> None:
        """Heal, bring every operation to its end, look at what is there, and check all promises."""
        self.machine.heal()
        self._rest()
        self._end_life("the last one", self.machine.power_loss)
        self._pass_time(REST_MS)
        for _ in range(TICK_ROUNDS):
            self._round()
        self._rest()
        replica = self._alive().node.replica
        expired_at = replica.log_time if "jump" in self._names else self.machine.clock.now().wall_ms - REST_MS // 2
        final = {key: self._one(Method.GET, Kind.GET, Entry(key)).seen[0] for key in ALL_KEYS}
        final[PROBE_KEY] = self._probe()
        final[RELATIVE_KEY] = self._relative_lifetime()
        complaints = [
            *checks.only_written_values(self.history),
            *checks.acknowledged_present(self.history, final),
            *checks.change_numbers_whole(self.history, replica.change_number),
            *checks.batches_whole(self.history, GROUP_OF),
            *checks.expired_gone(self.history, final, expired_at),
            *checks.linearizable(self.history),
        ]
        if complaints:
            raise Broken("\n".join(complaints[:5]))

    def _rest(self) -> None:
        """No new operations: those under way are retried until they end."""
        for _ in range(REST_ROUNDS_MAX):
            for client in self._all:
                if client.call is not None and client.call_id is None:
                    self._act(client)
            self._round()
            if self._is_at_rest(self._alive()):
                return
        raise Broken(f"no rest: {[str(client.call) for client in self._all if client.call is not None]}")

    def _round(self) -> None:
        self._turn()
        self.trace.add(self.machine.step_disks())
        self._pass_time(10)

    def _is_at_rest(self, life: Life) -> bool:
        is_idle = all(client.call is None for client in self._all)
        return is_idle and life.node.is_readable and life.edge.waiting() + life.edge.open_calls() == 0

    def _one(self, method: Method, kind: Kind, entry: Entry) -> Call:
        """One operation alone, which has to succeed."""
        client = self._prober
        call = client.begin(method, kind, (entry,))
        self._rest()
        if call.status is not Status.OK:
            raise Broken(f"refused by a node at rest: {call}")
        return call

    def _relative_lifetime(self) -> bytes | None:
        """A time to live counts from the time that decides expiry, wherever somebody set the wall clock to."""
        self._jump(-JUMP_MS_MAX)
        self._one(Method.PUT, Kind.PUT, Entry(RELATIVE_KEY, b"r", ttl_ms=REST_MS))
        (seen,) = self._one(Method.GET, Kind.GET, Entry(RELATIVE_KEY)).seen
        if seen is None:
            raise Broken(f"a time to live of {REST_MS} ms was over at once, behind a wall clock that was set back")
        return seen

    def _probe(self) -> bytes:
        """Writes on a quiet node take the next numbers, one each. Returns the last value written."""
        before = self._alive().node.replica.change_number
        value = b""
        for i in range(1, PROBES + 1):
            value = b"p%d" % i
            call = self._one(Method.PUT, Kind.PUT, Entry(PROBE_KEY, value))
            if call.change_number != before + i:
                raise Broken(f"change number {before + i} was expected: {call}")
        return value
