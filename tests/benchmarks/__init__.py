"""What nextclick costs, measured on real processes and a real broker of this machine.

`make bench` runs all parts, `make bench-PART` one of them, and `python -m tests.benchmarks.PART --help` says what can
be made smaller. Each part starts its own Apache Kafka, its own workers, and writes

    build/benchmarks/PART.json           the figures
    build/benchmarks/PART.details.json   the machine, the conditions, and every single run behind the figures

and `python -m tests.benchmarks.page` makes docs/benchmarks.md from both.

| part | what it tells |
|---|---|
| framework | CPU per event of the worker alone, beside stock Faust, Quix Streams and a bare confluent-kafka loop |
| pipeline | lists per CPU second with a trained GRU and 10k, 100k and 1M items; cost against session length |
| latency | from the scheduled send time of a click to the reader's poll, beside a bare echo |
| recovery | seconds until a worker serves, against how many sessions it must read, and how large they are |
| encoders | CPU per click of each encoder's session vector, by the length of the session |
| memory | resident memory over ten million events |

CPU is the time that the kernel charged to the process, all threads together (`/proc/PID/stat`). Others on the same
cores add up to a third to it (measured), so systems that are compared take turns; latencies they make worthless, which
is why each is taken beside an echo in the same run.
"""
