"""What a call can end with. The text of `RpcError` is the Go client's, which people and scripts search."""

_GO_NAMES = (
    "OK",
    "Canceled",
    "Unknown",
    "InvalidArgument",
    "DeadlineExceeded",
    "NotFound",
    "AlreadyExists",
    "PermissionDenied",
    "ResourceExhausted",
    "FailedPrecondition",
    "Aborted",
    "OutOfRange",
    "Unimplemented",
    "Internal",
    "Unavailable",
    "DataLoss",
    "Unauthenticated",
)


class RpcError(Exception):
    """A call that failed, here or on the server. `details` is the serialised google.rpc.Status, or empty."""

    def __init__(self, code: int, message: str, details: bytes = b"") -> None:
        super().__init__(code, message, details)
        self.code, self.message, self.details = code, message, details

    @property
    def code_name(self) -> str:
        """Go's name of the code, such as InvalidArgument."""
        return _GO_NAMES[self.code] if 0 <= self.code < len(_GO_NAMES) else f"Code({self.code})"

    def __str__(self) -> str:
        return f"rpc error: code = {self.code_name} desc = {self.message}"


class IterateRefused(Exception):
    """The server refused an Iterate in its one in-band way: a message with a status that is not OK."""
