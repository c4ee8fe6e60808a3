"""Records that nobody should send, between valid clicks, through one real worker on a real Apache Kafka.

`make fuzz EVENTS=1000000` runs it. `records` makes the records, `sender` is the process that sends them, `checker`
follows the topics and settles each record as soon as what must come of it is there, so that memory stays bounded.
"""
