"""Rule operators, one a file; pure."""
