// The terminal's text. Lines above the screen do not change any more, so they are read once:
// reading ten thousand anew would block the page for longer than a person's patience.

export class History {
  #lines = []; // { text, wraps } of the buffer's lines, from the oldest
  #last; // xterm's marker on the newest of them, which tells how many have gone since
  #buffer;

  /** Drops what is known; what is asked for next is read anew. */
  forget() {
    this.#lines = [];
    this.#last?.dispose();
    this.#last = undefined;
  }

  /** Screen and scrollback: wrapped lines joined, trailing blanks trimmed. */
  text(terminal) {
    const buffer = terminal.buffer.active;
    if (this.#buffer !== buffer.type) this.forget();
    this.#buffer = buffer.type;
    this.#trim();
    const above = this.#lines.length;
    for (let index = above; index < buffer.baseY; index++) this.#lines.push(read(buffer, index));
    if (buffer.baseY > above) this.#mark(terminal, buffer);
    const screen = [];
    for (let index = buffer.baseY; index < buffer.length; index++) screen.push(read(buffer, index));
    return join(this.#lines.concat(screen));
  }

  /** Drops the lines that the scrollback has lost at its top. */
  #trim() {
    if (this.#lines.length === 0) return;
    // A marker of a line that is gone has the number -1: then all are gone.
    const line = this.#last?.line ?? -1;
    if (line < 0) this.forget();
    else this.#lines.splice(0, this.#lines.length - 1 - line);
  }

  #mark(terminal, buffer) {
    this.#last?.dispose();
    this.#last = terminal.registerMarker(-buffer.cursorY - 1);
  }
}

function read(buffer, index) {
  const line = buffer.getLine(index);
  const goesOn = buffer.getLine(index + 1)?.isWrapped ?? false;
  // A line that goes on keeps its blanks: they are in the middle of the text.
  const text = line.translateToString(!goesOn);
  return { text: goesOn ? text : text.trimEnd(), wraps: line.isWrapped };
}

function join(lines) {
  let joined = "";
  lines.forEach(({ text, wraps }, index) => {
    joined += wraps || index === 0 ? text : `\n${text}`;
  });
  return joined.trimEnd();
}
