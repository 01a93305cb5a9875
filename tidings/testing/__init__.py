"""Fakes that users of Tidings may use in their own tests; they pass the same contract suites as the real parts."""
