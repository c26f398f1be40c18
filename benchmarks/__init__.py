"""Side-by-side measurements. `python -m benchmarks` (what `make bench` runs) compares the engine with other tools."""
