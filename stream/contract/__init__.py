"""What the outside world relies on: topics, and how a Kafka record becomes an event."""
