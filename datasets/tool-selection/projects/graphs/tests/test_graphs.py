import pytest

from graphs.order import Cycle, affected, build_order
from graphs.walk import reachable, shortest_path

GRAPH = {"app": ["web", "db"], "web": ["core"], "db": ["core"], "core": []}


def test_reachable():
    assert reachable(GRAPH, "web") == {"web", "core"}


def test_reachable_with_a_loop():
    assert reachable({"a": ["b"], "b": ["a"]}, "a") == {"a", "b"}


def test_shortest_path():
    assert shortest_path(GRAPH, "app", "core") == ["app", "web", "core"]


def test_no_path():
    assert shortest_path(GRAPH, "core", "app") is None


def test_build_order():
    assert build_order(GRAPH) == ["core", "db", "web", "app"]


def test_build_order_refuses_cycles():
    with pytest.raises(Cycle):
        build_order({"a": ["b"], "b": ["a"]})


def test_affected():
    assert affected(GRAPH, "core") == ["app", "db", "web"]
