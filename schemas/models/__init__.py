# Generated from the contracts by `python -m schemas.generate`; edit the contract instead.
"""One model for each event."""
