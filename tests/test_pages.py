"""What tests take a page's commands and outputs for; were this wrong, they would prove nothing."""

from __future__ import annotations

import pytest

from tests.support.pages import Step, as_shown, steps

PAGE = """\
Text with `code`.

```sh
first --option=a \\
  b
second   # why
```

```yaml
not: a command
```

```console
$ third
NAME   AGE
mail   5s
$ fourth
```
"""


def test_commands_are_found_in_order_with_what_is_shown_of_them() -> None:
    """Of both kinds of blocks, continued lines as one, nothing of other languages."""
    assert steps(PAGE) == [
        Step("first --option=a   b", ()),
        Step("second   # why", ()),
        Step("third", ("NAME   AGE", "mail   5s")),
        Step("fourth", ()),
    ]


@pytest.mark.parametrize(
    ("shown", "output"),
    [
        (("mail   True   8s",), "mail  True  2m13s\n"),
        (("error: ... not known",), "error: not known\n"),
        (("error: ... not known",), "error: the field x is not known\n"),
        (("a", "...", "z"), "a\nz\n"),
        (("a", "...", "z"), "a\nb\nc\nz\n"),
    ],
)
def test_an_output_may_differ_in_widths_ages_and_what_is_left_out(
    shown: tuple[str, ...], output: str
) -> None:
    """And in nothing else."""
    assert as_shown(shown, output)


@pytest.mark.parametrize(
    ("shown", "output"),
    [
        (("mail   True   8s",), "mail   False   8s\n"),
        (("mail   True   8s",), "mail   True   soon\n"),
        (("mail   True",), "mail   True\nmore\n"),
        (("a", "b"), "a\n"),
        (("error: ... known",), "error: known not\n"),
        (("a.b",), "axb\n"),
    ],
)
def test_an_output_that_differs_is_noticed(shown: tuple[str, ...], output: str) -> None:
    """A word, a line too many, a line too few."""
    assert not as_shown(shown, output)
