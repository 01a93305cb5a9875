"""Ways to speak: a message's content becomes, for one channel, exactly the bytes that a provider is given.

One composer a channel, pure: time is an argument, nothing is resolved, no secret is seen. Providers transmit the same
`Wire` that catchers write down, so the two cannot drift apart.
"""
