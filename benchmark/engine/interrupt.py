"""An interrupt that does not get lost: callbacks and finalisers of libraries swallow KeyboardInterrupt."""

from __future__ import annotations

import signal
from types import FrameType, TracebackType


class Interrupt:
    """Remembers Ctrl-C while it is open, so that a loop can raise it again. For the main thread."""

    def __init__(self) -> None:
        self._heard = False

    def __enter__(self) -> Interrupt:
        self._before = signal.signal(signal.SIGINT, self._hear)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        signal.signal(signal.SIGINT, self._before)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        self._heard = True
        raise KeyboardInterrupt

    def check(self) -> None:
        """Raises what was heard and swallowed on its way.

        Raises:
            KeyboardInterrupt: there was one.
        """
        if self._heard:
            raise KeyboardInterrupt
