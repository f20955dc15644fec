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
    const block = length < BLOCK ? Buffer.concat([bytes.subarray(at), Buffer.alloc(BLOCK - length)]) : bytes;
    const from = length < BLOCK ? 0 : at;
    const words = new Array<number>(16);
    for (let index = 0; index < 16; index++) words[index] = block.readInt32LE(from + 4 * index);
    const last = at + BLOCK >= bytes.length;
    const node = { key, words, counter, length, flags: (at === 0 ? FLAG.start : 0) | (last ? FLAG.end : 0) };
    if (last) return node;
    key = compress(node);
  }
}

/** Which words each round mixes in, in its order. */
const ROUNDS = [Array.from({ length: 16 }, (_, index) => index)];
while (ROUNDS.length < 7) ROUNDS.push(PERMUTATION.map((from) => ROUNDS.at(-1)![from]!));

const v = new Int32Array(16);

function compress({ key, words: m, counter, length, flags }: Node): number[] {
  v.set(key);
  v.set(IV.slice(0, 4), 8);
  // The counter of what a test hashes has no upper half.
  v.set([counter, 0, length, flags], 12);
  for (const order of ROUNDS) {
    for (let step = 0; step < 8; step++) {
      // Four columns, then four diagonals.
      const turned = step < 4 ? 0 : 1;
      const at = step & 3;
      mix(at, ((at + turned) & 3) + 4, ((at + 2 * turned) & 3) + 8, ((at + 3 * turned) & 3) + 12, m[order[2 * step]!]!, m[order[2 * step + 1]!]!);
    }
  }
  const out = new Array<number>(8);
  for (let index = 0; index < 8; index++) out[index] = v[index]! ^ v[index + 8]!;
  return out;
}

function mix(a: number, b: number, c: number, d: number, x: number, y: number): void {
  v[a] = v[a]! + v[b]! + x;
  v[d] = turn(v[d]! ^ v[a]!, 16);
  v[c] = v[c]! + v[d]!;
  v[b] = turn(v[b]! ^ v[c]!, 12);
  v[a] = v[a]! + v[b]! + y;
  v[d] = turn(v[d]! ^ v[a]!, 8);
  v[c] = v[c]! + v[d]!;
  v[b] = turn(v[b]! ^ v[c]!, 7);
}

const turn = (word: number, by: number) => (word >>> by) | (word << (32 - by));
