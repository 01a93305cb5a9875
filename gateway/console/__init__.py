"""The console: pages for operations, support and whoever is on call. Each answers one question in its first line."""
