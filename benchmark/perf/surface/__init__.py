"""A dense response surface of one repair, measured once and kept, and what samplers and stopping rules make of it."""
