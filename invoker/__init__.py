"""functions-invoker: the node agent of a serverless (OpenWhisk) cluster.

◇ `policy` and `protocol` are pure: no I/O, no clock, no randomness. ◇ `ports` names what a body must offer.
◆ `io` touches the world, `driver`, `runner` and `lifecycle` join both. ARCHITECTURE.md tells the whole story.
"""

__version__ = "0.1.0"
