"""`make bench`: the speed of the hot paths, as ratios measured in one run. One file per bench."""
