"""Kafka: the connection, the topics, and the workers that Faust runs on them."""
