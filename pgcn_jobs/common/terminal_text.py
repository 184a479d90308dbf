"""Text that is safe to print: no control characters, direction marks or invisible characters."""

from __future__ import annotations

import re

# Control characters; soft hyphen, zero-width and direction marks, line and paragraph separators; surrogates, which
# stand for bytes of names that are not UTF-8. Joiners (U+200C, U+200D) stay: names in Persian and many emoji need
# them. `gallery.js` has the same list.
_UNSEEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff]"
)
_SYMBOLS = {"\n": "↵", "\r": "↵", "\t": "⇥"}


def terminal_safe(text: str | None) -> str:
    """`text` on one line; control characters, direction marks and invisible characters become ↵, ⇥ or �."""
    return _UNSEEN.sub(lambda found: _SYMBOLS.get(found[0], "\ufffd"), text or "")


def terminal_safe_lines(text: str) -> str:
    """`terminal_safe` for each line of a message of this program."""
    return "\n".join(terminal_safe(line) for line in text.split("\n"))


def sentence(text: str | None) -> str:
    """A message on one line, safe to print, with single spaces."""
    return terminal_safe(" ".join((text or "").split()))
