from forms.rules import between, looks_like_email, required
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
