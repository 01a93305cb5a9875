"""Rule tests: what a rule is to do with a timeline of events, on a virtual clock, with the engine that runs live.

`read` turns a file of tests into values, or into every mistake in it; `world` is the engine and its clock; `arrival`
tells what a rule makes of an event at once; `outcome` compares what happened with what was expected; `run` plays a test.
"""
