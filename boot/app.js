// Starts the app. Runs before any Rust does, so it also says in plain words when the app
// cannot start. The page's policy allows no inline script.

const version = new URL(import.meta.url).search;

/** Shows why there is no app, with what a person can do about it. */
function explain(what, todo, error) {
  const place = document.getElementById("boot") ?? document.body.appendChild(document.createElement("div"));
  place.id = "boot";
  place.setAttribute("role", "alert");
  place.replaceChildren();
  for (const text of [what, todo, error && `(${error})`]) {
    if (!text) continue;
    const line = document.createElement("p");
    line.textContent = text;
    place.append(line);
  }
}

async function start() {
  if (typeof WebAssembly !== "object" || typeof Worker !== "function") {
    explain(
      "This browser cannot run Vivarium: it has no WebAssembly or no Web Workers.",
      "Please use a current Firefox, Chrome, Edge or Safari. Some browsers switch WebAssembly off in their strictest security level.",
    );
    return;
  }
  let app;
  try {
    app = await import(`./vivarium.js${version}`);
  } catch (error) {
    explain("A part of Vivarium could not be loaded.", "Please check the connection and load the page again.", error);
    return;
  }
  try {
    await app.default({ module_or_path: new URL(`vivarium_bg.wasm${version}`, import.meta.url) });
  } catch (error) {
    const broken = error instanceof WebAssembly.CompileError || error instanceof WebAssembly.LinkError;
    explain(
      broken ? "This browser is too old for Vivarium's WebAssembly." : "Vivarium could not start.",
      broken ? "Please update the browser." : "Please load the page again. If this stays, it is a fault of ours.",
      error,
    );
    return;
  }
  document.getElementById("boot")?.remove();
}

start();
