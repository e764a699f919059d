"""Whether licence expressions (SPDX) can be kept with a set of licences. Pure.

either = both { ("OR" | "/") both }        "/" is how older crates write OR
both   = one { "AND" one }
one    = "(" either ")" | NAME [ "WITH" NAME ]
"""

import re
from collections.abc import Set

TOKENS = re.compile(r"\(|\)|/|[^\s()/]+")


def accepted(expression: str, licences: Set[str]) -> bool:
    """False as well for what is no expression."""
    reader = _Reader(TOKENS.findall(expression), licences)
    try:
        return reader.either() and not reader.tokens
    except IndexError:
        return False


class _Reader:
    """Takes tokens from the front."""

    def __init__(self, tokens: list[str], licences: Set[str]) -> None:
        self.tokens, self._licences = tokens, licences

    def either(self) -> bool:
        found = [self._both()]
        while self._next_is("OR") or self._next_is("/"):
            found.append(self._both())
        return any(found)

    def _both(self) -> bool:
        found = [self._one()]
        while self._next_is("AND"):
            found.append(self._one())
        return all(found)

    def _one(self) -> bool:
        if self._next_is("("):
            found = self.either()
            if not self._next_is(")"):
                raise IndexError("a bracket that does not end")
            return found
        name = self.tokens.pop(0)
        if self._next_is("WITH"):
            name = f"{name} WITH {self.tokens.pop(0)}"
        return name in self._licences

    def _next_is(self, token: str) -> bool:
        """Takes it if so."""
        if self.tokens[:1] != [token]:
            return False
        del self.tokens[0]
        return True
