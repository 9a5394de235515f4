"""The stages: functions from a cell and input artifacts to one artifact. No Ray in them.

Every stage has the form `stage(store, …, tick=…)`: it finds its inputs in the store by key, writes a draft and commits
it. A stage that finds its artifact there does nothing.
"""
