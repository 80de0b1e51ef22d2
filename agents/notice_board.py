"""The sentences that a user should read: each told once while it stands, and gone when it is over. Runs in: the runtime's event loop."""

from __future__ import annotations

from collections.abc import Callable

from agents import contract
from agents.events import EventBus

MAX_NOTICES = 20


class NoticeBoard:
    """Tells every client, and `say` for a terminal."""

    def __init__(self, *, bus: EventBus, say: Callable[[str], None], first: str | None = None) -> None:
        self._bus = bus
        self._say = say
        self._by_topic = {first: first} if first else {}  # the newest last
        self._complaining: set[str] = set()  # parts that can't write rows

    @property
    def texts(self) -> list[str]:
        """What stands, the newest last."""
        return list(self._by_topic.values())

    def tell(
        self,
        text: str,
        level: contract.NoticeLevel = contract.NoticeLevel.WARNING,
        *,
        topic: str | None = None,
    ) -> None:
        """Tells one sentence; not again while it stands. A topic's newer sentence takes the older one's place."""
        topic = topic or text
        if self._by_topic.get(topic) == text:
            return
        self._by_topic.pop(topic, None)
        self._by_topic[topic] = text
        while len(self._by_topic) > MAX_NOTICES:
            del self._by_topic[next(iter(self._by_topic))]
        self._say(text)
        self._bus.publish(contract.Notice(level=level, text=text))

    def withdraw(self, topic: str) -> None:
        """It is over."""
        self._by_topic.pop(topic, None)

    def store_trouble(self, sentence: str | None, *, who: str = "runs") -> None:
        """Rows can't be written (a sentence), or can be again (None); it is over once nobody complains any more."""
        if sentence is None:
            self._complaining.discard(who)
            if not self._complaining:
                self.withdraw("store")
        else:
            self._complaining.add(who)
            self.tell(sentence, contract.NoticeLevel.ERROR, topic="store")
