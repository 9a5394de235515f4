"""`make gpu`: what is to be tried on the day when a GPU can be had; see `__main__`."""
