"""`python -m deploy` is `nextclick`: for processes that this installation starts itself."""

from deploy.cli import main

main()
