"""Projects about data structures: queues, caches, trees, graphs, matrices."""

from __future__ import annotations

from tools.sessions.project import Bug, Project

MATRIX = Project(
    "matrices",
    "matrix arithmetic",
    {
        "matrices/basic.py": '''def shape(m):
    """Rows and columns."""
    return len(m), len(m[0])


def transpose(m):
    """Rows become columns."""
    return [list(row) for row in zip(*m)]


def identity(n):
    """Ones on the diagonal."""
    return [[1 if i == j else 0 for j in range(n)] for i in range(n)]
''',
        "matrices/product.py": '''from matrices.basic import identity, shape, transpose


def multiply(a, b):
    """Matrix product. Raises ValueError when the shapes do not fit."""
    if shape(a)[1] != shape(b)[0]:
        raise ValueError(f"cannot multiply {shape(a)} and {shape(b)}")
    columns = transpose(b)
    return [[sum(x * y for x, y in zip(row, col)) for col in columns] for row in a]


def power(m, n):
    """m multiplied with itself n times; the identity for 0."""
    result = identity(len(m))
    for _ in range(n):
        result = multiply(result, m)
    return result
''',
        "tests/test_matrices.py": '''import pytest

from matrices.basic import identity, shape, transpose
from matrices.product import multiply, power


def test_shape():
    assert shape([[1, 2, 3], [4, 5, 6]]) == (2, 3)


def test_transpose():
    assert transpose([[1, 2], [3, 4], [5, 6]]) == [[1, 3, 5], [2, 4, 6]]


def test_identity():
    assert identity(2) == [[1, 0], [0, 1]]


def test_multiply():
    assert multiply([[1, 2]], [[3], [4]]) == [[11]]


def test_multiply_refuses_shapes():
    with pytest.raises(ValueError, match="cannot multiply"):
        multiply([[1, 2]], [[3, 4]])


def test_power():
    assert power([[1, 1], [1, 0]], 5) == [[8, 5], [5, 3]]
''',
    },
    (
        Bug("arguments", "matrices/basic.py", "shape", "return len(m), len(m[0])", "return len(m[0]), len(m)", "gives columns before rows"),
        Bug("constant", "matrices/basic.py", "identity", "1 if i == j else 0", "1 if i != j else 0", "puts the ones everywhere but on the diagonal"),
        Bug("operator", "matrices/product.py", "multiply", "sum(x * y for", "sum(x + y for", "adds where it should multiply"),
        Bug("off_by_one", "matrices/product.py", "power", "for _ in range(n):", "for _ in range(n - 1):", "multiplies once too little"),
    ),
)

QUEUE = Project(
    "jobqueue",
    "job queue",
    {
        "jobqueue/queue.py": '''import heapq


class Empty(Exception):
    """There is no job."""


class JobQueue:
    """Jobs by priority (small first), then in order of arrival."""

    def __init__(self):
        self._heap = []
        self._arrivals = 0

    def push(self, job, priority=10):
        """Add a job."""
        heapq.heappush(self._heap, (priority, self._arrivals, job))
        self._arrivals += 1

    def pop(self):
        """The next job. Raises Empty."""
        if not self._heap:
            raise Empty
        return heapq.heappop(self._heap)[2]

    def __len__(self):
        return len(self._heap)
''',
        "jobqueue/worker.py": '''from jobqueue.queue import Empty


def drain(queue, handle):
    """Handle every job; returns the results in order."""
    results = []
    while True:
        try:
            results.append(handle(queue.pop()))
        except Empty:
            return results


def drain_some(queue, handle, limit):
    """Like drain, for at most `limit` jobs."""
    return [handle(queue.pop()) for _ in range(min(limit, len(queue)))]
''',
        "tests/test_jobqueue.py": '''import pytest

from jobqueue.queue import Empty, JobQueue
from jobqueue.worker import drain, drain_some


def filled():
    queue = JobQueue()
    queue.push("b")
    queue.push("a")
    queue.push("now", priority=1)
    return queue


def test_pop_by_priority_then_arrival():
    queue = filled()
    assert [queue.pop() for _ in range(3)] == ["now", "b", "a"]


def test_pop_empty():
    with pytest.raises(Empty):
        JobQueue().pop()


def test_len():
    assert len(filled()) == 3


def test_drain():
    assert drain(filled(), str.upper) == ["NOW", "B", "A"]


def test_drain_some():
    queue = filled()
    assert drain_some(queue, str.upper, 2) == ["NOW", "B"]
    assert len(queue) == 1


def test_drain_some_of_few():
    assert drain_some(filled(), str.upper, 9) == ["NOW", "B", "A"]
''',
    },
    (
        Bug("return", "jobqueue/queue.py", "push", "        self._arrivals += 1\n", "", "never counts arrivals up"),
        Bug("off_by_one", "jobqueue/queue.py", "pop", "heappop(self._heap)[2]", "heappop(self._heap)[1]", "hands out the arrival number instead of the job"),
        Bug("edge_case", "jobqueue/worker.py", "drain_some", "range(min(limit, len(queue)))", "range(limit)", "pops from an empty queue when there are few jobs"),
        Bug("import", "jobqueue/worker.py", "drain", "from jobqueue.queue import Empty", "from queue import Empty", "imports Empty from the standard library"),
    ),
)

CACHE = Project(
    "lrucache",
    "LRU cache",
    {
        "lrucache/cache.py": '''from collections import OrderedDict


class Cache:
    """Keeps the entries used last."""

    def __init__(self, size):
        self.size = size
        self._entries = OrderedDict()
        self.hits = 0
        self.misses = 0

    def lookup(self, key, default=None):
        """The value, which now counts as used."""
        if key not in self._entries:
            self.misses += 1
            return default
        self.hits += 1
        self._entries.move_to_end(key)
        return self._entries[key]

    def store(self, key, value):
        """Keep a value; the entry used longest ago goes."""
        self._entries[key] = value
        self._entries.move_to_end(key)
        if len(self._entries) > self.size:
            self._entries.popitem(last=False)
''',
        "lrucache/stats.py": '''def hit_rate(cache):
    """Hits of all look-ups, 0.0 before the first."""
    total = cache.hits + cache.misses
    return cache.hits / total if total else 0.0


def describe(cache):
    """One line for the log."""
    return f"{cache.hits} hits, {cache.misses} misses ({hit_rate(cache):.0%})"
''',
        "tests/test_cache.py": '''from lrucache.cache import Cache
from lrucache.stats import describe, hit_rate


def test_store_and_lookup():
    cache = Cache(2)
    cache.store("a", 1)
    assert cache.lookup("a") == 1


def test_oldest_goes():
    cache = Cache(2)
    for key in "abc":
        cache.store(key, key)
    assert cache.lookup("a") is None
    assert cache.lookup("b") == "b"


def test_lookup_counts_as_use():
    cache = Cache(2)
    cache.store("a", 1)
    cache.store("b", 2)
    cache.lookup("a")
    cache.store("c", 3)
    assert cache.lookup("a") == 1


def test_hit_rate_before_any_lookup():
    assert hit_rate(Cache(1)) == 0.0


def test_describe():
    cache = Cache(1)
    cache.store("a", 1)
    cache.lookup("a")
    cache.lookup("x")
    assert describe(cache) == "1 hits, 1 misses (50%)"
''',
    },
    (
        Bug("constant", "lrucache/cache.py", "store", "popitem(last=False)", "popitem(last=True)", "throws out the newest entry"),
        Bug("order", "lrucache/cache.py", "lookup", "        self.hits += 1\n        self._entries.move_to_end(key)\n", "        self.hits += 1\n", "does not mark the entry as used"),
        Bug("off_by_one", "lrucache/cache.py", "store", "> self.size:", ">= self.size:", "holds one entry less than its size"),
        Bug("edge_case", "lrucache/stats.py", "hit_rate", "cache.hits / total if total else 0.0", "cache.hits / total", "divides by zero before the first look-up"),
    ),
)

GRAPH = Project(
    "graphs",
    "dependency graph",
    {
        "graphs/walk.py": '''from collections import deque


def reachable(graph, start):
    """Nodes that can be reached, start included."""
    seen, todo = {start}, deque([start])
    while todo:
        for node in graph.get(todo.popleft(), ()):
            if node not in seen:
                seen.add(node)
                todo.append(node)
    return seen


def shortest_path(graph, start, goal):
    """Nodes of a shortest path, or None."""
    parents, todo = {start: None}, deque([start])
    while todo:
        node = todo.popleft()
        if node == goal:
            path = []
            while node is not None:
                path.append(node)
                node = parents[node]
            return path[::-1]
        for other in graph.get(node, ()):
            if other not in parents:
                parents[other] = node
                todo.append(other)
    return None
''',
        "graphs/order.py": '''from graphs.walk import reachable


class Cycle(ValueError):
    """The graph has no order."""


def build_order(graph):
    """Every node after what it needs, else alphabetical."""
    order = []
    needs = {node: set(graph[node]) for node in graph}
    while needs:
        ready = sorted(n for n in needs if not needs[n] - set(order))
        if not ready:
            raise Cycle(sorted(needs))
        order.append(ready[0])
        del needs[ready[0]]
    return order


def affected(graph, node):
    """Nodes that need `node`, directly or not."""
    return sorted(n for n in graph if n != node and node in reachable(graph, n))
''',
        "tests/test_graphs.py": '''import pytest

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
''',
    },
    (
        Bug("return", "graphs/walk.py", "shortest_path", "return path[::-1]", "return path", "gives the path backwards"),
        Bug("order", "graphs/order.py", "build_order", "        if not ready:\n            raise Cycle(sorted(needs))\n", "", "has no check for cycles left"),
        Bug("arguments", "graphs/order.py", "affected", "node in reachable(graph, n)", "n in reachable(graph, node)", "asks the question in the wrong direction"),
        Bug("typo", "graphs/walk.py", "reachable", "seen, todo = {start}, deque([start])", "seen, todo = set(), deque([start])", "leaves out the start node"),
    ),
)

STATS = Project(
    "samples",
    "sample statistics",
    {
        "samples/center.py": '''def mean(values):
    """Arithmetic mean. Raises ValueError for no values."""
    if not values:
        raise ValueError("mean of nothing")
    return sum(values) / len(values)


def median(values):
    """Middle value, or the mean of the two middle ones."""
    ordered = sorted(values)
    half = len(ordered) // 2
    if len(ordered) % 2:
        return ordered[half]
    return (ordered[half - 1] + ordered[half]) / 2
''',
        "samples/spread.py": '''from samples.center import mean


def variance(values):
    """Sample variance (n - 1)."""
    center = mean(values)
    return sum((v - center) ** 2 for v in values) / (len(values) - 1)


def outliers(values, factor=2.0):
    """Values farther than `factor` deviations from the mean."""
    center, deviation = mean(values), variance(values) ** 0.5
    return [v for v in values if abs(v - center) > factor * deviation]


def scale(values):
    """Values moved to 0..1; all equal gives zeros."""
    low, high = min(values), max(values)
    if low == high:
        return [0.0 for _ in values]
    return [(v - low) / (high - low) for v in values]
''',
        "tests/test_samples.py": '''import pytest

from samples.center import mean, median
from samples.spread import outliers, scale, variance


def test_mean():
    assert mean([1, 2, 6]) == 3


def test_mean_of_nothing():
    with pytest.raises(ValueError):
        mean([])


def test_median_odd():
    assert median([9, 1, 5]) == 5


def test_median_even():
    assert median([4, 1, 3, 2]) == 2.5


def test_variance():
    assert variance([2, 4, 6]) == 4


def test_outliers():
    assert outliers([1, 1, 1, 1, 1, 1, 1, 50]) == [50]


def test_scale():
    assert scale([2, 4, 6]) == [0.0, 0.5, 1.0]


def test_scale_of_equal_values():
    assert scale([3, 3]) == [0.0, 0.0]
''',
    },
    (
        Bug("order", "samples/center.py", "median", "ordered = sorted(values)", "ordered = list(values)", "takes the middle of unsorted values"),
        Bug("off_by_one", "samples/spread.py", "variance", "/ (len(values) - 1)", "/ len(values)", "divides by n instead of n - 1"),
        Bug("edge_case", "samples/spread.py", "scale", "    if low == high:\n        return [0.0 for _ in values]\n", "", "divides by zero when all values are equal"),
        Bug("operator", "samples/spread.py", "outliers", "abs(v - center) > factor", "abs(v - center) < factor", "keeps the values near the mean instead"),
        Bug("edge_case", "samples/center.py", "mean", 'if not values:\n        raise ValueError("mean of nothing")\n    ', "", "fails with the wrong error for an empty list"),
    ),
)

TREE = Project(
    "foldertree",
    "folder tree",
    {
        "foldertree/node.py": '''class Node:
    """A file with a size, or a folder with children."""

    def __init__(self, name, size=0, children=()):
        self.name = name
        self.size = size
        self.children = list(children)

    def total(self):
        """Size of the node and everything below."""
        return self.size + sum(child.total() for child in self.children)

    def depth(self):
        """Levels below, 1 for a leaf."""
        return 1 + max((child.depth() for child in self.children), default=0)
''',
        "foldertree/paths.py": '''from foldertree.node import Node


def paths(node, prefix=""):
    """All paths, folders before their children."""
    path = f"{prefix}/{node.name}"
    found = [path]
    for child in sorted(node.children, key=lambda c: c.name):
        found += paths(child, path)
    return found


def find(node, path):
    """The node at a path such as `a/b`, or None."""
    head, _, rest = path.partition("/")
    if node.name != head:
        return None
    if not rest:
        return node
    hits = (find(child, rest) for child in node.children)
    return next((hit for hit in hits if hit), None)


def from_paths(root, sizes):
    """A tree of `{"a/b": size}`."""
    top = Node(root)
    for path, size in sizes.items():
        node = top
        for part in path.split("/"):
            match = [c for c in node.children if c.name == part]
            if not match:
                match = [Node(part)]
                node.children += match
            node = match[0]
        node.size = size
    return top
''',
        "tests/test_foldertree.py": '''from foldertree.node import Node
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
''',
    },
    (
        Bug("edge_case", "foldertree/node.py", "depth", "self.children), default=0)", "self.children))", "fails on a node without children"),
        Bug("operator", "foldertree/node.py", "total", "return self.size + sum", "return sum", "leaves out the node's own size"),
        Bug("arguments", "foldertree/paths.py", "paths", "found += paths(child, path)", "found += paths(child, prefix)", "passes the prefix on instead of the path"),
        Bug("key", "foldertree/paths.py", "from_paths", "if c.name == part]", "if c.name == path]", "compares with the whole path, so folders are never shared"),
    ),
)

PROJECTS = (MATRIX, QUEUE, CACHE, GRAPH, STATS, TREE)
