"""What workers let each other know."""

from __future__ import annotations

from tinyseq.serve.config import Limits
from tinyseq.serve.exchange import Exchange
from tinyseq.serve.metrics import Metrics, exposition, families


def test_metrics_of_all_workers_are_in_one_answer(tmp_path):
    exchanges = [Exchange(tmp_path, number) for number in range(2)]
    for number, exchange in enumerate(exchanges):
        metrics = Metrics()
        metrics.of_model("m", "1").chunks = 10 + number
        metrics.refused["full"] = number
        own = list(families(metrics, Limits()))
        exchange.leave(own)
    text = exposition(exchanges[1].gather(own))[0].decode()
    assert 'tinyseq_chunks_total{model="m",version="1",worker="0"} 10.0' in text
    assert 'tinyseq_chunks_total{model="m",version="1",worker="1"} 11.0' in text
    assert text.count("# TYPE tinyseq_chunks_total counter") == 1
    assert 'tinyseq_refused_total{reason="full",worker="1"} 1.0' in text
    assert 'tinyseq_latency_bucket{le="+Inf",model="m",version="1",worker="0"} 0.0' in text


def test_a_worker_alone_says_nothing(tmp_path):
    exchange = Exchange(None, 0)
    exchange.leave([])
    exchange.tell("load", "m")
    assert exchange.orders() == [] and exchange.gather([]) == {"0": []}


def test_orders_reach_the_others_once_and_a_new_worker_from_the_start(tmp_path):
    one, other = Exchange(tmp_path, 0), Exchange(tmp_path, 1)
    assert other.orders() == []
    one.tell("unload", "m")
    one.tell("load", "m")
    assert other.orders() == [("unload", "m"), ("load", "m")] and other.orders() == []
    other.tell("unload", "n")
    assert one.orders() == [("unload", "n")]
    late = Exchange(tmp_path, 2)
    assert late.orders() == [("unload", "m"), ("load", "m"), ("unload", "n")]
