"""What happens when: steps and faults of one run, drawn from its seed.

Which kinds of fault a run has is drawn first, and differently for each seed: a run with everything at once hides what a
quiet run with one kind of fault would show.
"""

from collections.abc import Callable

from dkv.model.errors import StorageFailed
from dkv.ports.store import Pressure
from dkv.storage.memory import NO_PRESSURE
from dkv.testing.world import Broken, World

JUMP_MS_MAX = 30 * 60 * 1000
"""Within the bound (one hour) up to which log time may follow a jump unconfirmed."""
STOP_ROUNDS_MAX = 500
FAULTS = {
    "crash": 0.4,
    "power loss": 0.4,
    "orderly stop": 0.2,
    "timeout": 2.0,
    "request lost": 0.7,
    "clock jump": 0.7,
    "disk low": 0.2,
    "disk has room": 1.0,
    "pressure": 0.4,
    "slow engine": 0.4,
    "no pressure": 2.0,
    "log sync fails": 0.1,
    "log full": 0.1,
    "engine write fails": 0.1,
    "engine sync fails": 0.1,
    "opening fails": 0.1,
    "copy of a backup fails": 0.2,
    "backup is damaged": 0.2,
}
"""How often each happens in a run that has it; a turn of the node has 30."""


class Schedule:
    """Drives one world, a step at a time."""

    def __init__(self, world: World) -> None:
        self._world, self._machine, self._rng = world, world.machine, world.rng
        self._steps: dict[str, Callable[[], None]] = self._ordinary() | self._faults()
        self.weights: dict[str, float] = {
            "turn": 30.0,
            "client": 30.0,
            "disk": self._rng.choice([8.0, 30.0, 60.0]),
            "time": 12.0,
        }
        self.weights["operator"] = 1.0
        self.weights["follower"] = self._rng.choice([1.0, 10.0])
        self.weights |= {name: weight for name, weight in FAULTS.items() if self._rng.random() < 0.5}
        if self._rng.random() < 0.3:
            self._break_opening()

    def run(self, steps: int) -> None:
        names, weights = list(self.weights), list(self.weights.values())
        for name in self._rng.choices(names, weights, k=steps):
            self._steps[name]()

    def _ordinary(self) -> dict[str, Callable[[], None]]:
        world, rng = self._world, self._rng
        return {
            "turn": world.turn,
            "client": self._client_acts,
            "operator": world.operate,
            "follower": lambda: world.follow(rng.choice(world.followers)),
            "disk": lambda: world.trace.add(self._machine.step_disks()),
            "time": lambda: world.pass_time(rng.choice([1, 10, 100, 1000])),
        }

    def _faults(self) -> dict[str, Callable[[], None]]:
        world, machine, rng = self._world, self._machine, self._rng
        store, log_disk = machine.store, machine.log_disk
        return {
            "crash": lambda: world.end_life("crash", machine.crash_process),
            "power loss": lambda: world.end_life("power loss", machine.power_loss),
            "orderly stop": self._stop,
            "timeout": lambda: world.time_out(rng.choice(world.clients)),
            "request lost": lambda: world.lose_request(rng.choice(world.clients)),
            "clock jump": lambda: world.jump(rng.choice([-1, 1]) * rng.choice([1, 1_000, 60_000, JUMP_MS_MAX])),
            "disk low": lambda: setattr(store, "free_bytes_now", 0),
            "disk has room": machine.make_room,
            "pressure": lambda: setattr(store, "pressure_now", Pressure(True, 0)),
            "slow engine": lambda: setattr(store, "pressure_now", Pressure(False, rng.choice([100, 10_000]))),
            "no pressure": lambda: setattr(store, "pressure_now", NO_PRESSURE),
            "log sync fails": lambda: setattr(log_disk, "sync_fails", True),
            "log full": lambda: setattr(log_disk, "free_bytes", 0),
            "engine write fails": lambda: setattr(store, "fail_next_write", StorageFailed("simulated write")),
            "engine sync fails": lambda: setattr(store, "fail_next_sync", StorageFailed("simulated sync")),
            "opening fails": self._opening_fails,
            "copy of a backup fails": lambda: setattr(machine.shelf, "copy_fails", True),
            "backup is damaged": lambda: setattr(machine.shelf, "is_damaged", True),
        }

    def _client_acts(self) -> None:
        idle = [client for client in self._world.clients if client.call_id is None]
        if idle:
            self._world.act(self._rng.choice(idle))

    def _opening_fails(self) -> None:
        self._world.end_life_somehow("crash before an opening that fails")
        self._break_opening()

    def _break_opening(self) -> None:
        """The next process meets a failing disk in its opening, if it gets to that point; its successor does not."""
        match self._rng.randrange(4):
            case 0:
                self._machine.store.fail_next_sync = StorageFailed("simulated sync in the opening")
            case 1:
                self._machine.store.fail_next_write = StorageFailed("simulated write in the opening")
            case 2:
                self._machine.log_disk.creation_fails = True
            case _:
                self._machine.log_disk.sync_fails = True

    def _stop(self) -> None:
        """An orderly end answers what is open and leaves nothing that a loss of power could take."""
        if (life := self._machine.life) is None:
            return
        self._machine.heal()
        life.edge.stop_accepting()
        life.node.draining = True
        for _ in range(STOP_ROUNDS_MAX):
            self._world.round()  # once at least: a disk that failed before ends the node instead
            if life.edge.open_calls() == 0 or self._machine.life is not life:
                break
        else:
            raise Broken(f"{life.edge.open_calls()} calls stay open while the node stops")
        if self._machine.life is life:
            self._world.end_life("orderly stop", self._machine.stop)
            if self._machine.has_unsynced:
                raise Broken("an orderly stop left something unsynced")
