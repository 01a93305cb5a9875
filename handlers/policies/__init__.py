"""Whether to speak: consent, quiet hours, caps, digests; pure."""
