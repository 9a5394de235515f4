"""Says one line where a run dies without a word: Ray ends the process of a driver at once when its raylet has gone."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

LINE = "backstop: the run was ended from outside, as when Ray dies on this machine; run the same command again to go on"
ENDED = b"."
# it waits for the end of its input, which comes when the process that holds the other side is gone
_WATCH = f"import sys; said = sys.stdin.buffer.read(); said == {ENDED!r} or print({LINE!r}, file=sys.stderr)"


@contextmanager
def watched() -> Iterator[None]:
    """Has another process say the line where this one does not come out here."""
    words = (sys.executable, "-I", "-S", "-c", _WATCH)
    # apart from the session, so that what ends all of that does not end it
    with subprocess.Popen(words, stdin=subprocess.PIPE, start_new_session=True) as watchman:
        try:
            yield
        finally:
            assert watchman.stdin is not None
            with suppress(OSError):  # somebody ended it
                watchman.stdin.write(ENDED)
                watchman.stdin.close()
