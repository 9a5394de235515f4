"""The quantisation backdoor."""
