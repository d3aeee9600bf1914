/** Schedules: create, read, run and delete them. */

import { known, type Names, REQUEST_SETTINGS, settingsOf } from "./arguments.js";
import { type Call, type Parameter, segment, wholeNumber, withJson } from "./calls.js";
import { type Item, type Moment, type TaskOptions, valueOfItem } from "./options.js";
import type { NextRuns, Schedule, SchedulePatch, ScheduleRequest, Task } from "./schemas.js";
import { PageStream } from "./streams.js";
import type { RequestSettings } from "./timing.js";
import type { Transport } from "./transport.js";

const PAGE = 100;
const DEFAULT_NEXT_RUNS = 5;

/** When a schedule creates tasks, and how: `cron` or `every_seconds`, and options. */
export type ScheduleOptions = Omit<ScheduleRequest, "task" | "start_at"> & {
  start_at?: Moment | null;
};

/** Changes of a schedule; null removes a field. */
export type ScheduleChanges = Omit<SchedulePatch, "task" | "start_at"> & {
  /** The template of its tasks: a payload, or a `Submission` whose options are changed, too. */
  task?: Item;
  /** Options of its tasks; null removes one. */
  options?: { [name in keyof TaskOptions]?: TaskOptions[name] | null };
  start_at?: Moment | null;
};

/** Settings of a creation. */
type PutSettings = RequestSettings & { mustBeNew?: boolean };

const PUT_SETTINGS: Names<PutSettings> = { ...REQUEST_SETTINGS, mustBeNew: true };

/** The schedules of a service. */
export class Schedules {
  readonly #transport: Transport;

  constructor(transport: Transport) {
    this.#transport = transport;
  }

  /** Return all schedules by name, `page` per request. */
  iter(options: { page?: number } = {}, settings?: RequestSettings): PageStream<Schedule> {
    const { page = PAGE } = known("option", options, { page: true });
    const limit = String(wholeNumber("page", page, 1));
    const call: Call = { method: "GET", path: "/schedules", query: [["limit", limit]] };
    return new PageStream<Schedule>(this.#transport, call, settings);
  }

  /**
   * Return a schedule.
   *
   * @throws NotFound There is no schedule with this name.
   */
  async get(name: string, settings?: RequestSettings): Promise<Schedule> {
    return (await this.#transport.ask(of("GET", name), settings)).read<Schedule>("name");
  }

  /** Return the next runs of a schedule; if it is paused, those after a resume now. */
  async next(
    name: string,
    options: { count?: number } = {},
    settings?: RequestSettings,
  ): Promise<NextRuns> {
    const { count = DEFAULT_NEXT_RUNS } = known("option", options, { count: true });
    const query: Parameter[] = [["count", String(wholeNumber("count", count, 1))]];
    const call: Call = { ...of("GET", name, "/next"), query };
    return (await this.#transport.ask(call, settings)).read<NextRuns>("times");
  }

  /**
   * Create or replace a schedule.
   *
   * @param task The template of its tasks: a payload, or a `Submission` with options.
   * @throws Unprocessable The schedule is invalid; `errors` has all reasons.
   */
  async put(
    name: string,
    task: Item,
    options: ScheduleOptions,
    settings?: PutSettings,
  ): Promise<Schedule> {
    const request = settingsOf(settings, PUT_SETTINGS);
    const body = { ...options, task: valueOfItem(task) };
    const call = withJson("PUT", pathOf(name), body);
    const condition = { headers: { ...call.headers, "If-None-Match": "*" }, isRepeatable: false };
    const wanted = settings?.mustBeNew ? { ...call, ...condition } : call;
    return (await this.#transport.ask(wanted, request)).read<Schedule>("name");
  }

  /**
   * Change some fields of a schedule; the others stay unchanged.
   *
   * @throws NotFound There is no schedule with this name.
   */
  async update(
    name: string,
    changes: ScheduleChanges,
    settings?: RequestSettings,
  ): Promise<Schedule> {
    const { task, options, ...rest } = changes;
    const template = { ...(task === undefined ? {} : valueOfItem(task)), ...options };
    const body = Object.keys(template).length ? { ...rest, task: template } : rest;
    const call = withJson("PATCH", pathOf(name), body);
    return (await this.#transport.ask(call, settings)).read<Schedule>("name");
  }

  /** Delete a schedule; its tasks stay. */
  async delete(name: string, settings?: RequestSettings): Promise<void> {
    await this.#transport.ask({ ...of("DELETE", name), isRepeatable: false }, settings);
  }

  /** Create a task of a schedule now; its times stay unchanged. */
  async run(name: string, settings?: RequestSettings): Promise<Task> {
    const call = { ...of("POST", name, "/run"), isRepeatable: false };
    return (await this.#transport.ask(call, settings)).read<Task>("id", "status");
  }
}

function of(method: string, name: string, what = ""): Call {
  return { method, path: pathOf(name) + what };
}

function pathOf(name: string): string {
  return `/schedules/${segment(name)}`;
}
