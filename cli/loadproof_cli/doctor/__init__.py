"""What on this machine would spoil a run: `readings` reads, `advice` decides, `calibrate` measures its capacity."""
