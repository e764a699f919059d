"""What dkvbench measures with: requests of one kind, so many of them in flight, and what came of it in figures.

    workloads   what is asked, and what an answer has found
    channel     calls out and answers in, by the batch
    load        keeps so many callers busy until all calls are made
    report      latencies to figures; text: figures to lines

A caller here is no thread and no task: it is a place in the batch. So the tool costs about a microsecond a call, and
what is measured is the server.
"""
