"""From a batch of records to acknowledged lists, states and dead letters."""
