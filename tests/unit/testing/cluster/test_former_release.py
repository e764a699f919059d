"""Rows of the release before, as simulated machines get them, are those of its golden bytes."""

from pathlib import Path

from dkv.ports.store import RowBatch
from dkv.storage.memory import MemoryStore
from dkv.testing.cluster.former_release import turn_back
from dkv.vbucket.metadata import Metadata, encode_metadata
from dkv.vbucket.outcomes import EntryOutcomes, encode_outcomes, outcomes_key
from dkv.vbucket.replica import Replica

GOLDEN = Path(__file__).parents[3] / "golden"
SPACE = 4


def golden_row(version: int) -> bytes:
    lines = (GOLDEN / f"rows-v{version}.txt").read_text().splitlines()
    return next(bytes.fromhex(line.split(": ")[1]) for line in lines if line.startswith("outcomes row: "))


def test_folder_turned_back_has_the_golden_row_and_none_of_what_took_no_number() -> None:
    """An entry that took a number keeps its row, in the old spelling; one that took none had no row."""
    first = int.from_bytes(golden_row(1)[:8], "big")
    metadata = Metadata(1, 7, SPACE, 9, 1, first, 1, 1, bytes(16), ([7], [], [], [], False))
    store = MemoryStore()
    nothing = encode_outcomes(EntryOutcomes(first + 1, 1, 1, 1))
    rows: list[tuple[bytes, bytes | None]] = [
        (Replica.metadata_key(1), encode_metadata(metadata)),
        (outcomes_key(SPACE, 8), golden_row(2)),
        (outcomes_key(SPACE, 9), nothing),
    ]
    store.write(RowBatch(rows))
    assert turn_back(store) == 2
    assert store.get_many([outcomes_key(SPACE, 8), outcomes_key(SPACE, 9)]) == [golden_row(1), None]
    assert turn_back(store) == 0
