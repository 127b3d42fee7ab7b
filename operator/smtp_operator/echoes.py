"""Our own writes come back by the watches, and sometimes sooner than their answers.

What is heard of an object while a write of ours to it is under way waits until the answer is known:
then an echo is told from news, and only news wake anybody.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

Place = tuple[str, str, str]  # kind, namespace, name


class Echoes:
    """Holds events back while a write is under way."""

    def __init__(self) -> None:
        self._held: dict[Place, list[Callable[[], None]]] = {}

    @contextmanager
    def writing(self, place: Place) -> Iterator[None]:
        """Around a write and the noting of its answer; afterwards what was held back is heard."""
        held = self._held.setdefault(place, [])
        try:
            yield
        finally:
            del self._held[place]
            for event in held:
                event()

    def hold(self, place: Place, event: Callable[[], None]) -> bool:
        """Keep an event for later; False when no write to this object is under way."""
        held = self._held.get(place)
        if held is None:
            return False
        held.append(event)
        return True
