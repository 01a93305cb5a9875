"""Real servers on loopback, without Docker: Kafka and PostgreSQL, as `make services` starts them and as tests kill them.

```python
with PrivateKafka(tmp_path / "kafka") as kafka:      # started, and taken away at the end
    kafka.connection(prefix="mine.")                 # streams.kafka.connection.Connection
    kafka.kill(); kafka.start()                      # the same port, the same log
    kafka.pause(); kafka.resume()                    # hangs, with its connections open
```

`PrivatePostgres` has the same verbs, and `place(database)`. Starting waits until the server answers; everything here blocks:
call it by `asyncio.to_thread` where a loop runs.
"""

from tests.servers.certificates import Certificates
from tests.servers.kafka import PrivateKafka
from tests.servers.postgres import PrivatePostgres
from tests.servers.process import NotInstalled, NotStarted
from tests.servers.registry import PrivateRegistry

__all__ = ["Certificates", "NotInstalled", "NotStarted", "PrivateKafka", "PrivatePostgres", "PrivateRegistry"]
