"""From the tree of parts to html, text and attachments: each leaf ends in exactly one place.

A leaf becomes html, text or an attachment, or its loss is noted, or the whole message is refused;
there is no sixth way (cakemail-api 7.3). What is noted is only what another part says as well: an
alternative that was not chosen, a calendar's METHOD, the tie between an image and the html.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from smtp_gateway.email import attachments
from smtp_gateway.email.attachments import AttachmentList, disposition, unsupported
from smtp_gateway.email.charsets import decode
from smtp_gateway.email.parser import Part
from smtp_gateway.policy import InlineImages

# A signature or a nested message cannot survive being taken apart.
_REFUSED_TYPES = {
    "multipart/signed": "a signature cannot be kept",
    "multipart/encrypted": "an encrypted message cannot be kept",
    "multipart/report": "a report cannot be kept",
    "multipart/mailgun-variables": "variables as a part are not supported",
}
_REFUSED_SPACES = {
    "message/": "a nested message cannot be kept",
    "application/pkcs7-": "a signed or encrypted message cannot be kept",
    "application/x-pkcs7-": "a signed or encrypted message cannot be kept",
}


class Role(Enum):
    """What a leaf is for, by its header fields alone."""

    TEXT = "text/plain"
    HTML = "text/html"
    CALENDAR = "text/calendar"
    FILE = "file"  # disposition or file name say so
    OTHER = "other"


_BODIES = frozenset({Role.TEXT, Role.HTML})


@dataclass(slots=True)
class Leaf:
    """A part that holds content, and what its header fields say about it."""

    part: Part
    role: Role
    disposition: str
    filename: str


@dataclass(slots=True)
class Contents:
    """What a message holds; ``noted`` names what was lost."""

    html: list[str] = field(default_factory=list)
    text: list[str] = field(default_factory=list)
    attachments: AttachmentList = field(default_factory=AttachmentList)
    noted: list[str] = field(default_factory=list)


def read_contents(root: Part, inline_images: InlineImages) -> Contents:
    """Walk the tree in order.

    Raises:
        PartUnsupported: something that the API cannot carry.
    """
    _refuse_structures(root)
    reader = _Reader(inline_images)
    reader.read(root)
    return reader.contents


def _refuse_structures(part: Part) -> None:
    name = part.media.type
    reason = _REFUSED_TYPES.get(name)
    if reason is None and name.startswith(tuple(_REFUSED_SPACES)):
        reason = next(why for space, why in _REFUSED_SPACES.items() if name.startswith(space))
    if reason is not None:
        raise unsupported(part, disposition(part)[1], reason)
    for child in part.children:
        _refuse_structures(child)


class _Reader:
    """One walk over one tree; the depth is bounded by the parser."""

    def __init__(self, inline_images: InlineImages) -> None:
        self.contents = Contents()
        self._inline_images = inline_images
        self._leaves: dict[int, Leaf] = {}

    def read(self, part: Part) -> None:
        if part.epilogue:
            self.contents.noted.append(f"{part.media.type}.epilogue")
        if not part.is_multipart:
            self._read_leaf(self._leaf(part))
        elif part.media.type == "multipart/alternative":
            self._read_alternative(part)
        elif part.media.type == "multipart/related":
            self._read_related(part)
        else:  # RFC 2046 5.1.3: any other multipart is read as mixed
            for child in part.children:
                self.read(child)

    # --- Leaves ---

    def _leaf(self, part: Part) -> Leaf:
        leaf = self._leaves.get(id(part))
        if leaf is None:
            leaf = self._leaves[id(part)] = _describe(part)
        return leaf

    def _read_leaf(self, leaf: Leaf) -> None:
        if leaf.role in _BODIES:
            self._read_body(leaf)
        elif leaf.role is Role.CALENDAR:
            self._attach(leaf)
        else:
            self._note_inline_image(leaf)
            self._attach(leaf)

    def _read_body(self, leaf: Leaf) -> None:
        text = body_text(leaf.part)
        if text and not text.isspace():  # the API takes no empty body
            (self.contents.html if leaf.role is Role.HTML else self.contents.text).append(text)

    def _attach(self, leaf: Leaf, default: str = "attachment") -> None:
        self.contents.attachments.add(leaf.part, leaf.filename, default)
        if leaf.part.media.type == "text/calendar" and "method" in leaf.part.media.parameters:
            self.contents.noted.append("Content-Type.method")

    def _note_inline_image(self, leaf: Leaf) -> None:
        kind = attachments.attachment_type(leaf.part, leaf.filename)
        if kind not in {"jpeg", "png"} or leaf.disposition == "attachment":
            return
        if not leaf.part.first("content-id"):
            return
        if self._inline_images is InlineImages.REFUSE:
            raise unsupported(leaf.part, leaf.filename, "an image inside the html cannot be kept")
        self.contents.noted.append("Content-ID")

    # --- multipart/related, RFC 2387 ---

    def _read_related(self, part: Part) -> None:
        start = part.media.parameters.get("start", "")
        named = [one for one in part.children if start and one.first("content-id") == start]
        roots = (named or part.children)[:1]
        for child in [*roots, *(one for one in part.children if one not in roots)]:
            self.read(child)

    # --- multipart/alternative, RFC 2046 5.1.4 ---

    def _read_alternative(self, part: Part) -> None:
        chosen = self._choose(part)
        others: list[Leaf] = []
        before = len(self.contents.html) + len(self.contents.text)
        for at, child in enumerate(part.children):
            if at in chosen:
                self.read(child)
            elif child.is_multipart:
                self._read_unchosen(child, others)
            else:
                self._read_alternative_leaf(self._leaf(child), others)
        said = len(self.contents.html) + len(self.contents.text) > before
        for leaf in others:
            if said:  # html or plain holds the same content
                self.contents.noted.append(f"multipart/alternative.{leaf.part.media.type}")
            else:
                self._read_leaf(leaf)

    def _choose(self, part: Part) -> set[int]:
        """Places of the last html and the last plain branch."""
        last: dict[Role, int] = {}
        for at, child in enumerate(part.children):
            last.update(dict.fromkeys(self._provides(child), at))
        return set(last.values())

    def _provides(self, part: Part) -> frozenset[Role]:
        """As which branch of an alternative this part can stand."""
        if not part.is_multipart:
            role = self._leaf(part).role
            return frozenset({role} & _BODIES)
        if part.media.type == "multipart/alternative":
            return frozenset().union(*map(self._provides, part.children))
        return next(filter(None, map(self._provides, part.children)), frozenset())

    def _read_alternative_leaf(self, leaf: Leaf, others: list[Leaf]) -> None:
        if leaf.role is Role.CALENDAR:
            self._attach(leaf, default="invite")
        elif leaf.role is Role.FILE:
            self._read_leaf(leaf)
        else:
            others.append(leaf)

    def _read_unchosen(self, part: Part, others: list[Leaf]) -> None:
        """A file is a file wherever it stands; the rest of this branch is said elsewhere."""
        for child in part.children:
            if child.is_multipart:
                self._read_unchosen(child, others)
            else:
                self._read_alternative_leaf(self._leaf(child), others)


def _describe(part: Part) -> Leaf:
    kind, filename = disposition(part)
    if kind == "attachment" or filename:
        role = Role.CALENDAR if part.media.type == "text/calendar" else Role.FILE
    else:
        role = _ROLES.get(part.media.type, Role.OTHER)
    return Leaf(part, role, kind, filename)


_ROLES = {role.value: role for role in (Role.TEXT, Role.HTML, Role.CALENDAR)}


def body_text(part: Part) -> str:
    """Text of a body part, with LF line ends.

    Raises:
        PartUnsupported: its transfer encoding is damaged.
    """
    text = decode(attachments.content(part), part.media.parameters.get("charset", ""))
    if "\r" not in text:
        return text
    return text.replace("\r\n", "\n").replace("\r", "\n")
