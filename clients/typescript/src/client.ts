/** The client of a TaskFlow service. */

import { known, type Names, REQUEST_SETTINGS, settingsOf } from "./arguments.js";
import { askForBatch, BATCH_PATH, MAX_BATCH_TASKS } from "./batches.js";
import {
  baseUrlOf,
  type Call,
  credentialsOf,
  MAX_WAIT_SECONDS,
  type Parameter,
  secondsOf,
  submission,
  waiting,
  wholeNumber,
  wholeWait,
  withId,
} from "./calls.js";
import { Alerts } from "./alerts.js";
import { ServiceConfiguration } from "./configuration.js";
import { Credentials } from "./credentials.js";
import { addressOf } from "./environment.js";
import type { EventStream } from "./events.js";
import { InvalidArgument, NotFinished, Unreachable } from "./errors.js";
import { type EventPosition, eventsOf, Groups } from "./groups.js";
import {
  documentOf,
  documentOfItem,
  type Filters,
  type Item,
  type Payload,
  queryOf,
  tagQuery,
  type TaskOptions,
} from "./options.js";
import { Queues } from "./queues.js";
import { isFinal } from "./results.js";
import { Heartbeats } from "./heartbeats.js";
import { Schedules } from "./schedules.js";
import type { AttemptRecord, Task } from "./schemas.js";
import { LineStream, PageStream, SubmittedStream } from "./streams.js";
import { TaskActions } from "./tasks.js";
import { Topics } from "./topics.js";
import { now, type RequestSettings, sleep } from "./timing.js";
import { type Fetch, Transport } from "./transport.js";

const DEFAULT_URL = "http://127.0.0.1:8080";
const TIMEOUT_SECONDS = 30;
const PAGE_TASKS = 100;
const MAX_PAGE_TASKS = 1000;
// Before another request to a service that does not wait as long as requested.
const PAUSE_SECONDS = 0.25;
// Timers can be this early.
const TIMER_SECONDS = 0.01;
// The last request of a wait, which tells the status. The service promises to respond within 5 s.
const LAST_SECONDS = 5;
const NEEDED_FIELDS = ["id", "payload", "status", "created_at", "run_at"];

/** Settings of a client. */
export interface ClientSettings {
  /** The API key, if the service requires one. */
  apiKey?: string;
  /** How long a request is retried. The time that it waits for a task is added. Default: 30. */
  timeoutSeconds?: number;
  /** A function in place of the global `fetch`, for proxies or certificates of your own. */
  fetch?: Fetch;
}

/** Settings of a submission. */
export interface SubmitSettings extends RequestSettings {
  /**
   * Calls with the same key, of up to 255 printable characters, submit one task. Default: a new key
   * for each call.
   */
  idempotencyKey?: string;
  /** How long to wait for the task to finish; at most 60, rounded up. */
  waitSeconds?: number;
}

/** The settings of a submission of several tasks. */
const SUBMIT_ALL_SETTINGS: Names<Omit<SubmitSettings, "waitSeconds">> = {
  ...REQUEST_SETTINGS,
  idempotencyKey: true,
};
const SUBMIT_SETTINGS: Names<SubmitSettings> = { ...SUBMIT_ALL_SETTINGS, waitSeconds: true };
const CLIENT_SETTINGS: Names<ClientSettings> = { apiKey: true, timeoutSeconds: true, fetch: true };

/** How tasks are listed page by page. */
type PageOptions = { page?: number } & Pick<ListOptions, "fields">;

/** Which fields of the listed tasks are loaded, and how many tasks. */
export interface ListOptions {
  /** Maximum number of tasks. */
  limit?: number;
  /** The fields to load besides those that every task has. Default: all. */
  fields?: readonly (keyof Task)[];
}

const LIST_OPTIONS: Names<ListOptions> = { limit: true, fields: true };
const PAGE_OPTIONS: Names<PageOptions> = { page: true, fields: true };

/** Which events are watched. */
export interface EventFilters extends EventPosition {
  /** Only events of tasks of this queue. */
  queue?: string;
  /** Only events of tasks with all of these tags. */
  tags?: NonNullable<Filters["tags"]>;
}

const EVENT_FILTERS: Names<EventFilters> = { after: true, queue: true, tags: true };

/** A file: the body of a response. */
export interface Download {
  /** The media type, from the target if it is plausible. */
  contentType: string;
  content: Uint8Array;
}

/**
 * A client of one service.
 *
 * Temporary errors (no connection, a 503, a 429) are retried within `timeoutSeconds` if the request
 * can be repeated: submissions have an `Idempotency-Key`. Every call may reject with a
 * `ClientError`.
 */
export class Client extends TaskActions {
  /** The queues of the service: their state and their settings. */
  readonly queues: Queues;
  /** The groups of tasks. */
  readonly groups: Groups;
  /** The topics, and the endpoints that their events are sent to. */
  readonly topics: Topics;
  /** The schedules of the service. */
  readonly schedules: Schedules;
  /** The heartbeats of jobs that the service watches. */
  readonly heartbeats: Heartbeats;
  /** The credentials of the service, without their values. */
  readonly credentials: Credentials;
  /** The alerts of the service. */
  readonly alerts: Alerts;
  /** Changes of several of these, all or nothing. */
  readonly configuration: ServiceConfiguration;

  /**
   * @param url The address of the service.
   * @throws InvalidArgument The address, the key or the time cannot be used.
   */
  constructor(url: string | URL = DEFAULT_URL, settings: ClientSettings = {}) {
    const { apiKey, timeoutSeconds = TIMEOUT_SECONDS, fetch = defaultFetch } = known(
      "setting",
      settings,
      CLIENT_SETTINGS,
    );
    const seconds = secondsOf("timeoutSeconds", timeoutSeconds, false);
    super(new Transport(baseUrlOf(url), credentialsOf(apiKey), seconds, fetch));
    this.queues = new Queues(this.transport);
    this.groups = new Groups(this.transport);
    this.topics = new Topics(this.transport);
    this.schedules = new Schedules(this.transport);
    this.heartbeats = new Heartbeats(this.transport);
    this.credentials = new Credentials(this.transport);
    this.alerts = new Alerts(this.transport);
    this.configuration = new ServiceConfiguration(this.transport);
  }

  /**
   * Return a client of the service at TASKFLOW_URL, with the API key TASKFLOW_API_KEY if set.
   *
   * @throws InvalidEnvironment TASKFLOW_URL is not set.
   */
  static fromEnvironment(settings: Omit<ClientSettings, "apiKey"> = {}): Client {
    const { url, apiKey } = addressOf();
    return new Client(url, { ...settings, ...(apiKey === undefined ? {} : { apiKey }) });
  }

  /**
   * Submit a task.
   *
   * @param payload The URL to fetch, or a whole request as an object.
   * @returns The task; if the key is known, the task of the first call in its current state.
   * @throws Unprocessable The task is invalid; `errors` has all reasons.
   * @throws Gone The key is known, and its task has been deleted.
   */
  async submit(
    payload: Payload,
    options: TaskOptions = {},
    settings: SubmitSettings = {},
  ): Promise<Task> {
    const request = settingsOf(settings, SUBMIT_SETTINGS);
    const { idempotencyKey, waitSeconds } = settings;
    const call = submission("/tasks", documentOf(payload, options), idempotencyKey, waitSeconds);
    return (await this.transport.ask(call, request)).read<Task>("id", "status");
  }

  /**
   * Submit up to 10,000 tasks in one request, all or none.
   *
   * @param items Payloads; a `Submission` for a task with options.
   */
  async submitAll(
    items: Iterable<Item>,
    settings: Omit<SubmitSettings, "waitSeconds"> = {},
  ): Promise<Task[]> {
    const request = settingsOf(settings, SUBMIT_ALL_SETTINGS);
    const body = `[${Array.from(several(items), documentOfItem).join()}]`;
    const call = submission(BATCH_PATH, body, settings.idempotencyKey);
    return (await askForBatch(this.transport, call, request)).readAll<Task>();
  }

  /**
   * Submit any number of tasks, in constant memory, and return the result of each.
   *
   * Tasks are submitted as the results are consumed. A rejected task does not stop the others. After
   * an error, iterating the same stream again submits no task twice.
   *
   * @param items Payloads; a `Submission` for a task with options.
   * @param options `atOnce` is the maximum number of tasks per request, at most 500.
   */
  submitMany(
    items: AsyncIterable<Item> | Iterable<Item>,
    options: { atOnce?: number } = {},
    settings?: RequestSettings,
  ): SubmittedStream {
    known("option", options, { atOnce: true });
    const atOnce = wholeNumber("atOnce", options.atOnce ?? MAX_BATCH_TASKS, 1);
    return new SubmittedStream(this.transport, several(items), atOnce, settings);
  }

  /**
   * Return a task.
   *
   * @throws NotFound There is no task with this id.
   */
  async get(id: string, settings?: RequestSettings): Promise<Task> {
    return (await this.transport.ask(withId("GET", "task", id), settings)).read<Task>("id", "status");
  }

  /**
   * Wait until a task is finished, and return it.
   *
   * @param options `timeoutSeconds` is how long to wait; with 0, a finished task is returned at once.
   *   Default: without limit. A service that is slow can take 5 seconds more to tell the status.
   * @throws NotFinished The task did not finish in time.
   * @throws NotFound There is no task with this id, or it was deleted.
   */
  async wait(
    id: string,
    options: { timeoutSeconds?: number } = {},
    settings: RequestSettings = {},
  ): Promise<Task> {
    const wanted = withId("GET", "task", id);
    const { timeoutSeconds = Infinity } = known("option", options, { timeoutSeconds: true });
    const deadline = now() + secondsOf("timeoutSeconds", timeoutSeconds);
    let task: Task | null = null;
    for (let sentAt = now(); sentAt < deadline; sentAt = now()) {
      const left = deadline - sentAt;
      const seconds = wholeWait(Math.min(left, MAX_WAIT_SECONDS));
      try {
        const answer = await this.transport.ask(waiting(wanted, seconds), settings, left);
        task = answer.read<Task>("id", "status");
      } catch (error) {
        if (!(error instanceof Unreachable) || now() < deadline - TIMER_SECONDS) throw error;
        break;
      }
      if (isFinal(task)) return task;
      if (now() - sentAt < seconds / 2) await sleep(Math.min(PAUSE_SECONDS, left), settings.signal);
    }
    return this.#finished(wanted, task, settings);
  }

  /** Return a task if it is finished now. */
  async #finished(wanted: Call, before: Task | null, settings: RequestSettings): Promise<Task> {
    let task = before;
    try {
      const answer = await this.transport.ask(wanted, settings, LAST_SECONDS);
      task = answer.read<Task>("id", "status");
    } catch (error) {
      if (!(error instanceof Unreachable)) throw error;
    }
    if (task && isFinal(task)) return task;
    throw new NotFinished(task);
  }

  /** Return the attempts of a task, in order. */
  async attempts(id: string, settings?: RequestSettings): Promise<AttemptRecord[]> {
    const call = withId("GET", "task", id, "/attempts");
    return (await this.transport.ask(call, settings)).readAll<AttemptRecord>();
  }

  /** Return tasks, newest first; at most 100 unless `limit` says otherwise. */
  async listTasks(
    filters: Filters = {},
    options: ListOptions = {},
    settings?: RequestSettings,
  ): Promise<Task[]> {
    const { limit: maximum = PAGE_TASKS, ...rest } = known("option", options, LIST_OPTIONS);
    const limit = wholeNumber("limit", maximum, 0);
    const page = Math.min(limit, MAX_PAGE_TASKS) || 1;
    const call = pageOf(filters, page, neededAnd(rest.fields), LIST_OPTIONS);
    const stream = new PageStream<Task>(this.transport, call, settings);
    const found: Task[] = [];
    while (found.length < limit) {
      const item = await stream.next();
      if (item.done) break;
      found.push(item.value);
    }
    return found;
  }

  /** Return all tasks, newest first, `page` per request. */
  iterTasks(
    filters: Filters = {},
    options: PageOptions = {},
    settings?: RequestSettings,
  ): PageStream<Task> {
    const { page = PAGE_TASKS, fields } = known("option", options, PAGE_OPTIONS);
    const limit = wholeNumber("page", page, 1);
    const call = pageOf(filters, limit, neededAnd(fields), PAGE_OPTIONS);
    return new PageStream<Task>(this.transport, call, settings);
  }

  /**
   * Return all tasks, newest first, each as a line of JSON without a line end. One response is read
   * as the lines are consumed.
   */
  export(
    filters: Filters = {},
    options: ListOptions = {},
    settings?: RequestSettings,
  ): LineStream {
    known("option", options, LIST_OPTIONS);
    const limit = options.limit === undefined ? undefined : wholeNumber("limit", options.limit, 0);
    // It is read as it arrives, so proxies must not compress it.
    const headers = { Accept: "application/x-ndjson", "Accept-Encoding": "identity" };
    const call = { ...pageOf(filters, limit, options.fields, LIST_OPTIONS), headers };
    return new LineStream(this.transport, call, settings);
  }

  /**
   * Return the body of a task's response, in bytes.
   *
   * @throws NotFound There is no task with this id, or it has no result.
   */
  async download(id: string, settings?: RequestSettings): Promise<Download> {
    const answer = await this.transport.ask(withId("GET", "task", id, "/result"), settings);
    return { contentType: answer.headers.get("content-type") ?? "", content: answer.bytes };
  }

  /**
   * Return events as they happen: of one task until it is finished, or of all without end.
   *
   * A broken connection is opened again, and no event is lost. The stream begins with the first
   * event that is consumed, or with `connect()`.
   *
   * @param watched The id of a task, or filters.
   * @throws EventsMissed Some events are not stored any more; iterating again continues after them.
   */
  iterEvents(
    watched: string | EventFilters = {},
    options: EventPosition = {},
    settings?: RequestSettings,
  ): EventStream {
    if (typeof watched === "string") {
      const call = withId("GET", "task", watched, "/events");
      return eventsOf(this.transport, call, options, true, settings);
    }
    const { queue, tags = {}, ...position } = known("filter", watched, EVENT_FILTERS);
    const query: Parameter[] = queue === undefined ? [] : [["queue", queue]];
    const call = { method: "GET", path: "/events", query: [...query, ...tagQuery(tags)] };
    return eventsOf(this.transport, call, { ...options, ...position }, false, settings);
  }
}

/** The global `fetch`, looked up for each call, so that it can be replaced. */
const defaultFetch: Fetch = (url, init) => fetch(url, init);

/** Return the fields that every task has, and others; undefined if all are loaded. */
function neededAnd(fields: ListOptions["fields"]): readonly string[] | undefined {
  return fields && [...new Set([...NEEDED_FIELDS, ...fields])];
}

function pageOf(
  filters: Filters,
  limit: number | undefined,
  fields: readonly string[] | undefined,
  options: object,
): Call {
  const query: Parameter[] = limit === undefined ? [] : [["limit", String(limit)]];
  query.push(...queryOf(filters, Object.keys(options)));
  if (fields) query.push(["fields", fields.join()]);
  return { method: "GET", path: "/tasks", query };
}

/** Return what several things come from; text is one thing. */
function several<T extends object>(items: T): T {
  const isMany = typeof items === "object" && (Symbol.iterator in items || Symbol.asyncIterator in items);
  if (isMany) return items;
  throw new InvalidArgument("items must be an array or another iterable");
}
