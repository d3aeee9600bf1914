/** Responses: as they arrive, and as a whole. */

import { nextPageOf, type Parameter } from "./calls.js";
import { mapped, notOfTaskFlow, unreachable } from "./connection-errors.js";

const MAX_TIMER_SECONDS = 2 ** 31 / 1000 - 1;

/** A whole response. */
export class Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly bytes: Uint8Array;

  constructor(status: number, headers: Headers, bytes: Uint8Array) {
    this.status = status;
    this.headers = headers;
    this.bytes = bytes;
  }

  /** The body as text. */
  get text(): string {
    return new TextDecoder().decode(this.bytes);
  }

  /** The query of the next page, if there may be one. */
  get nextPage(): Parameter[] | null {
    return nextPageOf(this.headers.get("link"));
  }

  /**
   * Return the JSON body, which is an object. Its type is what the document of the API says.
   *
   * @param names Fields without which it is not one of TaskFlow.
   */
  read<T extends object>(...names: readonly (keyof T & string)[]): T {
    const found = this.#json();
    if (!isObject(found)) throw notOfTaskFlow("it is not an object");
    const missing = names.find((name) => !Object.hasOwn(found, name));
    if (missing !== undefined) throw notOfTaskFlow(`it has no ${missing}`);
    return found as T;
  }

  /** Return the JSON body, which is an array. */
  readAll<T extends object>(): T[] {
    const found = this.#json();
    if (!Array.isArray(found)) throw notOfTaskFlow("it is not an array");
    if (!found.every(isObject)) throw notOfTaskFlow("an element is not an object");
    return found as T[];
  }

  #json(): unknown {
    try {
      return JSON.parse(this.text) as unknown;
    } catch (error) {
      throw notOfTaskFlow(error);
    }
  }
}

/** A response as it arrives. */
export class Incoming {
  readonly status: number;
  /** How long the next part may take. */
  stepSeconds: number;
  readonly #headers: Headers;
  readonly #abort: Abort;
  readonly #reader: ReadableStreamDefaultReader<Uint8Array> | undefined;

  constructor(response: Response, abort: Abort, stepSeconds: number) {
    this.status = response.status;
    this.stepSeconds = stepSeconds;
    this.#headers = response.headers;
    this.#abort = abort;
    this.#reader = response.body?.getReader();
  }

  /** Return the next part; null at the end. */
  async next(): Promise<Uint8Array | null> {
    const reader = this.#reader;
    if (reader === undefined) return null;
    const part = await this.#abort.within(this.stepSeconds, () => reader.read());
    return part.value ?? null;
  }

  /** Return the whole response. */
  async whole(): Promise<Answer> {
    const parts: Uint8Array[] = [];
    try {
      for (let part = await this.next(); part !== null; part = await this.next()) parts.push(part);
    } finally {
      this.close();
    }
    return new Answer(this.status, this.#headers, joined(parts));
  }

  /** Read no more. */
  close(): void {
    this.#abort.end();
  }
}

/** Ends one request: when the caller aborts it, when a step takes too long, or when it is over. */
export class Abort {
  readonly #controller = new AbortController();
  readonly #outer: AbortSignal | undefined;
  readonly #forward = (): void => this.#controller.abort(this.#outer?.reason);

  constructor(outer: AbortSignal | undefined) {
    outer?.throwIfAborted();
    this.#outer = outer;
    outer?.addEventListener("abort", this.#forward);
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** Wait for a step, at most for a time. Errors of `fetch` become errors of the client. */
  async within<T>(seconds: number, step: () => Promise<T>): Promise<T> {
    let isLate = false;
    const timer = setTimeout(
      () => {
        isLate = true;
        this.#controller.abort();
      },
      Math.min(seconds, MAX_TIMER_SECONDS) * 1000,
    );
    try {
      return await step();
    } catch (error) {
      this.#outer?.throwIfAborted();
      throw isLate ? unreachable("timed out", error, true) : mapped(error);
    } finally {
      clearTimeout(timer);
    }
  }

  end(): void {
    this.#outer?.removeEventListener("abort", this.#forward);
    this.#controller.abort();
  }
}

function isObject(value: unknown): value is object {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function joined(parts: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let place = 0;
  for (const part of parts) {
    whole.set(part, place);
    place += part.length;
  }
  return whole;
}
