"""From a URL to a client of an event loop, as `connecting` for threads."""

from dataclasses import replace

from dkv.client.aio import AsyncClient, Channel
from dkv.client.connecting import chance, routes_of
from dkv.client.levels import Levels
from dkv.client.loop_channel import LoopChannel
from dkv.client.url import Options, parse
from dkv.model.errors import InvalidRequest


def connect(url: str) -> AsyncClient:
    """The client that `dkv.aio.connect` promises."""
    options = parse(url).shuffled(chance)
    levels = Levels(options.level)
    try:
        return AsyncClient(_channel(options, levels), options.timeout_s, levels)
    except ValueError as error:
        raise InvalidRequest(str(error)) from error


def _channel(options: Options, levels: Levels) -> Channel:
    def open_one(address: str) -> LoopChannel:
        return LoopChannel(replace(options, address=address, others=()))

    if not options.is_cluster:
        return open_one(options.address)
    from dkv.client.cluster_loop import ClusterLoopChannel

    return ClusterLoopChannel(routes_of(options, levels), open_one)
