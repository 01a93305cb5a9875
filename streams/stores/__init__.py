"""Stores behind the port of `tidings.ports`."""
