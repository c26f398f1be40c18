"""A fleet in virtual time: the real state machines of controller and agents, everything around them simulated.

`simulate(seed)` runs one seed and raises `Violation` when something happened that must never happen. A seed is all
there is: it replays exactly, on any machine.
"""

from fleet_sim.oracle import Violation
from fleet_sim.simulation import Simulation, simulate

__all__ = ["Simulation", "Violation", "simulate"]
