"""The sessions of a worker: a Faust table whose changelog survives it."""
