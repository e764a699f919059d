"""dkv.serverpb.DKV and dkv.v1.KV: the key-value operations, by method number."""

from collections.abc import Sequence

from dkv.model.limits import Limits
from dkv.services.calls import Accept
from dkv.services.kv_reads import KvReads
from dkv.services.kv_writes import KvWrites
from dkv.services.turn import Turn
from dkv.wire import messages as wire
from dkv.wire import methods


class KvService:
    """Owns nothing but limits; all state belongs to the replica. Never raises for what a caller sent."""

    def __init__(self, limits: Limits, *, has_fast_writes: bool = False) -> None:
        reads, writes = KvReads(limits), KvWrites(limits, has_fast_writes=has_fast_writes)
        self._limits_reply = limits_response(limits).SerializeToString()
        self.accepts: dict[int, Accept] = {
            methods.PUT: writes.put,
            methods.DELETE: writes.delete,
            methods.GET: reads.get,
            methods.MULTI_GET: reads.multi_get,
            methods.MULTI_PUT: writes.multi_put,
            methods.ITERATE: reads.iterate,
            methods.COMPARE_AND_SET: writes.compare_and_set,
            methods.DELETE_RANGE: writes.delete_range,
            methods.LIMITS: self._tell_limits,
        }
        """By method number."""

    def accept(self, method: int, call_ids: Sequence[int], messages: Sequence[bytes], turn: Turn) -> None:
        """Fills the turn's columns with what the calls of one method ask for."""
        self.accepts[method](call_ids, messages, turn)

    def _tell_limits(self, call_ids: Sequence[int], messages: Sequence[bytes], turn: Turn) -> None:
        """Limits takes nothing, so what was sent is not looked at."""
        turn.reply_ids += call_ids
        turn.replies += [self._limits_reply] * len(call_ids)


def limits_response(limits: Limits) -> wire.LimitsResponse:
    return wire.LimitsResponse(
        keyBytesMax=limits.key_bytes_max,
        valueBytesMax=limits.value_bytes_max,
        requestBytesMax=limits.request_bytes_max,
        multiGetKeysMax=limits.multi_get_keys_max,
        multiPutEntriesMax=limits.multi_put_entries_max,
        replyBytesMax=limits.reply_bytes_max,
        iteratesOpenMax=limits.iterates_open_max,
        iterateIdleMsMax=limits.iterate_idle_ms_max,
    )
