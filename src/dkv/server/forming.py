"""Before the first turn: whether this node belongs to a cluster, and how it comes to.

A folder with a charter belongs to its cluster, whatever else is asked for; one without, that is told of a cluster, says
hello to the others until it has one. It is in the engine, synced, before anybody is told of it.
"""

from collections.abc import Callable
from typing import NamedTuple

from dkv.cluster.charter import Charter
from dkv.cluster.formation import Adopt, Form, Formation, Standing, Way
from dkv.edge import Bell, EdgeLoopClient, EdgeServer
from dkv.model.errors import ClusterRefused
from dkv.model.node_urls import url_of
from dkv.node.founding import draw_charter, found, history_here, read_charter, read_contacts, vbuckets_here
from dkv.node.hellos import Hellos
from dkv.ports.clock import Clock, Random
from dkv.ports.store import Store
from dkv.server.addresses import cluster_address, listen_addresses
from dkv.server.notify import MORE_TIME, Notifier
from dkv.server.signals import Signals
from dkv.settings import ClusterWish, Settings
from dkv.storage.folder import Folder
from dkv.wire.methods import METHODS

Tell = Callable[[str], None]


class Stopped(Exception):
    """A signal came while the node waited."""


class Forming(NamedTuple):
    """What a start that may have to wait for others needs of the forming."""

    signals: Signals
    clock: Clock
    random: Random
    tell: Tell
    """Lines for whoever watches the start."""
    notifier: Notifier


def standing_in_cluster(settings: Settings, folder: Folder, store: Store, forming: Forming) -> Standing | None:
    """What this node is in its cluster, with the charter; None: it stands alone.

    Raises ClusterRefused when it must not start, Stopped when a signal came first.
    """
    charter, wish = read_charter(store), settings.cluster
    if charter is None and wish is None:
        return None
    own = cluster_address(settings)
    if charter is None:
        assert wish is not None
        charter = _come_in(wish, own, settings, folder, store, forming)
    else:
        _refuse_other(charter, wish)
    addresses = tuple(member.address for member in charter.members)
    standing = Standing(folder.node_id, own, url_of(own), charter.name, addresses, charter.vbuckets, charter)
    return standing._replace(members=read_contacts(store))


def _refuse_other(charter: Charter, wish: ClusterWish | None) -> None:
    """A folder is of one cluster, and has its vBuckets."""
    if wish is not None and wish.name not in ("", charter.name):
        raise ClusterRefused(
            f"this folder belongs to the cluster {charter.name!r}, not to {wish.name!r}; nothing was changed"
        )
    if wish is not None and wish.vbuckets not in (1, charter.vbuckets):
        raise ClusterRefused(
            f"the cluster {charter.name!r} was formed with {charter.vbuckets} vBuckets, not with {wish.vbuckets}; "
            "nothing was changed"
        )


def _come_in(
    wish: ClusterWish, own: str, settings: Settings, folder: Folder, store: Store, forming: Forming
) -> Charter:
    """The charter, durable."""
    way = _way(wish, own)
    first = (wish.peers or (own,)) if way is Way.FORM else ()
    asked = (wish.join,) if way is Way.JOIN else tuple(each for each in wish.peers if each != own)
    if vbuckets_here(store) and (asked or wish.vbuckets > 1):
        raise ClusterRefused(
            f"{folder.path} has been served alone; nothing was changed. Make it the first node of a cluster with "
            "--cluster NAME and no other option of a cluster, then let others --join it; or choose an empty folder"
        )
    standing = Standing(folder.node_id, own, url_of(own), wish.name, first, wish.vbuckets)
    step = _meet(Formation(standing, way, asked), settings, forming)
    if isinstance(step, Adopt):
        charter, replicas, contacts = step
    else:
        history_id, replicas, contacts = history_here(store), {}, ()
        charter = draw_charter(step.members, wish.name, wish.vbuckets, history_id, forming.clock, forming.random)
    found(charter, folder.node_id, store, replicas, contacts)
    return charter


def _way(wish: ClusterWish, own: str) -> Way:
    if wish.join:
        return Way.JOIN
    is_first = not wish.peers or own in wish.peers
    return Way.FORM if is_first and not wish.must_wait else Way.WAIT


def _meet(formation: Formation, settings: Settings, forming: Forming) -> Form | Adopt:
    if not formation.asked:
        alone = formation.next_step()
        assert isinstance(alone, Form)
        return alone

    def tell(line: str) -> None:
        forming.notifier.tell(MORE_TIME)
        forming.tell(line)

    edge = EdgeServer(Bell(), METHODS)
    hellos = Hellos(formation, edge, EdgeLoopClient, forming.clock, tell)
    try:
        for address in listen_addresses(settings):
            edge.listen(address)
        while forming.signals.caught is None:
            if (step := hellos.turn()) is not None:
                return step
        raise Stopped
    finally:
        hellos.close()
        edge.close()
