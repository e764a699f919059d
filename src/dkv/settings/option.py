"""What the table says about one option. Pure data."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum


class Availability(Enum):
    """What a server of today does with a value other than the default."""

    NOW = "works"
    LATER = "refused wherever it is set"
    OTHER_ROLE = "refused on the command line and in the environment; ignored with a warning in YAML"
    NEXUS = "works beside nexus-cluster-url; without it refused, in YAML ignored with a warning"
    NO_EFFECT = "accepted with a warning; does nothing"


@dataclass(frozen=True, slots=True)
class Option:
    """One option. `key` is canonical: it is the long flag, the YAML key and, as DKV_KEY, the environment variable."""

    key: str
    parse: Callable[[str], object]
    default: object
    help: str
    group: str
    spellings: tuple[str, ...] = ()
    """Every other accepted name, oldest first; of one letter: a shorthand."""
    value_name: str = ""
    """What the help shows for the value; empty means a switch, which may stand bare."""
    availability: Availability = Availability.NOW
    refusal: str = "not available yet"
    default_text: str = ""
    """What the help shows when `default` does not say it."""
    field_name: str = ""
    """Its field of Settings where that is not the key with underscores."""

    @property
    def is_switch(self) -> bool:
        return not self.value_name

    @property
    def works(self) -> bool:
        """A server of today can do what it says."""
        return self.availability in (Availability.NOW, Availability.NEXUS)

    @property
    def field(self) -> str:
        return self.field_name or self.key.replace("-", "_").replace(".", "_")

    @property
    def variable(self) -> str:
        return "DKV_" + self.key.replace("-", "_").replace(".", "_").upper()
