/**
 * The page hash as WebAssembly text: XXH3, 64 bits with seed 0, of exactly one page, of which the lower 32 bits are returned. With
 * SIMD, and where the page lies, it takes a third of the time of the xxhash-wasm library's XXH64; no library has it at that speed.
 * Source of the algorithm: https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md
 */
import { HASHED_PAGE_BYTES } from './layout.ts';

const WASM_PAGE_BYTES = 64 * 1024;
/** The default secret of the specification. */
const SECRET =
  'b8fe6c3923a44bbe7c01812cf721ad1cded46de9839097db7240a4a4b7b3671fcb79e64eccc0e578825ad07dccff7221b8084674f743248ee03590e6813a264c' +
  '3c2852bb91c300cb88d0658b1b532ea371644897a20df94e3819ef46a9deacd8a8fa763fe39c343ff9dcbbc7c70b4f1d8a51e04bcdb45931c89f7ec9d9787364' +
  'eac5ac8334d3ebc3c581a0fffa1363eb170ddd51b7f0da49d316552629d4689e2b16be587d47a1fc8ff8b8d17ad031ce45cb3a8f95160428afd7fbcabb4b407e';
const SECRET_BYTES = SECRET.length / 2;
const PRIME_32_1 = '0x9e3779b1';
const PRIME_64_1 = '0x9e3779b185ebca87';
/** Each vector has two of the eight accumulators. */
const ACCUMULATORS = [
  '0x00000000c2b2ae3d 0x9e3779b185ebca87',
  '0xc2b2ae3d27d4eb4f 0x165667b19e3779f9',
  '0x85ebca77c2b2ae63 0x0000000085ebca77',
  '0x27d4eb2f165667c5 0x000000009e3779b1',
] as const;
const STRIPE_BYTES = 64;
/** A stripe's part of the secret begins so far behind that of the one before. */
const SECRET_STEP_BYTES = 8;
/** Stripes between two scramblings use all of the secret. */
const BLOCK_STRIPES = (SECRET_BYTES - STRIPE_BYTES) / SECRET_STEP_BYTES;
const BLOCKS = HASHED_PAGE_BYTES / (STRIPE_BYTES * BLOCK_STRIPES);
/** Where the parts of the secret begin that are used at the end. */
const LAST_STRIPE_SECRET = SECRET_BYTES - STRIPE_BYTES - 7;
const MERGE_SECRET = 11;

const EVEN_LANES = '0 1 2 3 8 9 10 11 16 17 18 19 24 25 26 27';
const ODD_LANES = '4 5 6 7 12 13 14 15 20 21 22 23 28 29 30 31';
const SWAPPED_HALVES = '8 9 10 11 12 13 14 15 0 1 2 3 4 5 6 7';

/** Takes the stripe at $at in, with the secret from `secret` on. */
function accumulate(secret: string): string {
  const loads = [0, 1, 2, 3].map(
    (i) => `
    (local.set $data${i} (v128.load offset=${16 * i} (local.get $at)))
    (local.set $keyed${i} (v128.xor (local.get $data${i}) (v128.load offset=${16 * i} ${secret})))`,
  );
  // Two vectors at a time: of each 64 bits the lower half is multiplied by the upper one.
  const pairs = [0, 2].map(
    (i) => `
    (local.set $low (i8x16.shuffle ${EVEN_LANES} (local.get $keyed${i}) (local.get $keyed${i + 1})))
    (local.set $high (i8x16.shuffle ${ODD_LANES} (local.get $keyed${i}) (local.get $keyed${i + 1})))
    ${add(i, 'low')}${add(i + 1, 'high')}`,
  );
  return [...loads, ...pairs].join('');
}

function add(i: number, half: 'low' | 'high'): string {
  return `
    (local.set $acc${i} (i64x2.add (local.get $acc${i}) (i64x2.add
      (i8x16.shuffle ${SWAPPED_HALVES} (local.get $data${i}) (local.get $data${i}))
      (i64x2.extmul_${half}_i32x4_u (local.get $low) (local.get $high)))))`;
}

function scramble(): string {
  return ACCUMULATORS.map(
    (_, i) => `
      (local.set $acc${i} (i64x2.mul (local.get $prime) (v128.xor
        (v128.xor (local.get $acc${i}) (i64x2.shr_u (local.get $acc${i}) (i32.const 47)))
        (v128.load offset=${SECRET_BYTES - STRIPE_BYTES + 16 * i} (i32.const 0)))))`,
  ).join('');
}

function merge(): string {
  const half = (i: number, lane: number): string =>
    `(i64.xor (i64x2.extract_lane ${lane} (local.get $acc${i})) (i64.load offset=${MERGE_SECRET + 16 * i + 8 * lane} (i32.const 0)))`;
  return ACCUMULATORS.map(
    (_, i) => `
    (local.set $hash (i64.add (local.get $hash) (call $foldedProduct ${half(i, 0)} ${half(i, 1)})))`,
  ).join('');
}

/** For the assembler. */
export function pageHashSource(memoryBytes: number): string {
  const wasmPages = memoryBytes / WASM_PAGE_BYTES;
  const vectors = ['acc', 'data', 'keyed'].flatMap((name) => [0, 1, 2, 3].map((i) => `(local $${name}${i} v128)`));
  return `(module
  (memory (export "memory") ${wasmPages} ${wasmPages})
  (data (i32.const 0) "${SECRET.replace(/../g, '\\$&')}")

  ;; The two halves of the 128 bits of a product, XORed.
  (func $foldedProduct (param $a i64) (param $b i64) (result i64)
    (local $aLow i64) (local $aHigh i64) (local $bLow i64) (local $bHigh i64) (local $highLow i64) (local $middle i64)
    (local.set $aLow (i64.and (local.get $a) (i64.const 0xffffffff)))
    (local.set $aHigh (i64.shr_u (local.get $a) (i64.const 32)))
    (local.set $bLow (i64.and (local.get $b) (i64.const 0xffffffff)))
    (local.set $bHigh (i64.shr_u (local.get $b) (i64.const 32)))
    (local.set $highLow (i64.mul (local.get $aHigh) (local.get $bLow)))
    (local.set $middle (i64.add
      (i64.add
        (i64.shr_u (i64.mul (local.get $aLow) (local.get $bLow)) (i64.const 32))
        (i64.and (local.get $highLow) (i64.const 0xffffffff)))
      (i64.mul (local.get $aLow) (local.get $bHigh))))
    (i64.xor
      (i64.mul (local.get $a) (local.get $b))
      (i64.add
        (i64.add (i64.shr_u (local.get $highLow) (i64.const 32)) (i64.shr_u (local.get $middle) (i64.const 32)))
        (i64.mul (local.get $aHigh) (local.get $bHigh)))))

  (func (export "pageHash") (param $at i32) (result i32)
    ${vectors.join(' ')}
    (local $low v128) (local $high v128) (local $prime v128)
    (local $secret i32) (local $secretEnd i32) (local $blocks i32) (local $hash i64)
    (local.set $prime (i64x2.splat (i64.const ${PRIME_32_1})))${ACCUMULATORS.map(
      (value, i) => `
    (local.set $acc${i} (v128.const i64x2 ${value}))`,
    ).join('')}
    (local.set $blocks (i32.const ${BLOCKS}))
    (loop $nextBlock
      (local.set $blocks (i32.sub (local.get $blocks) (i32.const 1)))
      (local.set $secret (i32.const 0))
      ;; The last stripe of the page comes at the end, with a secret of its own.
      (local.set $secretEnd (select
        (i32.const ${BLOCK_STRIPES * SECRET_STEP_BYTES})
        (i32.const ${(BLOCK_STRIPES - 1) * SECRET_STEP_BYTES})
        (local.get $blocks)))
      (loop $nextStripe
        ${accumulate('(local.get $secret)')}
        (local.set $at (i32.add (local.get $at) (i32.const ${STRIPE_BYTES})))
        (local.set $secret (i32.add (local.get $secret) (i32.const ${SECRET_STEP_BYTES})))
        (br_if $nextStripe (i32.lt_u (local.get $secret) (local.get $secretEnd))))
      (if (local.get $blocks) (then
        ${scramble()}
        (br $nextBlock))))
    ${accumulate(`(i32.const ${LAST_STRIPE_SECRET})`)}
    (local.set $hash (i64.mul (i64.const ${HASHED_PAGE_BYTES}) (i64.const ${PRIME_64_1})))
    ${merge()}
    (local.set $hash (i64.mul
      (i64.xor (local.get $hash) (i64.shr_u (local.get $hash) (i64.const 37)))
      (i64.const 0x165667919e3779f9)))
    (i32.wrap_i64 (i64.xor (local.get $hash) (i64.shr_u (local.get $hash) (i64.const 32))))))`;
}
