"""The way in over HTTP: events are taken, or refused with every mistake; 202 only once they are durable."""
