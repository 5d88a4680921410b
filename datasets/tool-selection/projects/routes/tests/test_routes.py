import pytest

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
