"""Where an exception came from."""

import pytest

from smtp_gateway.utils.stack import stack_of


def fail_with_content() -> None:
    """Raise as a parser does, quoting what it stumbled over."""
    try:
        int("Subject: secret")
    except ValueError as error:
        raise KeyError("bob@x.test") from error


def test_a_stack_shows_where_and_never_what() -> None:
    """Classes, files and functions of the whole chain; no word of any message."""
    with pytest.raises(KeyError, match="bob") as caught:
        fail_with_content()
    stack = stack_of(caught.value)
    assert "ValueError" in stack
    assert "KeyError" in stack
    assert any(line.endswith(" fail_with_content") for line in stack)
    assert "bob" not in repr(stack)
    assert "secret" not in repr(stack)


def test_an_endless_chain_of_causes_ends() -> None:
    """An exception may be its own context."""
    first, second = ValueError(), KeyError()
    first.__context__ = second
    second.__context__ = first
    assert stack_of(first) == ["ValueError", "KeyError"] * 2 + ["ValueError"]
