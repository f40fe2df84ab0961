/** Sizes, durations and rates: round trips, and refusals that name the right spelling. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { isStorageError } from '../../../src/lib/errors.ts';
import {
  approximateDuration,
  approximateSize,
  formatDuration,
  formatRate,
  formatSize,
  parseDuration,
  parseRate,
  parseSize,
} from '../../../src/lib/units.ts';

/** The message with which `parse` refuses `text`. */
function refusal(parse: (text: string) => number, text: string): string {
  try {
    parse(text);
  } catch (error) {
    assert.ok(isStorageError(error, 'INVALID'));
    return error.message;
  }
  assert.fail(`${text} was accepted`);
}

const wholeNumber = fc.oneof(
  fc.nat(),
  fc.maxSafeNat(),
  fc.tuple(fc.nat(1023), fc.constantFrom(1, 2 ** 10, 2 ** 20, 2 ** 30, 2 ** 40)).map(([count, unit]) => count * unit),
);

describe('units', () => {
  it('reads what it wrote, exactly', () => {
    fc.assert(
      fc.property(wholeNumber, (value) => {
        assert.equal(parseSize(formatSize(value)), value);
        assert.equal(parseDuration(formatDuration(value)), value);
        assert.equal(parseRate(formatRate(value)), value);
      }),
    );
  });

  it('never takes a number it cannot hold exactly', () => {
    fc.assert(
      fc.property(fc.bigInt({ min: 0n, max: 2n ** 80n }), fc.constantFrom('B', 'KiB', 'TiB', 'PiB'), (count, unit) => {
        const factor = { B: 1n, KiB: 1n << 10n, TiB: 1n << 40n, PiB: 1n << 50n }[unit];
        const exact = count * factor;
        if (exact <= BigInt(Number.MAX_SAFE_INTEGER)) assert.equal(BigInt(parseSize(`${count}${unit}`)), exact);
        else refusal(parseSize, `${count}${unit}`);
      }),
    );
  });

  it('reads every unit', () => {
    assert.equal(parseSize('512B'), 512);
    assert.equal(parseSize('512KiB'), 524_288);
    assert.equal(parseSize('1TiB'), 1_099_511_627_776);
    assert.equal(parseSize('0'), 0);
    assert.equal(parseDuration('500ms'), 500);
    assert.equal(parseDuration('30s'), 30_000);
    assert.equal(parseDuration('5m'), 300_000);
    assert.equal(parseDuration('2h'), 7_200_000);
    assert.equal(parseRate('10MiB/s'), 10_485_760);
  });

  it('refuses other spellings and names the right one', () => {
    const cases: [(text: string) => number, string, string][] = [
      [parseSize, '4096', 'write "4KiB" for bytes'],
      [parseSize, '100', 'write "100B" for bytes'],
      [parseSize, '1g', 'write "1GiB"'],
      [parseSize, '10GB', 'write "10GiB"'],
      [parseSize, '10gib', 'write "10GiB"'],
      [parseSize, '10 GiB', 'write "10GiB"'],
      [parseSize, '1.5TiB', 'write "1536GiB"'],
      [parseSize, '-1GiB', 'such as "10GiB"'],
      [parseSize, '1e3', 'such as "10GiB"'],
      [parseSize, '', 'such as "10GiB"'],
      [parseSize, '9999PiB', 'too large'],
      [parseDuration, '30', 'write "30s" for seconds, or "30ms" for milliseconds'],
      [parseDuration, '5min', 'write "5m"'],
      [parseDuration, '1.5h', 'write "90m"'],
      [parseRate, '10MiB', 'write "10MiB/s"'],
      [parseRate, '10mbps', 'write "10MiB/s"'],
      [parseRate, '1000', 'write "1000B/s" for bytes per second'],
    ];
    for (const [parse, text, expected] of cases)
      assert.ok(refusal(parse, text).includes(expected), `${text}: ${expected}`);
  });

  it('rounds for people', () => {
    assert.equal(approximateSize(0), '0 B');
    assert.equal(approximateSize(1_500_000_000), '1.4 GiB');
    assert.equal(approximateSize(1024 ** 2 - 1), '1 MiB');
    assert.equal(approximateDuration(59_999), '59 s');
    assert.equal(approximateDuration(90_061_000), '1 d 1 h');
    assert.equal(approximateDuration(12), '12 ms');
  });
});
