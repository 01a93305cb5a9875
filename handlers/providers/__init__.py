"""Ways out, one vendor a file."""
