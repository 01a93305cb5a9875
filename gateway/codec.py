"""The codec of an installation: with the schemas of its registry, where it has one."""

from __future__ import annotations

from time import monotonic

from gateway.config import Config
from schemas import contracts
from streams.codec import Codec


def codec_of(config: Config) -> Codec:
    """Return the codec. Await its `ready(records)` before decoding, `enlist()` before encoding, and `close()` at the end.

    Raises:
        Misconfigured: the registry's password cannot be read.
    """
    endpoint = config.registry()
    if endpoint is None:
        return Codec(contracts())
    from streams.registry.schemas import RegistrySchemas

    return Codec(contracts(), schemas=RegistrySchemas(endpoint, contracts(), clock=monotonic))
