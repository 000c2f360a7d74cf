"""``python benchmarks/run.py [scenario ...]``: run m3uproxy and a reference server in turn, and print ratios."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import median, quantiles

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # needed if this file is run by its path

from benchmarks import files, scenarios
from benchmarks.nginx import nginx, origin, program
from benchmarks.rig import BenchError, build, require_machine, source
from benchmarks.scenarios import Outcome, Scenario
from benchmarks.servers import StartServer, floor, m3uproxy, textbook, twistd

SCENARIOS = {**scenarios.SCENARIOS, **files.SCENARIOS}
HEAD = ("scenario", "unit", "against", "its cost", "m3uproxy", "ratio", "limit", "figures of m3uproxy", "verdict")
VERSIONS = ("scenario", "unit", "old", "new", "new by old", "verdict")


class Comparison:
    """The runs of a scenario and their evaluation."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.others: list[Outcome] = []
        self.ours: list[Outcome] = []
        self.old: list[Outcome] = []

    def ratio(self) -> float | None:
        """Return the median cost of m3uproxy divided by that of the reference, or None."""
        their_cost, our_cost = _median_cost(self.others), _median_cost(self.ours)
        return our_cost / their_cost if our_cost is not None and their_cost else None

    def figures(self) -> dict[str, float]:
        """Return the median of each figure of m3uproxy, cost included."""
        result = {name: median(run.figures[name] for run in self.ours) for name in self._figure_names()}
        cost = _median_cost(self.ours)
        return result if cost is None else {**result, "cost": cost}

    def _figure_names(self) -> list[str]:
        return list(self.ours[0].figures) if self.ours else []

    def misses(self) -> list[str]:
        """Return all exceeded limits and all faults as text."""
        found = [f"{self.scenario.against}: {fault}" for run in self.others for fault in run.faults]
        found += [f"m3uproxy: {fault}" for run in self.ours for fault in run.faults]
        ratio, most = self.ratio(), self.scenario.max_ratio
        if ratio is not None and most is not None and ratio > most:
            found.append(f"ratio {ratio:.2f}, limit {most:g}")
        figures = self.figures()
        for name, limit in self.scenario.limits.items():
            if name in figures and figures[name] > limit:
                found.append(f"{name} {figures[name]:.1f}, limit {limit:.1f}")
        return found

    def row(self) -> tuple[str, ...]:
        """Return a row of the table, in the order of ``HEAD``."""
        ratio, most = self.ratio(), self.scenario.max_ratio
        limits = [f"{name} ≤ {value:.3g}" for name, value in self.scenario.limits.items()]
        figures = [f"{name} {value:.3g}" for name, value in self.figures().items() if name != "cost"]
        misses = len(self.misses())
        return (
            self.scenario.what,
            self.scenario.unit,
            self.scenario.against,
            _spread(self.others),
            _spread(self.ours),
            "-" if ratio is None else f"{ratio:.2f}",
            "; ".join(([f"ratio ≤ {most:g}"] if most else []) + limits) or "-",
            "; ".join(figures) or "-",
            "ok" if not misses else f"{misses} missed",
        )

    def version_row(self) -> tuple[str, ...]:
        """Return a line of the table of versions, in the order of ``VERSIONS``."""
        pairs = list(zip(_costs(self.old), _costs(self.ours), strict=False))
        if not pairs:
            return (self.scenario.what, self.scenario.unit, "-", "-", "-", "-")
        ratio = median(new / old for old, new in pairs)
        (old_low, _, old_high), (new_low, _, new_high) = (_quartiles(side) for side in zip(*pairs, strict=True))
        overlap = new_low <= old_high and old_low <= new_high
        unchanged = ratio <= 1.05 or (ratio <= 1.10 and overlap)
        verdict = "unchanged" if unchanged else "slower"
        return (self.scenario.what, self.scenario.unit, _spread(self.old), _spread(self.ours), f"{ratio:.3f}", verdict)


def _quartiles(costs: Sequence[float]) -> list[float]:
    return quantiles(costs, n=4) if len(costs) > 1 else [costs[0]] * 3


def _costs(runs: Sequence[Outcome]) -> list[float]:
    return [run.cost for run in runs if run.cost is not None]


def _median_cost(runs: Sequence[Outcome]) -> float | None:
    costs = _costs(runs)
    return median(costs) if costs else None


def _spread(runs: Sequence[Outcome]) -> str:
    costs = _costs(runs)
    return f"{median(costs):.3f} ({min(costs):.3f}-{max(costs):.3f})" if costs else "-"


def run_once(scenario: Scenario, start: StartServer, tick_ms: float, cpus: tuple[int, int]) -> Outcome:
    """Run a scenario once with new processes. They end in any case."""
    server_cpu, other_cpu = cpus
    from_files = scenario.against == "nginx"
    plays_from = origin(other_cpu) if from_files else source(other_cpu, scenario.tick_ms or tick_ms)
    with plays_from as provider, start(server_cpu, provider) as server:
        outcome = scenario.play(provider, server, other_cpu)
    cost = "" if outcome.cost is None else f"{outcome.cost:.3f} {scenario.unit}  "
    figures = ", ".join(f"{name} {value:.3g}" for name, value in outcome.figures.items())
    print(f"  {scenario.name:12} {server.name:9} {cost}{figures}", *outcome.faults, sep="\n      ! ", file=sys.stderr)
    return outcome


def compare(scenario: Scenario, options: argparse.Namespace, cpus: tuple[int, int]) -> Comparison:
    """Run the reference and m3uproxy in turn. A change of the machine's speed then affects both."""
    result = Comparison(scenario)
    other = {"floor": floor(options.flush), "textbook": textbook, "nginx": nginx}[scenario.against]
    for _ in range(options.runs):
        result.others.append(run_once(scenario, other, options.tick, cpus))
        if options.old:
            result.old.append(run_once(scenario, m3uproxy("old", options.old), options.tick, cpus))
        if not options.floor_only:
            result.ours.append(run_once(scenario, m3uproxy(), options.tick, cpus))
    return result


def table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """Return a Markdown table."""
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, tuple("---" for _ in head), *rows))


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    listing = "\n".join(f"  {name:12} {scenario.what}" for name, scenario in SCENARIOS.items())
    parser = argparse.ArgumentParser(
        prog="benchmarks/run.py",
        description=__doc__,
        epilog=f"scenarios (default: all):\n{listing}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("scenario", nargs="*", help="a name from the list below")
    parser.add_argument("--runs", type=int, default=5, help="runs of each server per scenario (5)")
    parser.add_argument("--tick", type=float, default=10, help="the source writes every so many ms (10)")
    parser.add_argument("--flush", type=float, default=40, help="the floor sends every so many ms, 0: at once (40)")
    parser.add_argument("--floor-only", action="store_true", help="measure what m3uproxy is compared with alone")
    parser.add_argument("--old", metavar="TWISTD", help="the twistd of another version, measured in turn with this one")
    parser.add_argument("--check", action="store_true", help="exit status 1 when a limit is missed or a fault seen")
    options = parser.parse_args(arguments)
    if unknown := [name for name in options.scenario if name not in SCENARIOS]:
        parser.error(f"no such scenario: {', '.join(unknown)}")
    if options.runs < 1 or options.tick <= 0 or options.flush < 0:
        parser.error("--runs must be at least 1, --tick positive, --flush not negative")
    return options


def check(chosen: Sequence[Scenario], floor_only: bool) -> None:
    """Check all requirements before the first run.

    :raises BenchError: a program is missing or cannot be built.
    """
    if any(scenario.against == "nginx" for scenario in chosen):
        program()
    if any(scenario.against != "nginx" for scenario in chosen):
        build()
    if not floor_only:
        twistd()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the scenarios and print the tables.

    :return: the exit status: 0, 1 if ``--check`` found a miss, 2 if the benchmark cannot run.
    """
    options = parse(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # a stopped run still ends its children
    try:
        cpus = require_machine()
        chosen = [SCENARIOS[name] for name in options.scenario or SCENARIOS]
        check(chosen, options.floor_only)
        comparisons = [compare(scenario, options, cpus) for scenario in chosen]
    except BenchError as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 2
    print(table(HEAD, [comparison.row() for comparison in comparisons]))
    if options.old:
        print("", table(VERSIONS, [comparison.version_row() for comparison in comparisons]), sep="\n")
    misses = [f"{each.scenario.name}: {miss}" for each in comparisons for miss in each.misses()]
    for miss in misses:
        print(miss, file=sys.stderr)
    return 1 if misses and options.check else 0


if __name__ == "__main__":
    raise SystemExit(main())
