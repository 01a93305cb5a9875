"""A mail server in a process of its own, which nobody kills: a line for each message that it has taken.

`python -m tests.proofs.post BOOK` prints its port.
"""

import asyncio
import email
import os
import sys
from pathlib import Path
from random import Random
from typing import Any

from aiosmtpd.controller import UnthreadedController


class Post:
    def __init__(self, book: Path) -> None:
        self.book = os.open(book, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self.chance = Random(7)

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        name = str(email.message_from_bytes(envelope.content)["Message-ID"]).strip("<>").partition("@")[0]
        os.write(self.book, f"{name}\n".encode())
        # The answer takes its time: a sender that is killed meanwhile does not know.
        await asyncio.sleep(self.chance.random() * 0.1)
        return "250 2.0.0 Ok: queued"


async def serve(book: Path) -> None:
    loop = asyncio.get_running_loop()
    controller = UnthreadedController(Post(book), hostname="127.0.0.1", port=0, loop=loop)
    server = await loop.create_server(controller._factory_invoker, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1])))
