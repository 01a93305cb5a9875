"""Proofs on a cluster of one's own: real processes that are killed, paused and cut off, against an undisturbed run.

`make proofs` runs them at full size (`-m proofs`), prints their figures, and with `ARGS=--write` keeps them in
`docs/proofs.md`. The same stories run small among the other live tests.
"""
