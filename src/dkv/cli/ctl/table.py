"""Every command of dkvctl: names, arguments, what it does, and the sentence that begins its error line.

The order is the original's: of several commands on one line the first of this table is run.
"""

from collections.abc import Callable
from dataclasses import dataclass

from dkv.cli.ctl import admin, backups, keys, members, node
from dkv.cli.ctl.invocation import Session


@dataclass(frozen=True, slots=True)
class Command:
    name: str
    shorthand: str
    arguments: str
    help: str
    run: Callable[[Session, list[bytes]], int | None]
    """Returns an exit code, None for 0."""
    failure: str
    """The error line; `{error}` is the reason, `{first}` the first argument."""
    count_min: int = 1
    count_max: int = 1
    """Arguments; -1: any number."""
    count_step: int = 1
    takes_value: bool = True
    """Whether the word behind it is its first argument whatever it looks like."""
    alias: str = ""
    key_every: int = 0
    """Every so many arguments, from the first on, one is a key; 0: none is."""
    has_value: bool = False
    """Some argument is a value of a key, which nothing may keep."""

    def accepts(self, count: int) -> bool:
        """Whether it can be run with so many arguments."""
        is_few_enough = self.count_max < 0 or count <= self.count_max
        return count >= self.count_min and is_few_enough and count % self.count_step == 0


def _top(session: Session, words: list[bytes]) -> None:
    from dkv.cli.ctl.top import top  # Loaded by those who look, as is the shell.

    top(session, words)


def _shell(session: Session, words: list[bytes]) -> int:
    return session.shell(session)  # It runs the commands of this table, so that dkvctl brings the two together.


def _watch(session: Session, words: list[bytes]) -> None:
    from dkv.cli.ctl.watch import watch

    watch(session, words)


def _vbuckets(session: Session, words: list[bytes]) -> None:
    from dkv.cli.ctl.vbuckets import vbuckets

    vbuckets(session, words)


_SCAN = '"*" | prefix [startKey]'
_SCAN_FAILURE = "Unable to perform iteration. Error: {error}"

# fmt: off
SET = Command("set", "s", "key value", "set a key", keys.set_key, "Unable to perform SET. Error: {error}", 2, 2,
              key_every=2, has_value=True)
SET_OLD = Command("set", "", "key:value", "", keys.set_key_silently, "Unable to perform PUT. Error: {error}",
                  has_value=True)
GET = Command("get", "g", "key", "print the value of a key", keys.get_key, "Unable to perform GET. Error: {error}",
              key_every=1)
# fmt: on

COMMANDS = (
    SET,
    Command("del", "d", "key", "delete a key", keys.delete_key, "Unable to perform DEL. Error: {error}",
            key_every=1),
    GET,
    Command("iter", "i", _SCAN, "print pairs in byte order", keys.iterate, _SCAN_FAILURE, 1, 2, key_every=1),
    Command("keys", "k", _SCAN, "print keys in byte order", keys.iterate_keys, _SCAN_FAILURE, 1, 2, key_every=1),
    Command("backup", "", "path", "back up to a path on the server", backups.backup,
            "Unable to perform backup. Error: {error}"),
    Command("restore", "", "path", "restore from a path on the server; --until: to a point in time", backups.restore,
            "Unable to perform restore. Error: {error}"),
    Command("addNode", "", "nexusUrl", "add a node to the cluster", admin.add_node,
            "Unable to add node with URL: {first}. Error: {error}"),
    Command("removeNode", "", "nexusUrl", "remove a node from the cluster", admin.remove_node,
            "Unable to remove node with URL: {first}. Error: {error}"),
    Command("listNodes", "", "", "list the members of the cluster", admin.list_nodes,
            "Unable to retrieve the nodes of DKV cluster. Error: {error}", 0, 0, takes_value=False),
    Command("clusterInfo", "", "[dcId] [database] [vBucket]", "list the nodes known to discovery", admin.cluster_info,
            "Unable to get Status: Error: {error}", 0, 3, takes_value=False, alias="getClusterInfo"),
    Command("mget", "", "key...", "print the pairs of those keys that exist", keys.multi_get,
            "Unable to perform MGET. Error: {error}", 1, -1, key_every=1),
    Command("mput", "", "key value...", "set several keys, all or none", keys.multi_put,
            "Unable to perform MPUT. Error: {error}", 2, -1, 2, key_every=2, has_value=True),
    Command("cas", "", "key old new", 'set a key if it has the old value ("": is absent); print true or false',
            keys.compare_and_set, "Unable to perform CAS. Error: {error}", 3, 3, key_every=3, has_value=True),
    Command("ttl", "", "key [seconds]", "print the seconds a key has left (none, missing), or set them (0: for ever)",
            keys.ttl, "Unable to perform TTL. Error: {error}", 1, 2, key_every=2),
    Command("watch", "", '["*" | prefix]', "print changes as they come, or from a number on with --from", _watch,
            "Unable to watch. Error: {error}", 0, 1, takes_value=False, key_every=1),
    Command("stats", "", "", "print what the server says of itself", node.stats,
            "Unable to get the stats. Error: {error}", 0, 0, takes_value=False),
    Command("status", "", "", "print how the cluster is: its nodes, who leads, who lags, what is wrong", node.status,
            "Unable to get the status. Error: {error}", 0, 0, takes_value=False),
    Command("members", "", "[vBucket]", "print the nodes of the cluster, who leads, who lags", members.members,
            "Unable to get the members. Error: {error}", 0, 1, takes_value=False),
    Command("vbuckets", "", "[vBucket]", "print all vBuckets: leader, history kept, what is wrong; or one on each node",
            _vbuckets, "Unable to get the vBuckets. Error: {error}", 0, 1, takes_value=False),
    Command("leader", "", "transfer node [vBucket]", "have another node, by its address, lead all vBuckets or one",
            members.leader, "Unable to transfer leadership. Error: {error}", 2, 3),
    Command("replaceNode", "", "nexusUrl newUrl", "put a node that waits to be added in the place of another",
            members.replace_node, "Unable to replace node with URL: {first}. Error: {error}", 2, 2),
    Command("health", "", "", "print SERVING, or what else it is and exit with 1", node.health,
            "Unable to check the health. Error: {error}", 0, 0, takes_value=False),
    Command("top", "", "[node]", "watch the nodes of the cluster work, or the one asked, once a second; q leaves", _top,
            "Unable to get the stats. Error: {error}", 0, 1, takes_value=False),
    Command("shell", "", "", "many commands over one connection; from stdin when it is no terminal", _shell,
            "Unable to run the shell. Error: {error}", 0, 0, takes_value=False),
)  # fmt: skip

BY_LONG_NAME = {name: command for command in COMMANDS for name in (command.name, command.alias) if name}
BY_SHORTHAND = {command.shorthand: command for command in COMMANDS if command.shorthand}
