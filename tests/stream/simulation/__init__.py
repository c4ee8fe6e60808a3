"""Workers and a broker in one process and on one clock, so that minutes of faults take seconds.

What is real: our transport and pipeline, Faust's application, conductor, tables, recovery and assignor, aiokafka's
consumer with its coordinator, fetcher and client. What is not: sockets, librdkafka, threads and time.

- `clock`: a clock that jumps to whatever comes next; processes, each with an event loop of its own, that can be frozen
  and killed without knowing it
- `broker`: topics, logs and one consumer group, with Kafka's rules for members, generations and commits
- `wire`: what aiokafka takes for a connection, and Faust's producer for librdkafka
- `world`: workers on all that, clicks for them, and what must hold whatever happened
"""
