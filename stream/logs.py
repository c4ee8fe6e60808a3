"""Where a worker's log lines go: a constant sentence, then `key=value`."""

import logging
import sys
import time

# Faust tells of every step of a rebalance in tables; aiokafka says sixty times a second that a broker is away.
TALKATIVE = ("faust", "mode", "aiokafka", "kafka", "librdkafka", "faiss")
SAY_AGAIN_AFTER_S = 10.0


def log_to_stderr(*, debug: bool) -> None:
    """Log to standard error: ours from INFO, the libraries' from WARNING and seldom; with `debug` everything."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    if not debug:
        handler.addFilter(Seldom(SAY_AGAIN_AFTER_S))
    logging.basicConfig(level=logging.DEBUG if debug else logging.INFO, handlers=[handler])
    for name in TALKATIVE:
        logging.getLogger(name).setLevel(logging.INFO if debug else logging.WARNING)


class Seldom(logging.Filter):
    """Lets a line of a talkative library through once in a while, with the number of those kept back since.

    Lines are the same when they come from the same place in the code, whatever they are about.
    """

    def __init__(self, interval_s: float) -> None:
        super().__init__()
        self._interval_s = interval_s
        self._said: dict[tuple[str, int], float] = {}
        self._kept_back: dict[tuple[str, int], int] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Decide on one line."""
        if record.name.partition(".")[0] not in TALKATIVE:
            return True
        place, now = (record.pathname, record.lineno), time.monotonic()
        if now - self._said.get(place, -self._interval_s) < self._interval_s:
            self._kept_back[place] = self._kept_back.get(place, 0) + 1
            return False
        self._said[place] = now
        if count := self._kept_back.pop(place, 0):
            record.msg, record.args = f"{record.getMessage()} similar_lines_kept_back={count}", ()
        return True
