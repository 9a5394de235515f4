"""The stages of a run: what each makes, and from what. Loads neither torch nor Ray; what is done stands in `work`."""
