"""Who runs the trials of a run on Ray: one Ray Tune `Tuner`, whose searcher asks Optuna, on the slots of the nodes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.miniature import SETTINGS

# The command in a process that notes what it calls: each fit of a Tuner with its trials, each suggestion that Optuna
# made, and who took which slot.
SPY = """
import json, os, sys, threading
import optuna
from ray import tune
from tuners import ray_searcher, slots

seen = {"fits": [], "silenced": [], "studies": 0, "suggested": 0, "taken": [], "wrong": []}
fit, take, give, study = tune.Tuner.fit, slots.Slots.take, slots.Slots.give, optuna.create_study
relative, independent = optuna.samplers.TPESampler.sample_relative, optuna.samplers.TPESampler.sample_independent
out, lock = {}, threading.Lock()


def spied_fit(tuner):
    found = fit(tuner)
    seen["fits"].append(len(found))
    seen["silenced"].append(os.environ.get("TUNE_DISABLE_SIGINT_HANDLER"))  # no task of the driver took it away
    return found


def spied_study(*args, **kwargs):
    seen["studies"] += 1
    return study(*args, **kwargs)


def spied(method):
    def call(sampler, *args, **kwargs):
        seen["suggested"] += 1
        return method(sampler, *args, **kwargs)
    return call


def spied_take(free):
    with lock:
        slot = take(free)
        who = "trial" if sys._getframe(1).f_globals["__name__"] == "tuners.ray_searcher" else "node"
        if slot is not None:
            if slot in out:
                seen["wrong"].append(["taken twice", slot, who, out[slot]])
            out[slot] = who
            seen["taken"].append([who, slot])
        return slot


def spied_give(free, slot):
    with lock:
        if slot not in out:
            seen["wrong"].append(["given back twice", slot])
        out.pop(slot, None)
        give(free, slot)


tune.Tuner.fit, slots.Slots.take, slots.Slots.give = spied_fit, spied_take, spied_give
optuna.create_study = spied_study
optuna.samplers.TPESampler.sample_relative = spied(relative)
optuna.samplers.TPESampler.sample_independent = spied(independent)
from benchmark.cli.app import main
try:
    main()
finally:
    print(json.dumps(seen), file=sys.stderr)
"""
PART = ("--only", "objective=mmcl,attack=badnet,attack=blended,repair=cleanclip", "--concurrency", "2")


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.timeout(600)
def test_ray_tune_and_optuna_run_the_trials_of_all_searches(tmp_path: Path) -> None:
    settings = [word for text in SETTINGS for word in ("--set", text)]
    words = ["run", "smoke", "--quiet", "--store", str(tmp_path), *settings, "--set", "search.startup_trials=1", *PART]
    done = subprocess.run([sys.executable, "-c", SPY, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stderr.splitlines()[-1])
    trials = [pair for pair in seen["taken"] if pair[0] == "trial"]
    assert seen["silenced"] == ["1"]
    assert seen["fits"] == [8]  # one Tuner for both searches: each its defaults and three trials
    assert len(trials) == 8
    assert seen["studies"] > 0 and seen["suggested"] > 0  # Optuna's TPE proposed what is not quasi-random
    assert any(who == "node" for who, _ in seen["taken"])
    assert seen["wrong"] == []
