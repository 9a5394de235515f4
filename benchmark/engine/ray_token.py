"""A token for each Ray that is started here. Imports no Ray: Ray reads these variables when it is imported."""

from __future__ import annotations

import os
import secrets
import sys


def set_token(address: str | None = None) -> None:
    """Has a Ray that this process starts ask for a token, which its own processes inherit: a random one, or the user's.

    Ray listens on every network interface, and whoever reaches it may run code. A cluster that is there already
    (`address`, or RAY_ADDRESS) has its own rule, and so has a user who set RAY_AUTH_MODE.
    """
    if address or os.environ.get("RAY_ADDRESS") or "RAY_AUTH_MODE" in os.environ:
        return
    if "ray" in sys.modules:  # too late: Ray would ask its processes for a token that it does not send itself
        return
    os.environ["RAY_AUTH_MODE"] = "token"
    if not {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & os.environ.keys():
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
