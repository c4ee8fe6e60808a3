"""Randomised fault rounds: real workers on a real Apache Kafka, clicks in flight, and an oracle that reads the log.

`make chaos ROUNDS=100 SEED=7` runs it. The parts, each readable alone:

- `plan`: which faults a round has, and how its service is set up, drawn from the seed;
- `clickstream`, `generator`: the clicks, and the process that sends them at a steady rate whatever happens;
- `workers`, `deployment`: the service of a round, whose workers are started again when they end;
- `faults`: what is done to it;
- `watch`: what can be seen from outside meanwhile: committed offsets, ends of topics;
- `oracle`: what the log of the clicks must have led to, folded one click after the other;
- `verdict`: what it did lead to, and every difference;
- `stock_worker`, `deadly_worker`: a plain Faust program to compare with, and a worker that one item kills.
"""
