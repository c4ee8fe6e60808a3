"""The commands of the training side, one file each; a module's top imports typer and the standard library only."""
