// xterm.js and its addons behind one class. Everything that decides lives in Rust
// (terminal.rs); this file only turns xterm's API into few calls and callbacks.
//
// The import starts while the app's own wasm is still compiling.


const vendor = (name) => new URL(`vendor/xterm/${name}.mjs`, document.baseURI).href;
const parts = ["xterm", "addon-fit", "addon-search", "addon-web-links", "addon-serialize", "addon-unicode11"];
const loading = Promise.all(parts.map((name) => import(vendor(name))));
// Whoever awaits it reports a failure; without this line it would be reported twice.
loading.catch(() => {});

/** Lines kept above the screen. */
const SCROLLBACK = 10_000;
/** Lines above the screen that are saved with it: as many as have room, in this order. */
const SAVED_SCROLLBACK = [1_000, 100, 0];
/** SCREEN_LIMIT of emulator/protocol/src/flow.rs, in bytes. */
const SAVED_LIMIT = 1 << 20;
/** A resize is over when nothing has moved for this long, in milliseconds. */
const RESIZE_REST = 50;
/** Of the font's own. Rows hide what sticks out, and at some sizes that is the underscore. */
const LINE_HEIGHT = 1.1;
/** WCAG AA for text; xterm mends a guest's own poor choice of colours with it. */
const MINIMUM_CONTRAST = 4.5;
/** Most that a guest may put on the clipboard (OSC 52), in base64 characters. */
const CLIPBOARD_LIMIT = 1 << 20;
/** Links of other schemes are not offered: a guest's text could start programs with them. */
const LINK_SCHEMES = ["http:", "https:", "mailto:"];

/** WebGL without a graphics processor is slower than the DOM, and blocks the page. */
const SOFTWARE_RENDERER = /swiftshader|llvmpipe|softpipe|software|basic render/i;

const COLOURS = [
  "background", "foreground", "cursor", "cursorAccent", "selectionBackground", "overviewRulerBorder",
  "black", "red", "green", "yellow", "blue", "magenta", "cyan", "white",
  "brightBlack", "brightRed", "brightGreen", "brightYellow", "brightBlue",
  "brightMagenta", "brightCyan", "brightWhite",
];

/** Reads colours of style/tokens.css, as #rrggbb or #rrggbbaa, in the page's theme. */
function colours(names) {
  const probe = document.body.appendChild(document.createElement("span"));
  const hex = (name) => {
    probe.style.color = `var(--term-${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)})`;
    const [red, green, blue, alpha = 1] = getComputedStyle(probe).color.match(/[\d.]+/g).map(Number);
    const parts = alpha < 1 ? [red, green, blue, Math.round(alpha * 255)] : [red, green, blue];
    return `#${parts.map((part) => part.toString(16).padStart(2, "0")).join("")}`;
  };
  const found = Object.fromEntries(names.map((name) => [name, hex(name)]));
  probe.remove();
  return found;
}

function searchColours() {
  const { match, matchActive } = colours(["match", "matchActive"]);
  return {
    matchBackground: match,
    matchOverviewRuler: match,
    activeMatchBackground: matchActive,
    activeMatchColorOverviewRuler: matchActive,
  };
}

const isSafeLink = (uri) => {
  try {
    return LINK_SCHEMES.includes(new URL(uri).protocol);
  } catch {
    return false;
  }
};

export class Screen {
  /**
   * Opens a terminal inside of `host`.
   * `on` has: input(Uint8Array), resize(columns, rows), parsed(count, generation),
   * link(uri), search(), leave(), matches(index, count), copied(length), modifiersUsed().
   */
  static async open(host, fontSize, screenReader, on, history) {
    const modules = await loading;
    return new Screen(host, fontSize, screenReader, on, history, Object.assign({}, ...modules));
  }

  constructor(host, fontSize, screenReader, on, history, xterm) {
    this.on = on;
    this.host = host;
    this.history = history;
    this.encoder = new TextEncoder();
    this.modifiers = { ctrl: false, alt: false };
    this.parsed = new Map();
    const open = (_, uri) => isSafeLink(uri) && on.link(uri);
    this.terminal = new xterm.Terminal({
      allowProposedApi: true, // unicode versions and search decorations
      cursorBlink: !matchMedia("(prefers-reduced-motion: reduce)").matches,
      fontFamily: getComputedStyle(document.documentElement).getPropertyValue("--font-mono").trim(),
      fontSize,
      lineHeight: LINE_HEIGHT,
      linkHandler: { activate: open, allowNonHttpProtocols: true },
      macOptionIsMeta: true,
      minimumContrastRatio: MINIMUM_CONTRAST,
      overviewRuler: { width: 12 },
      screenReaderMode: screenReader,
      scrollback: SCROLLBACK,
      theme: colours(COLOURS),
    });
    this.fit = new xterm.FitAddon();
    this.search = new xterm.SearchAddon();
    this.serializer = new xterm.SerializeAddon();
    const unicode = new xterm.Unicode11Addon();
    for (const addon of [this.fit, this.search, this.serializer, unicode, new xterm.WebLinksAddon(open)]) {
      this.terminal.loadAddon(addon);
    }
    this.terminal.unicode.activeVersion = "11";
    this.terminal.open(host);
    this.#label();
    this.#connect();
    this.#measure();
    this.#accelerate();
  }

  #label() {
    const area = this.terminal.textarea;
    area.setAttribute("aria-label", "Terminal");
    area.setAttribute("aria-description", "Tab is typed into the machine. Press Shift+F6 to leave the terminal.");
  }

  #connect() {
    const { terminal, on } = this;
    terminal.onData((text) => this.#typed(text));
    terminal.onBinary((text) => on.input(Uint8Array.from(text, (letter) => letter.charCodeAt(0))));
    terminal.onResize(({ cols, rows }) => {
      this.history.forget(); // lines wrap anew
      on.resize(cols, rows);
    });
    this.search.onDidChangeResults(({ resultIndex, resultCount }) => on.matches(resultIndex, resultCount));
    terminal.attachCustomKeyEventHandler((event) => this.#key(event));
    // A guest may put text on the clipboard but never learn what is there: a question
    // ("?") gets no answer.
    terminal.parser.registerOscHandler(52, (data) => {
      const text = data.slice(data.indexOf(";") + 1);
      if (text !== "?" && text.length <= CLIPBOARD_LIMIT) this.#clip(text);
      return true;
    });
  }

  async #clip(base64) {
    try {
      const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
      const text = new TextDecoder().decode(bytes);
      await navigator.clipboard.writeText(text);
      this.on.copied(text.length);
    } catch {
      // Not base64, or the browser wants a person's gesture first: nothing was copied.
    }
  }

  /** Follows the size of the host. */
  #measure() {
    let timer;
    const fit = () => {
      // A hidden terminal has no size and keeps the one it had.
      if (this.host.clientWidth > 0 && this.host.clientHeight > 0) this.fit.fit();
    };
    this.observer = new ResizeObserver(() => {
      clearTimeout(timer);
      timer = setTimeout(fit, RESIZE_REST);
    });
    this.observer.observe(this.host);
    fit();
    this.on.resize(this.terminal.cols, this.terminal.rows);
  }

  /** Draws on the graphics processor where there is a real one; otherwise the DOM does. */
  async #accelerate() {
    const canvas = document.createElement("canvas");
    const context = canvas.getContext("webgl2", { failIfMajorPerformanceCaveat: true });
    const info = context?.getExtension("WEBGL_debug_renderer_info");
    const renderer = info ? context.getParameter(info.UNMASKED_RENDERER_WEBGL) : "";
    context?.getExtension("WEBGL_lose_context")?.loseContext();
    if (!context || SOFTWARE_RENDERER.test(renderer)) return;
    try {
      const { WebglAddon } = await import(vendor("addon-webgl"));
      const addon = new WebglAddon();
      addon.onContextLoss(() => addon.dispose());
      this.terminal.loadAddon(addon);
    } catch (error) {
      console.warn("The terminal draws without WebGL:", error);
    }
  }

  #key(event) {
    if (event.type !== "keydown") return true;
    const chord = event.ctrlKey && event.shiftKey && !event.altKey;
    const leave = (event.shiftKey && !event.ctrlKey && event.key === "F6") || (chord && event.key === "Escape");
    if (leave) {
      event.preventDefault();
      this.on.leave();
      return false;
    }
    if (chord && event.code === "KeyF") {
      event.preventDefault();
      this.on.search();
      return false;
    }
    if (chord && event.code === "KeyC") {
      event.preventDefault();
      this.copy();
      return false;
    }
    // The browser's own paste follows, which xterm brackets.
    return !(chord && event.code === "KeyV");
  }

  #typed(text) {
    const { ctrl, alt } = this.modifiers;
    if (ctrl || alt) {
      this.modifiers = { ctrl: false, alt: false };
      this.on.modifiersUsed();
      if (ctrl && text.length === 1) text = String.fromCharCode(text.toUpperCase().charCodeAt(0) & 0x1f);
      if (alt) text = `\x1b${text}`;
    }
    this.on.input(this.encoder.encode(text));
  }

  /** Shows bytes; many small answers become one for each of xterm's parsing tasks. */
  write(bytes, generation) {
    this.terminal.write(bytes, () => {
      if (this.parsed.size === 0) queueMicrotask(() => this.#acknowledge());
      this.parsed.set(generation, (this.parsed.get(generation) ?? 0) + bytes.length);
    });
  }

  #acknowledge() {
    const parsed = [...this.parsed];
    this.parsed.clear();
    for (const [generation, count] of parsed) this.on.parsed(count, generation);
  }

  /** Forgets everything, in the order of the stream: earlier bytes may not be parsed yet. */
  clear() {
    this.terminal.write("\x1bc");
  }

  /** Screen and scrollback as text: wrapped lines joined, trailing blanks trimmed. */
  text() {
    return this.history.text(this.terminal);
  }

  /** Shows text that no machine has printed. */
  paint(text) {
    this.terminal.write(text);
  }

  /** Calls back when all that was written before is parsed: see `capture` in xterm.rs. */
  capture(done) {
    this.terminal.write("", () => done(this.#drawing(), this.#rows()));
  }

  /** Screen, and as much of what was above it as has room, as a stream that draws it again. */
  #drawing() {
    for (const scrollback of SAVED_SCROLLBACK) {
      const drawing = this.serializer.serialize({ scrollback });
      if (this.encoder.encode(drawing).length <= SAVED_LIMIT) return drawing;
    }
    return "";
  }

  /** The rows on the screen as plain text. */
  #rows() {
    const { active } = this.terminal.buffer;
    const rows = Array.from({ length: this.terminal.rows }, (_, row) =>
      active.getLine(active.baseY + row)?.translateToString(true) ?? "",
    );
    return rows.join("\n").trimEnd();
  }

  configure(fontSize, screenReader) {
    this.terminal.options.fontSize = fontSize;
    this.terminal.options.screenReaderMode = screenReader;
    if (this.host.clientWidth > 0) this.fit.fit();
  }

  recolour() {
    this.terminal.options.theme = colours(COLOURS);
  }

  focus() {
    this.terminal.focus();
  }

  copy() {
    const text = this.terminal.getSelection();
    // Without permission nothing is copied; the browser's own menu still can.
    if (text) navigator.clipboard?.writeText(text).catch(() => {});
  }

  find(term, backwards, incremental) {
    const options = { incremental, decorations: searchColours() };
    return backwards ? this.search.findPrevious(term, options) : this.search.findNext(term, options);
  }

  endSearch() {
    this.search.clearDecorations();
    this.terminal.clearSelection();
  }

  /** Holds Ctrl or Alt for the next key, as a key bar does. */
  hold(ctrl, alt) {
    this.modifiers = { ctrl, alt };
  }

  /** Types a key of the key bar: a text, or an arrow by its final letter (A, B, C, D). */
  press(text, arrow) {
    const { ctrl, alt } = this.modifiers;
    if (!arrow) return this.#typed(text);
    this.modifiers = { ctrl: false, alt: false };
    if (ctrl || alt) {
      this.on.modifiersUsed();
      text = `\x1b[1;${1 + (alt ? 2 : 0) + (ctrl ? 4 : 0)}${arrow}`;
    } else {
      text = (this.terminal.modes.applicationCursorKeysMode ? "\x1bO" : "\x1b[") + arrow;
    }
    this.on.input(this.encoder.encode(text));
  }
}
