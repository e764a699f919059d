"""The line editor of the standard library, where there is one: arrows, search, Tab. Without it lines are just read."""

from collections.abc import Callable, Sequence

Complete = Callable[[str, str], list[str]]
"""(line up to the cursor, its last word) -> words that may stand there."""


def set_up(complete: Complete, earlier: Sequence[str]) -> Callable[[str], None]:
    """Makes `input` an editor that knows earlier lines; returns what remembers another one."""
    try:
        import readline
    except ImportError:
        return lambda line: None
    found: list[str] = []

    def offer(text: str, number: int) -> str | None:
        if number == 0:
            found[:] = complete(readline.get_line_buffer()[: readline.get_endidx()], text)
            if len(found) == 1:
                found[0] += " "  # the word is whole; Python's readline does not say so by itself
        return found[number] if number < len(found) else None

    def remember(line: str) -> None:
        count = readline.get_current_history_length()
        if line.strip() and (not count or readline.get_history_item(count) != line):
            readline.add_history(line)

    readline.set_auto_history(False)
    readline.set_completer_delims(" \t\n")
    readline.set_completer(offer)
    readline.parse_and_bind("bind ^I rl_complete" if "libedit" in (readline.__doc__ or "") else "tab: complete")
    for line in earlier:
        readline.add_history(line)
    return remember
