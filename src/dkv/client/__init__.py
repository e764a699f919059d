"""The Python client. What its operations are is said once, in `operations`; `sync` and `aio` carry them out.

    sync | aio        threads and an event loop: send, wait, hand over
    operations scan   generators: calls out, replies in, a result at the end
    levels            what a read promises to see; acknowledgements: who has a write when it is answered
    writes retries    what is decided about a call: its number in a session, whether and when it is sent again
    answers url       what came back as a typed error; where to go

Imports no server code, and nothing heavy before the first connection.
"""
