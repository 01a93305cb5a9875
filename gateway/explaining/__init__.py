"""Why somebody was told, or was not, for other systems: the same answers as the console's pages, as JSON."""
