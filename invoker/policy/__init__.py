"""◇ The heart: every scheduling decision of the node, as a pure and deterministic state machine.

    step(pool, now_ns, event) -> [action, ...]

Who gets a warm container, what is evicted, when to pause, how much to prewarm, who waits: all of it is decided here and
nowhere else. Two bodies drive the same heart: the invoker, with asyncio and real containers, and the simulator, with
drawn latencies. What is simulated is what ships.

The rules
  1. No I/O, no clock, no chance, no `await`, no logging. Time comes with the event; chance would come as a number.
  2. Every action that asks the world for something is answered by exactly one event (`events` says which).
  3. An event that can't be raises PolicyError and changes nothing. An event that is merely late is a row of the table.
  4. Ids and ties come from counters in the state; whatever is iterated over has an order.
  5. Every operation is O(1), or O(log n) in the number of containers. Nothing scans them all to serve one activation.
  6. Standard library and msgspec.Struct only.

Where to begin reading: `events` and `actions` (the vocabulary), `container` (the life of one container, a table),
`step` (what each event does), `pool` (the state), `admission` (who runs and who waits), then the policies `keepalive`,
`pausing`, `prewarm`; `policyset` names combinations of them; `invariants` says what must hold after every step;
`outcome` judges runs.
"""

from invoker.policy.container import PolicyError
from invoker.policy.policyset import PolicySet
from invoker.policy.pool import Pool
from invoker.policy.step import step

__all__ = ["PolicyError", "PolicySet", "Pool", "step"]
