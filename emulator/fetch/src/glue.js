// The JavaScript side of fetching: promises of the Cache API, streams and timers, which are
// shorter here than in Rust. Decisions are made in Rust, but for how often to try.

const TRIES = 3; // a flaky network gets this many before a person is asked
const BACKOFF_MS = 300; // doubled after each try
const SILENCE_MS = 20_000; // from a server or a cache that says nothing for so long nothing comes

/** The kept copy of a file, or undefined. Browsers without a cache storage have none. */
export async function kept(cacheName, url) {
  const silence = new Promise((_, fail) => setTimeout(fail, SILENCE_MS));
  const copy = async () => {
    const cache = await caches.open(cacheName);
    const response = await cache.match(url);
    return response && new Uint8Array(await response.arrayBuffer());
  };
  try {
    return await Promise.race([copy(), silence]);
  } catch {
    return undefined;
  }
}

/** Keeps a copy of a file for the next visit. Losing it costs a download, no more. */
export async function keep(cacheName, url, bytes) {
  try {
    const cache = await caches.open(cacheName);
    await cache.put(url, new Response(bytes, { headers: { "Content-Type": "application/octet-stream" } }));
  } catch {
    // A full disk or a browser without a cache storage.
  }
}

/**
 * Fetches a file; `arrived` hears of each piece's size. `mode` is the cache mode of fetch.
 * Throws an Error with `status` when the server answers with an error.
 */
export async function download(url, mode, arrived) {
  for (let attempt = 1; ; attempt++) {
    try {
      return await downloadOnce(url, mode, arrived);
    } catch (error) {
      const hopeless = error.status && error.status < 500;
      if (hopeless || attempt === TRIES) throw error;
      await new Promise((wake) => setTimeout(wake, BACKOFF_MS * 2 ** (attempt - 1)));
    }
  }
}

async function downloadOnce(url, mode, arrived) {
  const silence = new AbortController();
  let timer;
  const alive = () => {
    clearTimeout(timer);
    timer = setTimeout(() => silence.abort(new Error(`nothing came for ${SILENCE_MS / 1000} s`)), SILENCE_MS);
  };
  alive();
  try {
    return await read(await fetch(url, { cache: mode, signal: silence.signal }), (bytes) => (alive(), arrived(bytes)));
  } finally {
    clearTimeout(timer);
  }
}

async function read(response, arrived) {
  if (!response.ok) {
    throw Object.assign(new Error(`the server answered ${response.status}`), { status: response.status });
  }
  const pieces = [];
  let length = 0;
  const reader = response.body.getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    pieces.push(value);
    length += value.length;
    arrived(value.length);
  }
  const bytes = new Uint8Array(length);
  let offset = 0;
  for (const piece of pieces) {
    bytes.set(piece, offset);
    offset += piece.length;
  }
  return bytes;
}
