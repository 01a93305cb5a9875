"""Transactions and loops: each calls a pure function with the event and the time, and writes what it returned."""
