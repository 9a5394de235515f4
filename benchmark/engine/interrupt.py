"""An interrupt that does not get lost: callbacks and finalisers of libraries swallow KeyboardInterrupt."""

from __future__ import annotations

import signal
from types import FrameType, TracebackType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # Ctrl-C, a scheduler that ends the job, a closed terminal


class Interrupt:
    """Remembers that the run is to end while it is open, so that a loop can raise it again. For the main thread."""

    def __init__(self) -> None:
        self._heard = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Interrupt:
        self._before = {number: signal.getsignal(number) for number in SIGNALS}
        self.listen()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)  # None: no Python has set it

    def listen(self) -> None:
        """Takes the signals; again where a library has taken them meanwhile. What was ignored (`nohup`) stays so."""
        for number, handler in self._before.items():
            if handler is not signal.SIG_IGN:
                signal.signal(number, self._hear)

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
