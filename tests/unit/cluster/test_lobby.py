"""Who waits to be added."""

from dkv.cluster.formation import Standing
from dkv.cluster.lobby import NODES_MAX, PATIENCE_MS, Lobby


def standing(address: str, node: int = 1) -> Standing:
    return Standing(node, address, "http://shown:1", "", (), 1)


def test_node_that_said_hello_is_found_by_either_name() -> None:
    """For a while: then it counts as gone."""
    lobby = Lobby()
    lobby.hello(standing("n:1"), 5)
    assert lobby.at("n:1", PATIENCE_MS + 5) == lobby.at("shown:1", 5) == standing("n:1")
    assert lobby.at("n:1", PATIENCE_MS + 6) is None
    assert lobby.at("other:1", 5) is None


def test_last_hello_from_an_address_counts() -> None:
    """A folder may have been lost in between."""
    lobby = Lobby()
    lobby.hello(standing("n:1"), 5)
    lobby.hello(standing("n:1", 2), 6)
    assert lobby.at("n:1", 6) == standing("n:1", 2)


def test_lobby_is_bounded() -> None:
    """Strangers cannot fill the memory."""
    lobby = Lobby()
    for number in range(NODES_MAX + 1):
        lobby.hello(standing(f"n:{number}"), 5)
    assert lobby.at("n:0", 5) is None
    assert lobby.at(f"n:{NODES_MAX}", 5) is not None
