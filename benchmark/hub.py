"""The Hugging Face hub on a machine without a network: asked once, instead of half a minute of printed retries."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

PROBE_S = 5.0


@contextmanager
def hub_or_cache(*settings: ModuleType) -> Iterator[bool]:
    """Lets the hub's clients use their caches alone where the hub does not answer, or offline mode is on.

    The library reads offline mode from the environment when it is imported, so the value that it read is set.

    Args:
        settings: modules of other libraries that hold a `HF_HUB_OFFLINE` of their own.

    Yields:
        Whether the hub can be asked.
    """
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        yield False
    elif _answers(constants.ENDPOINT):
        yield True
    else:
        readers = (constants, *settings)
        for module in readers:
            vars(module)["HF_HUB_OFFLINE"] = True
        shown = logging.root.manager.disable
        logging.disable(logging.ERROR)  # the caller says in one line what could not be had
        try:
            yield False
        finally:
            logging.disable(shown)
            for module in readers:
                vars(module)["HF_HUB_OFFLINE"] = False


def _answers(address: str) -> bool:
    """Whether anything answers, through the library's own session, so that proxies count."""
    from httpx2 import HTTPError
    from huggingface_hub.utils import get_session

    try:
        get_session().head(address, timeout=PROBE_S)
    except (HTTPError, OSError):
        return False
    return True
