"""◆ `sim bench`: how fast the simulator is on this machine."""

from __future__ import annotations

from typing import Final

from sim.commands import present
from sim.commands.present import JsonFlag

_WORDS: Final = {
    "fast": "fast driver, one function",
    "simpy": "SimPy, one function",
    "fast_many_functions": "fast driver, fifty functions, a tenth of the starts cold",
    "fast_many_functions_with_pauses": "the same, pausing as the invoker does",
    "fast_large": "fast driver, a thousand functions, ten thousand warm containers",
}


def bench(*, sweep: bool = False, json: JsonFlag = False) -> None:
    """Measure how many invocations a second are simulated, on CPU time of one core, for a workload that never changes.

    Parameters
    ----------
    sweep
        Measure instead how many seconds a sweep takes, of 100 configurations with 100,000 invocations on 2 cores.
    json
        Print the figures as JSON: invocations a second by what was measured.
    """
    from sim.benchmark import bench as measure
    from sim.benchmark import sweep_s

    if sweep:
        seconds = round(sweep_s(), 1)
        if json:
            present.say_json({"sweep_s": seconds})
        else:
            present.say(f"100 configurations of 100,000 invocations on 2 cores took {seconds} s.")
        return
    figures = measure(told=lambda name: present.tell(f"measuring: {_WORDS[name]}"))
    if json:
        present.say_json(figures)
        return
    rows = [[_WORDS[name], f"{per_s:,.0f}"] for name, per_s in figures.items()]
    for line in present.table(["", "invocations a second"], rows):
        present.say(line)
