// Starts the worker's program. It registers its listener when it runs; until then the page
// holds its messages back (see src/link.rs). A failed start is reported, so that it reaches
// the page as the worker's `error` event: a rejected module would be silent there.

const version = new URL(import.meta.url).searchParams.get("v");
const query = version ? `?v=${version}` : "";

try {
  const program = await import(`./sim.js${query}`);
  await program.default({ module_or_path: new URL(`sim_bg.wasm${query}`, import.meta.url) });
} catch (error) {
  reportError(error);
}
