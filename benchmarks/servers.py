"""A mail server and a stand-in for Twilio, in a process of their own; they take everything and keep nothing."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from aiohttp import web
from aiosmtpd.smtp import SMTP


class Mailbox:
    """Takes every mail."""

    async def handle_DATA(self, _server: Any, _session: Any, _envelope: Any) -> str:  # noqa: N802 - its library's name
        """Answer the final dot."""
        return "250 2.0.0 OK: taken"


async def text(request: web.Request) -> web.Response:
    """Answer as Twilio's Messages resource does."""
    form = await request.post()
    return web.json_response(
        {
            "sid": f"SM{0:032x}", "account_sid": request.match_info["account"], "to": form["To"], "from": form["From"],
            "body": form["Body"], "status": "queued", "num_segments": "1", "error_code": None, "error_message": None,
            "direction": "outbound-api", "date_created": "Thu, 01 Jan 2026 00:00:00 +0000", "date_sent": None,
            "date_updated": "Thu, 01 Jan 2026 00:00:00 +0000", "api_version": "2010-04-01", "price": None,
            "price_unit": "USD", "uri": "/none.json", "subresource_uris": {}, "num_media": "0",
            "messaging_service_sid": None,
        },
        status=201,
    )  # fmt: skip


async def serve() -> None:
    """Print the ports; run until the standard input ends."""
    loop = asyncio.get_running_loop()
    mail = await loop.create_server(lambda: SMTP(Mailbox(), hostname="localhost", loop=loop), "127.0.0.1", 0)
    application = web.Application()
    application.router.add_post("/2010-04-01/Accounts/{account}/Messages.json", text)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(json.dumps({"email": mail.sockets[0].getsockname()[1], "sms": runner.addresses[0][1]}), flush=True)
    await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(serve())
