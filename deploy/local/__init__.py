"""Brokers on this machine, without Docker: Tansu in memory and Apache Kafka."""
