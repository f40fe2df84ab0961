"""Trims a whole export in the largest requests plain NBD has, many under way at once, and flushes: trim-all.py URI.

Prints how many seconds that took and how many requests it were, as JSON.
"""
import json
import sys
import time

import nbd

REQUEST_BYTES = 2**32 - 2**20
IN_FLIGHT = 64

errors = []


def completed(error):
    if error.value != 0:
        errors.append(error.value)
    # The command is done with.
    return 1


handle = nbd.NBD()
handle.connect_uri(sys.argv[1])
size = handle.get_size()
began = time.monotonic()
offset = 0
requests = 0
while offset < size or handle.aio_in_flight() > 0:
    while offset < size and handle.aio_in_flight() < IN_FLIGHT:
        count = min(REQUEST_BYTES, size - offset)
        handle.aio_trim(count, offset, completed)
        offset += count
        requests += 1
    handle.poll(-1)
handle.flush()
seconds = time.monotonic() - began
handle.shutdown()
if errors:
    sys.exit(f"{len(errors)} requests failed, the first with error {errors[0]}")
print(json.dumps({"seconds": seconds, "requests": requests}))
