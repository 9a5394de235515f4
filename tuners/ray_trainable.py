"""One trial as Ray Tune sees it: an actor that needs nothing itself and waits for a warm worker to run the trial."""

from __future__ import annotations

import time
from typing import Any

import ray
from ray import tune
from ray.exceptions import GetTimeoutError, RayError, RayTaskError

from benchmark.config.time_limits import too_long
from tuners.queue import TrialReport, failed

_HOLD_S = 0.1


class RemoteTrial(tune.Trainable):
    """Sends its config to the worker of its slot, then holds until `StopWhenNeeded` has another trial for the actor.

    Tune drops the actors of ended trials that it has no next trial for, as between two rounds; a new one takes
    seconds to start. The first step is the whole trial, every further one repeats its result.
    """

    def setup(self, config: dict[str, Any], workers: Any = (), limit_s: float | None = None) -> None:
        """Takes what finds a worker by its slot, and the seconds that a trial may take."""
        self._workers, self._limit_s = workers, limit_s
        self._result: dict[str, Any] | None = None

    def step(self) -> dict[str, Any]:
        """Runs the trial, or holds; the result is always final, a failed trial's too: no round waits for it."""
        if self._result is None:
            began = time.monotonic()
            self._lost = False
            report = self._report()
            self._result = {"wall_s": time.monotonic() - began, **report, "final": True, "lost": self._lost}
        else:
            time.sleep(_HOLD_S)
        return dict(self._result)

    def _report(self) -> TrialReport:
        try:
            return ray.get(self._workers.run_trial(self.config["slot"], self.config), timeout=self._limit_s)
        except GetTimeoutError:
            return failed(TimeoutError(too_long(self._limit_s or 0.0)))
        except RayTaskError as error:
            return failed(error.cause if isinstance(error.cause, BaseException) else error)
        except (RayError, ValueError) as error:  # its worker died, or is gone: Ray finds no such name
            self._lost = True
            return failed(error)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Makes the actor ready for another trial; any config will do."""
        self._result = None
        return True
