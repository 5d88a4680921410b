import pytest

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
