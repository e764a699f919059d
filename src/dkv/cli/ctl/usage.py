"""The help of dkvctl, read off its table."""

from dkv.cli.ctl.table import COMMANDS, Command

_HEAD = """\
Usage: dkvctl [-a host:port] --command argument...

Talks to a DKV server. Long names may be written with one dash or two. One command a call; results go to stdout.
"""
_TAIL = """\
Options
  -a, --dkvAddr HOST:PORT         the server [127.0.0.1:8080]
      --authority NAME            sent as :authority, for proxies
      --limit COUNT               of iter and keys: stop after so many [0, all]
      --reverse                   of iter and keys: from the last key down
  -h, --help                      this text
      --version                   the version
      --                          what follows are arguments, even with a dash in front

The oldest form works, too: dkvctl -set key:value -get key
Exit status: 0 done, 1 the server or the connection failed, 2 the command line cannot be used."""


def help_text() -> str:
    return "\n".join([_HEAD, "Commands", *map(_entry, COMMANDS), "", _TAIL])


def _entry(command: Command) -> str:
    short = f"-{command.shorthand}," if command.shorthand else ""
    name = f"  {short:<4}--{command.name} {command.arguments}".rstrip()
    also = f" (also --{command.alias})" if command.alias else ""
    if len(name) > 32:
        return f"{name}\n{'':34}{command.help}{also}"
    return f"{name:<34}{command.help}{also}"
