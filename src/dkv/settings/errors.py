"""The one error of this package: something the operator gave cannot be used."""


class SettingsError(Exception):
    """Start must not go on. `usage` says that the command line itself was malformed, so the usage line helps."""

    def __init__(self, text: str, *, usage: bool = False) -> None:
        super().__init__(text)
        self.usage = usage
