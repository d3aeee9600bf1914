/** What is submitted, and which tasks are meant: options and filters. */

import { asObject, known, misplaced, type Names } from "./arguments.js";
import { checkDate, jsonOf, type Parameter, shown } from "./calls.js";
import { InvalidArgument } from "./errors.js";
import type { BulkRequest, TaskRequest, TaskState, TaskStatus } from "./schemas.js";

/** A URL to fetch, a whole request as an object, or any other JSON except null. */
export type Payload = TaskRequest["payload"];

/** A time: a `Date`, or text as RFC 3339. */
export type Moment = Date | string;

type Moments = "run_at" | "expires_at";

/** The options of a task: the fields beside `payload` in `POST /tasks`. */
export type TaskOptions = Omit<TaskRequest, "payload" | Moments> & {
  [name in Moments]?: Moment | null;
};

type FilterMoments = "created_after" | "created_before" | "finished_after" | "finished_before";

/** The filters of tasks; a task must match all of them. */
export type Filters = Omit<BulkRequest, "all" | "dry_run" | "status" | "state" | FilterMoments> & {
  status?: TaskStatus | readonly TaskStatus[];
  state?: TaskState | readonly TaskState[];
} & { [name in FilterMoments]?: Moment };

const FILTERS: Names<Filters> = {
  queue: true,
  host: true,
  error_type: true,
  created_after: true,
  created_before: true,
  finished_after: true,
  finished_before: true,
  url_contains: true,
  id_prefix: true,
  order_key: true,
  group: true,
  parent: true,
  failure: true,
  status: true,
  state: true,
  tags: true,
};
// They concern the call, not the task.
const SETTINGS = ["idempotencyKey", "waitSeconds", "signal"];

/** A task among several that are submitted together. */
export class Submission {
  /** Its JSON. */
  readonly document: string;

  constructor(payload: Payload, options: TaskOptions = {}) {
    this.document = documentOf(payload, options);
  }
}

/** A payload, or a `Submission` for a task with options. */
export type Item = Payload | Submission;

/** Return the JSON of a task. */
export function documentOf(payload: Payload, options: TaskOptions = {}): string {
  asObject("options", options);
  for (const name of SETTINGS) if (name in options) throw misplaced(name);
  if ("payload" in options) throw new InvalidArgument("options must not have a payload");
  if (payload === undefined) throw new InvalidArgument("the payload is undefined");
  return jsonOf({ ...options, payload });
}

/** Return the JSON of a `Submission`, or of a payload alone. */
export function documentOfItem(item: Item): string {
  return item instanceof Submission ? item.document : documentOf(item);
}

/** Return an item as a value for a larger document. */
export function valueOfItem(item: Item): object {
  return JSON.parse(documentOfItem(item)) as object;
}

/**
 * Return the parameters of a query for filters.
 *
 * @param next The names of the next argument of the call.
 */
export function queryOf(filters: Filters, next: readonly string[] = []): Parameter[] {
  return Object.entries(known("filter", filters, FILTERS, next)).flatMap(([name, value]): Parameter[] => {
    if (value === undefined) return [];
    if (name === "tags") return tagQuery(value as NonNullable<Filters["tags"]>);
    return [[name, textOfValue(name, value)]];
  });
}

/** Return the parameters of a query for tags. */
export function tagQuery(tags: NonNullable<Filters["tags"]>): Parameter[] {
  return Object.entries(asObject("tags", tags)).map(([name, value]) => ["tag", `${name}:${value}`]);
}

/** Return a time as the API accepts it. */
export function momentText(name: string, moment: Moment): string {
  checkDate(name, moment);
  return moment instanceof Date ? moment.toISOString() : moment;
}

/** Return the filters as the body of a bulk action has them. */
export function bodyOf(filters: Filters, next: readonly string[]): Record<string, unknown> {
  queryOf(filters, next); // validates them
  return { ...filters };
}

/** Return the value of a filter as a query has it. */
export function textOfValue(name: string, value: unknown): string {
  if (value instanceof Date) return momentText(name, value);
  if (typeof value === "string") return value;
  if (Array.isArray(value) && value.every((one) => typeof one === "string")) return value.join(",");
  throw new InvalidArgument(`${name} must be text, a list of texts or a Date, not ${shown(value)}`);
}
