from foldertree.node import Node
from foldertree.paths import find, from_paths, paths

TREE = from_paths("root", {"b/x": 3, "a": 5, "b/y/z": 2})


def test_total():
    assert TREE.total() == 10


def test_depth_of_a_leaf():
    assert Node("x").depth() == 1


def test_depth():
    assert TREE.depth() == 4


def test_paths_are_sorted():
    assert paths(TREE)[:3] == ["/root", "/root/a", "/root/b"]


def test_find():
    assert find(TREE, "root/b/x").size == 3


def test_find_nothing():
    assert find(TREE, "root/c") is None


def test_from_paths_shares_folders():
    assert [c.name for c in TREE.children] == ["b", "a"]
