"""How a browser becomes the owner's, and how a viewer shows a password: links, codes, a form.

Owns the pages under /.wormkey/ that set a cookie and send the browser on. What they carry in the
address leaves it with the redirect and never reaches a Referer; no page of the tunnel sees it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final
from urllib.parse import quote_from_bytes

import trio
from attrs import frozen

from wormkey import gate, owners, policy, throttle
from wormkey.answers import Answers
from wormkey.errors import AdmissionError
from wormkey.gate import PasswordWanted
from wormkey.node import Node
from wormkey.routing import RESERVED_PREFIX, public_url_of

if TYPE_CHECKING:
    from wormkey.ask import Ask
    from wormkey.frames import Fields
    from wormkey.session import Session

MAX_FORM_BYTES: Final = 4 * 1024
# What browsers read as ".." (URL Standard §4.1), and characters that would end the field.
_DOTS: Final = re.compile(r"(?i)(?:^|/)(?:\.|%2e){1,2}(?=[/?#]|$)")
_PLAIN: Final = re.compile(r"/(?![/\\])[!-\[\]-~]*\Z")


@frozen
class Claims:
    """The pages that give out cookies."""

    node: Node
    answers: Answers

    async def owner(self, ask: Ask) -> bool:
        """Make this browser the owner's, for who comes by the owner's link.

        Raises:
            AdmissionError: 401 a wrong token, 429 after too many; 403 claimed by another browser,
                or only fetched ahead; 404, 410.
            StoreError: the store cannot take it.

        Cancellation: it is claimed wholly or not at all.
        """
        if not ask.route.on_base:
            token = quote_from_bytes(ask.parameter(b"token"), safe="")
            location = f"{ask.base}/.wormkey/owner?slug={ask.route.slug}&token={token}".encode()
            await self.answers.see_other(ask.visit, location)
            return True
        entry = ask.entry()
        if ask.request.head.method == b"HEAD":
            await self.answers.nothing(ask.visit)
            return True
        if ask.is_prefetch:
            raise AdmissionError(403, "forbidden", "Open the link itself; looking ahead is no use.")
        session, browser = await self._claim(ask, entry.session)
        entry.watched()  # his own visit is the first that he sees
        age_s = max(1, int(session.remaining_s(self.node.now())))
        cookie = owners.owner_cookie(self.node.key, session, browser, ask.scheme, age_s)
        location = self._page(ask, session, browser)
        await self._go(ask, location, ((b"Set-Cookie", cookie),))
        return True

    async def _claim(self, ask: Ask, session: Session) -> tuple[Session, bytes]:
        token, known = ask.parameter(b"token"), ask.owner_browser(session)
        try:
            return await self.node.changes.claim(session, token, known, ask.by)
        except AdmissionError as error:
            if error.status == 401 and token:
                self.node.metrics.failed_authentications["owner"] += 1
                sentence = "Too many wrong tokens came from your address"
                rate = self.node.throttles.failures
                throttle.take(rate, ask.address, trio.current_time(), sentence)
            raise

    def _page(self, ask: Ask, session: Session, browser: bytes) -> bytes:
        """Return where the owner finds his app: by host with a code that gets him the pass."""
        by_path = b"/s/%b/" % session.slug.encode()
        url = public_url_of(session.slug, ask.base, self.node.settings.routing)
        if url == f"{ask.base}/s/{session.slug}":
            return by_path
        code = owners.pass_code(self.node.key, session, browser, self.node.now().timestamp())
        return b"%b/.wormkey/pass?code=%b" % (url.encode(), code)

    async def pass_(self, ask: Ask) -> bool:
        """Let the owner's browser see his app on the tunnel's own host, as the base host told it.

        Raises:
            AdmissionError: 403 the code is wrong or too old; 404, 410.

        Cancellation: nothing is lost.
        """
        if ask.route.on_base:
            raise AdmissionError(404, "not_found", "There is nothing here.")
        session = ask.entry().session
        now = self.node.now()
        code = ask.parameter(b"code")
        browser = owners.read_pass_code(self.node.key, session, code, now.timestamp())
        if browser is None:
            sentence = "This way to the page is over; open the owner's link again."
            raise AdmissionError(403, "forbidden", sentence)
        age_s = max(1, int(session.remaining_s(now)))
        cookie = owners.pass_cookie(self.node.key, session, browser, ask.scheme, age_s)
        await self._go(ask, b"/", ((b"Set-Cookie", cookie),))
        return True

    async def gate(self, ask: Ask) -> bool:
        """Take the password that a viewer typed into the form.

        Raises:
            AdmissionError: 401 it is wrong, 429 after too many; 403 another page sent the form, or
                his network is shut out; 413, 415, 408, 404, 410.

        Cancellation: nothing is counted as wrong.
        """
        session = ask.entry().session
        ask.require_own_page()
        if not policy.is_network_allowed(session.policy, ask.address):
            sentence = "The owner does not admit your network."
            raise AdmissionError(403, "network_not_allowed", sentence)
        form = await ask.read_form(MAX_FORM_BYTES)
        target = own_target(form.get("target", ""), session.slug if ask.route.on_base else "")
        if session.gate_hash is None:
            await self._go(ask, target)
            return True
        password = form.get("password", "").encode()
        if not await self.node.registry.passwords.check_gate(session, password, ask.address):
            self.node.metrics.failed_authentications["viewer"] += 1
            by_path = ask.route.on_base
            raise PasswordWanted(session, target=target, by_path=by_path, wrong=True)
        now_s = self.node.now().timestamp()
        cookie = gate.set_cookie(self.node.key, session, ask.scheme, now_s)
        await self._go(ask, target, ((b"Set-Cookie", cookie),))
        return True

    async def _go(self, ask: Ask, location: bytes, extra: Fields = ()) -> None:
        await self.answers.see_other(ask.visit, location, extra)


def own_target(text: str, slug: str = "") -> bytes:
    """Return a target that a form names if it is a path of this tunnel, else the tunnel's root.

    ``slug`` is given on the base host, where the tunnel's paths begin with it. Whatever could be
    read as another host, another tunnel or another field is not taken.
    """
    root = f"/s/{slug}/" if slug else "/"
    path = text.partition("?")[0]
    if (
        not _PLAIN.match(text)
        or _DOTS.search(path)
        or not path.lower().startswith(root)
        or path.startswith(RESERVED_PREFIX.decode())
    ):
        return root.encode()
    return text.encode("ascii")
