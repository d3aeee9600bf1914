"""The primary is lost in the ways in which machines and networks fail; nothing accepted is lost."""

from __future__ import annotations

import pytest


def test_the_primary_and_its_patroni_are_killed(stage):
    """A standby is promoted that has all accepted tasks."""
    with stage.under_load():
        lost = stage.cluster.wait_for_leader()
        lost.kill()
        stage.cluster.wait_for_leader(lost)
    stage.judge()


@pytest.mark.failover
def test_the_primary_is_frozen_and_wakes_as_a_former_one(stage):
    """It accepts writes again while there is another primary, and none of them is acknowledged."""
    with stage.under_load() as load:
        lost = stage.cluster.wait_for_leader()
        lost.freeze()
        stage.wait_until_all_use(stage.cluster.wait_for_leader(lost))
        lost.wake_postgres()  # two primaries
        load.wait_for_more()
        lost.wake_patroni()
        stage.cluster.repair()
        assert not lost.is_leader()
    stage.judge()


@pytest.mark.failover
def test_the_primary_goes_on_without_its_patroni(stage):
    """Nothing stops the former primary: the nodes leave it by themselves."""
    with stage.under_load() as load:
        lost = stage.cluster.wait_for_leader()
        lost.freeze_patroni()
        stage.wait_until_all_use(stage.cluster.wait_for_leader(lost))
        load.wait_for_more()
        lost.wake_patroni()
        stage.cluster.repair()
    stage.forgive_reads_of_a_former_primary()
    stage.judge()


@pytest.mark.failover
def test_the_primary_is_cut_from_etcd(stage):
    """It goes on: it reaches all standbys, which know that from it (``failsafe_mode``)."""
    with stage.under_load() as load:
        leader = stage.cluster.wait_for_leader()
        leader.to_etcd.cut()
        stage.pass_time_to_live()
        load.wait_for_more()
        print(f"\nthe primary was {leader.name}, and is {stage.cluster.wait_for_leader().name}")
    stage.judge()


@pytest.mark.failover
def test_the_primary_is_cut_from_etcd_without_failsafe_mode(stage):
    """It gives up, and another takes over."""
    stage.cluster.configure(failsafe_mode=False)
    with stage.under_load() as load:
        lost = stage.cluster.wait_for_leader()
        lost.to_etcd.cut()
        stage.cluster.wait_for_leader(lost)
        load.wait_for_more()
        lost.to_etcd.mend()
        stage.cluster.repair()
    stage.judge()
    stage.cluster.configure(failsafe_mode=True)


@pytest.mark.failover
def test_the_primary_is_cut_from_its_standbys_and_killed(stage):
    """Writes that no standby has are not acknowledged; then it is killed, and nothing vanishes."""
    with stage.under_load() as load:
        lost = stage.cluster.wait_for_leader()
        lost.to_server.cut()
        load.wait_for_refusals(50)
        lost.kill()
        stage.cluster.wait_for_leader(lost)
    stage.judge()


@pytest.mark.failover
def test_the_primary_is_cut_from_its_standbys_for_a_while(stage):
    """Requests wait, then get a 503; once a standby is back, they are accepted."""
    with stage.under_load() as load:
        leader = stage.cluster.wait_for_leader()
        leader.to_server.cut()
        load.wait_for_refusals(50)
        accepted = len(load.posted)
        load.wait_for_refusals(50)
        assert len(load.posted) == accepted
        assert leader.is_leader()
        leader.to_server.mend()
    stage.judge()


@pytest.mark.failover
def test_a_planned_switchover(stage):
    """Another member becomes the primary within seconds."""
    with stage.under_load():
        stage.cluster.switch_over()
    stage.judge()


@pytest.mark.failover
def test_two_of_three_are_lost(stage):
    """The last one is not promoted, as it may lack tasks; with a second one, work goes on."""
    with stage.under_load() as load:
        first, last = stage.cluster.standbys()
        leader = stage.cluster.wait_for_leader()
        leader.kill()  # before it could make the last one its only synchronous standby
        first.kill()
        load.wait_for_refusals(20)
        accepted = len(load.posted)
        stage.pass_time_to_live()
        load.wait_for_refusals(50)
        assert len(load.posted) == accepted
        assert not last.is_leader()
        first.start()
        stage.cluster.wait_for_leader(leader)
    stage.judge()


@pytest.mark.failover
def test_asynchronous_replication_loses_tasks(stage):
    """The control: without synchronous standbys, accepted tasks vanish, and the checker says so."""
    stage.cluster.configure(
        synchronous_mode=False,
        synchronous_mode_strict=False,
        maximum_lag_on_failover=2**30,
    )
    with stage.under_load() as load:
        lost = stage.cluster.wait_for_leader()
        lost.to_server.cut()
        load.wait_for_more(100)
        lost.kill()
        stage.cluster.wait_for_leader(lost)
    assert len(stage.judge_losses()) >= 50
