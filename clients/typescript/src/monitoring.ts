/** The state of a service: its tasks, nodes, hosts and audit log. */

import { known, type Names } from "./arguments.js";
import { type Call, type Parameter, wholeNumber } from "./calls.js";
import { UnexpectedResponse } from "./errors.js";
import { type Moment, textOfValue } from "./options.js";
import type {
  Action,
  AuditEntry,
  ErrorType,
  Failure,
  FailureState,
  HostRecord,
  Minute,
  NodeRecord,
  Series,
  Span,
  TargetKind,
  TaskStatistics,
} from "./schemas.js";
import { PageStream } from "./streams.js";
import type { RequestSettings } from "./timing.js";
import type { Transport } from "./transport.js";

const PAGE_ENTRIES = 100;
const TITLE = "TaskFlow";

/** Which entries of the audit log are listed. */
export interface AuditFilters {
  /** The number of entries per request, at most 1000. */
  page?: number;
  actor?: string;
  action?: Action;
  target_kind?: TargetKind;
  target?: string;
  at_after?: Moment;
  at_before?: Moment;
}

const AUDIT_FILTERS: Names<AuditFilters> = {
  page: true,
  actor: true,
  action: true,
  target_kind: true,
  target: true,
  at_after: true,
  at_before: true,
};

/** What a series is of. */
export interface SeriesFilters {
  /** How far it goes back: an hour by default. */
  span?: Span;
  queue?: string;
  /** The host, with its port unless it is the default; not together with `queue`. */
  host?: string;
}

const SERIES_FILTERS: Names<SeriesFilters> = { span: true, queue: true, host: true };

/** Which failures are listed. */
export interface FailureFilters {
  state?: FailureState;
  queue?: string;
  host?: string;
  error_type?: ErrorType;
  since?: Moment;
  /** The maximum number of failures, at most 1000. */
  limit?: number;
}

const FAILURE_FILTERS: Names<FailureFilters> = {
  state: true,
  queue: true,
  host: true,
  error_type: true,
  since: true,
  limit: true,
};

/** The service. */
export interface Service {
  version: string;
}

/** The methods for monitoring. */
export class Monitoring {
  protected readonly transport: Transport;

  constructor(transport: Transport) {
    this.transport = transport;
  }

  /**
   * Return the version of the service, if it is ready: it accepts tasks and runs them.
   *
   * @throws ServerError It is not ready.
   * @throws Unauthorized It requires an API key, or a different one.
   */
  async check(settings?: RequestSettings): Promise<Service> {
    await this.transport.ask({ method: "GET", path: "/readyz" }, settings);
    const answer = await this.transport.ask({ method: "GET", path: "/openapi.json" }, settings);
    const { info } = answer.read<{ info?: { title?: unknown; version?: unknown } }>();
    if (info?.title !== TITLE || typeof info.version !== "string") {
      throw new UnexpectedResponse("the response is not one of TaskFlow");
    }
    return { version: info.version };
  }

  /** Return the number of tasks by status, per queue and in total; or of one queue. */
  async stats(queue?: string, settings?: RequestSettings): Promise<TaskStatistics> {
    return (await this.transport.ask(ofQueue("/stats", queue), settings)).read<TaskStatistics>("queues", "total");
  }

  /** Return what finished in each minute of the last hour, oldest first, up to now. */
  async history(queue?: string, settings?: RequestSettings): Promise<Minute[]> {
    const answer = await this.transport.ask(ofQueue("/stats/history", queue), settings);
    return answer.read<{ minutes: Minute[] }>("minutes").minutes;
  }

  /** Return throughput, wait and run times and the backlog over time, oldest first. */
  async series(filters: SeriesFilters = {}, settings?: RequestSettings): Promise<Series> {
    const query = given({ ...known("filter", filters, SERIES_FILTERS) });
    const answer = await this.transport.ask({ method: "GET", path: "/stats/series", query }, settings);
    return answer.read<Series>("points");
  }

  /** Return FAILED tasks that have the same cause, as one; the last occurrence first. */
  async failures(filters: FailureFilters = {}, settings?: RequestSettings): Promise<Failure[]> {
    const { limit, ...rest } = known("filter", filters, FAILURE_FILTERS);
    const query = given(rest);
    if (limit !== undefined) query.push(["limit", String(wholeNumber("limit", limit, 1))]);
    const answer = await this.transport.ask({ method: "GET", path: "/failures", query }, settings);
    return answer.readAll<Failure>();
  }

  /**
   * Return a failure.
   *
   * @throws NotFound There is no failure with this id.
   */
  async failure(id: string, settings?: RequestSettings): Promise<Failure> {
    const path = `/failures/${encodeURIComponent(id)}`;
    return (await this.transport.ask({ method: "GET", path }, settings)).read<Failure>("id");
  }

  /** Return the processes that run tasks, and recently died ones. */
  async nodes(settings?: RequestSettings): Promise<NodeRecord[]> {
    const answer = await this.transport.ask({ method: "GET", path: "/nodes" }, settings);
    return answer.readAll<NodeRecord>();
  }

  /** Return statistics of target hosts, the most problematic first. */
  async hosts(settings?: RequestSettings): Promise<HostRecord[]> {
    const answer = await this.transport.ask({ method: "GET", path: "/hosts" }, settings);
    return answer.readAll<HostRecord>();
  }

  /** Return the audit log, newest first; needs the role `admin`. */
  iterAudit(filters: AuditFilters = {}, settings?: RequestSettings): PageStream<AuditEntry> {
    const { page = PAGE_ENTRIES, ...rest } = known("filter", filters, AUDIT_FILTERS);
    const query: Parameter[] = [["limit", String(wholeNumber("page", page, 1))]];
    for (const [name, value] of Object.entries(rest)) {
      if (value !== undefined) query.push([name, textOfValue(name, value)]);
    }
    return new PageStream(this.transport, { method: "GET", path: "/audit", query }, settings);
  }
}

function given(filters: Record<string, string | Moment | undefined>): Parameter[] {
  const query: Parameter[] = [];
  for (const [name, value] of Object.entries(filters)) {
    if (value !== undefined) query.push([name, textOfValue(name, value)]);
  }
  return query;
}

function ofQueue(path: string, queue: string | undefined): Call {
  return { method: "GET", path, query: queue === undefined ? [] : [["queue", queue]] };
}
