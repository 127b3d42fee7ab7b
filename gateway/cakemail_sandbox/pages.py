"""The inbox as HTML, without a build step and without a script.

Everything that comes from a mail is hostile here. Texts are escaped, all of them, by ``esc``. A
mail's HTML is shown in a frame with an empty ``sandbox`` attribute: no script, no form, no new
window, no origin. The page's policy, which such a frame inherits, lets nothing be loaded; the same
policy stands in the frame once more, so that either would do. One thing escapes every policy: the
connection that a browser opens in advance, for a ``link`` that asks for it and when an ``a`` is
pressed. These elements are therefore renamed, and inner frames, whose attribute could hide one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape
from importlib.resources import files
from string import Template

from cakemail_sandbox.letters import File, Letter

# `unsafe-inline` for styles only: mails are written with style attributes.
MAIL_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
PAGE_POLICY = (
    f"{MAIL_POLICY}; form-action 'self'; base-uri 'none'; frame-src 'none'; frame-ancestors 'none'"
)
REFRESH_SECONDS = 3
# A tag's name begins and ends with these letters and in no other way (HTML standard, 13.2.5).
_CONNECTING = re.compile(r"<(/?)(?=(?:a|area|link|iframe)[\t\n\f\r />])", re.IGNORECASE)
_LINK_STYLE = "<style>x-a[href] { color: #0b57d0; text-decoration: underline }</style>"


def esc(text: object) -> str:
    """Safe as text and inside a quoted attribute."""
    return escape(str(text), quote=True)


def listing(letters: Sequence[Letter], *, refresh: bool) -> str:
    """The list of captured mails, newest first."""
    rows = "\n".join(_row(each) for each in letters)
    body = _table(rows) if letters else _EMPTY
    return _page(
        title="Inbox",
        head=f'<meta http-equiv="refresh" content="{REFRESH_SECONDS}">' if refresh else "",
        body=f'<div class="bar"><h1>Inbox <small>{len(letters)}</small></h1>{_bar(refresh)}</div>'
        f"{body}",
    )


def single(letter: Letter) -> str:
    """One mail: as it reads, its files, and beside it the request and the answer."""
    subject = letter.subject or "(no subject)"
    body = f"""<nav><a href="/">← Inbox</a></nav>
<h1>{esc(subject)}</h1>
<dl class="facts">
<dt>From</dt><dd>{_sender(letter)}</dd>
<dt>To</dt><dd>{esc(letter.recipient)}</dd>
<dt>Received</dt><dd>{_time(letter)}</dd>
<dt>Outcome</dt><dd>{_badge(letter)}</dd>
</dl>
<div class="columns">
<section aria-label="Mail">{_bodies(letter)}{_attachments(letter)}</section>
<section aria-label="Request and answer">
<div class="bar"><h2>API request</h2>
<a href="/inbox/{letter.number}/request.json">whole body</a></div>
<pre tabindex="0" aria-label="API request">{esc(letter.request)}</pre>
<h2>API answer</h2>
<pre tabindex="0" aria-label="API answer">{esc(letter.answer)}</pre>
</section>
</div>"""
    return _page(title=subject, head="", body=body)


def missing() -> str:
    """There is no such mail (any more)."""
    return _page(
        title="Not found",
        head="",
        body='<h1>No such mail</h1><p>It may have been cleared. <a href="/">Inbox</a></p>',
    )


_EMPTY = (
    '<p class="empty">Nothing has arrived yet. Send a mail through the gateway, and it appears'
    " here by itself.</p>"
)


def _page(*, title: str, head: str, body: str) -> str:
    folder = files(__package__)
    style = folder.joinpath("inbox.css").read_text(encoding="utf-8")
    template = Template(folder.joinpath("inbox.html").read_text(encoding="utf-8"))
    return template.substitute(title=esc(title), head=head, style=style, body=body)


def _bar(refresh: bool) -> str:  # noqa: FBT001  # private, called once, by name of the variable
    other, word = ("/?refresh=off", "pause") if refresh else ("/", "resume")
    return (
        f'<div class="actions"><a href="{other}">{word} refreshing</a>'
        '<form method="post" action="/inbox/clear"><button>Clear all</button></form></div>'
    )


def _table(rows: str) -> str:
    return (
        '<table><thead><tr><th scope="col">Received</th><th scope="col">From</th>'
        '<th scope="col">To</th><th scope="col">Subject</th><th scope="col">Outcome</th></tr>'
        f"</thead><tbody>{rows}</tbody></table>"
    )


def _row(letter: Letter) -> str:
    subject = esc(letter.subject or "(no subject)")
    many = "1 file" if len(letter.files) == 1 else f"{len(letter.files)} files"
    clip = f' <span class="clip">{many}</span>' if letter.files else ""
    return (
        f'<tr><td class="when">{_time(letter)}</td><td class="from">{_sender(letter)}</td>'
        f'<td class="to">{esc(letter.recipient)}</td>'
        f'<td class="subject"><a href="/inbox/{letter.number}">{subject}</a>{clip}</td>'
        f'<td class="outcome">{_badge(letter)}</td></tr>'
    )


def _sender(letter: Letter) -> str:
    name = f"{esc(letter.sender_name)} " if letter.sender_name else ""
    return f'{name}<span class="address">{esc(letter.sender_address)}</span>'


def _time(letter: Letter) -> str:
    return f'<time datetime="{letter.at.isoformat()}">{letter.at:%d %b, %H:%M:%S} UTC</time>'


def _badge(letter: Letter) -> str:
    return f'<span class="badge {letter.mood}">{esc(letter.verdict)}</span>'


def _bodies(letter: Letter) -> str:
    parts = []
    if letter.html:
        parts.append(f"<h2>HTML</h2>{_frame(letter.html)}")
        parts.append('<p class="note">Scripts, remote images and links do nothing here.</p>')
    if letter.text:
        parts.append(f'<h2>Text</h2><pre class="text" tabindex="0">{esc(letter.text)}</pre>')
    return "".join(parts) or '<p class="empty">The request holds no body.</p>'


def _frame(html: str) -> str:
    guarded = (
        f'<!doctype html><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{MAIL_POLICY}">'
        f"{_LINK_STYLE}"
    ) + _CONNECTING.sub(r"<\1x-", html)
    return (
        '<iframe sandbox="" referrerpolicy="no-referrer" title="HTML body of the mail"'
        f' srcdoc="{esc(guarded)}"></iframe>'
    )


def _attachments(letter: Letter) -> str:
    if not letter.files:
        return ""
    items = "".join(
        f"<li>{_file(letter.number, index, each)}</li>" for index, each in enumerate(letter.files)
    )
    return f'<h2>Attachments</h2><ul class="files">{items}</ul>'


def _file(number: int, index: int, file: File) -> str:
    size = len(file.content) * 3 // 4 - file.content[-2:].count("=")
    return (
        f'<a href="/inbox/{number}/files/{index}" download>{esc(file.name or "(no name)")}</a>'
        f" <small>{esc(file.type)}, {size:,} bytes</small>"
    )
