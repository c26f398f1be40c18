"""One module for each command: it reads the options, does the work through the other rooms, returns an exit code."""
