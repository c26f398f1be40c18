"""The files of `loadproof init`, as data: `NAME.template` with `__` for a folder."""
