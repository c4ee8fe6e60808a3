"""The demo: the whole service on this machine, live, with the worker that production runs."""
