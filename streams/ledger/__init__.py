"""The read model: what was decided, sent and not sent, as people look at it. Nothing here writes."""
