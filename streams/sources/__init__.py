"""Event sources, one a file: foreign payload to event."""
