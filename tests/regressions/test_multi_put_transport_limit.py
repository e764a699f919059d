"""The limit of the transport beside the limit of the payload."""

from dkv.model.limits import Limits
from dkv.wire import messages as wire

EXPIRE_TS = (1 << 64) - 1


def test_multi_put_of_most_entries_and_most_payload_fits_the_transport() -> None:
    """What the limits allow must reach the service: many entries surround the payload with many tags and lengths."""
    limits = Limits()
    size = limits.request_bytes_max // limits.multi_put_entries_max - 5
    puts = [
        wire.PutRequest(key=b"%05d" % number, value=bytes(size), expireTS=EXPIRE_TS)
        for number in range(limits.multi_put_entries_max)
    ]
    message = wire.MultiPutRequest(putRequest=puts, session=bytes(16), sequence=EXPIRE_TS, lowestOutstanding=EXPIRE_TS)
    assert message.ByteSize() > limits.request_bytes_max + (64 << 10)
    assert message.ByteSize() <= limits.message_bytes_max
