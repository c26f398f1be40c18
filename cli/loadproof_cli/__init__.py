"""The `loadproof` command: the only room that knows all the others.

`main` is the way in; `console` is the one object through which argv, environment, streams, signals and the exit enter;
`commands` holds one module for each command; `local` is the embedded controller with its agents on this machine.
"""
