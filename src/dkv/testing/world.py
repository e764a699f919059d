"""One simulated world: a machine, its clients, what they saw, and the steps that can happen to them.

The steps say how; which of them comes when is the business of `schedule`, and what must be true at the end of `ending`.
"""

from collections.abc import Callable
from random import Random

from dkv.model.errors import Corrupt, StorageFailed
from dkv.model.limits import Limits
from dkv.testing.clients import Client
from dkv.testing.diary import Diary
from dkv.testing.follower import Follower
from dkv.testing.history import History, Status
from dkv.testing.machine import Life, Machine
from dkv.testing.operator import Operator
from dkv.testing.random import stream
from dkv.testing.trace import Trace

CLIENTS = 5
LEAVES = 0.1
"""How often a follower that could take something goes away instead."""


class Broken(Exception):
    """A promise was broken; the text says which."""


class World:
    """Owned by one run."""

    def __init__(self, seed: int) -> None:
        self.rng: Random = stream(seed, "schedule")
        self.trace: Trace = Trace()
        self.history: History = History()
        self.machine: Machine = Machine(seed, Limits(entry_bytes_max=self.rng.choice([150, 1 << 20])))
        self.clients: list[Client] = [
            Client(number, stream(seed, f"client {number}"), self.history, has_session=number % 2 == 0)
            for number in range(CLIENTS)
        ]
        self.prober: Client = Client(CLIENTS, stream(seed, "prober"), self.history, has_session=False)
        """Asks alone, at the end; it has no session that a crash could have lost."""
        self.diary: Diary = Diary()
        self.operator: Operator = Operator(
            CLIENTS + 1, stream(seed, "operator"), self.history, self.machine.shelf, self.diary
        )
        self.everyone: list[Client] = [*self.clients, self.prober]
        self.followers: list[Follower] = [
            Follower(number, stream(seed, f"follower {number}"), prefix) for number, prefix in enumerate((b"", b"g"))
        ]
        self._turns_since_failure = 0
        self.history.saw_wall_time(self.machine.clock.wall_ms_max)

    @property
    def callers(self) -> "list[Client | Operator]":
        """Whoever may wait for an answer."""
        return [*self.everyone, self.operator]

    @property
    def acknowledged(self) -> int:
        return sum(client.acknowledged for client in self.clients)

    @property
    def unknown(self) -> int:
        return sum(call.is_write and call.status is Status.UNKNOWN for call in self.history.calls)

    # The node

    def alive(self) -> Life:
        """The running process, started if there is none; a fault that hits the opening ends it like any other."""
        while self.machine.life is None:
            try:
                self.machine.start()
                self.trace.add(f"life {self.machine.lives} begins")
            except Corrupt as failure:
                raise Broken(f"a folder that only crashed was refused: {failure}") from failure
            except (StorageFailed, OSError) as failure:
                self.end_life_somehow(f"opening failed: {failure}")
        return self.machine.life

    def turn(self) -> None:
        """One turn of the node; its answers reach the clients."""
        life = self.alive()
        life.edge.now_ms = self.machine.clock.now().monotonic_ms
        try:
            life.node.turn(0)
        except Corrupt as failure:
            raise Broken(f"the node found damage where nothing was damaged: {failure}") from failure
        except StorageFailed as failure:
            self.end_life_somehow(f"the node ends: {failure}")
            return
        self.trace.add(
            f"turn, applied {life.node.sole.replica.applied_index}, log time {life.node.sole.replica.log_time}"
        )
        self.diary.note(life.node.sole.replica, self.machine.store)
        self._deliver(life)
        self._must_end_after_failure(life)

    def round(self) -> None:
        """A turn, a step of a disk, a moment."""
        self.turn()
        self.trace.add(self.machine.step_disks())
        self.pass_time(10)

    def end_life_somehow(self, why: str) -> None:
        self.end_life(why, self.rng.choice([self.machine.crash_process, self.machine.power_loss]))

    def end_life(self, why: str, ending: Callable[[], None]) -> None:
        """The process is gone, and with it every open call. Then an operator repairs what had failed."""
        self.trace.add(f"life {self.machine.lives} is over: {why}, {ending.__name__}")
        ending()
        self.machine.heal()
        self._turns_since_failure = 0
        for client in (*self.callers, *self.followers):
            if client.call_id is not None:
                client.lost()

    def _deliver(self, life: Life) -> None:
        for reply in life.edge.take_replies():
            client = next((c for c in self.callers if c.call_id == reply.call_id), None)
            if client is not None:
                self.trace.add(f"reply to {client.number}: {client.replied(reply)}")
            for follower in self.followers:
                if follower.call_id == reply.call_id:
                    line = follower.replied(reply, life.history_ids)
                    self.trace.add(f"end of follower {follower.number}: {line}")
        if life.edge.violations:
            raise Broken("; ".join(life.edge.violations))

    def _must_end_after_failure(self, life: Life) -> None:
        """INVARIANTS 6: a log that failed once is the end of the process, at the next turn that looks."""
        self._turns_since_failure = self._turns_since_failure + 1 if life.log.has_failed else 0
        if self._turns_since_failure > 1:
            raise Broken("the node went on after a write or sync of its log had failed")

    # Clients and the network

    def act(self, client: Client) -> None:
        """`client`, which waits for nothing, sends an attempt."""
        life = self.alive()
        wall_ms = self.machine.clock.now().wall_ms
        line = client.act(life.call, wall_ms)
        self.trace.add(f"client {client.number}: {line}")

    def operate(self) -> None:
        """The operator, if it waits for nothing, asks for a backup or a restore."""
        if self.operator.call_id is None:
            life = self.alive()
            line = self.operator.act(life.call)
            self.trace.add(f"operator: {line}")

    def follow(self, follower: Follower, *, leaves: float = LEAVES) -> None:
        """`follower` opens its stream, or takes what has come, or leaves without a word."""
        life = self.alive()
        if follower.call_id is None:
            line = follower.act(life.call)
        elif follower.rng.random() < leaves:
            life.edge.leave(follower.call_id)
            follower.lost()
            line = "leaves"
        else:
            line = follower.took(life.edge.take_items(follower.call_id))
        self.trace.add(f"follower {follower.number}: {line}")

    def stop_following(self) -> None:
        """Every follower leaves."""
        for follower in self.followers:
            if follower.call_id is not None and self.machine.life is not None:
                self.machine.life.edge.leave(follower.call_id)
                follower.lost()

    def time_out(self, client: Client) -> None:
        """`client` stops waiting; its attempt may still arrive."""
        if client.call_id is not None and self.machine.life is not None:
            self.machine.life.edge.leave(client.call_id)
            client.lost()
            self.trace.add(f"client {client.number} times out")

    def lose_request(self, client: Client) -> None:
        """The attempt of `client` never arrives, unless it has."""
        if client.call_id is not None and self.machine.life is not None and self.machine.life.edge.drop(client.call_id):
            client.lost()
            self.trace.add(f"request of client {client.number} is lost")

    # Time

    def pass_time(self, ms: int) -> None:
        self.machine.clock.advance(ms)
        self.history.saw_wall_time(self.machine.clock.wall_ms_max)
        self.trace.add(f"{ms} ms pass")

    def jump(self, ms: int) -> None:
        self.machine.clock.jump_wall(ms)
        self.history.saw_wall_time(self.machine.clock.wall_ms_max)
        self.trace.add(f"the wall clock jumps by {ms} ms")
