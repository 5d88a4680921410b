from slugs.build import slugify, unique
from slugs.clean import words


def test_words_without_accents():
    assert words("Über den Wölfen") == ["uber", "den", "wolfen"]


def test_slugify():
    assert slugify("Hello, big World!") == "hello-big-world"


def test_slugify_cuts_at_words():
    assert slugify("alpha beta gamma", limit=10) == "alpha-beta"


def test_unique_is_unchanged_when_free():
    assert unique("news", {"old"}) == "news"


def test_unique_counts_up():
    assert unique("news", {"news", "news-2"}) == "news-3"
