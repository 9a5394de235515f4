"""What the stages do: finds inputs in the store by key, writes a draft, commits it. Loads torch; no Ray."""
