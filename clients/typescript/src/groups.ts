/** Groups: create, read, watch, close, cancel and retry them. */

import { known, type Names, REQUEST_SETTINGS, settingsOf } from "./arguments.js";
import { type Call, jsonOf, type Parameter, submission, wholeNumber, withId } from "./calls.js";
import { EventStream } from "./events.js";
import { type Item, textOfValue, valueOfItem } from "./options.js";
import type { Group, GroupRequest, GroupStatus } from "./schemas.js";
import { PageStream } from "./streams.js";
import type { RequestSettings } from "./timing.js";
import type { Transport } from "./transport.js";

const PAGE = 100;

/** What a new group is like. */
export type GroupOptions = Omit<GroupRequest, "tasks" | "on_complete"> & {
  /** The task to create when it completes: a payload, or a `Submission`. */
  on_complete?: Item;
};

/** Which groups are listed. */
export interface GroupFilters {
  page?: number;
  status?: GroupStatus;
  queue?: string;
  name?: string;
}

const GROUP_FILTERS: Names<GroupFilters> = { page: true, status: true, queue: true, name: true };

/** Where a stream of events continues. */
export interface EventPosition {
  /** The id of the event after which to continue. */
  after?: string | number | bigint;
}

/** Settings of a creation. */
type CreateSettings = RequestSettings & { idempotencyKey?: string };

const CREATE_SETTINGS: Names<CreateSettings> = { ...REQUEST_SETTINGS, idempotencyKey: true };

/** The groups of a service. */
export class Groups {
  readonly #transport: Transport;

  constructor(transport: Transport) {
    this.#transport = transport;
  }

  /** Return groups, newest first, `page` per request. */
  iter(filters: GroupFilters = {}, settings?: RequestSettings): PageStream<Group> {
    const { page = PAGE, ...rest } = known("filter", filters, GROUP_FILTERS);
    const query: Parameter[] = [["limit", String(wholeNumber("page", page, 1))]];
    for (const [name, value] of Object.entries(rest)) {
      if (value !== undefined) query.push([name, textOfValue(name, value)]);
    }
    return new PageStream<Group>(this.#transport, { method: "GET", path: "/groups", query }, settings);
  }

  /**
   * Create a group, with up to 10,000 tasks, all or nothing.
   *
   * @param tasks Its first tasks: payloads; a `Submission` for a task with options.
   * @throws Unprocessable The group or a task is invalid; `errors` has all reasons.
   */
  async create(
    tasks: Iterable<Item> = [],
    options: GroupOptions = {},
    settings: CreateSettings = {},
  ): Promise<Group> {
    const request = settingsOf(settings, CREATE_SETTINGS);
    const { on_complete: completion, ...rest } = options;
    const members = Array.from(tasks, valueOfItem);
    const body = {
      ...rest,
      ...(completion === undefined ? {} : { on_complete: valueOfItem(completion) }),
      ...(members.length ? { tasks: members } : {}),
    };
    const call = submission("/groups", jsonOf(body), settings.idempotencyKey);
    return (await this.#transport.ask(call, request)).read<Group>("id", "status");
  }

  /**
   * Return a group.
   *
   * @throws NotFound There is no group with this id.
   */
  async get(id: string, settings?: RequestSettings): Promise<Group> {
    return (await this.#transport.ask(withId("GET", "group", id), settings)).read<Group>("id", "status");
  }

  /** Return events of the tasks of a group, until the group has finished. */
  iterEvents(id: string, options: EventPosition = {}, settings?: RequestSettings): EventStream {
    return eventsOf(this.#transport, withId("GET", "group", id, "/events"), options, false, settings);
  }

  /** Let no more tasks join a group; it completes when its last task has finished. */
  async close(id: string, settings?: RequestSettings): Promise<Group> {
    const call = withId("POST", "group", id, "/close");
    return (await this.#transport.ask(call, settings)).read<Group>("id", "status");
  }

  /** Cancel a group and all of its tasks that have not finished. */
  async cancel(id: string, settings?: RequestSettings): Promise<Group> {
    const call = withId("POST", "group", id, "/cancel");
    return (await this.#transport.ask(call, settings)).read<Group>("id", "status");
  }

  /** Retry the FAILED tasks of a group, up to 10,000; a COMPLETED group completes again. */
  async retry(id: string, settings?: RequestSettings): Promise<Group> {
    const call = withId("POST", "group", id, "/retry", false);
    return (await this.#transport.ask(call, settings)).read<Group>("id", "status");
  }
}

/** Return a stream of events. */
export function eventsOf(
  transport: Transport,
  call: Call,
  options: EventPosition,
  isOfTask: boolean,
  settings?: RequestSettings,
): EventStream {
  const { after } = known("option", options, { after: true });
  const place = after === undefined ? null : String(wholeId(after));
  const headers = { ...call.headers, Accept: "text/event-stream" };
  return new EventStream(transport, { ...call, headers }, place, isOfTask, settings);
}

function wholeId(after: string | number | bigint): string | number | bigint {
  if (typeof after === "number") return wholeNumber("after", after, 0);
  if (/^[0-9]{1,18}$/.test(String(after))) return after;
  return wholeNumber("after", NaN, 0);
}
