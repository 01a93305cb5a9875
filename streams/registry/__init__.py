"""Schemas out of a registry over HTTP (Confluent's API), instead of those that the package ships."""
