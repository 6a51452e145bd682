"""What workers let each other know."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest

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


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_what_is_half_written_is_read_by_nobody(tmp_path, monkeypatch, share):
    """A worker that is killed while it writes."""
    one, other = Exchange(tmp_path, 0), Exchange(tmp_path, 1)
    one.leave([])
    one.tell("load", "m")
    whole = Path.write_text

    def killed(self, text, **options):
        whole(self, text[: round(share * len(text))], **options)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", killed)
        for said in (lambda: one.leave(list(families(Metrics(), Limits()))), lambda: one.tell("unload", "m")):
            with pytest.raises(KeyboardInterrupt):
                said()
    assert other.orders() == [("load", "m")] and other.gather([])["0"] == []
    Exchange(tmp_path, 0).tell("load", "n")
    assert other.orders() == [("load", "n")]


ORDERS, WRITERS = 150, 3


def test_orders_are_read_whole_while_many_write(tmp_path):
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_write, args=(tmp_path, number)) for number in range(WRITERS)]
    readers = [Exchange(tmp_path, WRITERS + number) for number in range(2)]
    found: list[list[tuple[str, str]]] = [[], []]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        for reader, own in zip(readers, found):
            own += reader.orders()
            reader.gather([])
    for reader, own in zip(readers, found):
        own += reader.orders()
    assert found[0] == found[1]
    for number in range(WRITERS):
        told = [name for action, name in found[0] if action == f"load {number}"]
        assert told == [_name(count) for count in range(ORDERS)]
    assert not list(tmp_path.glob("*.new"))


def _write(folder: Path, number: int) -> None:
    exchange, metrics = Exchange(folder, number), Metrics()
    for count in range(ORDERS):
        exchange.tell(f"load {number}", _name(count))
        metrics.refused[_name(count)] += 1
        if count % 10 == 0:
            exchange.leave(list(families(metrics, Limits())))


def _name(count: int) -> str:
    """Longer than what a file is read by at a time."""
    return f"{count} " + "x" * (count % 7 * 4000)
