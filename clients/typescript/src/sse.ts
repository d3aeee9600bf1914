/** Server-sent events, by the rules of the HTML standard (section 9.2.6). */

/** One event. */
export interface Message {
  /** Its kind; `message` if it does not say. */
  readonly name: string;
  readonly data: string;
  /** The id that it leads to. */
  readonly id: string | null;
}

/** Reads a stream as it arrives; a new one for each connection. */
export class Parser {
  /** The id that the client has reached, on this or an earlier connection. */
  position: string | null;
  /** How long to wait before connecting again, if the stream says so. */
  retrySeconds: number | null = null;
  #id: string | null;
  #text = "";
  #name = "";
  #data: string[] = [];
  readonly #decoder = new TextDecoder();

  constructor(position: string | null) {
    this.position = position;
    this.#id = position;
  }

  /** Return the events that are complete with these bytes. */
  feed(bytes: Uint8Array): Message[] {
    // A carriage return at the end may be half of a line end.
    const lines = (this.#text + this.#decoder.decode(bytes, { stream: true })).split(
      /\r\n|\n|\r(?!$)/,
    );
    this.#text = lines.pop() ?? "";
    return lines.flatMap((line) => this.#take(line));
  }

  #take(line: string): Message[] {
    if (line) {
      this.#field(line);
      return [];
    }
    this.position = this.#id;
    const message = { name: this.#name || "message", data: this.#data.join("\n"), id: this.#id };
    const messages = this.#data.length ? [message] : [];
    this.#name = "";
    this.#data = [];
    return messages;
  }

  #field(line: string): void {
    const [field, value] = split(line);
    if (field === "data") this.#data.push(value);
    else if (field === "event") this.#name = value;
    else if (field === "id" && /^[0-9]{1,18}$/.test(value)) this.#id = value;
    else if (field === "retry" && /^[0-9]+$/.test(value)) this.retrySeconds = Number(value) / 1000;
  }
}

function split(line: string): [field: string, value: string] {
  const colon = line.indexOf(":");
  if (colon < 0) return [line, ""];
  return [line.slice(0, colon), line.slice(colon + 1).replace(/^ /, "")];
}
