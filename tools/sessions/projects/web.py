"""Projects about addresses, permissions, events and validation."""

from __future__ import annotations

from tools.sessions.project import Bug, Project

ROUTES = Project(
    "routes",
    "URL routing",
    {
        "routes/pattern.py": '''def match(pattern, path):
    """Values of `/users/<id>` in a path, or None."""
    wanted, given = pattern.strip("/").split("/"), path.strip("/").split("/")
    if len(wanted) != len(given):
        return None
    values = {}
    for want, have in zip(wanted, given):
        if want.startswith("<") and want.endswith(">"):
            values[want[1:-1]] = have
        elif want != have:
            return None
    return values
''',
        "routes/router.py": '''from routes.pattern import match


class NotFound(LookupError):
    """No route fits."""


class Router:
    """Handlers by pattern; the first that fits is taken."""

    def __init__(self):
        self._routes = []

    def add(self, pattern, handler):
        """Register a handler; returns it, to be used as a decorator."""
        self._routes.append((pattern, handler))
        return handler

    def dispatch(self, path):
        """Call the handler of a path."""
        for pattern, handler in self._routes:
            values = match(pattern, path)
            if values is not None:
                return handler(**values)
        raise NotFound(path)
''',
        "tests/test_routes.py": '''import pytest

from routes.pattern import match
from routes.router import NotFound, Router


def router():
    r = Router()
    r.add("/", lambda: "home")
    r.add("/users/<id>", lambda id: f"user {id}")
    return r


def test_match_values():
    assert match("/users/<id>", "/users/7") == {"id": "7"}


def test_match_refuses_longer_paths():
    assert match("/users/<id>", "/users/7/edit") is None


def test_match_refuses_other_words():
    assert match("/users/<id>", "/posts/7") is None


def test_dispatch_without_values():
    assert router().dispatch("/") == "home"


def test_dispatch_with_values():
    assert router().dispatch("/users/7/") == "user 7"


def test_dispatch_unknown():
    with pytest.raises(NotFound):
        router().dispatch("/nothing/here/now")


def test_add_returns_the_handler():
    handler = lambda: 1
    assert Router().add("/x", handler) is handler
''',
    },
    (
        Bug("edge_case", "routes/router.py", "dispatch", "if values is not None:", "if values:", "takes an empty match for no match"),
        Bug("return", "routes/router.py", "add", "        return handler\n\n    def dispatch", "\n    def dispatch", "does not return the handler"),
        Bug("off_by_one", "routes/pattern.py", "match", "values[want[1:-1]] = have", "values[want[1:]] = have", "leaves the closing bracket in the name"),
        Bug("edge_case", "routes/pattern.py", "match", "    if len(wanted) != len(given):\n        return None\n", "", "accepts paths of another length"),
    ),
)

ACCESS = Project(
    "access",
    "permission checks",
    {
        "access/roles.py": '''ROLES = {
    "guest": {"read"},
    "author": {"read", "write"},
    "admin": {"read", "write", "delete"},
}


def permissions(names):
    """Everything that a user with these roles may do."""
    allowed = set()
    for name in names:
        allowed |= ROLES.get(name, set())
    return allowed
''',
        "access/check.py": '''from access.roles import permissions


def may(user, action, owner=None):
    """Whether a user may act; owners may always write their own."""
    if action == "write" and owner is not None and owner == user["name"]:
        return True
    return action in permissions(user["roles"])


def require(user, *actions):
    """Raises PermissionError naming what is missing."""
    missing = [action for action in actions if not may(user, action)]
    if missing:
        raise PermissionError(", ".join(missing))


def visible(user, documents):
    """Documents that are public or the user's own; all for those who may delete."""
    if may(user, "delete"):
        return list(documents)
    return [d for d in documents if d["public"] or d["owner"] == user["name"]]
''',
        "tests/test_access.py": '''import pytest

from access.check import may, require, visible
from access.roles import permissions

GUEST = {"name": "gil", "roles": ["guest"]}
ADMIN = {"name": "ann", "roles": ["guest", "admin"]}
DOCS = [{"public": True, "owner": "x"}, {"public": False, "owner": "gil"}, {"public": False, "owner": "x"}]


def test_permissions_add_up():
    assert permissions(["guest", "author"]) == {"read", "write"}


def test_permissions_of_unknown_role():
    assert permissions(["pilot"]) == set()


def test_guest_may_not_write():
    assert not may(GUEST, "write")


def test_owner_may_write():
    assert may(GUEST, "write", owner="gil")


def test_require_names_what_is_missing():
    with pytest.raises(PermissionError, match="write, delete"):
        require(GUEST, "read", "write", "delete")


def test_visible_to_guest():
    assert visible(GUEST, DOCS) == DOCS[:2]


def test_visible_to_admin():
    assert visible(ADMIN, DOCS) == DOCS
''',
    },
    (
        Bug("operator", "access/roles.py", "permissions", "allowed |= ROLES", "allowed &= ROLES", "intersects the roles instead of joining them"),
        Bug("operator", "access/check.py", "require", "if not may(user, action)]", "if may(user, action)]", "lists what is allowed instead of what is missing"),
        Bug("key", "access/check.py", "visible", 'd["owner"] == user["name"]]', 'd["owner"] == user["id"]]', "reads `id`, but users have a `name`"),
        Bug("operator", "access/check.py", "visible", 'd["public"] or d["owner"]', 'd["public"] and d["owner"]', "demands that a document is public and one's own"),
        Bug("edge_case", "access/roles.py", "permissions", "ROLES.get(name, set())", "ROLES[name]", "raises for a role nobody knows"),
    ),
)

EVENTBUS = Project(
    "eventbus",
    "event bus",
    {
        "eventbus/bus.py": '''class Bus:
    """Listeners by topic."""

    def __init__(self):
        self._listeners = {}

    def subscribe(self, topic, listener):
        """Listen; returns a function that stops it."""
        self._listeners.setdefault(topic, []).append(listener)

        def stop():
            self._listeners[topic].remove(listener)

        return stop

    def publish(self, topic, payload):
        """Tell every listener; returns how many there were."""
        listeners = list(self._listeners.get(topic, ()))
        for listener in listeners:
            listener(topic, payload)
        return len(listeners)
''',
        "eventbus/record.py": '''class Recorder:
    """Keeps the last events it heard."""

    def __init__(self, limit=100):
        self.limit = limit
        self.events = []

    def __call__(self, topic, payload):
        self.events.append((topic, payload))
        self.events = self.events[-self.limit :]

    def topics(self):
        """How often each topic was heard."""
        counts = {}
        for topic, _ in self.events:
            counts[topic] = counts.get(topic, 0) + 1
        return counts


def record(bus, topics, limit=100):
    """A recorder that listens to several topics."""
    recorder = Recorder(limit)
    for topic in topics:
        bus.subscribe(topic, recorder)
    return recorder
''',
        "tests/test_bus.py": '''from eventbus.bus import Bus
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
''',
    },
    (
        Bug("return", "eventbus/bus.py", "subscribe", "        return stop\n", "", "does not return the function that stops it"),
        Bug("edge_case", "eventbus/bus.py", "publish", "self._listeners.get(topic, ())", "self._listeners[topic]", "raises when nobody listens"),
        Bug("off_by_one", "eventbus/record.py", "record", "self.events[-self.limit :]", "self.events[: self.limit]", "keeps the first events instead of the last"),
        Bug("arguments", "eventbus/bus.py", "publish", "listener(topic, payload)", "listener(payload, topic)", "calls listeners with the arguments swapped"),
    ),
)

FORMS = Project(
    "forms",
    "form validation",
    {
        "forms/rules.py": '''import re


def required(value):
    """Complains about nothing and blanks."""
    return None if str(value or "").strip() else "is required"


def between(low, high):
    """A rule: a number from low to high, both allowed."""

    def rule(value):
        return None if low <= int(value) <= high else f"must be {low} to {high}"

    return rule


def looks_like_email(value):
    """Complains unless there is one @ with a dotted domain."""
    return None if re.fullmatch(r"[^@\\s]+@[^@\\s]+\\.[a-z]+", value) else "is no e-mail address"
''',
        "forms/validate.py": '''from forms.rules import between, looks_like_email, required

SIGN_UP = {"name": [required], "age": [required, between(18, 120)], "email": [required, looks_like_email]}


def validate(form, rules=SIGN_UP):
    """The first complaint about each field."""
    problems = {}
    for field, checks in rules.items():
        for check in checks:
            problem = check(form.get(field))
            if problem:
                problems[field] = problem
                break
    return problems


def summary(problems):
    """One sentence, fields in alphabetical order."""
    if not problems:
        return "all good"
    return "; ".join(f"{field} {problems[field]}" for field in sorted(problems))
''',
        "tests/test_forms.py": '''from forms.rules import between, looks_like_email, required
from forms.validate import summary, validate

GOOD = {"name": "Ada", "age": "36", "email": "ada@example.org"}


def test_required_refuses_blanks():
    assert required("  ") == "is required"


def test_between_allows_the_limits():
    assert between(18, 120)("18") is None
    assert between(18, 120)("121") == "must be 18 to 120"


def test_email():
    assert looks_like_email("ada@example") == "is no e-mail address"


def test_validate_good_form():
    assert validate(GOOD) == {}


def test_validate_stops_at_the_first_problem():
    assert validate({**GOOD, "age": ""}) == {"age": "is required"}


def test_summary():
    assert summary({"name": "is required", "age": "must be 18 to 120"}) == (
        "age must be 18 to 120; name is required"
    )


def test_summary_of_nothing():
    assert summary({}) == "all good"
''',
    },
    (
        Bug("off_by_one", "forms/rules.py", "between", "low <= int(value) <= high", "low < int(value) <= high", "refuses the lower limit"),
        Bug("edge_case", "forms/rules.py", "required", 'str(value or "").strip()', 'str(value or "")', "lets blanks through"),
        Bug("order", "forms/validate.py", "validate", "                break\n", "", "goes on after the first problem of a field"),
        Bug("order", "forms/validate.py", "summary", "for field in sorted(problems))", "for field in problems)", "does not sort the fields"),
        Bug("constant", "forms/rules.py", "looks_like_email", r'''[^@\\s]+\\.[a-z]+", value)'''.replace("\\\\", "\\"), r'''[^@\\s]+", value)'''.replace("\\\\", "\\"), "accepts a domain without a dot"),
    ),
)

PROJECTS = (ROUTES, ACCESS, EVENTBUS, FORMS)
