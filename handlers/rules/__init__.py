"""The rule language: load, check, compile, explain; pure."""
