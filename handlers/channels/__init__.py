"""Ways to speak: an intent becomes a body for one channel."""
