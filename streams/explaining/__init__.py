"""Why somebody was told, or was not: assembled from what is stored, when somebody asks.

Fired and suppressed are stored; that a rule did not fire is worked out again from the event, the images of that time
and the rules (`semantics.md`). Everything here reads only, works on both stores, and looks at a bounded number of rows.
"""
