/**
 * The errors of the client.
 *
 *     ClientError
 *     ├── InvalidArgument        an argument is invalid; nothing was sent
 *     ├── InvalidEnvironment     an environment variable is invalid; nothing was sent
 *     ├── Unreachable            no response; the request may have been processed
 *     ├── UnexpectedResponse     the response is not one of TaskFlow
 *     ├── NotFinished            a task did not finish in time
 *     ├── EventsMissed           some events are not stored any more
 *     ├── InvalidSignature       a request is not signed by this service, or too old
 *     ├── Unsuccessful           a task finished without a result
 *     │   ├── TaskFailed
 *     │   └── TaskCanceled
 *     └── Problem                an error response of TaskFlow (RFC 9457)
 *         ├── Rejected             4xx  the request was rejected
 *         │   ├── BadRequest       400
 *         │   ├── Unauthorized     401
 *         │   ├── Forbidden        403
 *         │   ├── NotFound         404
 *         │   ├── Conflict         409
 *         │   ├── Gone             410
 *         │   ├── TooLarge         413
 *         │   ├── Unprocessable    422
 *         │   └── TooManyRequests  429
 *         └── ServerError          5xx  the service failed
 *             └── Unavailable      503
 *
 * An aborted `AbortSignal` rejects with its own reason instead.
 */

import type { FieldError, Task } from "./schemas.js";

/** A call failed. */
export class ClientError extends Error {
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = new.target.name;
  }
}

/** An argument is invalid; nothing was sent. */
export class InvalidArgument extends ClientError {}

/** An environment variable is invalid; nothing was sent. */
export class InvalidEnvironment extends ClientError {}

/** There was no response. */
export class Unreachable extends ClientError {
  /** Whether the request may have been processed nevertheless. */
  readonly isSent: boolean;
  /** Whether the certificate of the service is not trusted: no retry helps. */
  readonly isUntrusted: boolean;

  constructor(
    message: string,
    options: ErrorOptions & { isSent: boolean; isUntrusted?: boolean },
  ) {
    super(message, options);
    this.isSent = options.isSent;
    this.isUntrusted = options.isUntrusted ?? false;
  }
}

/** The response is not one of TaskFlow. */
export class UnexpectedResponse extends ClientError {}

/** A task did not finish in time. */
export class NotFinished extends ClientError {
  /** The task in its last known state; null if there was no response in time. */
  readonly task: Task | null;

  constructor(task: Task | null) {
    const reason = task ? `it is ${task.status}` : "there was no response about it in time";
    super(`the task has not finished: ${reason}`);
    this.task = task;
  }
}

/** Some events are not stored any more; read the tasks for their current state. */
export class EventsMissed extends ClientError {
  constructor() {
    super("some events are not stored any more; read the tasks for their current state");
  }
}

/** A request is not signed with a known secret, or it is too old. */
export class InvalidSignature extends ClientError {}

/** A task finished without a result. */
export class Unsuccessful extends ClientError {
  readonly task: Task;

  constructor(task: Task) {
    super(`the task is ${task.status}` + (task.error ? `: ${task.error}` : ""));
    this.task = task;
  }
}

/** A task FAILED; its `error` and `error_type` have the reason. */
export class TaskFailed extends Unsuccessful {}

/** A task was CANCELED. */
export class TaskCanceled extends Unsuccessful {}

/** What an error response says. */
export interface ProblemDetails {
  /** The reason, and what to do. */
  detail: string;
  /** The status of the response. */
  status: number;
  /** The type of the problem, such as `/problems/backlog-full`, or `about:blank`. */
  type?: string;
  /** The validation errors, each with its place. */
  errors?: readonly FieldError[];
  /** The value of `Retry-After`, if the response has it. */
  retryAfterSeconds?: number | null;
}

/** An error response of TaskFlow. */
export class Problem extends ClientError {
  readonly detail: string;
  readonly status: number;
  readonly type: string;
  readonly errors: readonly FieldError[];
  readonly retryAfterSeconds: number | null;

  constructor(details: ProblemDetails) {
    super(details.detail);
    this.detail = details.detail;
    this.status = details.status;
    this.type = details.type ?? "about:blank";
    this.errors = details.errors ?? [];
    this.retryAfterSeconds = details.retryAfterSeconds ?? null;
  }
}

/** The request was rejected. */
export class Rejected extends Problem {}

/** The request is malformed. */
export class BadRequest extends Rejected {}

/** The service requires an API key, or a different one. */
export class Unauthorized extends Rejected {}

/** The role of the API key is not sufficient. */
export class Forbidden extends Rejected {}

/** There is no such task, queue or schedule. */
export class NotFound extends Rejected {}

/** The task's state does not allow this, or another task has its unique key. */
export class Conflict extends Rejected {}

/** The task that the same request created has been deleted. */
export class Gone extends Rejected {}

/** The request is too large. */
export class TooLarge extends Rejected {}

/** The request is invalid; `errors` has the reasons, each with its place. */
export class Unprocessable extends Rejected {}

/** A rate limit or the backlog limit is exceeded. */
export class TooManyRequests extends Rejected {}

/** The service failed. */
export class ServerError extends Problem {}

/** The store of the service is unavailable at the moment. */
export class Unavailable extends ServerError {}

const BY_STATUS: ReadonlyMap<number, new (details: ProblemDetails) => Problem> = new Map([
  [400, BadRequest],
  [401, Unauthorized],
  [403, Forbidden],
  [404, NotFound],
  [409, Conflict],
  [410, Gone],
  [413, TooLarge],
  [422, Unprocessable],
  [429, TooManyRequests],
  [503, Unavailable],
]);

const ERROR_STATUS = 400;
const SERVER_ERROR_STATUS = 500;

/**
 * Return the problem that a response reports; null if it is a success.
 *
 * @param retryAfter The value of `Retry-After`, if there is one.
 * @param body The whole body.
 */
export function problemOf(status: number, retryAfter: string | null, body: string): Problem | null {
  if (status < ERROR_STATUS) return null;
  const retryAfterSeconds = /^[0-9]+$/.test(retryAfter ?? "") ? Number(retryAfter) : null;
  const details = detailsOf(body) ?? {
    detail: `the response has status ${status} and no explanation`,
  };
  return problemWith({ ...details, status, retryAfterSeconds });
}

/** Return the error of the class that belongs to a status. */
export function problemWith(details: ProblemDetails): Problem {
  const fallback = details.status >= SERVER_ERROR_STATUS ? ServerError : Rejected;
  return new (BY_STATUS.get(details.status) ?? fallback)(details);
}

/** Return what a problem document says; null if it is none, such as a page of a proxy. */
function detailsOf(body: string): { detail: string; type?: string; errors?: FieldError[] } | null {
  let found: unknown;
  try {
    found = JSON.parse(body);
  } catch {
    return null;
  }
  if (!isObject(found) || typeof found["detail"] !== "string") return null;
  const { detail, type = "about:blank", errors = [] } = found;
  if (typeof type !== "string" || !Array.isArray(errors) || !errors.every(isFieldError)) return null;
  return { detail, type, errors };
}

function isFieldError(value: unknown): value is FieldError {
  return (
    isObject(value) && typeof value["pointer"] === "string" && typeof value["detail"] === "string"
  );
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null;
}
