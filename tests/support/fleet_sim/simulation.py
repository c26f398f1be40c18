"""One seed: a fleet, a run, faults. `simulate(seed)` runs it to its end and checks what must hold."""

from __future__ import annotations

import dataclasses
from typing import Any

from fleet_sim.agents import Process
from fleet_sim.controller import RUN_ID, Controller
from fleet_sim.network import Stream
from fleet_sim.oracle import Oracle, Violation
from fleet_sim.relays import RelayProcess
from fleet_sim.verify import verify
from fleet_sim.world import MS, S, World, plan_of
from loadproof_agent import records as r
from loadproof_controller.machine import MachineConfig

END_S = 150
FAULTS = (
    "kill", "restart", "pause", "pause", "stop_supervisor", "cut", "cut", "partition", "partition", "crash", "crash",
    "join", "kill_worker", "slow",
)  # fmt: skip
RELAY_FAULTS = (
    "relay_kill", "relay_kill", "relay_kill", "relay_pause", "relay_cut", "relay_cut", "relay_partition",
    "relay_partition",
)  # fmt: skip
RELAY_EVERY = 4
"""One seed in so many has relays."""
DIAL_RELAY = 0.8
"""How often an agent dials a relay, where there are any, and not the controller itself."""


def relays_of(seed: int) -> int:
    """Return how many relays a seed has: none, one or two."""
    return 0 if seed % RELAY_EVERY else 1 + seed // RELAY_EVERY % 2


class Simulation:
    """Everything of one seed. `trace` collects what happened, for whoever looks into a failing seed.

    `relays` says how many relays there are, where it is not the seed that does; a `calm` world has no faults.
    """

    def __init__(self, seed: int, *, relays: int | None = None, calm: bool = False) -> None:
        relays = relays_of(seed) if relays is None else relays
        self.seed = seed
        self.world = world = World(seed)
        random = world.random
        self.plan, self.schedule = plan_of(random.choice((8, 20)), random.choice((6, 9)))
        self.oracle = Oracle(world, self.schedule, orphan_grace_ns=6 * S)
        wanted = random.choice((1, 2, 2, 3)) + (2 if relays or calm else 0)
        self.config = MachineConfig(
            RUN_ID,
            wanted,
            duration_ns=self.plan.duration_ns,
            graceful_stop_ns=self.plan.graceful_stop_ns,
            lease_ns=3 * S,
            on_agent_loss=random.choice(("continue", "redeal", "redeal", "fail")),
            ack_pause_ns=seed % 2 * 700 * MS,
            arrivals_before=self.schedule.count_until,
            start_lead_ns=500 * MS,
            redeal_lead_ns=300 * MS,
            attach_limit_ns=20 * S,
            prepare_limit_ns=10 * S,
            setup_limit_ns=10 * S,
            collect_limit_ns=6 * S,
            teardown_limit_ns=4 * S,
        )
        self.rough = world.chance(0.3) and not calm
        if self.rough:  # the end of an agent's part may take many repetitions
            self.config = dataclasses.replace(self.config, collect_limit_ns=40 * S)
        self.slow_ns = self.slow_ns_max = 0
        self.finals: dict[tuple[str, int], r.Final] = {}
        self.trace: list[str] = []
        self.controller = Controller(self)
        self.relays = [RelayProcess(self, f"r{number}") for number in range(relays)]
        self.processes = [Process(self, f"a{number}") for number in range(wanted)]
        self.healed_ns = world.now + world.random.choice((6, 12, 16)) * S
        faults = FAULTS + RELAY_FAULTS if self.relays else FAULTS
        for _ in range(0 if calm else world.random.choice((0, 1, 1, 2, 3, 5))):
            at_ns = world.between(0.5, (self.healed_ns - world.now) / S)
            fault = world.random.choice(faults)
            world.after(at_ns, lambda fault=fault: self._fault(fault))  # type: ignore[misc]
        if not calm and world.chance(0.1):
            world.after(world.between(1, 12), self._stop)
        world.after(self.healed_ns - world.now, self._heal)

    def run(self) -> None:
        """Run to the end. Raises `Violation`, which names the seed."""
        try:
            self.world.run(self.world.now + END_S * S, lambda: self.controller.over)
            if not self.controller.over:
                self.oracle.fail(f"the run never ends: {self.controller.machine.phase}")
            verify(self)
        except (Violation, AssertionError) as error:
            raise Violation(f"seed {self.seed}: {error}") from error

    # --- streams ------------------------------------------------------------------------------------------------------

    def next_relay(self) -> RelayProcess | None:
        """Return the relay an agent dials now, None for the controller itself: it may be another each time."""
        alive = [relay for relay in self.relays if relay.alive]
        return self.world.random.choice(alive) if alive and self.world.chance(DIAL_RELAY) else None

    def process_of(self, name: tuple[str, int]) -> Process:
        """Return the process of that name."""
        return next(process for process in self.processes if process.name == name)

    def connect(self, process: Process) -> Stream:
        """Open a stream for `process`."""
        if process.relay is not None:
            return process.relay.connect(process)

        def up(record: Any) -> None:
            self.controller.arrived(stream, process, record)

        def down(message: Any) -> None:
            process.arrived(stream, to_agent(message))

        stream = Stream(self.world, up, down, rough=self.rough, slow_ns=self.slow_ns)
        return stream

    def cut(self, process: Process) -> None:
        """The stream of `process` breaks; the controller may notice late."""
        stream = process.stream
        if stream is None:
            return
        stream.broken = True
        late_ns = self.world.between(0.0, 3.0) if stream.stalled else self.world.random.randrange(20 * MS)
        relay = process.relay
        if relay is not None:
            self.world.after(late_ns, lambda: relay.broke(stream))
        else:
            self.world.after(late_ns, lambda: self.controller.broke(stream, process))
        process.broke(stream)

    # --- faults -------------------------------------------------------------------------------------------------------

    def _fault(self, kind: str) -> None:
        world = self.world
        alive = [process for process in self.processes if process.alive]
        self.trace.append(f"{(world.now - 1_000 * S) / S:.3f} {kind}")
        if kind == "join":
            self.processes.append(Process(self, f"late{len(self.processes)}"))
        elif kind == "crash":
            self.controller.crash(world.between(0.2, 6))
        elif kind == "slow":
            self.slow_ns = world.random.choice((0, 50 * MS, 700 * MS))
            self.slow_ns_max = max(self.slow_ns_max, self.slow_ns)
            for process in alive:
                if process.stream is not None:
                    process.stream.slow_ns = self.slow_ns
        elif kind in RELAY_FAULTS:
            running = [relay for relay in self.relays if relay.alive]
            if running:
                self._strike_relay(kind, world.random.choice(running))
        elif alive:
            self._strike(kind, world.random.choice(alive))

    def _strike_relay(self, kind: str, relay: RelayProcess) -> None:
        world = self.world
        self.trace[-1] += f" {relay.relay_id}"
        if kind == "relay_kill":
            relay.kill()
            if world.chance(0.7):
                world.after(world.between(0.1, 4), lambda: self.relays.append(RelayProcess(self, relay.relay_id)))
        elif kind == "relay_pause":
            relay.frozen = True
            world.after(world.between(0.1, 8), relay.thaw)
        elif kind == "relay_cut":
            relay.cut()
        elif kind == "relay_partition":
            lasts_ns = world.between(0.1, 9)
            relay.unreachable_until_ns = world.now + lasts_ns
            if relay.stream is not None:
                relay.stream.stalled = True
                world.after(lasts_ns, relay.stream.heal)

    def _strike(self, kind: str, process: Process) -> None:
        world = self.world
        self.trace[-1] += f" {process.agent_id}"
        if kind in {"kill", "restart"}:
            process.kill()
            if kind == "restart":
                world.after(world.between(0.1, 3), lambda: self.processes.append(Process(self, process.agent_id)))
        elif kind == "pause":
            process.frozen = process.stood_still = True
            world.after(world.between(0.1, 8), process.thaw)
        elif kind == "stop_supervisor":
            process.supervisor_frozen = process.stood_still = True
            world.after(world.between(0.1, 8), process.thaw)
        elif kind == "cut":
            self.cut(process)
        elif kind == "partition":
            lasts_ns = world.between(0.1, 9)
            process.unreachable_until_ns = world.now + lasts_ns
            if process.stream is not None:
                process.stream.stalled = True
                world.after(lasts_ns, process.stream.heal)
        elif kind == "kill_worker" and process.crew is not None and process.crew.workers:
            replace = world.chance(0.6)
            index = world.random.choice(sorted(process.crew.workers))
            process.tell(lambda: process.crew.kill(index, replace=replace) if process.crew else None)

    def _stop(self) -> None:
        if self.controller.listening:
            from loadproof_controller.machine import events as ev

            self.trace.append(f"{(self.world.now - 1_000 * S) / S:.3f} stop")
            self.controller.handle(ev.StopRequested("person", "enough", self.world.chance(0.3)))

    def _heal(self) -> None:
        """From here on nothing breaks any more."""
        self.slow_ns = 0
        for process in self.processes:
            process.unreachable_until_ns = 0
            if process.stream is not None:
                process.stream.slow_ns = 0
                process.stream.heal()
            if process.frozen or process.supervisor_frozen:
                process.thaw()
        for relay in self.relays:
            relay.unreachable_until_ns = 0
            if relay.stream is not None:
                relay.stream.slow_ns = 0
                relay.stream.heal()
            relay.thaw()


_FIELDS: dict[type, tuple[str, ...]] = {}


def to_agent(message: Any) -> Any:
    """Turn the controller's record into the agent's, as the wire does."""
    kind = type(message)
    names = _FIELDS.get(kind)
    if names is None:
        names = _FIELDS[kind] = tuple(field.name for field in dataclasses.fields(message))
    return getattr(r, kind.__name__)(**{name: getattr(message, name) for name in names})


def simulate(seed: int) -> Simulation:
    """Run one seed; raises `Violation`. Returns what there is to look at."""
    simulation = Simulation(seed)
    simulation.run()
    return simulation
