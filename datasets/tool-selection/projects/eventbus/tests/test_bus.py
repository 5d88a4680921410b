from eventbus.bus import Bus
from eventbus.record import Recorder, record


def test_publish_reaches_listeners():
    bus, heard = Bus(), []
    bus.subscribe("saved", lambda topic, payload: heard.append((topic, payload)))
    assert bus.publish("saved", 7) == 1
    assert heard == [("saved", 7)]


def test_publish_without_listeners():
    assert Bus().publish("saved", 7) == 0


def test_stop_listening():
    bus, recorder = Bus(), Recorder()
    stop = bus.subscribe("saved", recorder)
    stop()
    bus.publish("saved", 1)
    assert recorder.events == []


def test_recorder_limit():
    recorder = Recorder(limit=2)
    for n in range(4):
        recorder("t", n)
    assert recorder.events == [("t", 2), ("t", 3)]


def test_record_counts_topics():
    bus = Bus()
    recorder = record(bus, ["a", "b"])
    bus.publish("a", 1)
    bus.publish("a", 2)
    bus.publish("b", 3)
    assert recorder.topics() == {"a": 2, "b": 1}
