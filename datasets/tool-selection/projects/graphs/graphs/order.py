from graphs.walk import reachable


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
