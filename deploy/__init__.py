"""Where the parts are put together and run: the command line, the demo, brokers on this machine."""
