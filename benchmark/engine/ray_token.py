"""A token and loopback for each Ray that is started here. Imports no Ray, which reads these variables at its import."""

from __future__ import annotations

import os
import secrets
import sys

# Ray's switch for "this machine is no cluster", set on Windows and macOS; elsewhere it listens on every interface
ALONE = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"


def set_token(address: str | None = None) -> None:
    """Has a Ray that this process starts ask for a token, which its own processes inherit: a random one, or the user's.

    And has it listen on loopback alone: whoever reaches it may run code. A cluster that is there already (`address`, or
    RAY_ADDRESS) has its own rule, and so has a user who set RAY_AUTH_MODE.
    """
    if address or os.environ.get("RAY_ADDRESS"):
        return
    if "ray" in sys.modules:  # too late: Ray would ask its processes for a token that it does not send itself
        return
    os.environ.setdefault(ALONE, "0")
    if "RAY_AUTH_MODE" in os.environ:
        return
    os.environ["RAY_AUTH_MODE"] = "token"
    if not {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & os.environ.keys():
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
