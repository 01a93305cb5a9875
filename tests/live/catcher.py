"""A catcher in a process of its own: what it has taken survives the death of whoever handed it over.

`python -m tests.live.catcher BOOK` prints its port; one JSON line in, `taken` out, after a little while.
"""

import asyncio
import sys
from pathlib import Path
from random import Random


async def serve(book: Path) -> None:
    chance = Random(7)
    with book.open("ab", buffering=0) as file:

        async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                await asyncio.sleep(chance.random() * 0.01)
                line = await reader.readline()
                if line.endswith(b"\n"):
                    file.write(line)
                    await asyncio.sleep(chance.random() * 0.02)
                    writer.write(b"taken\n")
                    await writer.drain()
            except ConnectionError:
                pass
            finally:
                writer.close()

        server = await asyncio.start_server(take, "127.0.0.1", 0)
        print(server.sockets[0].getsockname()[1], flush=True)
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1])))
