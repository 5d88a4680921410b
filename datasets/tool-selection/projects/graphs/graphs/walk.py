from collections import deque


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
