"""Access to a remote place: tried again while it does not answer, and one line where it cannot be had."""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable
from typing import TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_delay, wait_random_exponential

from benchmark.errors import UserError, tells_no_space

PATIENCE_S = 120.0  # how long a place that does not answer is asked again
LONGEST_WAIT_S = 10.0  # between two tries; the first come after a second or two

ABSENT = (FileNotFoundError, NotADirectoryError, IsADirectoryError)
# what servers that are busy, restarted or out of reach answer; clients turn 503 and 500 into EBUSY and EREMOTEIO
_TRANSIENT = {
    *(errno.EAGAIN, errno.EBUSY, errno.EIO, errno.EREMOTEIO, errno.EPIPE, errno.ETIMEDOUT),
    *(errno.ECONNREFUSED, errno.ECONNRESET, errno.ECONNABORTED, errno.EHOSTUNREACH, errno.ENETUNREACH),
}
# by name, since no client of a cloud is imported here
_TRANSIENT_NAMES = {"HTTPClientError", "EndpointConnectionError", "ClientConnectionError", "ClientPayloadError"}
_log = logging.getLogger(__name__)
_Result = TypeVar("_Result")


def is_transient(error: BaseException) -> bool:
    """Whether the same request may be answered a little later."""
    if isinstance(error, (TimeoutError, ConnectionError)):
        return True
    if isinstance(error, OSError) and error.errno in _TRANSIENT:
        return True
    return any(kind.__name__ in _TRANSIENT_NAMES for kind in type(error).__mro__)


def reached(url: str, action: Callable[[], _Result], *, patience_s: float | None = None) -> _Result:
    """Does something at a remote place.

    Args:
        url: the place.
        action: may be called several times.
        patience_s: how long it is tried again while the place does not answer; None: `PATIENCE_S`.

    Raises:
        UserError: the place cannot be reached, or does not let this user do it.
        FileNotFoundError: there is no such file; so are the kindred errors.
    """
    patience = PATIENCE_S if patience_s is None else patience_s
    retrying = Retrying(
        retry=retry_if_exception(is_transient),
        stop=stop_after_delay(patience),
        wait=wait_random_exponential(max=LONGEST_WAIT_S),
        before_sleep=lambda state: _tell(url, patience, state),
        reraise=True,
    )
    try:
        return retrying(action)
    except (UserError, *ABSENT):
        raise
    except Exception as error:  # clients of object stores raise what they like
        if isinstance(error, FileExistsError) or tells_no_space(str(error)):  # of this machine's own disk
            raise
        raise UserError(f"store {url} cannot be reached: {_told(error)}; {_remedy(error)}") from None


def changed(url: str, action: Callable[[], _Result]) -> _Result:
    """Does something that changes a remote place; see `reached`.

    Raises:
        UserError: that is not allowed, too.
    """

    def allowed() -> _Result:
        try:
            return action()
        except (PermissionError, NotImplementedError):
            raise not_writable(url) from None

    return reached(url, allowed)


def not_writable(url: str) -> UserError:
    """For a store that only lets itself be read."""
    return UserError(
        f"store {url} must be writable, got one that is read-only; choose another with --store, and name this one "
        "with --from"
    )


def _tell(url: str, patience: float, state: RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome else None
    if state.attempt_number == 1 and error is not None:
        _log.warning(
            "backstop: store %s does not answer (%s); it is tried again for %.0f s", url, _told(error), patience
        )


def _told(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _remedy(error: BaseException) -> str:
    if is_transient(error):
        return "check the address, and run the same command again to go on"
    return "check the address and your access"
