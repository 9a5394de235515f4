"""The command `backstop`: the app, and what each of its commands does."""
