"""Exact requests over libnbd: `requests.py CHECK URI...` runs the check of that name, and fails with what was wrong."""

import errno
import random
import sys

import nbd

KIB = 1024
MIB = 1024 * KIB
BLOCK = 64 * KIB
HOLE_AND_ZERO = nbd.STATE_HOLE | nbd.STATE_ZERO


def connect(uri, strict=True):
    handle = nbd.NBD()
    # Blocks have a smallest size for clients that heed it; the server takes any. With `strict` off, what else libnbd would
    # refuse by itself is for the server to refuse.
    handle.set_strict_mode(nbd.STRICT_MASK & ~nbd.STRICT_ALIGN if strict else 0)
    handle.add_meta_context("base:allocation")
    # For URIs that name files with certificates or keys.
    handle.set_uri_allow_local_file(True)
    handle.connect_uri(uri)
    return handle


def connect_empty(uri):
    """To a disk on which nothing is left of earlier checks."""
    handle = connect(uri)
    handle.trim(handle.get_size(), 0)
    return handle


def expect(actual, expected, what):
    if actual != expected:
        raise AssertionError(f"{what}: {brief(actual)} where {brief(expected)} was expected")


def brief(value):
    text = repr(value)
    return text if len(text) < 400 else f"{text[:400]}..."


def refused(code, what, request):
    try:
        request()
    except nbd.Error as error:
        expect(error.errno, errno.errorcode[code], what)
        return
    raise AssertionError(f"{what} was not refused")


def extents(handle, length, offset, flags=0):
    found = []

    def add(context, at, entries, error):
        expect((context, at, error.value), ("base:allocation", offset, 0), "block status reply")
        found.extend(zip(entries[0::2], entries[1::2]))

    handle.block_status(length, offset, add, flags)
    return found


def chunks_of(handle, length, offset, flags=0):
    found = []

    def add(data, at, status, error):
        found.append((at, len(data) if status != nbd.READ_HOLE else None, status))

    buffer = handle.pread_structured(length, offset, add, flags)
    return bytes(buffer), found


def fua(uri):
    """What is answered is in the bucket: the caller looks there afterwards."""
    handle = connect(uri)
    handle.pwrite(b"\x11" * BLOCK, 0, nbd.CMD_FLAG_FUA)
    handle.pwrite(b"\x22" * BLOCK, BLOCK)
    handle.flush()
    handle.pwrite(b"\x33" * (3 * BLOCK), 2 * BLOCK, nbd.CMD_FLAG_FUA)
    handle.zero(BLOCK, 3 * BLOCK, nbd.CMD_FLAG_FUA | nbd.CMD_FLAG_NO_HOLE)
    handle.trim(BLOCK, 4 * BLOCK, nbd.CMD_FLAG_FUA)
    # No disconnect: the caller kills the server while this side is still attached.
    print("answered", flush=True)
    sys.stdin.read()


def df(uri):
    handle = connect_empty(uri)
    handle.pwrite(b"\xab" * BLOCK, 2 * BLOCK)
    expected = bytes(2 * BLOCK) + b"\xab" * BLOCK + bytes(BLOCK)
    data, chunks = chunks_of(handle, 4 * BLOCK, 0)
    expect(data, expected, "a read in chunks")
    _, chunks = chunks_of(handle, 2 * BLOCK, 0)
    expect(chunks, [(0, None, nbd.READ_HOLE)], "the chunks of a read of zeros")
    data, chunks = chunks_of(handle, 4 * BLOCK, 0, nbd.CMD_FLAG_DF)
    expect(data, expected, "a read with DF")
    expect(chunks, [(0, 4 * BLOCK, nbd.READ_DATA)], "the chunks of a read with DF")


def zeroes(uri, fast_parts="refused"):
    handle = connect_empty(uri)
    handle.pwrite(b"\x5a" * (8 * BLOCK), 0)
    handle.zero(BLOCK, BLOCK, nbd.CMD_FLAG_NO_HOLE)
    expect(bytes(handle.pread(BLOCK, BLOCK)), bytes(BLOCK), "zeroes with NO_HOLE")
    handle.zero(2 * BLOCK, 3 * BLOCK, nbd.CMD_FLAG_FAST_ZERO)
    expect(bytes(handle.pread(2 * BLOCK, 3 * BLOCK)), bytes(2 * BLOCK), "zeroes with FAST_ZERO")
    def zero_part():
        handle.zero(100, 6 * BLOCK + 7, nbd.CMD_FLAG_FAST_ZERO)

    if fast_parts == "refused":
        refused(errno.ENOTSUP, "FAST_ZERO of a part of a block", zero_part)
        expect(bytes(handle.pread(2 * BLOCK, 6 * BLOCK)), b"\x5a" * (2 * BLOCK), "the block after a refused FAST_ZERO")
    else:
        zero_part()
        expect(bytes(handle.pread(108, 6 * BLOCK)), b"\x5a" * 7 + bytes(100) + b"\x5a", "FAST_ZERO of a part of a block")
        handle.pwrite(b"\x5a" * 100, 6 * BLOCK + 7)
    handle.zero(BLOCK, 6 * BLOCK + 100)
    expect(
        bytes(handle.pread(2 * BLOCK, 6 * BLOCK)),
        b"\x5a" * 100 + bytes(BLOCK) + b"\x5a" * (BLOCK - 100),
        "zeroes across two blocks",
    )
    handle.zero(handle.get_size(), 0, nbd.CMD_FLAG_FAST_ZERO)
    expect(extents(handle, handle.get_size(), 0), [(handle.get_size(), HOLE_AND_ZERO)], "the map after zeroing all")


def trims(uri):
    handle = connect_empty(uri)
    handle.pwrite(b"\xc3" * (6 * BLOCK), 0)
    handle.trim(2 * BLOCK, BLOCK)
    expect(extents(handle, 6 * BLOCK, 0), [(BLOCK, 0), (2 * BLOCK, HOLE_AND_ZERO), (3 * BLOCK, 0)], "the map after a trim")
    expect(bytes(handle.pread(2 * BLOCK, BLOCK)), bytes(2 * BLOCK), "trimmed blocks")
    handle.trim(BLOCK, 4 * BLOCK + 512)
    around = bytes(handle.pread(2 * BLOCK, 4 * BLOCK))
    expect(around[:512], b"\xc3" * 512, "what is before a trim within blocks")
    expect(around[512 + BLOCK :], b"\xc3" * (BLOCK - 512), "what is after a trim within blocks")
    handle.trim(handle.get_size(), 0)
    expect(extents(handle, handle.get_size(), 0), [(handle.get_size(), HOLE_AND_ZERO)], "the map after trimming all")


def cache(uri):
    handle = connect_empty(uri)
    expect(handle.can_cache(), True, "can_cache")
    handle.pwrite(b"\x77" * BLOCK, BLOCK)
    handle.cache(4 * BLOCK, 0)
    expect(bytes(handle.pread(BLOCK, BLOCK)), b"\x77" * BLOCK, "a block after CACHE")


def block_status(uri):
    handle = connect_empty(uri)
    expect(handle.can_meta_context("base:allocation"), True, "base:allocation")
    size = handle.get_size()
    handle.pwrite(b"\x01", 3 * BLOCK + 5)
    handle.pwrite(b"\x01" * BLOCK, 5 * BLOCK)
    expected = [
        (3 * BLOCK, HOLE_AND_ZERO),
        (BLOCK, 0),
        (BLOCK, HOLE_AND_ZERO),
        (BLOCK, 0),
        (size - 6 * BLOCK, HOLE_AND_ZERO),
    ]
    expect(extents(handle, size, 0), expected, "the whole map")
    expect(extents(handle, size, 0, nbd.CMD_FLAG_REQ_ONE), expected[:1], "one extent")
    within = extents(handle, BLOCK, 3 * BLOCK + 512, nbd.CMD_FLAG_REQ_ONE)
    expect(within, [(BLOCK - 512, 0)], "one extent from within a block")


def unaligned(uri):
    """Random requests of any offset and length, against a copy in memory."""
    handle = connect_empty(uri)
    size = 8 * BLOCK
    choose = random.Random(2024)
    disk = bytearray(size)
    for step in range(400):
        length = choose.choice([1, 2, 511, 513, 4095, 4097, BLOCK - 1, BLOCK + 1, choose.randrange(1, 2 * BLOCK)])
        offset = choose.randrange(0, size - length)
        kind = choose.choice(["write", "write", "zero", "trim", "read", "read"])
        if kind == "write":
            data = choose.randbytes(length)
            handle.pwrite(data, offset, choose.choice([0, nbd.CMD_FLAG_FUA]))
            disk[offset : offset + length] = data
        elif kind == "zero":
            handle.zero(length, offset, choose.choice([0, nbd.CMD_FLAG_NO_HOLE, nbd.CMD_FLAG_FUA]))
            disk[offset : offset + length] = bytes(length)
        elif kind == "trim":
            handle.trim(length, offset)
            # The protocol leaves open what is read then; the appliance promises zeros.
            disk[offset : offset + length] = bytes(length)
        else:
            expect(bytes(handle.pread(length, offset)), bytes(disk[offset : offset + length]), f"read {step} at {offset}")
    expect(bytes(handle.pread(size, 0)), bytes(disk), "all of it at the end")


def overlapping(uri):
    """Requests sent without waiting for answers take effect in the order they were sent where they overlap."""
    handle = connect_empty(uri)
    size = 4 * BLOCK
    choose = random.Random(42)
    disk = bytearray(size)
    for _ in range(20):
        reads = []
        cookies = []
        for _ in range(24):
            length = choose.randrange(1, 2 * BLOCK)
            offset = choose.randrange(0, size - length)
            kind = choose.choice(["write", "write", "zero", "read"])
            if kind == "write":
                data = choose.randbytes(1) * length
                cookies.append(handle.aio_pwrite(nbd.Buffer.from_bytearray(bytearray(data)), offset))
                disk[offset : offset + length] = data
            elif kind == "zero":
                cookies.append(handle.aio_zero(length, offset))
                disk[offset : offset + length] = bytes(length)
            else:
                buffer = nbd.Buffer(length)
                cookies.append(handle.aio_pread(buffer, offset))
                reads.append((offset, buffer, bytes(disk[offset : offset + length])))
        wait_for(handle, cookies)
        for offset, buffer, expected in reads:
            expect(bytes(buffer.to_bytearray()), expected, f"a read at {offset} among overlapping writes")
        expect(bytes(handle.pread(size, 0)), bytes(disk), "what overlapping writes left")


def wait_for(handle, cookies):
    open_cookies = set(cookies)
    while open_cookies:
        handle.poll(-1)
        open_cookies = {cookie for cookie in open_cookies if not handle.aio_command_completed(cookie)}


def multi_conn(uri, other_uri):
    """A flush on one connection covers the writes answered on another, and all of them see them."""
    writer, flusher, reader = connect(uri), connect(other_uri), connect(uri)
    for handle in (writer, flusher, reader):
        expect(handle.can_multi_conn(), True, "can_multi_conn")
    for step in range(50):
        data = bytes([step + 1]) * (BLOCK // 2)
        writer.pwrite(data, step * 1000)
        expect(bytes(reader.pread(len(data), step * 1000)), data, "a write answered on another connection")
        flusher.flush()
    writer.trim(BLOCK, 0)
    expect(bytes(flusher.pread(BLOCK, 0)), bytes(BLOCK), "a trim answered on another connection")


def default_export(uri, size):
    handle = connect(uri)
    expect(handle.get_size(), int(size), "the size of the default export")


def read_only(uri):
    handle = connect(uri, strict=False)
    expect(handle.is_read_only(), True, "is_read_only")
    expect(bytes(handle.pread(BLOCK, 0)), b"\x11" * BLOCK, "a read")
    refused(errno.EPERM, "a write", lambda: handle.pwrite(b"\xff" * 512, 0))
    refused(errno.EPERM, "zeroes", lambda: handle.zero(512, 0))
    refused(errno.EPERM, "a trim", lambda: handle.trim(512, 0))
    handle.flush()
    expect(bytes(handle.pread(BLOCK, 0)), b"\x11" * BLOCK, "a read after refused writes")


def past_the_end(uri):
    handle = connect(uri, strict=False)
    size = handle.get_size()
    handle.pwrite(b"\x99" * 512, size - 512)
    refused(errno.EINVAL, "a read past the end", lambda: handle.pread(1024, size - 512))
    refused(errno.ENOSPC, "a write past the end", lambda: handle.pwrite(bytes(1024), size - 512))
    refused(errno.ENOSPC, "zeroes past the end", lambda: handle.zero(1024, size - 512))
    refused(errno.EINVAL, "a trim past the end", lambda: handle.trim(1024, size - 512))
    expect(bytes(handle.pread(512, size - 512)), b"\x99" * 512, "the last sector after refused requests")


def large(uri):
    """The largest request offered, in one piece."""
    handle = connect(uri)
    length = handle.get_block_size(nbd.SIZE_MAXIMUM)
    data = random.Random(7).randbytes(length)
    handle.pwrite(data, 12345)
    expect(bytes(handle.pread(length, 12345)), data, f"{length} bytes in one request")


def extended(uri):
    """What only extended headers have; libnbd asks for them by itself from 1.18 on."""
    handle = nbd.NBD()
    handle.set_strict_mode(nbd.STRICT_MASK & ~nbd.STRICT_ALIGN)
    for context in ("base:allocation", "bucketdisk:state"):
        handle.add_meta_context(context)
    # For URIs that name files with certificates or keys.
    handle.set_uri_allow_local_file(True)
    handle.connect_uri(uri)
    expect(handle.get_extended_headers_negotiated(), True, "extended headers")
    expect(handle.can_block_status_payload(), True, "can_block_status_payload")
    size = handle.get_size()
    expect(size > 4 * 1024**3, True, "a size of over 4 GiB")
    handle.trim(size, 0)
    handle.pwrite(b"\x5c" * BLOCK, BLOCK)

    def status(names=None):
        """All of the map, neighbours joined: a server may tell less at a time than it was asked."""
        found = {}
        told = 0

        def add(context, at, entries, error):
            expect((at, error.value), (told, 0), "block status reply")
            runs = found.setdefault(context, [])
            for length, flags in entries:
                if runs and runs[-1][1] == flags:
                    runs[-1] = (runs[-1][0] + length, flags)
                else:
                    runs.append((length, flags))

        while told < size:
            if names is None:
                handle.block_status_64(size - told, told, add)
            else:
                handle.block_status_filter(size - told, told, names, add)
            told = min(sum(length for length, _ in runs) for runs in found.values())
        return found

    whole = status()
    expect(sorted(whole), ["base:allocation", "bucketdisk:state"], "contexts")
    for context, entries in whole.items():
        expect(sum(length for length, _ in entries), size, f"the length that {context} covers")
    expect(0 in [flags for _, flags in whole["base:allocation"]], True, "an allocation where something was written")
    expect(whole["base:allocation"][-1][1], HOLE_AND_ZERO, "the allocation of the rest")
    expect(whole["base:allocation"][-1][0] > 4 * 1024**3, True, "a run of over 4 GiB")
    expect(sorted(status(["bucketdisk:state"])), ["bucketdisk:state"], "the context asked for")
    expect(bytes(handle.pread(3 * BLOCK, 0)), bytes(BLOCK) + b"\x5c" * BLOCK + bytes(BLOCK), "what was written")
    handle.cache(size, 0)
    handle.zero(size - 4096, 4096)
    expect([flags for _, flags in status()["base:allocation"]], [HOLE_AND_ZERO], "the map after zeroing all")
    handle.set_strict_mode(0)
    refused(errno.EINVAL, "a read past the end", lambda: handle.pread(1024, size - 512))
    refused(errno.ENOSPC, "zeroes past the end", lambda: handle.zero(size, 512))
    handle.flush()


CHECKS = {
    check.__name__: check
    for check in (
        fua,
        df,
        zeroes,
        trims,
        cache,
        block_status,
        unaligned,
        overlapping,
        multi_conn,
        default_export,
        read_only,
        past_the_end,
        large,
        extended,
    )
}

if __name__ == "__main__":
    CHECKS[sys.argv[1]](*sys.argv[2:])
