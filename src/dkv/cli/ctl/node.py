"""The commands that look at one node: stats, status, health."""

from __future__ import annotations

from dkv.cli.ctl.invocation import Session
from dkv.cli.ctl.node_status import node_status, status_fields
from dkv.cli.ctl.stats_text import stats_lines
from dkv.model.errors import Code, DkvError
from dkv.wire import messages as pb
from dkv.wire import methods


def stats(session: Session, words: list[bytes]) -> None:
    status = node_status(session)
    if session.options.json:
        session.result(status_fields(status))
        return
    for line in stats_lines(status):
        session.print(line)


def status(session: Session, words: list[bytes]) -> int:
    """Of all nodes of a cluster; of a server that stands alone its stats."""
    from dkv.cli.ctl.cluster_top import status as cluster_status  # Loaded by those who look.
    from dkv.cli.ctl.fleet import Fleet

    fleet = Fleet(session)
    try:
        fleet.find()
        return cluster_status(session, fleet)
    except DkvError as error:
        if error.code != Code.UNIMPLEMENTED:
            raise
    finally:
        fleet.close()
    stats(session, words)
    return 0


def health(session: Session, words: list[bytes]) -> int:
    """Prints SERVING and ends with 0, or what else the server says and ends with 1."""
    reply = pb.HealthCheckResponse.FromString(session.client.call(methods.HEALTH_CHECK_PATH, b""))
    status = pb.HealthCheckResponse.ServingStatus.Name(reply.status)
    session.result({"status": status}, status)
    return 0 if reply.status == pb.HealthCheckResponse.SERVING else 1
