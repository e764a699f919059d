"""One table of every option; command line, environment and YAML become one frozen `Settings`.

The original changed the name of nearly every flag once. `table` lists all names of an option in one place, and every
way to set it is read off that table, so that a spelling works everywhere or nowhere.
"""

from dkv.settings.argv import Given, parse_argv
from dkv.settings.cluster import ClusterWish
from dkv.settings.errors import SettingsError
from dkv.settings.ini import read_ini, unusable_ini
from dkv.settings.load import Loaded, load
from dkv.settings.settings import Settings
from dkv.settings.show import USAGE, help_text, report

__all__ = [
    "USAGE",
    "ClusterWish",
    "Given",
    "Loaded",
    "Settings",
    "SettingsError",
    "help_text",
    "load",
    "parse_argv",
    "read_ini",
    "report",
    "unusable_ini",
]
