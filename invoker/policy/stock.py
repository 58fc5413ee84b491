"""◇ The stock of prewarmed containers as time goes by: wishes that change, starts that failed, containers too many."""

from __future__ import annotations

from invoker.policy import events as ev
from invoker.policy.function import Stem
from invoker.policy.pool import Pool
from invoker.policy.types import SECOND_NS

_RETRY_FIRST_NS = SECOND_NS
_RETRY_DOUBLINGS_MAX = 6  # about a minute between two tries to start stock, at most


def failed(pool: Pool, stem: Stem) -> None:
    """A start for stock failed: it is tried again, the later the more failed in a row."""
    stem.starting -= 1
    wait_ns = _RETRY_FIRST_NS << min(stem.failures, _RETRY_DOUBLINGS_MAX)
    stem.failures += 1
    stem.retry_at_ns = pool.now_ns + wait_ns
    if not pool.draining:
        pool.arm("stock", stem.retry_at_ns)


def review(pool: Pool) -> None:
    """A failed start is to be tried again, the prewarm policy's period has passed, or the keep-alive policy's wishes
    change."""
    if pool.draining:
        return
    for stem in pool.keep_alive.foresee(pool.now_ns):
        pool.limit_surplus(stem, pool.now_ns)
    if pool.review_at_ns and pool.now_ns >= pool.review_at_ns:
        pool.prewarm.review()
        pool.review_at_ns = pool.now_ns + pool.prewarm.period_ns()
        _follow_wishes(pool)
    else:
        pool.restock_all()
    retries = [stem.retry_at_ns for stem in pool.stems.values() if stem.retry_at_ns > pool.now_ns]
    if pool.review_at_ns:
        retries.append(pool.review_at_ns)
    if retries:
        pool.arm("stock", min(retries))
    pool.arm_foresight()


def _follow_wishes(pool: Pool) -> None:
    wanted = pool.prewarm.wanted()
    for stem in pool.stems.values():
        stem.wanted = 0
    for key, count in wanted.items():
        pool.stem(key).wanted = count
    for stem in pool.stems.values():
        for container in list(stem.ready.values())[: max(0, len(stem.ready) - stem.target)]:
            pool.remove_ready(container, "surplus")
    pool.restock_all()


def changed(pool: Pool, event: ev.StockChanged) -> None:
    """The wishes came, or came anew."""
    if pool.draining:
        return
    pool.prewarm.stock(event.stock)
    _follow_wishes(pool)
    period_ns = pool.prewarm.period_ns()
    if period_ns and not pool.review_at_ns:
        pool.review_at_ns = pool.now_ns + period_ns
        pool.arm("stock", pool.review_at_ns)
