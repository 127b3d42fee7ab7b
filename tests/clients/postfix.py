"""Debian's Postfix as a relay client: a queue of its own that hands everything to the gateway.

It shows what no library does: pipelined groups, a retry after every 4xx, and a bounce that tells
the sender why. The instance lives in one temporary folder (configuration, queue, log, mailbox),
listens on no port, and is gone afterwards; the machine's own Postfix, if any, is not touched.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from tests.clients.mail import Mail, Server
from tests.clients.programs import run
from tests.support.tools import missing, tool

POSTFIX = "/usr/sbin/postfix"
LIMIT_SECONDS = 40
POLL_SECONDS = 0.05

MAIN = """\
compatibility_level = 3.6
queue_directory = {folder}/queue
data_directory = {folder}/data
daemon_directory = /usr/lib/postfix/sbin
command_directory = /usr/sbin
maillog_file = {folder}/log
maillog_file_prefixes = {folder}
mail_owner = postfix
setgid_group = postdrop
myhostname = relay.example.net
inet_interfaces = loopback-only
inet_protocols = ipv4
mydestination =
local_recipient_maps =
alias_maps =
alias_database =
# The sender's own mailbox, where bounces arrive.
virtual_mailbox_domains = example.com
virtual_mailbox_base = {folder}
virtual_mailbox_maps = static:mailbox/
virtual_minimum_uid = 1
virtual_uid_maps = static:{uid}
virtual_gid_maps = static:{gid}
# The part that README recommends to administrators of a relay.
relayhost = [{host}]:{port}
smtp_tls_security_level = secure
smtp_tls_CAfile = {ca}
smtp_sasl_auth_enable = yes
smtp_sasl_tls_security_options = noanonymous
smtp_sasl_password_maps = texthash:{folder}/passwords
smtp_host_lookup = native
smtp_connect_timeout = 5s
# Nothing repeats by itself while a test looks: `flush` does.
queue_run_delay = 1h
minimal_backoff_time = 1h
maximal_backoff_time = 1h
"""

MASTER = """\
pickup    unix       n - n 60    1 pickup
cleanup   unix       n - n -     0 cleanup
qmgr      unix       n - n 300   1 qmgr
tlsmgr    unix       - - n 1000? 1 tlsmgr
rewrite   unix       - - n -     - trivial-rewrite
bounce    unix       - - n -     0 bounce
defer     unix       - - n -     0 bounce
trace     unix       - - n -     0 bounce
flush     unix       n - n 1000? 0 flush
proxymap  unix       - - n -     - proxymap
smtp      unix       - - n -     - smtp
relay     unix       - - n -     - smtp
showq     unix       n - n -     - showq
error     unix       - - n -     - error
retry     unix       - - n -     - error
discard   unix       - - n -     - discard
virtual   unix       - n n -     - virtual
scache    unix       - - n -     1 scache
postlog   unix-dgram n - n -     1 postlogd
"""


class Relay:
    """One running Postfix."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._configuration = folder / "etc"

    async def submit(self, mail: Mail) -> None:
        """Queue a mail as a local program does, through `sendmail`."""
        message = mail.message()
        del message["Bcc"]
        told = await run(
            *("/usr/sbin/sendmail", "-C", self._configuration, "-i", "-f", mail.sender),
            *("--", *mail.recipients),
            given=message.as_bytes(),
        )
        assert told.success, told.words

    async def flush(self) -> None:
        """Try everything in the queue again, now."""
        told = await run("/usr/sbin/postqueue", "-c", self._configuration, "-f")
        assert told.success, told.words

    def statuses(self) -> list[tuple[str, str, str]]:
        """Every attempt so far: recipient, ``sent``/``deferred``/``bounced``, and its reason."""
        return re.findall(r"smtp\[\d+\]: \w+: to=<([^>]*)>,.* status=(\w+) \((.*)\)", self.log())

    def log(self) -> str:
        """The whole mail log."""
        log = self._folder / "log"
        return log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""

    def bounces(self) -> list[str]:
        """What arrived in the sender's mailbox."""
        mailbox = self._folder / "mailbox" / "new"
        return [path.read_text(errors="replace") for path in sorted(mailbox.glob("*"))]

    async def until(self, reached: Callable[[], bool]) -> None:
        """Wait for something that Postfix does in its own time, bounded."""
        try:
            async with asyncio.timeout(LIMIT_SECONDS):
                while not reached():  # noqa: ASYNC110  # another program's files announce nothing
                    await asyncio.sleep(POLL_SECONDS)
        except TimeoutError:
            raise AssertionError(f"Postfix never got there:\n{self.log()}") from None


@contextlib.asynccontextmanager
async def relay_to(server: Server) -> AsyncIterator[Relay]:
    """Run a Postfix that relays to ``server``; root only, as Postfix itself demands."""
    tool(POSTFIX)
    if os.geteuid() != 0:
        missing("Postfix starts as root only")
    # Not pytest's folder: Postfix's daemons drop to a user who may not look into that.
    folder = Path(tempfile.mkdtemp(prefix="postfix-"))
    try:
        _configure(folder, server)
        configuration = folder / "etc"
        started = await run(POSTFIX, "-c", configuration, "start")
        assert started.success, started.words
        try:
            yield Relay(folder)
        finally:
            stopped = await run(POSTFIX, "-c", configuration, "stop")
        assert stopped.success, stopped.words
    finally:
        shutil.rmtree(folder)


def _configure(folder: Path, server: Server) -> None:
    folder.chmod(0o755)
    for name in ("etc", "queue", "data", "mailbox"):
        (folder / name).mkdir()
    for name in ("data", "mailbox"):
        shutil.chown(folder / name, "postfix", "postfix")
    ca = folder / "ca.pem"
    shutil.copy(server.ca, ca)
    ca.chmod(0o644)
    owner_of_mail = (folder / "mailbox").stat()
    (folder / "passwords").write_text(
        f"[{server.host}]:{server.starttls_port} {server.user}:{server.password}\n"
    )
    (folder / "etc" / "master.cf").write_text(MASTER)
    (folder / "etc" / "main.cf").write_text(
        MAIN.format(
            folder=folder,
            host=server.host,
            port=server.starttls_port,
            ca=ca,
            uid=owner_of_mail.st_uid,
            gid=owner_of_mail.st_gid,
        )
    )
