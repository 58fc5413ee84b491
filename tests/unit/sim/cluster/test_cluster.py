"""A cluster by hand: small days whose instants can be told beforehand."""

from __future__ import annotations

import msgspec
import pytest

from invoker.policy import policyset
from invoker.policy.balancing import AnyBalancer, Controller, Hiku, RandomLoadUpdate, RoundRobin, Sharding
from invoker.policy.pausing import NeverPause
from invoker.policy.types import MILLISECOND_NS as MS
from invoker.policy.types import SECOND_NS as S
from sim import (
    Cluster,
    ClusterResult,
    ListWorkload,
    Member,
    Network,
    Node,
    Outage,
    PoissonWorkload,
    SimFunction,
    SimulationError,
    simulate_cluster,
)
from sim.cluster import CLUSTER_OUTCOMES, ClusterColumns
from sim.cluster import columns as kept
from sim.latency import Constant, Exponential
from sim.recorder import BYTES_PER_ROW

NODE = Node(
    cold=Constant(200 * MS),
    init=Constant(10 * MS),
    run=Constant(50 * MS),
    logs=Constant(1 * MS),
    remove=Constant(100 * MS),
    slowdown=(),
)
NETWORK = Network(
    http=Constant(2 * MS),
    answer=Constant(3 * MS),
    publish=Constant(5 * MS),
    fetch=Constant(7 * MS),
    completed=Constant(11 * MS),
)
POLICY = msgspec.structs.replace(policyset.default(1024), pausing=NeverPause(), brief_ns=0)
ONE_SLOT = msgspec.structs.replace(POLICY, capacity_mb=256)
ONE = (SimFunction(name="ns/f"),)
DRAWN = -1


def run(rows: list[tuple[int, int, int]], cluster: Cluster, policy: policyset.PolicySet = POLICY, **more: object):
    """The result of these rows (ms, function, ms), and its columns in ms."""
    functions = tuple(SimFunction(name=f"ns/{name}") for name in "fghi")
    rows_ns = [(at * MS, function, DRAWN if took == DRAWN else took * MS) for at, function, took in rows]
    return simulate_cluster(ListWorkload(functions, rows_ns), cluster, policy, 1, node=NODE, **more)  # type: ignore[arg-type]


def instants(result: ClusterResult) -> list[tuple[int, ...]]:
    """(arrived, reached, dispatched, began, ended, answered) of each row, in ms."""
    rows = result.rows
    columns = (rows.arrived_ns, rows.reached_ns, rows.dispatched_ns, rows.began_ns, rows.ended_ns, rows.answered_ns)
    return [tuple(at_ns // MS for at_ns in row) for row in zip(*columns, strict=True)]


def outcome(result: ClusterResult) -> list[str]:
    """Of each row."""
    return [CLUSTER_OUTCOMES[code] for code in result.rows.outcome]


def test_by_http_each_latency_has_its_place() -> None:
    result = run([(0, 0, DRAWN), (1000, 0, DRAWN)], Cluster(nodes=1, network=NETWORK))
    # 2 to the node, 200 + 10 + 50 there, 1 for the log, 3 back
    assert instants(result) == [(0, 2, 202, 212, 262, 266), (1000, 1002, 1002, 1002, 1052, 1056)]
    assert result.paths == {"none": 0, "http": 2, "topic": 0}
    assert (result.overflow_share, result.overflows, result.lost, result.given_up, result.retried) == (0.0, [], 0, 0, 0)
    assert result.ended_ns == 1056 * MS
    assert (result.latency_ns(1.0), result.answer_ns(1.0)) == (262 * MS, 266 * MS)
    assert result.memory_mb_ns == 256 * (1056 - 2) * MS


def test_what_finds_no_room_waits_in_the_topic_in_order() -> None:
    """One slot: the first goes by HTTP, three others by the topic, and the node reads them at once."""
    result = run([(0, 0, 300), (10, 0, 20), (11, 0, 20), (12, 0, 20)], Cluster(nodes=1, network=NETWORK), ONE_SLOT)
    # the first: until 2 + 200 + 10 + 300 + 1 = 513; of the others one is in the topic at 15, two more when that is read
    assert instants(result) == [
        (0, 2, 202, 212, 512, 516),
        (10, 22, 513, 513, 533, 545),
        (11, 29, 534, 534, 554, 566),
        (12, 29, 555, 555, 575, 587),
    ]
    assert result.paths == {"none": 0, "http": 1, "topic": 3}
    assert result.overflows == [(10 * MS, 29 * MS)]
    assert result.overflow_share == 0.75


def test_the_ladder_holds_at_one_mark_and_resumes_at_another() -> None:
    policy = msgspec.structs.replace(ONE_SLOT, intake_limit=4, intake_low=1)
    rows = [(0, 0, 1000), *[(10 + k, 0, 100) for k in range(10)]]
    result = run(rows, Cluster(nodes=1, network=NETWORK), policy)
    reached = [row[1] for row in instants(result)]
    # 22: one is read, 29: three more, and enough wait; then the topic waits until only one does
    assert reached[:5] == [2, 22, 29, 29, 29]
    (held, resumed), *_ = [(begin // MS, end // MS) for begin, end in result.holds_of[0]]
    assert held == 29
    # the first run ends at 1213, those behind it take a run and a log each; one waits when the third of them begins
    assert resumed == 1213 + 2 * 101
    assert reached[5] == resumed + 7
    assert outcome(result) == ["ok"] * 11
    ends = [row[4] for row in instants(result)]
    assert ends == sorted(ends)
    assert result.overflows == [(10 * MS, max(reached) * MS)]


def test_the_ladder_ends_in_refusals_which_count_as_system_errors() -> None:
    """There is memory for two; each of four controllers believes that there is room for one of its own."""
    policy = msgspec.structs.replace(POLICY, capacity_mb=256, queue_limit=1, wait_limit_ns=50 * MS)
    workload = ListWorkload((SimFunction(name="ns/f", memory_mb=128),), [(k * MS, 0, 500 * MS) for k in range(5)])
    cluster = Cluster(nodes=1, controllers=4, network=NETWORK)
    result = simulate_cluster(workload, cluster, policy, 1, node=NODE)
    assert outcome(result) == ["ok", "ok", "refused: waited too long", "refused: queue full", "refused: queue full"]
    assert [row[4:] for row in instants(result)[2:4]] == [(54, 57), (5, 8)]
    assert result.refused == 3
    # the fifth is the first controller's second: that one has no room left
    assert list(result.rows.path) == [1, 1, 1, 1, 2]


def test_a_node_that_crashes_loses_what_came_by_http_and_the_controller_finds_another() -> None:
    cluster = Cluster(
        nodes=(Member(outages=(Outage(at_ns=100 * MS, lasts_ns=60 * S),)), Member()),
        balancer=RoundRobin(),
        network=NETWORK,
    )
    rows = [(0, 0, DRAWN), *[(200 + 10 * k, 0, DRAWN) for k in range(8)]]
    result = run(rows, cluster)
    assert outcome(result) == ["lost: node went away", *["ok"] * 8]
    # lost at 100, and the broken connection is seen 3 later
    assert instants(result)[0] == (0, 2, 0, 0, 100, 103)
    # one error of few results is enough: nothing is sent there
    assert list(result.rows.node)[1:] == [1] * 8
    assert result.retried == 0
    assert result.nodes[0].invocations == 0
    assert result.nodes[1].invocations == 8


def test_at_most_once_loses_what_was_read_and_at_least_once_runs_it_again() -> None:
    outage = (Outage(at_ns=300 * MS, lasts_ns=S),)
    rows = [(0, 0, 1000), (10, 0, 20), (20, 0, 20)]
    ends: dict[str, list[str]] = {}
    for delivery in ("at-most-once", "at-least-once"):
        cluster = Cluster(nodes=(Member(outages=outage),), network=NETWORK, delivery=delivery)  # type: ignore[arg-type]
        result = run(rows, cluster, ONE_SLOT)
        ends[delivery] = outcome(result)
    lost = "lost: node went away"
    assert ends == {"at-most-once": [lost] * 3, "at-least-once": [lost, "ok", "ok"]}
    assert instants(result)[1][:3] == (10, 1307, 1507)
    assert list(result.rows.retries) == [0, 1, 1]


def test_a_second_run_of_a_message_leaves_the_first_ones_row_alone() -> None:
    """The message behind one that still runs is through before the crash; after it, both are read again."""
    outages = (Outage(at_ns=2 * S, lasts_ns=S),)
    cluster = Cluster(nodes=(Member(outages=outages),), network=NETWORK, delivery="at-least-once")
    policy = msgspec.structs.replace(POLICY, capacity_mb=600)
    result = run([(0, 0, 500), (1, 1, 10), (2, 2, 1500), (3, 3, 10)], cluster, policy)
    assert outcome(result) == ["ok"] * 4
    assert list(result.rows.path) == [1, 1, 2, 2]
    # read at 14 and 21, dispatched as the two others end and are evicted
    assert list(result.rows.retries) == [0, 0, 1, 0]
    assert instants(result)[3][5] < 2000 < instants(result)[2][1]
    assert result.nodes[0].invocations == 4
    assert result.starts == 6


def test_what_is_read_again_comes_before_what_is_not_read() -> None:
    outages = (Outage(at_ns=300 * MS, lasts_ns=S),)
    cluster = Cluster(nodes=(Member(outages=outages),), network=NETWORK, delivery="at-least-once")
    policy = msgspec.structs.replace(ONE_SLOT, intake_limit=2)
    result = run([(0, 0, 1000), *[(10 + k, 0, 20) for k in range(5)]], cluster, policy)
    assert list(result.rows.retries) == [0, 1, 1, 0, 0, 0]
    reached = [row[1] for row in instants(result)][1:]
    assert reached == sorted(reached)
    assert reached[0] == 1307


def test_a_drain_commits_what_was_read_though_its_acknowledgement_is_on_its_way() -> None:
    slow = msgspec.structs.replace(NETWORK, completed=Constant(S))
    outages = (Outage(at_ns=540 * MS, lasts_ns=S, drain=True),)
    cluster = Cluster(nodes=(Member(outages=outages),), network=slow, delivery="at-least-once")
    result = run([(0, 0, 300), (10, 0, 20), (3000, 0, 1)], cluster, ONE_SLOT)
    assert outcome(result) == ["ok"] * 3
    assert list(result.rows.retries) == [0, 0, 0]
    assert result.starts == 3  # the first, a test action's, the last's: nothing ran twice


def test_acknowledgements_on_their_way_bound_what_is_read() -> None:
    """As many as `intake_limit`, beside those that have a container, and the next is read when one has arrived."""
    slow = msgspec.structs.replace(NETWORK, completed=Constant(S))
    policy = msgspec.structs.replace(ONE_SLOT, intake_limit=4)
    result = run([(0, 0, 300), *[(10 + k, 0, 1) for k in range(12)]], Cluster(nodes=1, network=slow), policy)
    reached = [row[1] for row in instants(result)][1:]
    answered = [row[5] for row in instants(result)][1:]
    under_way = [sum(r <= at < a for r, a in zip(reached, answered, strict=True)) for at in reached]
    assert max(under_way) == 4 + 1
    assert any(r == a + 7 for r in reached for a in answered)


def test_each_sending_is_waited_for_from_its_own_instant_on() -> None:
    """It is turned away and sent again at 5102: acknowledged after 180 s, but not 180 s after that."""
    cluster = Cluster(
        nodes=(Member(outages=(Outage(at_ns=101 * MS, lasts_ns=900 * S, drain=True),)), Member()),
        balancer=RoundRobin(),
        network=msgspec.structs.replace(NETWORK, answer=Constant(5 * S)),
    )
    result = run([(50, 0, 172_000), (60, 1, 1), (100, 2, 173_000)], cluster)
    assert list(result.rows.retries) == [0, 0, 1]
    assert 180_100 < result.rows.answered_ns[2] // MS < 185_102
    assert list(result.rows.given_up) == [0, 0, 0]


def test_a_drain_loses_nothing_and_turns_away_what_is_on_its_way() -> None:
    cluster = Cluster(
        nodes=(Member(outages=(Outage(at_ns=101 * MS, lasts_ns=S, drain=True),)), Member()),
        balancer=RoundRobin(),
        network=NETWORK,
    )
    result = run([(0, 0, DRAWN), (1, 1, DRAWN), (100, 2, DRAWN), (110, 3, DRAWN)], cluster)
    assert outcome(result) == ["ok"] * 4
    assert list(result.rows.node) == [0, 1, 1, 1]
    assert list(result.rows.retries) == [0, 0, 1, 0]
    assert result.removals == {"drain": 1}
    assert instants(result)[0] == (0, 2, 202, 212, 262, 266)
    # sent at 100, turned away at 102, known at 105, sent on at once
    assert instants(result)[2][:2] == (100, 107)


def test_a_node_comes_back_when_a_test_action_has_gone_well() -> None:
    cluster = Cluster(nodes=(Member(outages=(Outage(at_ns=S, lasts_ns=S, drain=True),)),), network=NETWORK)
    result = run([(1500, 0, DRAWN), (2100, 0, DRAWN), (2300, 0, DRAWN)], cluster)
    # back at 2000: 2 + 200 + 10 + 1 + 1 + 3 for the test action's cold start
    assert outcome(result) == ["refused: nowhere", "refused: nowhere", "ok"]
    assert instants(result)[2][:2] == (2300, 2302)
    assert result.invocations == 3  # a test action has no row
    assert result.paths == {"none": 2, "http": 1, "topic": 0}


def test_a_node_that_is_silent_for_ten_seconds_is_not_sent_to() -> None:
    """Nobody met its absence: before the ten seconds are over one does, after them nobody does."""
    nodes = (Member(outages=(Outage(at_ns=S, lasts_ns=60 * S),)), Member())
    for at_ms, retried in ((10_900, 1), (11_100, 0)):
        result = run([(at_ms + k, 0, DRAWN) for k in range(4)], Cluster(nodes=nodes, balancer=RoundRobin(), retries=9))
        assert outcome(result) == ["ok"] * 4
        assert (result.retried > 0, list(result.rows.node)) == (retried > 0, [1] * 4)


def test_a_node_joins() -> None:
    cluster = Cluster(nodes=(Member(), Member(joins_ns=S)), balancer=RoundRobin(), network=NETWORK)
    result = run([(k * 400, 0, DRAWN) for k in range(8)], cluster)
    assert list(result.rows.node) == [0, 0, 0, 0, 1, 0, 1, 0]


def test_what_lies_in_the_topic_of_a_node_that_never_comes_back_is_lost() -> None:
    cluster = Cluster(nodes=(Member(outages=(Outage(at_ns=100 * MS),)),), network=NETWORK)
    policy = msgspec.structs.replace(ONE_SLOT, intake_limit=1)
    result = run([(0, 0, 1000), (10, 0, 1), (20, 0, 1), (98, 0, 1)], cluster, policy)
    away, left = "lost: node went away", "lost: left in a topic"
    assert outcome(result) == [away, away, left, left]
    assert [row[4] for row in instants(result)] == [100, 100, 100, 103]


def test_nobody_there_is_no_place() -> None:
    """The first finds out, and is sent again where that is allowed; then the controller knows."""
    for retries, first in ((0, "lost: unreachable"), (1, "refused: nowhere")):
        cluster = Cluster(nodes=(Member(outages=(Outage(at_ns=0),)),), network=NETWORK, retries=retries)
        result = run([(0, 0, DRAWN), (10, 0, DRAWN)], cluster)
        assert outcome(result) == [first, "refused: nowhere"]
        assert list(result.rows.retries) == [retries, 0]
        assert (result.lost, result.refused) == (1 - retries, 1 + retries)
    assert (result.latency_ns(0.5), result.answer_ns(0.5), result.imbalance) == (0, 0, 0.0)


def test_a_controller_gives_up_after_the_forced_timeout_and_the_run_goes_on() -> None:
    """After 180 s what was sent counts as done: the last goes by HTTP, though the long one still runs."""
    rows = [*[(1000 * k, 0, 10) for k in range(5)], (10_000, 0, 200_000), (20_000, 0, 10), (201_000, 0, 10)]
    result = run(rows, Cluster(nodes=1, network=NETWORK), ONE_SLOT)
    assert list(result.rows.path) == [1, 1, 1, 1, 1, 1, 2, 1]
    assert list(result.rows.given_up) == [0, 0, 0, 0, 0, 1, 1, 0]
    assert outcome(result) == ["ok"] * 8
    assert instants(result)[5][4:] == (210_002, 210_006)
    assert instants(result)[7][2] == 210_003 + 11


BUSY = tuple(SimFunction(name=f"ns/f{i}", memory_mb=(128, 256)[i % 2], run=Exponential(1e8)) for i in range(12))


def busy(balancer: AnyBalancer, memory_mb: int = 2048, **more: object) -> ClusterResult:
    workload = PoissonWorkload(BUSY, tuple(12.0 / (i + 1) for i in range(12)), 1500, 3)
    cluster = Cluster(nodes=4, controllers=2, balancer=balancer, **more)  # type: ignore[arg-type]
    return simulate_cluster(workload, cluster, policyset.default(memory_mb), 3)


def test_sharding_keeps_functions_at_home_and_round_robin_spreads_them() -> None:
    home, spread = busy(Sharding()), busy(RoundRobin())
    assert home.cold_share < spread.cold_share
    assert home.imbalance > spread.imbalance > 1.0
    assert spread.imbalance == pytest.approx(1.0, abs=0.15)
    assert home.capacity_mb == 4 * 2048
    assert "4 nodes, 1500 invocations" in repr(home)


def test_the_nodes_add_up_to_the_cluster() -> None:
    whole = busy(Sharding(), 768)
    assert len(whole.nodes) == 4
    assert sum(node.invocations for node in whole.nodes) == 1500
    assert sum(node.kinds["cold"] for node in whole.nodes) == whole.kinds["cold"]
    assert sum(node.memory_mb_ns for node in whole.nodes) == whole.memory_mb_ns
    assert sum(node.starts for node in whole.nodes) == whole.starts
    assert whole.overflow_share > 0.0
    assert whole.holds == sum(node.holds for node in whole.nodes) == sum(map(len, whole.holds_of))


def test_luck_is_the_invocations_not_the_balancers() -> None:
    home, spread = busy(Sharding()).rows, busy(RoundRobin()).rows
    assert home.node != spread.node
    runs = [[end - begin for begin, end in zip(rows.began_ns, rows.ended_ns, strict=True)] for rows in (home, spread)]
    assert runs[0] == runs[1]


def test_evictions_are_told_to_a_pull_balancer_and_to_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[int] = []
    monkeypatch.setattr(Controller, "evicted", lambda _self, index, _request: told.append(index))
    pulled = busy(Hiku(), 384)
    assert pulled.removals["evicted"] > 20
    assert len(told) == pytest.approx(pulled.removals["evicted"], abs=5)  # the last news may be on their way at the end
    told.clear()
    assert busy(Sharding(), 384).removals["evicted"] > 0
    assert told == []


def test_reported_loads_change_what_a_balancer_does() -> None:
    rlu = RandomLoadUpdate(ranked_every=20)
    silent, reported = busy(rlu), busy(rlu, report_every_ns=S)
    assert silent.decision_hash != reported.decision_hash


def test_callers_come_in_turn_or_by_chance() -> None:
    turn, chance = busy(Sharding()), busy(Sharding(), routing="drawn")
    assert list(turn.rows.controller[:4]) == [0, 1, 0, 1]
    assert chance.rows.controller.count(1) == pytest.approx(750, abs=100)


def test_a_row_takes_what_it_says() -> None:
    columns = ClusterColumns()
    columns.expect(1000)
    taken_bytes = sum(len(column) * column.itemsize for column in vars(columns).values())
    assert taken_bytes == 1000 * (BYTES_PER_ROW + 23)
    assert f"{BYTES_PER_ROW + 23} bytes" in (kept.__doc__ or "")


def test_a_cluster_is_data_and_says_what_is_wrong_with_it() -> None:
    cluster = Cluster(nodes=(Member(outages=(Outage(at_ns=1),)),), balancer=Hiku())
    assert msgspec.json.decode(msgspec.json.encode(cluster), type=Cluster) == cluster
    for wrong, said in (
        ('{"nodes":0}', "1 to 10000 nodes"),
        ('{"controllers":0}', "controllers"),
        ('{"retries":-1}', "retries are 0 to 100"),
        ('{"nodes":[{"outages":[{"at_ns":1},{"at_ns":5}]}]}', "don't overlap"),
        ('{"nodes":[{"outages":[{"at_ns":1,"lasts_ns":0}]}]}', "above 0"),
        ('{"nodes":[{"cores":-1}]}', "must not be negative"),
        ('{"latency":1}', "unknown field"),
    ):
        with pytest.raises(msgspec.ValidationError, match=said):
            msgspec.json.decode(wrong, type=Cluster)


@pytest.mark.parametrize("engine", ["fast", "simpy"])
def test_nothing_to_do_is_no_error(engine: str) -> None:
    result = simulate_cluster(ListWorkload(ONE, []), Cluster(), POLICY, 1, engine=engine)  # type: ignore[arg-type]
    assert (result.invocations, result.ended_ns, result.overflow_share) == (0, 0, 0.0)


def test_two_functions_of_one_name_are_refused() -> None:
    with pytest.raises(SimulationError, match="the same name"):
        simulate_cluster(ListWorkload((*ONE, *ONE), [(0, 0, 1)]), Cluster(), POLICY, 1)
