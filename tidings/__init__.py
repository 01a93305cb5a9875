"""The core: values and decisions. No socket, no clock, no event loop."""
