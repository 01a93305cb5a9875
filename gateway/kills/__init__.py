"""Kills over HTTP, for whoever is on call and for what they write."""
