// BLAKE3 (its specification, sections 2.2 to 2.5), unkeyed, for tests that make snapshots
// which are whole and all the same not to be had.
const IV = [0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19];
const PERMUTATION = [2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8];
const FLAG = { start: 1, end: 2, parent: 4, root: 8 };
const BLOCK = 64;
const CHUNK = 1024;

/** What is left to compress of a chunk or a parent: as the root it has one flag more. */
type Node = { key: number[]; words: number[]; counter: number; length: number; flags: number };

export function blake3(bytes: Buffer): Buffer {
  const root = tree(bytes, 0);
  const words = compress({ ...root, flags: root.flags | FLAG.root });
  const hash = Buffer.alloc(32);
  words.forEach((word, index) => hash.writeUInt32LE(word >>> 0, 4 * index));
  return hash;
}

function tree(bytes: Buffer, counter: number): Node {
  if (bytes.length <= CHUNK) return chunk(bytes, counter);
  // The left part has as many chunks as a power of two can, and leaves one at least.
  let left = CHUNK;
  while (2 * left < bytes.length) left *= 2;
  const words = [bytes.subarray(0, left), bytes.subarray(left)].flatMap((half, side) => compress(tree(half, counter + (side * left) / CHUNK)));
  return { key: IV, words, counter: 0, length: BLOCK, flags: FLAG.parent };
}

function chunk(bytes: Buffer, counter: number): Node {
  let key = IV;
  for (let at = 0; ; at += BLOCK) {
    const length = Math.min(BLOCK, bytes.length - at);
    const block = Buffer.alloc(BLOCK);
    bytes.copy(block, 0, at, at + length);
    const words = Array.from({ length: 16 }, (_, index) => block.readUInt32LE(4 * index));
    const last = at + BLOCK >= bytes.length;
    const node = { key, words, counter, length, flags: (at === 0 ? FLAG.start : 0) | (last ? FLAG.end : 0) };
    if (last) return node;
    key = compress(node);
  }
}

function compress({ key, words, counter, length, flags }: Node): number[] {
  // The counter of what a test hashes has no upper half.
  const v = [...key, ...IV.slice(0, 4), counter, 0, length, flags];
  const mix = (a: number, b: number, c: number, d: number, x: number, y: number) => {
    v[a] = (v[a]! + v[b]! + x) | 0;
    v[d] = turn(v[d]! ^ v[a]!, 16);
    v[c] = (v[c]! + v[d]!) | 0;
    v[b] = turn(v[b]! ^ v[c]!, 12);
    v[a] = (v[a]! + v[b]! + y) | 0;
    v[d] = turn(v[d]! ^ v[a]!, 8);
    v[c] = (v[c]! + v[d]!) | 0;
    v[b] = turn(v[b]! ^ v[c]!, 7);
  };
  let m = words;
  for (let round = 0; round < 7; round++) {
    for (let column = 0; column < 4; column++) mix(column, column + 4, column + 8, column + 12, m[2 * column]!, m[2 * column + 1]!);
    for (let side = 0; side < 4; side++) mix(side, ((side + 1) % 4) + 4, ((side + 2) % 4) + 8, ((side + 3) % 4) + 12, m[2 * side + 8]!, m[2 * side + 9]!);
    m = PERMUTATION.map((from) => m[from]!);
  }
  return v.slice(0, 8).map((word, index) => word ^ v[index + 8]!);
}

const turn = (word: number, by: number) => (word >>> by) | (word << (32 - by));
