"""The help of dkvctl, read off its table."""

from dkv.cli.ctl.table import COMMANDS, Command

_HEAD = """\
Usage: dkvctl [-a host:port] command argument...

Talks to a DKV server. Commands may be written with one dash, two or none. One command a call; results go to stdout.
"""
_TAIL = """\
Options
  -a, --dkvAddr HOST:PORT,...     the server, or nodes of a cluster, the first that is there [127.0.0.1:8080]
      --authority NAME            sent as :authority, for proxies
      --limit COUNT               of iter, keys and watch: stop after so many [0, all]; of top: after so many pictures;
                                  of vbuckets: show so many in which all is well [20]
      --from NUMBER               of watch: the first change to print [those to come]
      --vbucket NUMBER            of watch: of this vBucket only; --from beyond 1 is of one [0, all]
      --until NUMBER|TIME         of restore: to the state after this change, or at this time (2026-01-31T15:00, local
                                  without a zone), from the backup and what the server did after it
      --ack, --acknowledgement WHO
                                  of set, del, mput, cas and ttl: who has the write before it is answered, quorum, all,
                                  or, of set and del where the server permits it, fast [quorum]
      --reverse                   of iter and keys: from the last key down
      --json                      results and errors as JSON, one document a line
  -h, --help                      this text
      --version                   the version
      --                          what follows are arguments, even with a dash in front

The oldest form works, too: dkvctl -set key:value -get key
Exit status: 0 done, 1 the server or the connection failed, 2 the command line cannot be used."""

_SHELL_TAIL = """\
  exit                            leave; Ctrl-D, too

--limit, --from, --vbucket, --reverse, --ack and --json work as on the command line. Quotes and backslashes keep spaces
together."""


def help_text() -> str:
    return "\n".join([_HEAD, "Commands", *map(_entry, COMMANDS), "", _TAIL])


def shell_help_text() -> str:
    """What can be typed into the shell."""
    typed = (command for command in COMMANDS if command.name != "shell")
    return "\n".join([*(_line(f"  {each.name} {each.arguments}", each.help) for each in typed), _SHELL_TAIL])


def _entry(command: Command) -> str:
    short = f"-{command.shorthand}," if command.shorthand else ""
    also = f" (also --{command.alias})" if command.alias else ""
    return _line(f"  {short:<4}--{command.name} {command.arguments}", f"{command.help}{also}")


def _line(name: str, text: str) -> str:
    """Two columns; a name that does not fit has a line of its own."""
    name = name.rstrip()
    return f"{name:<34}{text}" if len(name) <= 32 else f"{name}\n{'':34}{text}"
