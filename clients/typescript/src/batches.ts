/**
 * Submissions in batches, each of which is stored as a whole or not at all.
 *
 * The service accepts streams, too. But after a stream broke off, the client cannot know what was
 * stored, and browsers cannot send a stream over HTTP/1.1. A batch has a key, so it can be sent
 * again.
 */

import { type Call, submission } from "./calls.js";
import { BadRequest, Conflict, problemWith, Rejected, TooLarge, Unprocessable } from "./errors.js";
import type { Answer } from "./incoming.js";
import { documentOfItem, type Item } from "./options.js";
import type { FieldError, Task } from "./schemas.js";
import type { RequestSettings } from "./timing.js";
import type { Transport } from "./transport.js";

/** The path that arrays of tasks are submitted to. */
export const BATCH_PATH = "/tasks/batch";

/** The path of versions that have no path of its own for arrays. */
const OLDER_PATH = "/tasks";
const NO_ROUTE = ["/problems/not-found", "/problems/method-not-allowed"];

/** Submit an array; during an upgrade, the node that answers may be of an older version. */
export async function askForBatch(
  transport: Transport,
  call: Call,
  settings: RequestSettings | undefined,
): Promise<Answer> {
  try {
    return await transport.ask(call, settings);
  } catch (error) {
    if (!(error instanceof Rejected && NO_ROUTE.includes(error.type))) throw error;
    return transport.ask({ ...call, path: OLDER_PATH }, settings);
  }
}

/** Maximum number of tasks in a batch. */
export const MAX_BATCH_TASKS = 500;
const MAX_BATCH_CHARACTERS = 256 * 2 ** 10;

/** The result of one submission of many: either a task or an error. */
export type Submitted =
  | { readonly index: number; readonly task: Task; readonly error: null }
  | { readonly index: number; readonly task: null; readonly error: Rejected };

type Document = readonly [index: number, json: string];

/** Some of the tasks. */
export class Batch {
  readonly #documents: Document[];
  readonly #key = crypto.randomUUID();
  #size: number;

  constructor(documents: readonly Document[] = []) {
    this.#documents = [...documents];
    this.#size = documents.reduce((sum, [, json]) => sum + json.length, 0);
  }

  get length(): number {
    return this.#documents.length;
  }

  /** Add a task. */
  add(index: number, item: Item): void {
    const json = documentOfItem(item);
    this.#documents.push([index, json]);
    this.#size += json.length;
  }

  /** Return whether it is large enough for a request. */
  isFull(maximum: number): boolean {
    return this.length >= maximum || this.#size >= MAX_BATCH_CHARACTERS;
  }

  /** Return the request that submits the tasks; always the same one. */
  call(): Call {
    return submission(BATCH_PATH, `[${this.#documents.map(([, json]) => json).join()}]`, this.#key);
  }

  /** Return the results if all tasks were stored. */
  submitted(tasks: readonly Task[]): Submitted[] {
    return this.#documents.flatMap(([index], place) => {
      const task = tasks[place];
      return task ? [{ index, task, error: null }] : [];
    });
  }

  /** Return the results of invalid tasks, and the others, which are to be sent again. */
  sortedOut(error: Rejected): [rejected: Submitted[], rest: Batch[]] {
    const invalid = byPlace(error);
    if (this.length === 1 && isOfOneTask(error)) {
      const errors = [...invalid.values()].flat();
      return [this.#rejected(error, new Map([[0, errors.length ? errors : error.errors]])), []];
    }
    if (error instanceof TooLarge) {
      const half = Math.floor(this.length / 2);
      return [[], [new Batch(this.#documents.slice(0, half)), new Batch(this.#documents.slice(half))]];
    }
    if (!invalid.size) throw error;
    const rest = this.#documents.filter((_, place) => !invalid.has(place));
    return [this.#rejected(error, invalid), rest.length ? [new Batch(rest)] : []];
  }

  #rejected(error: Rejected, invalid: ReadonlyMap<number, readonly FieldError[]>): Submitted[] {
    return this.#documents.flatMap(([index], place) => {
      const errors = invalid.get(place);
      return errors ? [{ index, task: null, error: alone(error, errors) }] : [];
    });
  }
}

function isOfOneTask(error: Rejected): boolean {
  return [BadRequest, Conflict, TooLarge, Unprocessable].some((kind) => error instanceof kind);
}

/** Return the errors of each task of an array, as for a single task. */
function byPlace(error: Rejected): Map<number, FieldError[]> {
  const found = new Map<number, FieldError[]>();
  for (const { pointer, detail } of error.errors) {
    const match = /^#\/([0-9]+)(.*)$/s.exec(pointer);
    if (match?.[1] === undefined) continue;
    const place = Number(match[1]);
    const prefix = `[${match[1]}]: `;
    const text = detail.startsWith(prefix) ? detail.slice(prefix.length) : detail;
    found.set(place, [...(found.get(place) ?? []), { pointer: `#${match[2]}`, detail: text }]);
  }
  return found;
}

function alone(error: Rejected, errors: readonly FieldError[]): Rejected {
  const detail = errors.map((one) => one.detail).join("; ") || error.detail;
  return problemWith({ detail, status: error.status, type: error.type, errors });
}
