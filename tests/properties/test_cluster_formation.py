"""Forming a cluster while messages are lost and delayed, nodes crash between any two steps, and folders are lost.

Never two clusters among the nodes that have a charter, and never one whose folder was lost back under its old id.
"""

from dataclasses import dataclass, field
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from dkv.cluster.charter import Charter
from dkv.cluster.formation import Adopt, Form, Formation, Standing, Way
from dkv.model.errors import ClusterRefused

ADDRESSES = ("a:1", "b:1", "c:1", "d:1")


@dataclass(slots=True)
class Place:
    """An address, the folder there, and the process, if one runs."""

    address: str
    list: tuple[str, ...]
    node: int = 0
    charter: Charter | None = None
    life: int = 0
    formation: Formation | None = None
    is_up: bool = False
    refused: str = ""


@dataclass(slots=True)
class Message:
    """On its way: a Hello, or its answer when `answer` is there. It dies with the process that asked."""

    asker: Place
    life: int
    to: str
    hello: Standing
    epoch: int
    answer: Standing | None = None


@dataclass(slots=True)
class World:
    rng: Random
    count: int
    places: dict[str, Place] = field(default_factory=dict)
    wire: list[Message] = field(default_factory=list)
    ids: int = 0
    clusters: int = 0
    is_calm: bool = False

    def __post_init__(self) -> None:
        addresses = ADDRESSES[: self.count]
        self.places = {address: Place(address, addresses) for address in addresses}
        for place in self.places.values():
            self.wipe(place)

    def standing(self, place: Place, asker: int = 0) -> Standing:
        replicas = {1: asker} if place.charter is not None and place.charter.has(asker) else {}
        return Standing(place.node, place.address, "", "prod", place.list, 1, place.charter, replicas)

    def wipe(self, place: Place) -> None:
        """The folder is lost; whoever starts there draws a new id."""
        self.ids += 1
        place.node, place.charter, place.is_up, place.refused = self.ids, None, False, ""

    def start(self, place: Place) -> None:
        place.life += 1
        place.is_up = True
        others = tuple(address for address in place.list if address != place.address)
        place.formation = None if place.charter else Formation(self.standing(place), Way.FORM, others)
        self.step(place)

    def ask(self, place: Place) -> None:
        if place.formation is not None:
            for address in place.formation.asked:
                self.wire.append(Message(place, place.life, address, self.standing(place), place.formation.epoch))

    def step(self, place: Place) -> None:
        """What the node decides now; the crash may come before or after it has written."""
        if place.formation is None:
            return
        try:
            step = place.formation.next_step()
        except ClusterRefused as refusal:
            place.is_up, place.formation, place.refused = False, None, str(refusal)
            return
        if not isinstance(step, Form | Adopt):
            return
        if self.crashes():
            place.is_up = False  # before the sync: nothing was written
            return
        if isinstance(step, Form):
            self.clusters += 1
            place.charter = Charter(self.clusters.to_bytes(16, "big"), "prod", 1, 0, b"", step.members)
        else:
            place.charter = step.charter
        place.formation = None
        place.is_up = not self.crashes()

    def crashes(self) -> bool:
        return not self.is_calm and self.rng.random() < 0.2

    def deliver(self, message: Message) -> None:
        asker = message.asker
        if message.answer is not None:
            if asker.is_up and asker.life == message.life and asker.formation is not None:
                asker.formation.answered(message.to, message.answer, message.epoch)
                self.step(asker)
            return
        place = self.places[message.to]
        if place.is_up:
            if place.formation is not None:
                message.answer = place.formation.hello(message.hello)
            else:
                message.answer = self.standing(place, message.hello.node)
            self.wire.append(message)

    def check(self) -> None:
        formed = [place for place in self.places.values() if place.charter is not None]
        assert len({place.charter.cluster_id for place in formed if place.charter}) <= 1
        for place in formed:
            assert place.charter is not None
            (own,) = (each for each in place.charter.members if each.address == place.address)
            assert own.node == place.node

    def any_message(self) -> Message | None:
        """Mostly a late one, so that some are very late."""
        if not self.wire:
            return None
        return self.wire.pop(self.rng.choice([-1, -1, self.rng.randrange(len(self.wire))]))

    def turn(self, wipes: float) -> None:
        place = self.rng.choice(list(self.places.values()))
        dice = self.rng.random()
        if dice < wipes:
            self.wipe(place)
            self.start(place)
            self.ask(place)
        elif dice < 0.1:
            place.is_up = False
        elif dice < 0.3:
            self.ask(place) if place.is_up else self.start(place)
        elif (message := self.any_message()) is not None and dice < 0.95:
            self.deliver(message)  # otherwise it is lost
        self.check()

    def calm(self) -> None:
        """No more faults: everybody is started, and everything arrives."""
        self.is_calm = True
        for _ in range(10):
            for place in self.places.values():
                if not place.is_up and not place.refused:
                    self.start(place)
                self.ask(place)
            while (message := self.any_message()) is not None:
                self.deliver(message)
            self.check()


@given(seed=st.integers(0, 1 << 32), count=st.integers(2, 4))
@settings(max_examples=300, deadline=None)
def test_cluster_forms_once_whatever_is_lost(seed: int, count: int) -> None:
    """At every moment at most one cluster, and no folder in it that was lost."""
    world = World(Random(seed), count)
    for _ in range(300):
        world.turn(wipes=0.08)
    world.calm()


@given(seed=st.integers(0, 1 << 32), count=st.integers(1, 4))
@settings(max_examples=100, deadline=None)
def test_cluster_is_formed_of_all_when_no_folder_is_lost(seed: int, count: int) -> None:
    """Whatever crashed on the way: in the end everybody has the charter of one cluster, and nobody was refused."""
    world = World(Random(seed), count)
    for _ in range(200):
        world.turn(wipes=0)
    world.calm()
    assert [place.refused for place in world.places.values()] == [""] * count
    assert len({place.charter for place in world.places.values()}) == 1
    assert all(place.charter for place in world.places.values())
