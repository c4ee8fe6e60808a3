"""Where a worker's log lines go, and whose they are: a sentence, then `key=value`."""

import logging
import sys

# They tell of every step of a rebalance, in tables.
TALKATIVE = ("faust", "mode", "aiokafka", "kafka", "faiss")


def log_to_stderr(*, debug: bool) -> None:
    """Log to standard error: ours from INFO, the libraries' from WARNING; with `debug` everybody's."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    logging.basicConfig(level=logging.DEBUG if debug else logging.INFO, handlers=[handler])
    for name in TALKATIVE:
        logging.getLogger(name).setLevel(logging.INFO if debug else logging.WARNING)
