"""Kinds of number and name that must not be mixed up."""

from typing import NewType

VBucketId = NewType("VBucketId", int)
"""A vBucket, and the Raft group that replicates it. From 1."""
ReplicaId = NewType("ReplicaId", int)
"""A random 63-bit Raft id, one per replica and life of its folder (INVARIANTS 1)."""
Term = NewType("Term", int)
LogIndex = NewType("LogIndex", int)
ChangeNumber = NewType("ChangeNumber", int)
"""The number of one committed operation in its vBucket: from 1, no gaps, equal on every replica."""
HistoryId = NewType("HistoryId", bytes)
"""16 random bytes naming one line of change numbers; promotion and restore start a new one (INVARIANTS 12)."""
CallId = NewType("CallId", int)
"""One open call at the edge. Never reused within a process."""
WallMs = NewType("WallMs", int)
"""Milliseconds since the Unix epoch; log time and expiries are of this kind."""

NEVER_EXPIRES_TS = (1 << 64) - 1
"""The largest expiry in seconds a client can send. Kept as it is; in milliseconds expiries saturate here."""
