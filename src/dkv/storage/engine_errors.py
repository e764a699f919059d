"""What the engine says, sorted into the tree of errors.

rocksdict raises plain `Exception` with RocksDB's status as text, so the text is all there is to sort by; it is passed
on whole. Newcomers break this first by catching `Exception` around their own code too: only the engine's types are
translated here, mistakes of ours pass through untouched.
"""

from rocksdict import DbClosedError

from dkv.model.errors import Corrupt, InvariantBroken, StorageFailed


def translated(error: Exception, doing: str) -> Exception:
    """The error to raise for what came up while `doing` something; `error` itself if it is not the engine's."""
    if isinstance(error, DbClosedError):
        return InvariantBroken(f"the store was used after it was closed ({doing})")
    if type(error) is not Exception:
        return error
    text = f"{doing}: {error}"
    return Corrupt(text) if str(error).startswith("Corruption") else StorageFailed(text)
