"""What happens to a cluster when: steps and faults of one run, drawn from its seed.

As for one machine, each run has its own kinds of fault. Time goes in steps that are short against an election, so that
most leaders last; what takes longer than an election is a fault of its own.
"""

from collections.abc import Callable

from dkv.model.errors import StorageFailed
from dkv.ports.store import Pressure
from dkv.storage.memory import NO_PRESSURE
from dkv.testing.cluster import leases
from dkv.testing.cluster.member import Member
from dkv.testing.cluster.mishaps import Mishaps
from dkv.testing.cluster.stories import Stories
from dkv.testing.cluster.world import ClusterWorld
from dkv.testing.network import CALM, NO_CUTS, Weather
from dkv.testing.partitions import SHAPES
from dkv.testing.random import stream
from dkv.testing.schedule import JUMP_MS_MAX, STOP_ROUNDS_MAX
from dkv.testing.world import Broken

RESTART = 4.0
"""How often somebody sees to it that a machine runs."""
CHANGING = 0.6
"""How many runs have an operator who changes the members."""
SETTLE_ROUNDS_MAX = 50
ROUND_MS, LEADERLESS_MS = (0, 1, 5, 20), (30, 100, 200)
"""What a round takes."""
RELIEF = 5.0
"""How often the network heals, and a machine's pressure goes."""
LONG_MS = (500, 2_500, 6_000)
"""Around one election timeout, beyond it, and beyond several."""
FAULTS = {
    "crash": 0.3,
    "reboot": 0.5,
    "power loss": 0.3,
    "all lose power": 0.1,
    "orderly stop": 0.1,
    "pause": 0.5,
    "partition": 0.5,
    "stream breaks": 2.0,
    "weather": 0.5,
    "long time": 0.3,
    "transfer": 0.5,
    "timeout": 0.5,
    "request lost": 0.3,
    "clock jump": 0.5,
    "disk low": 0.2,
    "pressure": 0.3,
    "slow disk": 0.3,
    "log sync fails": 0.1,
    "log full": 0.1,
    "engine write fails": 0.1,
    "engine sync fails": 0.1,
    "opening fails": 0.1,
    "snapshot is interrupted": 1.0,
    "row is damaged": 0.2,
    "copy of a backup fails": 0.1,
    "backup is damaged": 0.1,
    "disk is lost": 0.3,
}
"""How often each happens in a run that has it; all turns of all nodes have 40."""


class ClusterSchedule:
    """Drives one world, a step at a time."""

    def __init__(self, world: ClusterWorld) -> None:
        self._world, self._rng = world, world.rng
        self._steps: dict[str, Callable[[], None]] = self._ordinary() | self._faults()
        self.weights: dict[str, float] = {
            "turn": 10.0,
            "wait": 20.0,
            "round": self._rng.choice([10.0, 40.0, 80.0]),
            "client": self._rng.choice([10.0, 30.0]),
            "disk": 10.0,
            "time": 5.0,
            "settle": 1.0,
            "start": RESTART,
            "relief": RELIEF,
            "follower": self._rng.choice([1.0, 6.0]),
        }
        self.weights |= {name: weight for name, weight in FAULTS.items() if self._rng.random() < 0.4}
        if self._rng.random() < CHANGING:
            self.weights |= {"operator": self._rng.choice([1.0, 3.0]), "bring back": 0.5}
        else:
            self.weights.pop("disk is lost", None)  # nobody would bring it back
        self.weights["restorer"] = self._rng.choice([0.0, 2.0, 5.0])
        rng = stream(world.seed, "leases")
        leases.draw(world, rng)
        lease_faults = leases.LeaseFaults(world, rng)
        self._steps |= lease_faults.steps
        self.weights |= lease_faults.weights
        stories = Stories(world, stream(world.seed, "stories"))
        self._steps |= stories.steps
        self.weights |= stories.weights
        for member in world.members:
            world.start(member)

    def run(self, steps: int) -> None:
        names, weights = list(self.weights), list(self.weights.values())
        mishaps = Mishaps(self._world, stream(self._world.seed, "mishaps"), steps)
        for number, name in enumerate(self._rng.choices(names, weights, k=steps)):
            self._steps[name]()
            mishaps.after_step(number)

    def _any(self) -> Member:
        return self._rng.choice(self._world.members)

    def _ordinary(self) -> dict[str, Callable[[], None]]:
        world, rng = self._world, self._rng
        return {
            "turn": lambda: world.turn(self._any()),
            "wait": lambda: world.wait(self._any()),
            "client": self._client_acts,
            "round": self._round,
            "disk": lambda: world.step_disk(self._any()),
            "time": lambda: world.pass_time(rng.choice([1, 5, 20, 80])),
            "settle": self._settle,
            "start": lambda: world.start(self._any()),
            "relief": self._relief,
            "restorer": lambda: world.callers.back_up_or_restore(self._any()),
            "follower": self._follower_acts,
            "operator": world.operate,
            "bring back": world.bring_back,
        }

    def _faults(self) -> dict[str, Callable[[], None]]:
        world, rng = self._world, self._rng
        return {
            "crash": lambda: self._end(self._any(), "crash"),
            "power loss": lambda: self._end(self._any(), "power loss"),
            "reboot": self._reboot,
            "all lose power": self._all_lose_power,
            "orderly stop": lambda: self._stop(self._any()),
            "pause": lambda: world.pause(self._any(), True),
            "partition": self._partition,
            "stream breaks": self._stream_breaks,
            "weather": self._weather,
            "long time": lambda: world.pass_time(rng.choice(LONG_MS)),
            "transfer": lambda: world.transfer(self._any(), self._any()),
            "timeout": lambda: world.callers.time_out(rng.choice(world.callers.clients)),
            "request lost": lambda: world.callers.lose_request(rng.choice(world.callers.clients)),
            "clock jump": lambda: world.jump(
                self._any(), rng.choice([-1, 1]) * rng.choice([1, 1_000, 60_000, JUMP_MS_MAX])
            ),
            "disk low": lambda: setattr(self._any().store, "free_bytes_now", 0),
            "pressure": lambda: setattr(
                self._any().store, "pressure_now", rng.choice([Pressure(True, 0), Pressure(False, 1_000)])
            ),
            "slow disk": lambda: setattr(self._any(), "has_slow_disk", True),
            "log sync fails": lambda: setattr(self._any().log_disk, "sync_fails", True),
            "log full": lambda: setattr(self._any().log_disk, "free_bytes", 0),
            "engine write fails": lambda: setattr(
                self._any().store, "fail_next_write", StorageFailed("simulated write")
            ),
            "engine sync fails": lambda: setattr(self._any().store, "fail_next_sync", StorageFailed("simulated sync")),
            "snapshot is interrupted": self._interrupt_snapshot,
            "row is damaged": lambda: world.damage(self._any()),
            "copy of a backup fails": lambda: setattr(self._any().shelf, "copy_fails", True),
            "backup is damaged": lambda: setattr(self._any().shelf, "is_damaged", True),
            "disk is lost": lambda: world.lose_disk(self._any()),
            "opening fails": self._opening_fails,
        }

    def _client_acts(self) -> None:
        idle = [client for client in self._world.callers.clients if client.call_id is None]
        if idle:
            self._world.callers.act(self._rng.choice(idle))

    def _follower_acts(self) -> None:
        callers = self._world.callers
        callers.follow(self._rng.choice(callers.followers))
        if callers.of_all is not None:
            callers.follow(callers.of_all)

    def _settle(self) -> None:
        """Nothing happens until somebody leads, or for long enough."""
        for _ in range(SETTLE_ROUNDS_MAX):
            if self._is_led():
                return
            self._round()

    def _round(self) -> None:
        """Nothing but time is missing where nobody leads."""
        self._world.round(self._rng.choice(ROUND_MS if self._is_led() else LEADERLESS_MS))

    def _is_led(self) -> bool:
        led = {
            hosted.vbucket
            for member in self._world.members
            if member.life is not None and not member.is_paused
            for hosted in member.life.node.vbuckets.values()
            if hosted.is_leader
        }
        return len(led) == len(self._world.vbuckets)

    def _relief(self) -> None:
        """One thing that was wrong is over."""
        world, member = self._world, self._any()
        match self._rng.randrange(4):
            case 0:
                world.network.cut(NO_CUTS)
                world.trace.add("the network is whole")
            case 1:
                world.network.weather = CALM
            case 2:
                world.pause(member, False)
            case _:
                member.make_room()
                member.store.pressure_now, member.has_slow_disk = NO_PRESSURE, False

    def _end(self, member: Member, why: str) -> None:
        if member.is_running:
            self._world.end_life(member, why, member.crash_process if why == "crash" else member.power_loss)

    def _reboot(self) -> None:
        """Clients that are connected do not have the time to look for another node."""
        member = self._any()
        self._end(member, self._rng.choice(["crash", "power loss"]))
        self._world.start(member)

    def _all_lose_power(self) -> None:
        for member in self._world.members:
            self._end(member, "power loss")

    def _partition(self) -> None:
        world = self._world
        if len(world.members) > 1:
            shape = self._rng.choice(list(SHAPES))
            world.network.cut(SHAPES[shape]([member.node_id for member in world.members], self._rng))
            world.trace.add(f"partition: {shape}")

    def _weather(self) -> None:
        rng = self._rng
        self._world.network.weather = weather = Weather(
            loss=rng.choice([0.0, 0.02, 0.2]),
            delay_ms_max=rng.choice([3, 50, 300]),
            arrives_late=rng.choice([0.2, 0.8]),
            arrives_twice=rng.choice([0.0, 0.5]),
        )
        self._world.trace.add(str(weather))

    def _stream_breaks(self) -> None:
        self._world.network.break_stream()
        self._world.trace.add("a stream breaks")

    def _interrupt_snapshot(self) -> None:
        """Something happens to a machine that sends or takes one just now: to the process, or to its next write or
        sync, which may be that of the flip."""
        busy = [member for member in self._world.members if member.has_snapshot_under_way]
        if not busy:
            return
        member = self._rng.choice(busy)
        match self._rng.randrange(4):
            case 0:
                self._end(member, "crash")
            case 1:
                self._end(member, "power loss")
            case 2:
                member.store.fail_next_sync = StorageFailed("simulated sync in an install")
            case _:
                member.store.fail_next_write = StorageFailed("simulated write in an install")

    def _opening_fails(self) -> None:
        """The next process meets a failing disk in its opening, if it gets to that point; its successor does not."""
        member = self._any()
        self._end(member, "crash")
        match self._rng.randrange(3):
            case 0:
                member.store.fail_next_sync = StorageFailed("simulated sync in the opening")
            case 1:
                member.log_disk.creation_fails = True
            case _:
                member.log_disk.sync_fails = True

    def _stop(self, member: Member) -> None:
        """An orderly end answers what is open and leaves nothing that a loss of power could take."""
        world = self._world
        world.pause(member, False)
        member.heal()
        if (life := member.life) is None:
            return
        life.edge.stop_accepting()
        life.node.draining = True
        for _ in range(STOP_ROUNDS_MAX):
            world.round()  # once at least: a disk that failed before ends the node instead
            if life.edge.open_calls() == 0 or member.life is not life:
                break
        if member.life is life:
            world.end_life(member, "orderly stop", member.stop)
            if member.has_unsynced:
                raise Broken(f"node {member.number}: an orderly stop left something unsynced")
