"""Joins a Ray cluster, or starts one on this machine; what cannot work is refused in one line."""

from __future__ import annotations

import os
import socket
from typing import Any

import ray
from ray._private import worker as ray_printing

from benchmark.config.compute_options import ComputeOptions
from benchmark.errors import UserError, is_sent_away, must, reason_of

ANSWER_S = 10.0  # how long an address may take to answer
_QUIET = {
    "RAY_DEDUP_LOGS": "1",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_TRAIN_ENABLE_STATE_TRACKING": "0",
    "RAY_DISABLE_IMPORT_WARNING": "1",
    "RAY_ENABLE_AUTO_CONNECT": "0",  # else Tune's thread starts another Ray while an interrupted run leaves this one
    "RAY_worker_niceness": "0",  # Ray's default of 15 lets anything else on the machine starve a run
}


def connect(resources: ComputeOptions) -> bool:
    """Joins the cluster of `resources.address` or RAY_ADDRESS, else starts one on this machine; whether it did that.

    `ray_token.set_token` comes before the import of this module.
    """
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    if ray.is_initialized():
        return False
    # Ray prints a paragraph for each worker that dies, and has no public switch for it; what died is a status anyway
    ray_printing._worker_logs_enabled = False
    address = resources.address or os.environ.get("RAY_ADDRESS")
    options: dict[str, Any] = {"logging_level": "ERROR", "log_to_driver": False}
    if address:
        _check_answers(address)
        options["address"] = address
    else:
        # Train's cleaner of worker groups needs the dashboard; a pool of actors does not
        options |= {"address": "local", "include_dashboard": resources.workers > 1, "object_store_memory": 256 << 20}
    try:
        start(**options)
    except SystemExit as error:  # told to end meanwhile, by a handler that Ray sets before it is ready
        if is_sent_away(error):
            raise KeyboardInterrupt from None
        raise
    except Exception as error:  # Ray raises Exception itself where its own start times out
        if address:
            raise must("--address", "that of a running Ray cluster", address, reason_of(error)) from None
        what = "the machine may be overloaded: try again, or run with --local"
        raise UserError(f"Ray must start on this machine, got {reason_of(error)!r}; {what}") from None
    return not address


def start(**options: Any) -> None:
    """`ray.init`, tried again where Ray's own processes take more than the half minute that it gives them."""
    try:
        ray.init(**options)
    except Exception as error:
        if "timed out during startup" not in str(error):
            raise
        ray.init(**options)  # programs and libraries lie in memory now; what the first left behind ends with us


def _check_answers(address: str) -> None:
    """Refuses an address where nobody listens, on which Ray itself would go on trying.

    Raises:
        UserError: nobody answers there.
    """
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if not port.isdigit():
        return  # "auto", or a name that Ray resolves
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWER_S).close()
    except (OSError, OverflowError) as error:
        remedy = f"nobody answers there ({error}); see `ray status`, or leave it out to start Ray here"
        raise must("--address", "that of a running Ray cluster", address, remedy) from None
