"""Restoring, as a generator of small steps: verify, lead, stage, sync, spread, switch.

The node serves what it has until the switch, which is one command of each log (INVARIANTS 4, 22):

1. every file of the backup is compared with its checksum, by another process; nothing was touched when that fails;
2. the node takes the lead of every vBucket: only who leads can say who else has what, and what becomes of it;
3. the rows are written, a slice a turn, into a fresh block of spaces, and digested: data and expiry index only, as
   sessions and outcomes belong to the history that ends; for a point in time the node's own history follows (`replay`);
4. the staging row is written behind them and everything is made durable, so that the command, once it is in the log,
   can be applied now or after any crash; then every other voter that is in touch gets the same, and a quorum at least;
5. the command is proposed, alone, once. When it is applied reads, feed and health are on the new rows, all at once.

Of several vBuckets all are staged before the first is proposed. Each switches at a moment of its own.

Interrupted before 5 is durable - the generator closed, or the process gone - the old rows are served as if nothing had
been asked; what was staged is removed, by the generator or later (`dkv.vbucket.staging` says when).
"""

from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Generic, NamedTuple

from dkv.jobs.replay import History, P, Replay, check_number
from dkv.jobs.stage import Loading, Stage, named_spaces
from dkv.model.backups import BackupFacts, Finished, Phase, Progress, RestoreOrder, together
from dkv.model.commands import Restore
from dkv.model.errors import BackupDamaged, BackupFailed, Corrupt, DkvError, InvalidRequest, OutcomeUnknown
from dkv.ports.backups import BackupRows, Backups
from dkv.ports.clock import Random
from dkv.ports.store import Store
from dkv.vbucket import rows
from dkv.vbucket.metadata import decode_metadata
from dkv.vbucket.replica import Replica
from dkv.vbucket.staging import Staged, decode_staged


class Lead(NamedTuple):
    """Take the lead of every vBucket, and end the restore when it is lost before anything is proposed."""


class Spread(NamedTuple):
    """Bring what is staged to every other voter in touch, and to a quorum at least, on their disks."""

    staged: Mapping[int, Staged]
    """By vBucket, as below."""


class Propose(NamedTuple):
    """Propose these commands, each an entry of its own, and send back what they did once applied; those that never
    will be are left out."""

    commands: Mapping[int, Restore]


Step = Progress | Lead | Spread | Propose
Answer = Mapping[int, Finished] | None
Restoring = Generator[Step, Answer, Finished]


class Target(NamedTuple, Generic[P]):
    """What a restore needs of a vBucket that it is to change."""

    replica: Replica
    store: Store
    history: History[P]
    random: Random
    term: Callable[[], int]
    """In which this node leads it."""


def restore(order: RestoreOrder, backups: Backups, targets: Mapping[int, Target[P]]) -> Restoring:
    """`targets`: all vBuckets that there are. Raises what is wrong with the path or the point in time, BackupDamaged or
    BackupFailed: then what was served before still is."""
    if order.until_change_number and len(targets) > 1:
        raise InvalidRequest("a change number is one vBucket's, and there are several: choose a time")
    fetching = backups.fetch(order.path)
    try:
        while not (copied := fetching.poll()).is_done:
            yield Progress(Phase.VERIFY, copied.bytes_done, copied.bytes_total, is_waiting=True)
        facts, source = fetching.facts(), fetching.open()
        try:
            check_vbuckets(facts, targets)
            for each in facts:
                check_facts(each, source.get(rows.metadata_key(each.vbucket)))
                check_number(order, each, targets[each.vbucket].replica.change_number)
            yield Lead()
            finished = yield from _replace(order, facts, source, targets)
        finally:
            source.close()
    finally:
        fetching.close()
    return finished


def check_vbuckets(facts: Sequence[BackupFacts], targets: Mapping[int, object]) -> None:
    """A backup is restored whole, or it would not be one state of the database. Raises BackupFailed."""
    theirs, ours = [each.vbucket for each in facts], sorted(targets)
    if theirs != ours:
        raise BackupFailed(f"the backup is of {_told(theirs)}, this database has {_told(ours)}")


def _told(vbuckets: Sequence[int]) -> str:
    return f"vBucket {vbuckets[0]}" if len(vbuckets) == 1 else f"{len(vbuckets)} vBuckets"


def check_facts(facts: BackupFacts, metadata_row: bytes | None) -> None:
    """The rows must be those of the state that the manifest names (INVARIANTS 21). Raises BackupDamaged."""
    if metadata_row is None:
        raise BackupDamaged(f"the backup has no vBucket {facts.vbucket}, which its manifest names")
    try:
        m = decode_metadata(metadata_row)
    except Corrupt as damage:
        raise BackupDamaged(f"the backup's {damage}") from damage
    if (m.space, m.applied_index, m.change_number, m.log_time, m.history_id) != (
        facts.space, facts.applied_index, facts.change_number, facts.log_time, facts.history_id
    ):  # fmt: skip
        raise BackupDamaged("the rows of the backup are not of the state that its manifest names")


def _replace(
    order: RestoreOrder, facts: Sequence[BackupFacts], source: BackupRows, targets: Mapping[int, Target[P]]
) -> Restoring:
    """Closing the generator is like a crash: it touches nothing, and what is left is removed later. Only who is told
    that the restore cannot be removes what was staged, and never once the command may be in the log."""
    store = next(iter(targets.values())).store
    begun: dict[int, int] = {}
    commands: dict[int, Restore] = {}
    staged: dict[int, Staged] = {}
    loading = Loading(source.rows_estimate())
    try:
        for each in facts:
            target = targets[each.vbucket]
            begun[each.vbucket] = space = rows.fresh_space(named_spaces(store))
            command, whole = yield from _stage(order, each, source, space, target, loading)
            commands[each.vbucket], staged[each.vbucket] = command, whole
        store.request_flush()
        while not store.has_flushed():
            yield Progress(Phase.SWITCH, is_waiting=True)
        yield Spread(staged)
        finished = yield Propose(commands)  # an error thrown in here says that nothing was proposed
    except DkvError:
        _unstage(begun, targets)
        raise
    finished = finished or {}
    left = {vbucket: space for vbucket, space in begun.items() if vbucket not in finished}
    _unstage(left, targets)
    if left and not finished:
        raise BackupFailed("another leader took over: nothing was replaced")
    if left:
        raise OutcomeUnknown(f"another leader took over: {len(finished)} vBuckets were replaced, {len(left)} were not")
    return together([finished[each.vbucket] for each in facts])


def _unstage(spaces: Mapping[int, int], targets: Mapping[int, Target[P]]) -> None:
    """Unless a snapshot has come in meanwhile: then what was staged is gone, and the block may be another's now."""
    for vbucket, space in spaces.items():
        store, replica = targets[vbucket].store, targets[vbucket].replica
        row = store.get_many([replica.staging_key(vbucket)])[0]
        if row is not None and decode_staged(row).space == space:
            store.write(replica.unstage([rows.block_range(space)]))


def _stage(
    order: RestoreOrder, facts: BackupFacts, source: BackupRows, space: int, target: Target[P], loading: Loading
) -> Generator[Progress, None, tuple[Restore, Staged]]:
    """Everything that the command is to serve, and the row that says so; not durable yet."""
    store, replica = target.store, target.replica
    coming = Staged(target.random.bytes(16), space, bytes(32), None, target.term(), is_whole=False)
    named = replica.stage(coming)
    named.ranges.append(rows.block_range(space))
    store.write(named)
    stage = Stage(facts.space, space, loading)
    yield from stage.fill(source, store)
    replay, replayed_to = Replay(order, facts, space, stage.earliest_expiry), None
    if order.until_change_number or order.until_time:
        yield from replay.run(target.history, store)
        replayed_to = replay.change_number
    earliest = replay.earliest_expiry
    staged = coming._replace(checksum=stage.digest(replayed_to), earliest_expiry=earliest, is_whole=True)
    store.write(replica.stage(staged))
    history_id = target.random.bytes(16)
    restore_id, checksum = staged.restore_id, staged.checksum
    return Restore(restore_id, checksum, history_id, replay.change_number, replay.log_time), staged
