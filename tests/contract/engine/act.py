"""An action that does what its parameter `do` says; it is sent to real containers as code, and never imported here.

With AT_INIT in its environment it does that while it is being initialised.
"""

import itertools
import os
import subprocess
import sys
import threading
import time

HOG = "pages = [bytearray(8 << 20) for _ in range(100_000)]"

MUTTER_AFTER_S = 0.3

meeting = threading.Barrier(4)
muttered = threading.Event()
beats: list[float] = []


def echo(args):
    """The parameters."""
    return args


def environ(args):
    """What the process sees of its environment."""
    return dict(os.environ)


def say(args):
    """Print on both streams."""
    for line in args["out"]:
        print(line)
    for line in args["err"]:
        print(line, file=sys.stderr)
    return {}


def mutter(args):
    """Print when this run has long ended."""

    def later():
        time.sleep(MUTTER_AFTER_S)
        say(args)
        sys.stdout.flush()
        muttered.set()

    threading.Thread(target=later, daemon=True).start()
    return {}


def say_after_mutter(args):
    """Print once that has been printed."""
    muttered.wait(timeout=30)
    return say(args)


def flood(args):
    """Print `lines` lines of 100 characters."""
    sys.stdout.write(("x" * 99 + "\n") * args["lines"])
    return {}


def silence(args):
    """Throw away all further output, sentinels too."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    print("the last words")
    sys.stdout.flush()
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    return {}


def meet(args):
    """Return once four runs are here at once."""
    return {"place": meeting.wait(timeout=30)}


def sleep(args):
    """Take `s` seconds."""
    time.sleep(args["s"])
    return {}


def leave(args):
    """End the process without an answer."""
    os._exit(3)


def fail(args):
    """Raise."""
    raise ValueError("no such luck")


def hog(args):
    """Take memory until the kernel ends this process."""
    exec(HOG)
    return {}


def child_hog(args):
    """A child takes memory until the kernel ends it; this process lives on."""
    return {"child": subprocess.call([sys.executable, "-c", HOG])}


def child_sleep(args):
    """Wait for a child that takes `s` seconds."""
    return {"child": subprocess.call(["sleep", str(args["s"])])}


def large(args):
    """A result of more than `n` bytes."""
    return {"x": "x" * args["n"]}


def beat(args):
    """From now on note the time every millisecond."""

    def keep():
        while True:
            beats.append(time.monotonic())
            time.sleep(0.001)

    threading.Thread(target=keep, daemon=True).start()
    one_more_beat()
    return {}


def one_more_beat():
    """Wait until the heart has beaten again."""
    seen = len(beats)
    until = time.monotonic() + 30
    while len(beats) <= seen and time.monotonic() < until:
        time.sleep(0.001)


def longest_gap(args):
    """The longest time in seconds between two beats, one after this was asked among them."""
    one_more_beat()
    return {"s": max(late - early for early, late in itertools.pairwise(beats))}


def main(args):
    """Do what the parameter says."""
    return globals()[args.get("do", "echo")](args)


if "AT_INIT" in os.environ:
    globals()[os.environ["AT_INIT"]]({"s": 600, "n": 1})
