// Written by `python -m tools.typescript` from the schemas of /openapi.json: change those.

/** The outcome of a line that was accepted. */
export interface AcceptedLine {
  /** The index of the line, from 0. Blank lines do not count. */
  index: number;
  /** The id of the task. */
  id: string;
  /** What the line did to the task, if it existed; absent otherwise. */
  existing?: Existing;
}

/**
 * An action. The part before the dot is the kind of its target.
 *
 * - `task.cancel`: A task was canceled.
 * - `task.retry`: A task was retried.
 * - `task.skip`: A FAILED task was skipped, so that it no longer holds its order key.
 * - `task.delete`: A task was deleted.
 * - `tasks.cancel`: All tasks that match a filter were canceled; `count` is their number.
 * - `tasks.retry`: All tasks that match a filter were retried.
 * - `tasks.delete`: All tasks that match a filter were deleted.
 * - `queue.purge`: The pending tasks of a queue were canceled; `count` is their number.
 * - `queue.pause`: A queue was paused.
 * - `queue.resume`: A queue was resumed.
 * - `queue.change`: Limits or other settings of a queue were changed.
 * - `schedule.put`: A schedule was created or changed.
 * - `schedule.pause`: A schedule was paused.
 * - `schedule.resume`: A schedule was resumed.
 * - `schedule.run`: A task of a schedule was created on request; the detail has its id.
 * - `schedule.delete`: A schedule was deleted.
 * - `heartbeat.put`: A heartbeat was created or changed.
 * - `heartbeat.pause`: A heartbeat was paused.
 * - `heartbeat.resume`: A heartbeat was resumed.
 * - `heartbeat.rotate`: The ping URL of a heartbeat was replaced.
 * - `heartbeat.delete`: A heartbeat was deleted.
 * - `credential.put`: A credential was created or replaced.
 * - `credential.delete`: A credential was deleted.
 * - `signing_keys.rotate`: A new generation of keys was made by `taskflow key rotate`.
 * - `group.close`: A group was closed.
 * - `group.cancel`: A group and its open tasks were canceled.
 * - `group.retry`: The FAILED tasks of a group were retried; `count` is their number.
 * - `topic.put`: A topic was created or changed.
 * - `topic.delete`: A topic and its endpoints were deleted.
 * - `endpoint.put`: An endpoint was created or changed.
 * - `endpoint.rotate`: The signing secret of an endpoint was rotated.
 * - `endpoint.recover`: FAILED deliveries of an endpoint were sent again; `count` is their number.
 * - `endpoint.delete`: An endpoint was deleted.
 * - `view.put`: A view of the dashboard was saved.
 * - `view.delete`: A saved view of the dashboard was deleted.
 * - `alert.put`: An alert was created or changed.
 * - `alert.silence`: An alert was silenced until a time, or no longer is.
 * - `alert.test`: A test was sent to the destinations of an alert.
 * - `alert.delete`: An alert was deleted.
 * - `session.sign_in`: A user signed in to the dashboard.
 * - `session.sign_out`: A user signed out of the dashboard.
 * - `session.rejected`: Sign-ins with an unknown key were rejected; `count` is their number.
 * - `key.rejected`: Requests with an unknown key were rejected; `count` is their number.
 */
export type Action = "task.cancel" | "task.retry" | "task.skip" | "task.delete" | "tasks.cancel" | "tasks.retry" | "tasks.delete" | "queue.purge" | "queue.pause" | "queue.resume" | "queue.change" | "schedule.put" | "schedule.pause" | "schedule.resume" | "schedule.run" | "schedule.delete" | "heartbeat.put" | "heartbeat.pause" | "heartbeat.resume" | "heartbeat.rotate" | "heartbeat.delete" | "credential.put" | "credential.delete" | "signing_keys.rotate" | "group.close" | "group.cancel" | "group.retry" | "topic.put" | "topic.delete" | "endpoint.put" | "endpoint.rotate" | "endpoint.recover" | "endpoint.delete" | "view.put" | "view.delete" | "alert.put" | "alert.silence" | "alert.test" | "alert.delete" | "session.sign_in" | "session.sign_out" | "session.rejected" | "key.rejected";

/** An alert as the API shows it; the field order is the order of the JSON. */
export interface Alert {
  /** Its name. */
  name: string;
  /** What it watches. */
  on: AlertOn;
  /** The only queue that it watches; null for all. */
  queue: string | null;
  /** The only schedule that it watches; null for all. */
  schedule: string | null;
  /** The only host that it watches; null for all. */
  host: string | null;
  /** The only credential that it watches; null for all. */
  credential: string | null;
  /** The only heartbeat that it watches; null for all. */
  heartbeat: string | null;
  /** Minimum number of tasks, if its condition has one. */
  minimum: number | null;
  /** Share of the tasks that FAILED, if its condition has one. */
  rate: number | null;
  /** The time within which tasks are counted, if its condition has one. */
  window_seconds: number | null;
  /** The time after which a task or a schedule is late, if its condition has one. */
  after_seconds: number | null;
  /** Who is notified. Secrets in URLs are masked. */
  to: AlertDestination[];
  /** Minimum time between two notifications that it fires. */
  every_seconds: number;
  /** Whether the end is notified, too. */
  notify_recovery: boolean;
  /** True if it is not evaluated. */
  paused: boolean;
  /** Whether it fires. */
  status: AlertStatus;
  /** Since when it does, or does not. */
  since: string | null;
  /** What it fires for, at most 20. */
  subjects: Subject[];
  /** Number of these, also of those beyond the maximum. */
  subject_count: number;
  /** Until when it does not notify; null if it does. */
  silenced_until: string | null;
  /** When it was evaluated last. */
  evaluated_at: string | null;
  /** When it was last notified that it fires. */
  notified_at: string | null;
  /** When it was created. */
  created_at: string;
  /** When a client last changed it. */
  updated_at: string;
}

/** A destination as the API shows it. */
export interface AlertDestination {
  /** How it is notified. */
  kind: DestinationKind;
  /** Its URL, with secrets masked; null for e-mail. */
  url: string | null;
  /** Its e-mail addresses; null for others. */
  addresses: string[] | null;
}

/** A notification of an alert as the API shows it. */
export interface AlertNotification {
  /** Its id; later ones have greater ids. */
  id: string;
  /** When it was stored. */
  at: string;
  /** What it says. */
  kind: NoticeKind;
  /** Its first line. */
  title: string;
  /** The ids of the tasks that deliver it, one for each destination. */
  tasks: string[];
}

/**
 * What an alert watches.
 *
 * - `task_failed`: At least `minimum` tasks FAILED within `window_seconds`.
 * - `failure_rate`: Of at least `minimum` tasks that finished within `window_seconds`, `rate`
 * FAILED.
 * - `schedule_failed`: The last task of a schedule that has finished FAILED.
 * - `schedule_missed`: A schedule created a task `after_seconds` late, or has not created it yet.
 * - `oldest_waiting`: The oldest due task of a queue has been waiting for `after_seconds`.
 * - `host_open`: The circuit breaker of a host is open or half-open.
 * - `node_lost`: The lease of a node ended without a shutdown.
 * - `credential_failing`: Attempts of tasks failed because of their credential: there is none, or
 * no access token.
 * - `heartbeat_missed`: A heartbeat is down: a ping was missed, or it reported a failure.
 */
export type AlertOn = "task_failed" | "failure_rate" | "schedule_failed" | "schedule_missed" | "oldest_waiting" | "host_open" | "node_lost" | "credential_failing" | "heartbeat_missed";

/**
 * A JSON merge patch. A field that is not given stays as it is; null resets it to its default. The
 * whole object is `AlertRequest`.
 */
export interface AlertPatch {
  /**
   * What it watches: `task_failed` (`minimum` tasks FAILED within `window_seconds`), `failure_rate`
   * (of at least `minimum` tasks that finished within `window_seconds`, the share `rate` FAILED),
   * `schedule_failed` (the last finished task FAILED), `schedule_missed` (a task was created
   * `after_seconds` late, or not at all), `oldest_waiting` (a due task has been waiting for
   * `after_seconds`), `host_open` (the circuit breaker of a host is open), `node_lost` (a node
   * died), `credential_failing` (tasks failed within `window_seconds` because of their credential),
   * or `heartbeat_missed` (a heartbeat is down).
   */
  on?: AlertOn;
  /** Who is notified. */
  to?: DestinationRequest[];
  /**
   * The only queue that it watches, for `task_failed`, `failure_rate` and `oldest_waiting`.
   * Default: all but `alerts`, the queue of notifications.
   */
  queue?: string | null;
  /**
   * The only schedule that it watches, for `schedule_failed` and `schedule_missed`. Default: all.
   */
  schedule?: string | null;
  /**
   * The only host that it watches, for `host_open`: with its port, unless that is the default.
   * Default: all, except the hosts of its own destinations.
   */
  host?: string | null;
  /** The only credential that it watches, for `credential_failing`. Default: all. */
  credential?: string | null;
  /** The only heartbeat that it watches, for `heartbeat_missed`. Default: all. */
  heartbeat?: string | null;
  /** Minimum number of tasks. Default: 1 for `task_failed`, 20 for `failure_rate`. */
  minimum?: number | null;
  /** Share of the finished tasks that FAILED, from 0.001 to 1; required for `failure_rate`. */
  rate?: number | null;
  /** The time within which tasks are counted, to the minute. Default: 300. */
  window_seconds?: number | null;
  /**
   * The time after which a task waits too long (`oldest_waiting`, required), or a schedule is late
   * (`schedule_missed`, at least 5). Default: 60 for schedules.
   */
  after_seconds?: number | null;
  /**
   * Minimum time between two notifications that it fires; while it fires, it notifies again after
   * this time. Default: 3600.
   */
  every_seconds?: number | null;
  /** Whether it also notifies that it no longer fires. Default: true. */
  notify_recovery?: boolean | null;
  /** Whether it is not evaluated. Default: false. */
  paused?: boolean | null;
}

/**
 * An alert to create or replace. Fields that only TaskFlow sets are ignored, so that an alert can
 * be sent again as it was shown.
 */
export interface AlertRequest {
  /**
   * What it watches: `task_failed` (`minimum` tasks FAILED within `window_seconds`), `failure_rate`
   * (of at least `minimum` tasks that finished within `window_seconds`, the share `rate` FAILED),
   * `schedule_failed` (the last finished task FAILED), `schedule_missed` (a task was created
   * `after_seconds` late, or not at all), `oldest_waiting` (a due task has been waiting for
   * `after_seconds`), `host_open` (the circuit breaker of a host is open), `node_lost` (a node
   * died), `credential_failing` (tasks failed within `window_seconds` because of their credential),
   * or `heartbeat_missed` (a heartbeat is down).
   */
  on: AlertOn;
  /** Who is notified. */
  to: DestinationRequest[];
  /**
   * The only queue that it watches, for `task_failed`, `failure_rate` and `oldest_waiting`.
   * Default: all but `alerts`, the queue of notifications.
   */
  queue?: string | null;
  /**
   * The only schedule that it watches, for `schedule_failed` and `schedule_missed`. Default: all.
   */
  schedule?: string | null;
  /**
   * The only host that it watches, for `host_open`: with its port, unless that is the default.
   * Default: all, except the hosts of its own destinations.
   */
  host?: string | null;
  /** The only credential that it watches, for `credential_failing`. Default: all. */
  credential?: string | null;
  /** The only heartbeat that it watches, for `heartbeat_missed`. Default: all. */
  heartbeat?: string | null;
  /** Minimum number of tasks. Default: 1 for `task_failed`, 20 for `failure_rate`. */
  minimum?: number | null;
  /** Share of the finished tasks that FAILED, from 0.001 to 1; required for `failure_rate`. */
  rate?: number | null;
  /** The time within which tasks are counted, to the minute. Default: 300. */
  window_seconds?: number | null;
  /**
   * The time after which a task waits too long (`oldest_waiting`, required), or a schedule is late
   * (`schedule_missed`, at least 5). Default: 60 for schedules.
   */
  after_seconds?: number | null;
  /**
   * Minimum time between two notifications that it fires; while it fires, it notifies again after
   * this time. Default: 3600.
   */
  every_seconds?: number | null;
  /** Whether it also notifies that it no longer fires. Default: true. */
  notify_recovery?: boolean | null;
  /** Whether it is not evaluated. Default: false. */
  paused?: boolean | null;
}

/**
 * The status of an alert.
 *
 * - `ok`: Its condition does not hold.
 * - `firing`: Its condition holds.
 * - `paused`: It is not evaluated.
 * - `new`: It has not been evaluated yet.
 */
export type AlertStatus = "ok" | "firing" | "paused" | "new";

/** The changes of a request that were made, all together. */
export interface AppliedConfiguration {
  /** Each change, in the order of the request. */
  changes: ChangedResource[];
}

/** An attempt as the API shows it; the field order is the order of the JSON. */
export interface AttemptRecord {
  /** The number of the attempt, from 1. */
  number: number;
  /** The status. */
  status: AttemptStatus;
  /** The node that ran it: host and process. */
  node: string | null;
  /** When it was claimed. */
  started_at: string;
  /** When its outcome was stored, or its loss was detected. */
  finished_at: string | null;
  /** Duration of the fetch in seconds; null if unknown. */
  elapsed_seconds: number | null;
  /** The status of the response, if there was one. */
  status_code: number | null;
  /** Why it failed, for people; empty if it did not fail. */
  error: string;
  /** Why it failed, for programs. */
  error_type: ErrorType | null;
  /**
   * The last response of a FAILED attempt, if there was one and the attempt is among the last 100:
   * status, headers and the beginning of the body.
   */
  response?: KeptResponse;
}

/**
 * The status of an attempt.
 *
 * - `RUNNING`: It is in progress.
 * - `COMPLETED`: The target returned a response that counts as success.
 * - `FAILED`: It failed and counts; another one follows if any are left.
 * - `INTERRUPTED`: A shutdown or the egress proxy interrupted it; the next attempt has the same
 * number.
 * - `LOST`: Its node died; it does not count, and the next attempt has the same number.
 * - `CANCELED`: A client canceled the task.
 */
export type AttemptStatus = "RUNNING" | "COMPLETED" | "FAILED" | "INTERRUPTED" | "LOST" | "CANCELED";

/** The response to a target that reports an outcome. */
export interface AttemptStatusAfter {
  /** The task. */
  task_id: string;
  /** Its status now: COMPLETED; or, after a failure, FAILED, or PENDING until its next attempt. */
  status: TaskStatus;
}

/** An entry of the audit log. */
export interface AuditEntry {
  /** The id of the entry; later entries have greater ids. */
  id: string;
  /** The time of the action. */
  at: string;
  /** The name of the API key; null if none was required, or if it was unknown. */
  actor: string | null;
  /** The id of the session of the dashboard; null for requests with a key. */
  session: string | null;
  /**
   * The address of the client, which may be a proxy; null for a Unix socket. For rejected keys, the
   * network of an IPv6 address, and null for addresses beyond the maximum number.
   */
  address: string | null;
  /** The action. */
  action: Action;
  /** The kind of the target. */
  target_kind: TargetKind;
  /** Its id or name; null if the kind has none. */
  target: string | null;
  /**
   * The number of tasks, for `tasks.*` and `queue.purge`; the number of requests, for `*.rejected`;
   * otherwise 1.
   */
  count: number;
  /**
   * Details of the action: a `filter`; the `changes` of settings with their values `before` and
   * `after`, which are left out for most fields of the task of a schedule; the `task` that a
   * schedule created; or the `kind` and `hosts` of a credential, with those `before`, or what a
   * deleted credential was `used_by`; or the generations of keys that were `withdrawn`, and the
   * `user` of the machine. Never bodies, headers or values of credentials.
   */
  detail: Record<string, unknown>;
}

/** A key pair that signs requests to AWS (Signature Version 4). */
export interface AwsSigV4 {
  /** The kind. */
  kind: "aws_sigv4";
  /** The region. */
  region: string;
  /** The service. */
  service: string;
  /** The id of the key pair. */
  access_key_id: string;
  /** Its secret. */
  secret_access_key: string;
  /** The token of a temporary key pair. */
  session_token?: string | null;
  /**
   * The hosts that may receive it: names, all names below a domain (`*.example.com`), and
   * addresses. A task that would send it to another host, directly or by a redirect, is `blocked`.
   * It is sent over https only, except to this machine.
   */
  hosts: string[];
}

/** Waits between attempts that grow by a factor; each is drawn from half of it to all of it. */
export interface Backoff {
  /** Wait before the second attempt. Default: the setting `TASKFLOW_BACKOFF_SECONDS`. */
  initial_seconds?: number | null;
  /** Factor by which each further wait grows. */
  factor?: number;
  /** Maximum wait. Default: the setting `TASKFLOW_MAX_BACKOFF_SECONDS`. */
  max_seconds?: number | null;
}

/** A user name and a password in the header `Authorization: Basic` (RFC 7617). */
export interface Basic {
  /** The kind. */
  kind: "basic";
  /** The user name. */
  username: string;
  /** The password. */
  password: string;
  /**
   * The hosts that may receive it: names, all names below a domain (`*.example.com`), and
   * addresses. A task that would send it to another host, directly or by a redirect, is `blocked`.
   * It is sent over https only, except to this machine.
   */
  hosts: string[];
}

/** A token in the header `Authorization: Bearer` (RFC 6750). */
export interface Bearer {
  /** The kind. */
  kind: "bearer";
  /** The token. */
  token: string;
  /**
   * The hosts that may receive it: names, all names below a domain (`*.example.com`), and
   * addresses. A task that would send it to another host, directly or by a redirect, is `blocked`.
   * It is sent over https only, except to this machine.
   */
  hosts: string[];
}

/** The tasks of a bulk action: at least one filter, or `all`. */
export interface BulkRequest {
  /** Only tasks of this queue. */
  queue?: string;
  /** Only tasks whose URL has this host. */
  host?: string;
  /** Only tasks whose last attempt failed with this type of error. */
  error_type?: ErrorType;
  /** Only tasks submitted at this time or later. */
  created_after?: string;
  /** Only tasks submitted before this time. */
  created_before?: string;
  /** Only tasks finished at this time or later. */
  finished_after?: string;
  /** Only tasks finished before this time. */
  finished_before?: string;
  /** Only tasks whose URL, as it was submitted, contains this text; case-sensitive. */
  url_contains?: string;
  /** Only tasks whose id begins with these 8 or more hexadecimal digits. */
  id_prefix?: string;
  /** Only tasks with this order key. */
  order_key?: string;
  /** Only tasks of the group with this id. */
  group?: string;
  /** Only the children of the task with this id: tasks that have it in `after`. */
  parent?: string;
  /** Only the FAILED tasks of the failure with this id, as `GET /failures` lists it. */
  failure?: string;
  /** Only tasks with this status, or one of several. */
  status?: TaskStatus | TaskStatus[];
  /** Only tasks that are in this state now, or in one of several. */
  state?: TaskState | TaskState[];
  /** Only tasks that have all of these tags. */
  tags?: Record<string, string | number | boolean>;
  /** Whether the action is for all tasks, if there is no filter. */
  all?: boolean;
  /** Whether to count the tasks only. */
  dry_run?: boolean;
}

/** The result of a bulk action. */
export interface BulkResult {
  /** The number of tasks that it changed or, with `dry_run`, would change. */
  count: number;
  /**
   * Whether these are all. If not, the same request again does the rest; with `dry_run` the count
   * is only a lower bound.
   */
  complete: boolean;
  /** Whether the tasks were only counted. */
  dry_run: boolean;
}

/** A resource that was changed. */
export interface ChangedResource {
  /** Its kind. */
  kind: ResourceKind;
  /** Its name; of an endpoint, the name of the topic, a slash and its name. */
  name: string;
  /** What happened to it. */
  outcome: ResourceOutcome;
}

/** How a task is completed whose target answers 202 and works on. */
export interface Completion {
  /** How the outcome becomes known. `callback` needs the setting `TASKFLOW_PUBLIC_URL`. */
  mode: CompletionMode;
  /**
   * Time after the 202, or after the last heartbeat, within which the outcome must be known. Then
   * the attempt fails as `timeout`.
   */
  within_seconds: number;
}

/**
 * How the outcome of an attempt becomes known after a 202.
 *
 * - `callback`: The target reports it at the URL in the header `X-TaskFlow-Completion-Url` of the
 * request.
 * - `poll`: TaskFlow polls the `Location` of the response until the response is not a 202.
 */
export type CompletionMode = "callback" | "poll";

/**
 * The task that a completed group creates: without fixed times, keys and a group. Its payload has
 * no body.
 */
export interface CompletionTemplate {
  /**
   * The URL to fetch, or a whole request. Any other JSON except null is accepted, too, up to 500
   * levels deep and without unpaired surrogates, and stored byte for byte; a task whose payload is
   * neither fails as `invalid_url`.
   */
  payload: string | number | boolean | unknown[] | RequestPayload;
  /**
   * Number of failed attempts after which the task fails. Default: the setting
   * `TASKFLOW_MAX_ATTEMPTS`.
   */
  max_attempts?: number;
  /** Tasks of higher priority are claimed first. Default: 0. */
  priority?: number;
  /** The queue of the task. Default: `default`. */
  queue?: string;
  /** Delay from now to the earliest start. */
  delay_seconds?: number | null;
  /**
   * Waits between attempts: an object; or each wait in seconds (the last one is used for all
   * further attempts); or `webhook`, the schedule of the Standard Webhooks: ten attempts in about
   * three and a half days, unless `max_attempts` is given.
   */
  backoff?: number[] | "webhook" | Backoff | null;
  /** Statuses that are retried: `503` or `"5xx"`. Default: 408, 425, 429 and 5xx. */
  retry_on?: (number | string)[] | null;
  /** Statuses that count as success. Default: `2xx`. */
  success_on?: (number | string)[] | null;
  /**
   * Whether each request is signed as the Standard Webhooks specify; `true` needs the setting
   * `TASKFLOW_WEBHOOK_SECRETS`. Default: what the queue says, or the setting
   * `TASKFLOW_SIGN_REQUESTS`.
   */
  sign?: boolean | null;
  /**
   * The name of the credential that TaskFlow adds to each request of the task. Default: what the
   * queue says.
   */
  credential?: string | null;
  /** Tags to find the task by: names with text, whole numbers or booleans. */
  tags?: Record<string, string | number | boolean> | null;
  /**
   * For work that outlasts a request: a target that answers 202 works on, and the task stays
   * `RUNNING` until the target reports the outcome, or a poll finds it.
   */
  completion?: Completion | null;
  /**
   * URL that receives the finished task: a `POST` signed as the Standard Webhooks specify, which is
   * a task with its own attempts. Needs the setting `TASKFLOW_WEBHOOK_SECRETS`.
   */
  callback_url?: string | null;
  /** How long the finished task is kept. Default: the setting `TASKFLOW_RETENTION_SECONDS`. */
  retention_seconds?: number | null;
}

/** The metadata of the issuer of ID tokens (OpenID Connect Discovery 1.0 section 3). */
export interface Configuration {
  /** The `iss` of its tokens. */
  issuer: string;
  /** The URL of its public keys. */
  jwks_uri: string;
  /** Always `id_token`: there is no sign-in. */
  response_types_supported: string[];
  /** Always `public`. */
  subject_types_supported: string[];
  /** The algorithms of signatures. */
  id_token_signing_alg_values_supported: string[];
  /** The claims of its tokens. */
  claims_supported: string[];
}

/** Changes of resources that are made together. */
export interface ConfigurationRequest {
  /** The changes, at most 500, in any order; at most one of each resource. */
  changes: ResourceChange[];
}

/** A credential as the API shows it: never its values. */
export interface CredentialSummary {
  /** Its name. */
  name: string;
  /** Its kind, such as `bearer`. */
  kind: string;
  /** The patterns of the hosts to which it may be sent. */
  hosts: string[];
  /** When it was created. */
  created_at: string;
  /** When it was last replaced. */
  updated_at: string;
  /** When a node last used it, to the minute; null if never. */
  last_used_at: string | null;
  /** The queues, schedules and endpoints that use it. */
  used_by: CredentialUsers;
}

/** What uses a credential, at most 100 of each kind, by name. */
export interface CredentialUsers {
  /** Queues whose settings name it. */
  queues: string[];
  /** Schedules whose tasks name it. */
  schedules: string[];
  /** Endpoints of topics that name it: the topic, a slash and the endpoint. */
  endpoints: string[];
}

/** State of the database in use, without names of servers. */
export interface DatabaseState {
  /** Which host of `DATABASE_URL` is in use: 1 is the first one. */
  host: number;
  /** The number of hosts in `DATABASE_URL`. */
  hosts: number;
  /** Whether a standby has each task before it is acknowledged. */
  replication: ReplicationMode;
}

/** A key by which later submissions replace a task that has not started. */
export interface Debounce {
  /** The key, within the queue. */
  key: string;
  /** Time without a submission of this key after which the task is due. */
  delay_seconds: number;
  /**
   * The task is due at the latest this time after its first submission, whose value counts.
   * Default: no limit.
   */
  max_wait_seconds?: number | null;
}

/** What a task delivers, and to which endpoint. */
export interface Delivery {
  /** The name of the topic. */
  topic: string;
  /** The name of the endpoint. */
  endpoint: string;
  /** The id of the endpoint; another one may have its name later. */
  endpoint_id: string;
  /** The id of the event, which is the `webhook-id` of each request. */
  event_id: string;
  /** The type of the event. */
  event_type: string;
}

/**
 * How a destination is notified.
 *
 * - `webhook`: A signed `POST` to a URL, in the format of the Standard Webhooks.
 * - `slack`: An incoming webhook of Slack, or of a chat that is compatible with it.
 * - `teams`: A workflow of Microsoft Teams that posts webhook requests: an Adaptive Card.
 * - `discord`: A webhook of Discord.
 * - `email`: An e-mail, by `TASKFLOW_SMTP_URL`.
 */
export type DestinationKind = "webhook" | "slack" | "teams" | "discord" | "email";

/** A destination of an alert: a URL, or e-mail addresses. */
export interface DestinationRequest {
  /**
   * `webhook` is a `POST` signed as the Standard Webhooks specify, `slack` an incoming webhook,
   * `teams` a workflow that posts webhook requests, `discord` a webhook, `email` an e-mail by
   * `TASKFLOW_SMTP_URL`.
   */
  kind: DestinationKind;
  /**
   * Its URL, unless it is `email`. Of chats, it is stored encrypted and shown masked; as it was
   * shown, it stays as it is.
   */
  url?: string | null;
  /** Its e-mail addresses, if it is `email`. */
  addresses?: string[] | null;
}

/** An endpoint as the API shows it; the field order is the order of the JSON. */
export interface Endpoint {
  /** The name of its topic. */
  topic: string;
  /** Its name, unique within the topic. */
  name: string;
  /** Its id; an endpoint of the same name that is created later has another one. */
  id: string;
  /** The URL that receives its events; credentials are masked. */
  url: string;
  /** The event types, or beginnings of types, that it receives. */
  event_types: string[];
  /** Additional headers of its requests; credentials are masked. */
  headers: Record<string, string>;
  /** Time for each attempt; null for the setting. */
  timeout_seconds: number | null;
  /** The queue of its deliveries; null for the queue of the topic. */
  queue: string | null;
  /** The name of the credential of its requests. */
  credential: string | null;
  /** Waits between attempts. */
  backoff: number[] | Backoff | null;
  /** Maximum number of attempts of a delivery. */
  max_attempts: number;
  /** Whether it receives events. */
  enabled: boolean;
  /** Why it does not. */
  disabled_reason: string | null;
  /** When attempts began to fail, if none has succeeded since. */
  failing_since: string | null;
  /** The secrets that sign its deliveries. */
  signing: EndpointSigning;
  /** Until when the secret before the last rotation signs, too. */
  former_secret_until: string | null;
  /** When it was created. */
  created_at: string;
  /** When it was last changed. */
  updated_at: string;
}

/**
 * An endpoint to create or replace. Fields that only TaskFlow sets are ignored, so that an endpoint
 * can be sent again as it was shown.
 */
export interface EndpointRequest {
  /** The URL that receives its events, by `POST`. */
  url: string;
  /**
   * The event types that it receives: a type, the beginning of types such as `invoice.*`, or `*`
   * for all. Default: all.
   */
  event_types?: string[] | null;
  /** Additional headers of its requests. */
  headers?: Record<string, string> | null;
  /** Timeout of an attempt. Default: the setting `TASKFLOW_FETCH_TIMEOUT_SECONDS`. */
  timeout_seconds?: number | null;
  /** The queue of its deliveries. Default: the queue of the topic. */
  queue?: string | null;
  /** The name of the credential that TaskFlow adds to each request. */
  credential?: string | null;
  /** Waits between attempts, as for tasks. Default: `webhook`. */
  backoff?: number[] | "webhook" | Backoff | null;
  /**
   * Number of failed attempts after which a delivery fails. Default: 10 for the backoff `webhook`,
   * otherwise the setting `TASKFLOW_MAX_ATTEMPTS`.
   */
  max_attempts?: number | null;
  /**
   * Whether it receives events. If it is not given, it stays as it is; a new endpoint is enabled.
   */
  enabled?: boolean | null;
  /**
   * Its signing secret, as `taskflow secret new` prints it; never shown again. If it is not given,
   * it stays as it is; a new endpoint gets the signatures of `TASKFLOW_WEBHOOK_SECRETS`. `POST
   * .../rotate` changes it without a gap.
   */
  signing_secret?: string | null;
}

/**
 * The secrets that sign the deliveries of an endpoint.
 *
 * - `own`: A secret of its own; after a rotation the former one, too, for some time.
 * - `shared`: The secrets of the service, `TASKFLOW_WEBHOOK_SECRETS`.
 */
export type EndpointSigning = "own" | "shared";

/**
 * Why a task FAILED.
 *
 * - `timeout`: The fetch, or the work of a target that answered 202, took longer than allowed.
 * - `dns`: The name did not resolve to an address.
 * - `connect`: No connection could be opened, or it broke before a response.
 * - `tls`: The TLS handshake failed, or the certificate is not trusted.
 * - `proxy`: The egress proxy failed, or refused to connect to the target.
 * - `key_missing`: The node lacks the key with which the task, or its credential, is encrypted.
 * - `token`: The token endpoint of the credential did not grant an access token.
 * - `endpoint_disabled`: The endpoint of the event, or the destination of the alert, was disabled
 * or deleted.
 * - `credential_missing`: The credential of the task, or of its queue, does not exist.
 * - `http_status`: The status of the response does not count as success.
 * - `invalid_url`: The payload has no valid URL, or its request cannot be sent.
 * - `blocked`: TaskFlow does not fetch from this host or port, or may not send the credential
 * there.
 * - `too_large`: The body is larger than `TASKFLOW_MAX_RESULT_BYTES`.
 * - `too_many_redirects`: The redirects exceed `TASKFLOW_MAX_REDIRECTS`.
 * - `protocol`: The response is not valid HTTP, or is incomplete.
 * - `expired`: The task had not started by its `expires_at`.
 * - `parent_failed`: A parent of the task FAILED or was CANCELED.
 * - `reference_missing`: A reference of the request finds nothing in the result of a parent, or no
 * usable value.
 * - `reported`: The target reported a failure at the completion URL of the attempt.
 * - `mail`: The mail server did not accept an e-mail of an alert.
 * - `poison`: `TASKFLOW_MAX_RESCUES` nodes died while they ran the task.
 * - `internal`: An error in TaskFlow itself, or a node without secrets that has to sign a request.
 */
export type ErrorType = "timeout" | "dns" | "connect" | "tls" | "proxy" | "key_missing" | "token" | "endpoint_disabled" | "credential_missing" | "http_status" | "invalid_url" | "blocked" | "too_large" | "too_many_redirects" | "protocol" | "expired" | "parent_failed" | "reference_missing" | "reported" | "mail" | "poison" | "internal";

/** An event to publish. */
export interface EventRequest {
  /** The type of the event. */
  type: string;
  /** The data of the event: any JSON, sent byte for byte. */
  data: string | number | boolean | Record<string, unknown> | unknown[] | null;
}

/**
 * What a submission did to a task that existed.
 *
 * - `returned`: Nothing: the task has the unique key.
 * - `replaced`: The task, which has the unique key, got the payload and options of the submission.
 * - `debounced`: The task got the payload and options of the submission, and its time was moved.
 */
export type Existing = "returned" | "replaced" | "debounced";

/** The response to a heartbeat. */
export interface ExtendedAttempt {
  /** When the attempt fails as `timeout`, unless its outcome or another heartbeat arrives. */
  overdue_at: string;
}

/** A FAILED task of a group. */
export interface FailedMember {
  /** The id of the task. */
  task_id: string;
  /** Why it failed, for people; at most 1000 characters. */
  error: string;
  /** Why it failed, for programs. */
  error_type: ErrorType | null;
}

/** FAILED tasks that have the same cause; the field order is the order of the JSON. */
export interface Failure {
  /** The id, for the filter `failure` of tasks. The same cause always has the same id. */
  id: string;
  /** The queue of the tasks. */
  queue: string;
  /** Their host, with its port unless it is the default; empty without one. */
  host: string;
  /** Why they failed, for programs. */
  error_type: ErrorType | null;
  /** The status of the last response; `null` if there was none. */
  status_code: number | null;
  /**
   * Why they failed, for people: `<n>`, `<id>`, `<time>`, `<address>` and `"..."` stand for what
   * differs from task to task.
   */
  message: string;
  /** Number of tasks that are FAILED now; 0 once all were retried, canceled or deleted. */
  failed: number;
  /** How often a task failed for this cause, including tasks that were retried. */
  occurrences: number;
  /** The first time. */
  first_at: string;
  /** The last time. */
  last_at: string;
  /** Occurrences in each of the last 24 hours, the current one last. */
  trend: number[];
  /** The ids of up to three of the FAILED tasks, the newest first. */
  example_ids: string[];
}

/** Why the work of an attempt failed. */
export interface FailureReport {
  /** What went wrong, for people: the `error` of the task has it. */
  error?: string | null;
  /** Whether the task may be retried, if it has attempts left. Default: true. */
  retry?: boolean | null;
}

/**
 * Which failures are listed.
 *
 * - `open`: Failures with FAILED tasks.
 * - `resolved`: Failures of the last seven days whose tasks were retried, canceled or deleted.
 * - `all`: Both.
 */
export type FailureState = "open" | "resolved" | "all";

/** One invalid value in a document that a client sent. */
export interface FieldError {
  /** The place of the value: a JSON pointer (RFC 6901) in URI form. */
  pointer: string;
  /** What is wrong, and what is allowed. */
  detail: string;
}

/** A group as the API shows it; the field order is the order of the JSON. */
export interface Group {
  /** The id of the group; later groups have greater ids. */
  id: string;
  /** The name, if it has one. Names need not be unique. */
  name: string | null;
  /**
   * The queue that it belongs to. A key that is limited to some queues sees the group if it may use
   * this queue.
   */
  queue: string;
  /** The status. */
  status: GroupStatus;
  /** The number of its tasks by status. */
  counts: GroupCounts;
  /** Up to ten of its FAILED tasks, the oldest first. */
  first_failures: FailedMember[];
  /** The task that is created when it completes, as it was submitted; or null. */
  on_complete: Record<string, unknown> | null;
  /** What happens when a task of it fails. */
  on_failure: OnMemberFailure;
  /** Its tags. */
  tags: Record<string, string | number | boolean>;
  /** When it was created. */
  created_at: string;
  /** When it was closed or canceled. */
  closed_at: string | null;
  /** When it completed or was canceled. */
  finished_at: string | null;
  /** How often it has completed. A retry of its tasks lets it complete again. */
  completions: number;
  /** The id of the task that its last completion created. */
  completion_task_id: string | null;
}

/** Number of tasks of a group by status. Deleted tasks are counted with their last status. */
export interface GroupCounts {
  /** Number of PENDING tasks. */
  PENDING: number;
  /** Number of RUNNING tasks. */
  RUNNING: number;
  /** Number of COMPLETED tasks. */
  COMPLETED: number;
  /** Number of FAILED tasks. */
  FAILED: number;
  /** Number of CANCELED tasks. */
  CANCELED: number;
}

/**
 * A group to create. Fields that only TaskFlow sets are ignored, so that a group can be sent again
 * as it was shown.
 */
export interface GroupRequest {
  /** A name. Groups can have the same name. */
  name?: string | null;
  /**
   * The queue that the group belongs to: keys that may use it see the group. Its tasks can be in
   * any queue. Default: `default`.
   */
  queue?: string | null;
  /**
   * The task to create when the group completes: a task as `POST /tasks` accepts it, without
   * `run_at`, `expires_at`, `unique`, `debounce`, `order_key` and `group`. Its request is a `POST`,
   * or has the given method, and its body is `{"group": {...}, "counts": {...}}`.
   */
  on_complete?: CompletionTemplate | null;
  /**
   * What happens when a task of the group fails: `run` runs the others, `cancel_rest` cancels them.
   * Default: `run`.
   */
  on_failure?: OnMemberFailure | null;
  /** Tags, which its body shows. */
  tags?: Record<string, string | number | boolean> | null;
  /** The first tasks of the group, which are stored with it, all or nothing. */
  tasks?: MemberTemplate[] | null;
  /**
   * Whether tasks can join the group later, until it is closed. Default: false if there are
   * `tasks`, and otherwise true.
   */
  open?: boolean | null;
}

/**
 * The status of a group.
 *
 * - `OPEN`: Tasks can join it.
 * - `CLOSED`: No more tasks can join it, and some have not finished.
 * - `COMPLETED`: It is closed, and all of its tasks have finished. A retry of one makes it CLOSED
 * again.
 * - `CANCELED`: It was canceled. It creates no completion task.
 */
export type GroupStatus = "OPEN" | "CLOSED" | "COMPLETED" | "CANCELED";

/** A header of any name, such as an API key. */
export interface Header {
  /** The kind. */
  kind: "header";
  /** The name of the header. */
  name: string;
  /** Its value. */
  value: string;
  /**
   * The hosts that may receive it: names, all names below a domain (`*.example.com`), and
   * addresses. A task that would send it to another host, directly or by a redirect, is `blocked`.
   * It is sent over https only, except to this machine.
   */
  hosts: string[];
}

/** A heartbeat as the API shows it; the field order is the order of the JSON. */
export interface Heartbeat {
  /** The name of the heartbeat. */
  name: string;
  /** Its state. */
  state: HeartbeatState;
  /**
   * When it was last created, up, down, paused or resumed. The states `late` and `started` do not
   * change it.
   */
  state_since: string;
  /** Text for people. */
  description: string;
  /** The interval from one ping to the next, if the heartbeat has one. */
  every_seconds: number | null;
  /** The cron expression, if the heartbeat has one. */
  cron: string | null;
  /** The time zone of `cron`. */
  timezone: string;
  /** How late a ping may be. */
  grace_seconds: number;
  /** Maximum time from a start to its end; `grace_seconds` if it is `null`. */
  max_run_seconds: number | null;
  /** True if missed pings are not noticed. */
  paused: boolean;
  /**
   * The URL that the job requests. It needs no key, and can only ping. It is shown to keys that may
   * change heartbeats; otherwise it is `null`.
   */
  ping_url: string | null;
  /** When the next ping is due; `null` before the first one, and while the heartbeat is paused. */
  next_expected_at: string | null;
  /** When the heartbeat will be down, unless a ping is received. */
  down_at: string | null;
  /** When the job that is running started. */
  started_at: string | null;
  /** When the last ping was received. */
  last_ping_at: string | null;
  /** What it reported. */
  last_signal: Signal | null;
  /** The exit code that it reported, if it was one. */
  last_exit_code: number | null;
  /** How long the last job ran that reported its start and its end. */
  last_duration_seconds: number | null;
  /** Number of pings so far. */
  ping_count: number;
  /** When it was created. */
  created_at: string;
  /** When it was last replaced or changed. */
  updated_at: string;
}

/** The history of a heartbeat. */
export interface HeartbeatHistory {
  /** The name of the heartbeat. */
  name: string;
  /** The last 100 pings, newest first. */
  pings: Ping[];
  /** The last 100 changes of the state, newest first. */
  transitions: Transition[];
}

/**
 * A JSON merge patch. A field that is not given stays as it is; null resets it to its default. The
 * whole object is `HeartbeatRequest`.
 */
export interface HeartbeatPatch {
  /** Maximum time from one ping to the next. */
  every_seconds?: number | null;
  /** A cron expression, as in schedules: a ping is expected after each of its times. */
  cron?: string | null;
  /** Time zone of `cron`. Default: `UTC`. */
  timezone?: string | null;
  /** How late a ping may be before the heartbeat is down. Default: 300. */
  grace_seconds?: number | null;
  /**
   * Maximum time from a `start` to its end, after which the heartbeat is down. A start in time
   * gives the job this time, too. Default: `grace_seconds`.
   */
  max_run_seconds?: number | null;
  /** Text for people. */
  description?: string | null;
  /**
   * Whether missed pings are not noticed. If it is not given, it stays as it is; a new heartbeat is
   * not paused.
   */
  paused?: boolean | null;
}

/**
 * A heartbeat; either `cron` or `every_seconds` is required. Fields that only TaskFlow sets are
 * ignored, so that a heartbeat can be sent again as it was shown.
 */
export interface HeartbeatRequest {
  /** Maximum time from one ping to the next. */
  every_seconds?: number | null;
  /** A cron expression, as in schedules: a ping is expected after each of its times. */
  cron?: string | null;
  /** Time zone of `cron`. Default: `UTC`. */
  timezone?: string | null;
  /** How late a ping may be before the heartbeat is down. Default: 300. */
  grace_seconds?: number | null;
  /**
   * Maximum time from a `start` to its end, after which the heartbeat is down. A start in time
   * gives the job this time, too. Default: `grace_seconds`.
   */
  max_run_seconds?: number | null;
  /** Text for people. */
  description?: string | null;
  /**
   * Whether missed pings are not noticed. If it is not given, it stays as it is; a new heartbeat is
   * not paused.
   */
  paused?: boolean | null;
}

/**
 * The state of a heartbeat.
 *
 * - `new`: No ping was received yet.
 * - `up`: The last ping was received in time, and the next one is not due yet.
 * - `started`: The job has reported its start, and is running.
 * - `late`: The next ping is due, and the grace time is not over.
 * - `down`: A ping was missed, the job reported a failure, or it ran for too long.
 * - `paused`: Pings are recorded, and a missed one is not noticed.
 */
export type HeartbeatState = "new" | "up" | "started" | "late" | "down" | "paused";

/** The number of tasks that finished in each minute of the last hour. */
export interface History {
  /** Sixty minutes by the clock, the oldest first. The last one is the current minute. */
  minutes: Minute[];
}

/** Why a task that is due does not start, and until when. */
export interface Hold {
  /** The reason, for programs. */
  reason: HoldReason;
  /** The reason, for people. */
  detail: string;
  /** The earliest time at which the task may start, if that is known. */
  until: string | null;
}

/**
 * Why a task that is due does not start.
 *
 * - `queue_paused`: The queue is paused.
 * - `queue_concurrency`: The concurrency limit of the queue is reached.
 * - `queue_rate`: The rate limit of the queue is reached.
 * - `host_concurrency`: The concurrency limit of the host is reached.
 * - `host_rate`: The rate limit of the host is reached.
 * - `host_failing`: The circuit breaker of the host is open, because its last requests failed.
 */
export type HoldReason = "queue_paused" | "queue_concurrency" | "queue_rate" | "host_concurrency" | "host_rate" | "host_failing";

/** Limits for each host (and port, if the URL has one) in a queue. */
export interface HostLimits {
  /** Maximum number of running tasks for a host, across all nodes. */
  max_concurrency: number | null;
  /** The rate limit for a host. */
  rate: Rate | null;
}

/**
 * A JSON merge patch. A field that is not given stays as it is; null resets it to its default. The
 * whole object is `HostLimitsRequest`.
 */
export interface HostLimitsPatch {
  /** Maximum number of running tasks per host, on all nodes together. */
  max_concurrency?: number | null;
  /** Maximum number of starts per second and host. An object also has a burst. */
  rate?: number | RatePatch | null;
}

/** The limits of each host: its name, and its port where the URL gives one. */
export interface HostLimitsRequest {
  /** Maximum number of running tasks per host, on all nodes together. */
  max_concurrency?: number | null;
  /** Maximum number of starts per second and host. An object also has a burst. */
  rate?: number | RateRequest | null;
}

/** Statistics of a host: recently fetched tasks and running tasks. */
export interface HostRecord {
  /** The host, with its port unless it is the default. */
  host: string;
  /** Number of recently fetched tasks. */
  fetched: number;
  /** How many of them failed. */
  failed: number;
  /** Median duration of their fetches in seconds; null without any. */
  median_seconds: number | null;
  /** Maximum duration of their fetches in seconds. */
  slowest_seconds: number | null;
  /** Number of running tasks. */
  running: number;
  /** Age of the oldest of them in seconds; null without any. */
  longest_running_seconds: number | null;
  /** Why and until when no task for the host starts, or null. */
  held: Hold | null;
  /** When its circuit breaker opened; null if it is closed, or if that is unknown. */
  open_since: string | null;
}

/** The kept part of the last response to a failed attempt. */
export interface KeptResponse {
  /** The status code and reason phrase, such as `500 Internal Server Error`. */
  status: string;
  /** The status code. */
  status_code: number;
  /**
   * The headers by lower-case name, at most 16 KiB; repeated headers are joined (RFC 9110 section
   * 5.3).
   */
  headers: Record<string, string>;
  /** The value of `Content-Type`, or null. */
  content_type: string | null;
  /** The beginning of the body: JSON as it was received, else text, else base64. */
  body: unknown;
  /** The encoding of `body`. */
  encoding: "base64" | "json" | "text";
  /** The URL of the response, after redirects. */
  url: string;
  /** Number of bytes of the body that are kept. */
  size: number;
  /** True if the body was longer, or did not arrive completely. */
  truncated: boolean;
}

/** A task of a new group: without `group`, `unique` and `debounce`. */
export interface MemberTemplate {
  /**
   * The URL to fetch, or a whole request. Any other JSON except null is accepted, too, up to 500
   * levels deep and without unpaired surrogates, and stored byte for byte; a task whose payload is
   * neither fails as `invalid_url`.
   */
  payload: string | number | boolean | unknown[] | RequestPayload;
  /**
   * Number of failed attempts after which the task fails. Default: the setting
   * `TASKFLOW_MAX_ATTEMPTS`.
   */
  max_attempts?: number;
  /** Tasks of higher priority are claimed first. Default: 0. */
  priority?: number;
  /** The queue of the task. Default: `default`. */
  queue?: string;
  /** Earliest start; a time in the past is now. Not together with `delay_seconds`. */
  run_at?: string | null;
  /** Delay from now to the earliest start. */
  delay_seconds?: number | null;
  /** No attempt starts from this time on: a task that is still pending fails as `expired`. */
  expires_at?: string | null;
  /**
   * Waits between attempts: an object; or each wait in seconds (the last one is used for all
   * further attempts); or `webhook`, the schedule of the Standard Webhooks: ten attempts in about
   * three and a half days, unless `max_attempts` is given.
   */
  backoff?: number[] | "webhook" | Backoff | null;
  /** Statuses that are retried: `503` or `"5xx"`. Default: 408, 425, 429 and 5xx. */
  retry_on?: (number | string)[] | null;
  /** Statuses that count as success. Default: `2xx`. */
  success_on?: (number | string)[] | null;
  /**
   * Whether each request is signed as the Standard Webhooks specify; `true` needs the setting
   * `TASKFLOW_WEBHOOK_SECRETS`. Default: what the queue says, or the setting
   * `TASKFLOW_SIGN_REQUESTS`.
   */
  sign?: boolean | null;
  /**
   * The name of the credential that TaskFlow adds to each request of the task. Default: what the
   * queue says.
   */
  credential?: string | null;
  /** Tags to find the task by: names with text, whole numbers or booleans. */
  tags?: Record<string, string | number | boolean> | null;
  /**
   * For work that outlasts a request: a target that answers 202 works on, and the task stays
   * `RUNNING` until the target reports the outcome, or a poll finds it.
   */
  completion?: Completion | null;
  /**
   * URL that receives the finished task: a `POST` signed as the Standard Webhooks specify, which is
   * a task with its own attempts. Needs the setting `TASKFLOW_WEBHOOK_SECRETS`.
   */
  callback_url?: string | null;
  /** How long the finished task is kept. Default: the setting `TASKFLOW_RETENTION_SECONDS`. */
  retention_seconds?: number | null;
  /**
   * Tasks of a queue with the same order key run one at a time, in the order in which they were
   * accepted. Not together with `priority`, `delay_seconds` or a `run_at` in the future.
   */
  order_key?: string | null;
  /**
   * What happens to the order key when the task fails: `continue` starts the next task, `hold`
   * waits until a client retries, cancels, skips or deletes the failed one. Needs `order_key`.
   * Default: `continue`.
   */
  on_failure?: OnFailure | null;
  /**
   * A name by which other tasks of the same array can refer to the task in `after`. No other task
   * of the array can have it, and it must not look like an id.
   */
  name?: string | null;
  /**
   * The parents of the task: ids of tasks, or names of tasks of the same array. The task starts
   * when all of them have finished; `delay_seconds` counts from then. Not together with `unique`,
   * `debounce`, `order_key` or a future `run_at`.
   */
  after?: string[] | null;
  /**
   * What happens when a parent is `FAILED` or `CANCELED`: `cancel` cancels the task, `fail` lets it
   * fail as `parent_failed`, and `run` runs it when all parents have finished. Needs `after`.
   * Default: `cancel`.
   */
  on_parent_failure?: OnParentFailure | null;
}

/** Number of tasks that finished within one minute. */
export interface Minute {
  /** The start of the minute. */
  at: string;
  /** Number of tasks by final status. */
  finished: Partial<Record<TaskStatus, number>>;
}

/**
 * What happens to times that passed while no node was running.
 *
 * - `skip`: Nothing.
 * - `once`: One task is created for the last missed time, unless a later time is due as well.
 * - `all`: One task is created for each missed time, at most for the last 100.
 */
export type Missed = "skip" | "once" | "all";

/** A client certificate for TLS. */
export interface Mtls {
  /** The kind. */
  kind: "mtls";
  /** The certificate, followed by intermediate certificates, in PEM. */
  certificate: string;
  /** The private key of the certificate, in PEM. */
  private_key: string;
  /** Certificate authorities to trust instead of the system's, in PEM. */
  ca_bundle?: string | null;
  /**
   * The hosts that may receive it: names, all names below a domain (`*.example.com`), and
   * addresses. A task that would send it to another host, directly or by a redirect, is `blocked`.
   * It is sent over https only, except to this machine.
   */
  hosts: string[];
}

/** The next times of a schedule. */
export interface NextRuns {
  /** The name of the schedule. */
  name: string;
  /** True if it is paused: then these are its next times if it is resumed now. */
  paused: boolean;
  /** The times in order. A time that is due but has not fired yet comes first. */
  times: string[];
}

/** A node: a process that runs tasks. */
export interface NodeRecord {
  /** The id of the node; a new one at each start. */
  id: string;
  /** The host and process, as shown in attempts. */
  name: string;
  /** The version of TaskFlow; null for versions that do not report it. */
  version: string | null;
  /** Number of workers; null for versions that do not report it. */
  workers: number | null;
  /** The version of the time zone database for schedules, such as `2026f`; null if unknown. */
  tz_version: string | null;
  /** When the node started. */
  started_at: string;
  /** The last heartbeat. */
  renewed_at: string;
  /** When its lease ends. */
  expires_at: string;
  /** True if its lease has not ended; otherwise its tasks are rescued. */
  alive: boolean;
  /** Number of tasks that it has claimed. */
  running: number;
  /** Age of the oldest claim in seconds; null without claims. */
  longest_running_seconds: number | null;
  /** The oldest claims, at most five. */
  longest_running: RunningTask[];
  /**
   * Some of its settings, none of them secret, so that nodes can be compared; null for versions
   * that do not report them.
   */
  settings: Record<string, string> | null;
}

/**
 * What a notification says.
 *
 * - `firing`: The alert fires.
 * - `recovered`: It no longer fires.
 * - `fired`: It fired since the last notification, and no longer does.
 * - `test`: A client tests the destinations.
 */
export type NoticeKind = "firing" | "recovered" | "fired" | "test";

/** The client credentials grant of OAuth 2.0 (RFC 6749 section 4.4). */
export interface OAuth2 {
  /** The kind. */
  kind: "oauth2_client_credentials";
  /** The token endpoint: an https URL, or http on this machine. */
  token_url: string;
  /** The id of the client. */
  client_id: string;
  /**
   * How the client authenticates itself: with its secret in the header or the body, with a signed
   * assertion (RFC 7523), or with a certificate (RFC 8705).
   */
  auth?: "client_secret_basic" | "client_secret_post" | "private_key_jwt" | "tls_client_auth";
  /** The secret of the client. */
  client_secret?: string | null;
  /** The scopes to request, separated by spaces. */
  scope?: string | null;
  /** The service that the token is for, if the endpoint requires it. */
  audience?: string | null;
  /** The key that signs assertions, in PEM. */
  private_key?: string | null;
  /** The `kid` of the private key. */
  key_id?: string | null;
  /** A client certificate for the endpoint and the targets, in PEM. */
  certificate?: string | null;
  /** The private key of the certificate, in PEM. */
  certificate_key?: string | null;
  /** Certificate authorities to trust instead of the system's, in PEM. */
  ca_bundle?: string | null;
  /**
   * The hosts that may receive it: names, all names below a domain (`*.example.com`), and
   * addresses. A task that would send it to another host, directly or by a redirect, is `blocked`.
   * It is sent over https only, except to this machine.
   */
  hosts: string[];
}

/** An ID token that TaskFlow signs itself (OpenID Connect). */
export interface Oidc {
  /** The kind. */
  kind: "oidc";
  /** Its `aud`. Default: the origin of the target. */
  audience?: string | null;
  /** Its `sub`. Default: `taskflow`. */
  subject?: string | null;
  /** The algorithm of its signature. */
  algorithm?: "ES256" | "RS256";
  /**
   * The hosts that may receive it: names, all names below a domain (`*.example.com`), and
   * addresses. A task that would send it to another host, directly or by a redirect, is `blocked`.
   * It is sent over https only, except to this machine.
   */
  hosts: string[];
}

/**
 * What happens to a submission whose unique key another task has.
 *
 * - `return`: That task is returned, unchanged.
 * - `replace`: Before its first attempt, that task gets the new payload and options; later as
 * `return`.
 * - `reject`: The submission is rejected: 409 `not-unique`.
 */
export type OnConflict = "return" | "replace" | "reject";

/**
 * What happens to an order key when a task with that key fails.
 *
 * - `continue`: The next task of the key starts.
 * - `hold`: None starts until a client retries, cancels, skips or deletes the failed task.
 */
export type OnFailure = "continue" | "hold";

/**
 * What happens when a task of a group fails.
 *
 * - `run`: The other tasks run.
 * - `cancel_rest`: The other tasks are canceled, and no more can join the group.
 */
export type OnMemberFailure = "run" | "cancel_rest";

/**
 * What happens to a task when one of its parents FAILED or was CANCELED.
 *
 * - `cancel`: It is canceled at once.
 * - `run`: It runs once all parents have finished, however they did.
 * - `fail`: It fails at once, as `parent_failed`.
 */
export type OnParentFailure = "cancel" | "run" | "fail";

/**
 * What happens at a time while an earlier task of the schedule is PENDING or RUNNING.
 *
 * - `allow`: Another task is created.
 * - `skip`: The time is skipped.
 * - `cancel_previous`: The earlier task is canceled, and another one is created.
 */
export type Overlap = "allow" | "skip" | "cancel_previous";

/**
 * The order of the tasks in a list.
 *
 * - `newest`: The newest task first.
 * - `oldest`: The oldest task first.
 */
export type PageOrder = "newest" | "oldest";

/** Percentiles of durations in seconds, with a relative error of at most 10 %. */
export interface Percentiles {
  /** The median. */
  p50: number;
  /** The time that 95 % of the tasks do not exceed. */
  p95: number;
  /** The time that 99 % of the tasks do not exceed. */
  p99: number;
}

/** A ping as the API shows it. */
export interface Ping {
  /** Its number, from 1. */
  number: number;
  /** When it was received. */
  at: string;
  /** What it reported. */
  signal: Signal;
  /** The exit code that it reported, if it was one. */
  exit_code: number | null;
  /** Time since the start that it ends, if it ends one. */
  duration_seconds: number | null;
  /** The address of the client, which may be a proxy. */
  address: string | null;
  /**
   * The start of its body as text, of at most 10,000 bytes; `null` without a body, or if it is
   * encrypted with a key that this node does not have.
   */
  note: string | null;
}

/** An error (RFC 9457). */
export interface ProblemDocument {
  /** The type of the problem: the path of a page of this service that explains it. */
  type: string;
  /** A short name of the type. */
  title: string;
  /** The status code of the response. */
  status: number;
  /** What is wrong in this case, and what to do. */
  detail: string;
  /** The validation errors of the request body, each with its place; absent for other problems. */
  errors?: FieldError[];
}

/** A problem type. */
export interface ProblemType {
  /** The URI reference of its page, which identifies it. */
  type: string;
  /** A short summary. */
  title: string;
  /** The HTTP status of its responses. */
  status: number;
  /** When it occurs. */
  meaning: string;
  /** What to do about it. */
  action: string;
  /** An example of `detail`. */
  example_detail: string;
}

/** The public keys of ID tokens, also keys that sign soon or signed until now (RFC 7517). */
export interface PublicKeys {
  /** The keys. */
  keys: Record<string, unknown>[];
}

/** An event as the API shows it; the field order is the order of the JSON. */
export interface PublishedEvent {
  /** Its id, which is the `webhook-id` of its deliveries. */
  id: string;
  /** The name of the topic. */
  topic: string;
  /** Its type. */
  type: string;
  /** When it was published, which is the `timestamp` in its deliveries. */
  created_at: string;
  /** The ids of its deliveries, one for each endpoint that matched. */
  tasks: string[];
}

/** A queue: its settings and its statistics. */
export interface Queue {
  /** The name of the queue. */
  name: string;
  /** True if none of its tasks start. */
  paused: boolean;
  /** Maximum number of its running tasks, across all nodes. */
  max_concurrency: number | null;
  /** The rate limit of the queue. */
  rate: Rate | null;
  /** Limits for its tasks of each host. */
  per_host: HostLimits | null;
  /** Whether requests of its tasks are signed; null for the setting. */
  sign: boolean | null;
  /** The name of the credential of their requests, if there is one. */
  credential: string | null;
  /**
   * The URL of the proxy that its tasks use, its credentials masked, or `direct` for none; null for
   * the setting.
   */
  egress_proxy: string | null;
  /** Number of its tasks by status. */
  counts: Partial<Record<TaskStatus, number>>;
  /** How long its oldest due task has been due, in seconds; null without due tasks. */
  oldest_waiting_seconds: number | null;
  /** Number of its tasks that finished recently, by final status. */
  finished: Partial<Record<TaskStatus, RecentCounts>>;
  /**
   * Number of its open tasks (PENDING or RUNNING) by state. Unlike `counts`, it depends on the
   * time: a scheduled task becomes due without a change.
   */
  states: Partial<Record<TaskState, StateCount>>;
}

/**
 * A JSON merge patch. A field that is not given stays as it is; null resets it to its default. The
 * whole object is `QueueRequest`.
 */
export interface QueuePatch {
  /**
   * Whether no task of the queue starts. If it is not given, it stays as it is, also in a `PUT`.
   */
  paused?: boolean | null;
  /** Maximum number of running tasks, on all nodes together. */
  max_concurrency?: number | null;
  /** Maximum number of starts per second. An object also has a burst. */
  rate?: number | RatePatch | null;
  /** Limits for each host. */
  per_host?: HostLimitsPatch | null;
  /**
   * Whether requests of its tasks are signed, except of tasks with `sign` of their own; `true`
   * needs the setting `TASKFLOW_WEBHOOK_SECRETS`. Default: the setting `TASKFLOW_SIGN_REQUESTS`.
   */
  sign?: boolean | null;
  /**
   * The name of the credential that TaskFlow adds to each request of its tasks, except of tasks
   * with a `credential` of their own.
   */
  credential?: string | null;
  /**
   * URL of the proxy that its tasks use, `http://` or `https://`, with its user and password;
   * `direct` for no proxy. Its credentials are shown as `***`, which keeps them if it is sent back.
   * A change needs the role `admin`, for all queues. If absent, it stays unchanged, even in a
   * `PUT`; `null` stands for the setting `TASKFLOW_EGRESS_PROXY`.
   */
  egress_proxy?: string | null;
}

/**
 * The settings of a queue. In a `PUT` a setting that is not given is removed. Fields that only
 * TaskFlow sets are ignored, so that a queue can be sent again as it was shown.
 */
export interface QueueRequest {
  /**
   * Whether no task of the queue starts. If it is not given, it stays as it is, also in a `PUT`.
   */
  paused?: boolean;
  /** Maximum number of running tasks, on all nodes together. */
  max_concurrency?: number | null;
  /** Maximum number of starts per second. An object also has a burst. */
  rate?: number | RateRequest | null;
  /** Limits for each host. */
  per_host?: HostLimitsRequest | null;
  /**
   * Whether requests of its tasks are signed, except of tasks with `sign` of their own; `true`
   * needs the setting `TASKFLOW_WEBHOOK_SECRETS`. Default: the setting `TASKFLOW_SIGN_REQUESTS`.
   */
  sign?: boolean | null;
  /**
   * The name of the credential that TaskFlow adds to each request of its tasks, except of tasks
   * with a `credential` of their own.
   */
  credential?: string | null;
  /**
   * URL of the proxy that its tasks use, `http://` or `https://`, with its user and password;
   * `direct` for no proxy. Its credentials are shown as `***`, which keeps them if it is sent back.
   * A change needs the role `admin`, for all queues. If absent, it stays unchanged, even in a
   * `PUT`; `null` stands for the setting `TASKFLOW_EGRESS_PROXY`.
   */
  egress_proxy?: string | null;
}

/** The statistics of a queue. */
export interface QueueStatistics {
  /** The name of the queue. */
  queue: string;
  /** Number of its tasks by status. */
  counts: Partial<Record<TaskStatus, number>>;
  /** How long its oldest due task has been due, in seconds; null without due tasks. */
  oldest_waiting_seconds: number | null;
  /** Number of its tasks that finished recently, by final status. */
  finished: Partial<Record<TaskStatus, RecentCounts>>;
  /**
   * Number of its open tasks (PENDING or RUNNING) by state. Unlike `counts`, it depends on the
   * time: a scheduled task becomes due without a change.
   */
  states: Partial<Record<TaskState, StateCount>>;
}

/** A rate limit for starting tasks. */
export interface Rate {
  /** Sustained number of starts per second. */
  per_second: number;
  /** Maximum number of starts at once after a pause. */
  burst: number;
}

/**
 * A JSON merge patch. A field that is not given stays as it is; null resets it to its default. The
 * whole object is `RateRequest`.
 */
export interface RatePatch {
  /** Maximum number of starts per second. */
  per_second?: number;
  /** Maximum number of starts at once after a pause. Default: the starts of a tenth of a second. */
  burst?: number | null;
}

/** A rate limit. */
export interface RateRequest {
  /** Maximum number of starts per second. */
  per_second: number;
  /** Maximum number of starts at once after a pause. Default: the starts of a tenth of a second. */
  burst?: number | null;
}

/** The service is ready. */
export interface Readiness {
  /**
   * `ok`, or `degraded` if some of the cells of the task store do not answer or have no node. A
   * service that is not ready returns a problem.
   */
  status: "degraded" | "ok";
  /** The database in use; `null` if tasks are in memory, or in several cells. */
  database: DatabaseState | null;
  /** The names of the cells that do not answer; absent if all do. */
  missing_cells?: string[];
  /** The names of the cells whose tasks no node runs; absent if nodes run the tasks of all. */
  cells_without_nodes?: string[];
}

/**
 * Why the state of a heartbeat changed.
 *
 * - `created`: It was created.
 * - `pinged`: A ping reported success.
 * - `failed`: A ping reported a failure.
 * - `missed`: No ping was received before the end of the grace time.
 * - `ran_too_long`: The job started, and did not report its end in time.
 * - `outage`: A ping was due while no node was running, and may be lost; the next one is waited
 * for.
 * - `paused`: It was paused.
 * - `resumed`: It was resumed.
 */
export type Reason = "created" | "pinged" | "failed" | "missed" | "ran_too_long" | "outage" | "paused" | "resumed";

/**
 * Number of tasks that finished recently. The minute in which a window begins counts in proportion
 * to its part inside the window.
 */
export interface RecentCounts {
  /** In the last 60 seconds. */
  last_minute: number;
  /** In the last 300 seconds. */
  last_5_minutes: number;
  /** In the last 3,600 seconds. */
  last_hour: number;
}

/** Which deliveries of an endpoint are to be sent again. */
export interface RecoverRequest {
  /** FAILED deliveries of events from this time on are sent again. */
  since: string;
}

/** The result of a recovery. */
export interface Recovered {
  /** The number of deliveries that are sent again. */
  count: number;
  /** Whether these are all. If not, the same request again does the rest. */
  complete: boolean;
}

/** The outcome of a line that was rejected. */
export interface RejectedLine {
  /** The index of the line, from 0. Blank lines do not count. */
  index: number;
  /** The problem, as for a request with this task alone. */
  error: ProblemDocument;
}

/**
 * How PostgreSQL replicates the commits of TaskFlow.
 *
 * - `synchronous`: A task is acknowledged once a standby has it.
 * - `asynchronous`: No commit waits for the standbys: a failover may lose the latest tasks.
 * - `none`: No standby is connected, as far as PostgreSQL knows; a provider may replicate its disk.
 */
export type ReplicationMode = "synchronous" | "asynchronous" | "none";

/** A whole HTTP request, in place of a URL to GET. */
export interface RequestPayload {
  /** The http or https URL to send the request to. */
  url: string;
  /**
   * The method, in capitals; not `CONNECT` or `TRACE`. Default: `GET`, or `POST` if there is a
   * body.
   */
  method?: string | null;
  /**
   * Header fields by name. Fields of the connection, and fields that TaskFlow sets itself, are
   * rejected.
   */
  headers?: Record<string, string> | null;
  /**
   * The request body. Text is sent unchanged, as `text/plain` in UTF-8; `{"base64": "..."}` is
   * bytes; any other JSON is sent as JSON, to the byte. A `Content-Type` among the headers takes
   * precedence. `null` is no body.
   */
  body?: string | number | boolean | unknown[] | null | Record<string, unknown> | {
    base64: string;
  };
  /** Timeout of an attempt. Default: the setting `TASKFLOW_FETCH_TIMEOUT_SECONDS`. */
  timeout_seconds?: number | null;
  /** Whether to follow redirects. Default: true. */
  follow_redirects?: boolean | null;
}

/** A change of a resource. The kind says what the resource is, and which fields it has. */
export interface ResourceChange {
  /** The kind of the resource. */
  kind: ResourceKind;
  /** Its name. Of an endpoint, the name of the topic, a slash and its name: `orders/billing`. */
  name: string;
  /**
   * Its fields: of a queue, what `PATCH /queues/{name}` accepts; of any other kind, what the `PUT`
   * of the kind accepts. `null` deletes it; of a queue, it removes the settings.
   */
  fields: Record<string, unknown> | null;
  /**
   * The precondition: fields of the resource as `GET` shows them, of those that a client sets, and
   * `updated_at`. If one of them has another value now, nothing is changed. `null`: it must not
   * exist. If it is not given, there is no precondition.
   */
  before?: Record<string, unknown> | null;
}

/**
 * A kind of resources, in the order in which they are changed: each refers to earlier ones.
 *
 * - `credential`: A credential.
 * - `queue`: The settings of a queue.
 * - `topic`: A topic, without its endpoints.
 * - `endpoint`: An endpoint of a topic: the name of the topic, a slash and its name.
 * - `schedule`: A schedule.
 */
export type ResourceKind = "credential" | "queue" | "topic" | "endpoint" | "schedule";

/**
 * What happened to a resource.
 *
 * - `created`: It is new.
 * - `changed`: It existed, and was changed.
 * - `deleted`: It was deleted; of a queue, the settings were removed.
 */
export type ResourceOutcome = "created" | "changed" | "deleted";

/** The response of a target, as shown under `result`. */
export interface TaskResult {
  /** A message for people. */
  message: string;
  /** The body: JSON as it was received, else text, else base64. */
  result: unknown;
  /** The status code and reason phrase, such as `200 OK`. */
  status: string;
  /** The status code. */
  status_code: number;
  /** The headers by lower-case name; repeated headers are joined (RFC 9110 section 5.3). */
  headers: Record<string, string>;
  /** The value of `Content-Type`, or null. */
  content_type: string | null;
  /** The encoding of the body in `result`. */
  encoding: "base64" | "json" | "text";
  /** The URL of the response, after redirects. */
  url: string;
  /** Time from the start of the fetch to the end of the body, in seconds. */
  elapsed_seconds: number;
  /** Size of the decoded body in bytes. */
  size: number;
  /** Present and true if a conditional fetch found the resource unchanged. */
  not_modified?: boolean;
  /**
   * Present if the body is kept undecoded: the values of `Content-Encoding` that TaskFlow cannot
   * decode.
   */
  content_encoding?: string;
  /** Present if bytes followed the compressed data: their number. They are not kept. */
  dropped_bytes?: number;
}

/** The result of a rotation. */
export interface RotatedSecret {
  /** The new secret. No other response shows it. */
  signing_secret: string;
  /** Until when the former secret of the endpoint signs, too; null if it had none. */
  former_secret_until: string | null;
}

/** A rotation of the signing secret of an endpoint. */
export interface RotationRequest {
  /** The new secret. Default: TaskFlow makes one, which only this response shows. */
  signing_secret?: string | null;
  /** How long the former secret of the endpoint signs, too. Default: a day. */
  overlap_seconds?: number | null;
}

/** A task that a node is running. */
export interface RunningTask {
  /** The id of the task. */
  id: string;
  /** The host of its URL, with the port unless it is the default; empty without a URL. */
  host: string;
  /** Time since the node claimed it. */
  running_seconds: number;
}

/** A schedule as the API shows it; the field order is the order of the JSON. */
export interface Schedule {
  /** The name of the schedule. */
  name: string;
  /** The cron expression, if the schedule has one. */
  cron: string | null;
  /** The interval, if the schedule has one. */
  every_seconds: number | null;
  /** The first time of `every_seconds`, if one was given. */
  start_at: string | null;
  /** The time zone of `cron`. */
  timezone: string;
  /** The template of its tasks, as it was submitted. */
  task: Record<string, unknown>;
  /** What happens to times that were missed. */
  missed: Missed;
  /** What happens at a time while an earlier task is PENDING or RUNNING. */
  overlap: Overlap;
  /** True if its fetches are conditional on the last response. */
  conditional: boolean;
  /** True if it creates no tasks until it is resumed. */
  paused: boolean;
  /** When it was created. */
  created_at: string;
  /** When it was last replaced or changed. */
  updated_at: string;
  /** When it is due next; null if it is paused. */
  next_run_at: string | null;
  /** When it last created a task. */
  last_run_at: string | null;
  /** The id of that task. */
  last_task_id: string | null;
  /** The status of that task; null if the task was deleted. */
  last_task_status: TaskStatus | null;
  /** Number of times that were skipped because of `overlap`. */
  skipped_count: number;
  /** When a time was last skipped because of `overlap`. */
  last_skipped_at: string | null;
}

/**
 * A JSON merge patch. A field that is not given stays as it is; null resets it to its default. The
 * whole object is `ScheduleRequest`.
 */
export interface SchedulePatch {
  /** A merge patch of the template of its tasks. */
  task?: Record<string, unknown>;
  /**
   * A cron expression: minute, hour, day of the month, month, day of the week. Besides numbers,
   * names, lists, ranges and steps it accepts `L`, the last day of the month, `LW`, its last
   * working day, `5L`, its last Friday, and `1#2`, its second Monday. A range of days or months may
   * pass the end of the week or year (`FRI-MON`, `NOV-FEB`), and `?` stands for any day.
   */
  cron?: string | null;
  /** Interval between two runs. */
  every_seconds?: number | null;
  /**
   * The first run of `every_seconds`, from which the others are counted. Default: one interval
   * after the schedule was created.
   */
  start_at?: string | null;
  /** Time zone of `cron`. Default: `UTC`. */
  timezone?: string | null;
  /** What happens to runs that no node started within a minute. Default: `once`. */
  missed?: Missed | null;
  /**
   * What happens at a time while an earlier task of the schedule is PENDING or RUNNING: `allow`
   * creates another task, `skip` creates none, and `cancel_previous` cancels the earlier task and
   * creates another one. Default: `allow`.
   */
  overlap?: Overlap | null;
  /**
   * Whether to fetch only what has changed since the last COMPLETED task: if nothing has, the task
   * is COMPLETED with `not_modified`. For GET and HEAD.
   */
  conditional?: boolean | null;
  /**
   * Whether the schedule is paused and creates no tasks. If it is not given, it stays as it is; a
   * new schedule is not paused.
   */
  paused?: boolean | null;
}

/**
 * A schedule; either `cron` or `every_seconds` is required. Fields that only TaskFlow sets are
 * ignored, so that a schedule can be sent again as it was shown.
 */
export interface ScheduleRequest {
  /**
   * The template of its tasks: a task as `POST /tasks` accepts it, without `run_at` and
   * `expires_at`, which are fixed times, and without `unique`, `debounce` and `group`.
   */
  task: TaskTemplate;
  /**
   * A cron expression: minute, hour, day of the month, month, day of the week. Besides numbers,
   * names, lists, ranges and steps it accepts `L`, the last day of the month, `LW`, its last
   * working day, `5L`, its last Friday, and `1#2`, its second Monday. A range of days or months may
   * pass the end of the week or year (`FRI-MON`, `NOV-FEB`), and `?` stands for any day.
   */
  cron?: string | null;
  /** Interval between two runs. */
  every_seconds?: number | null;
  /**
   * The first run of `every_seconds`, from which the others are counted. Default: one interval
   * after the schedule was created.
   */
  start_at?: string | null;
  /** Time zone of `cron`. Default: `UTC`. */
  timezone?: string | null;
  /** What happens to runs that no node started within a minute. Default: `once`. */
  missed?: Missed | null;
  /**
   * What happens at a time while an earlier task of the schedule is PENDING or RUNNING: `allow`
   * creates another task, `skip` creates none, and `cancel_previous` cancels the earlier task and
   * creates another one. Default: `allow`.
   */
  overlap?: Overlap | null;
  /**
   * Whether to fetch only what has changed since the last COMPLETED task: if nothing has, the task
   * is COMPLETED with `not_modified`. For GET and HEAD.
   */
  conditional?: boolean | null;
  /**
   * Whether the schedule is paused and creates no tasks. If it is not given, it stays as it is; a
   * new schedule is not paused.
   */
  paused?: boolean | null;
}

/** Finished tasks, their times and the backlog over a span. */
export interface Series {
  /** The length of each point in seconds. */
  bucket_seconds: number;
  /** The points without gaps, the oldest first. The last one contains the present. */
  points: SeriesPoint[];
  /** The percentiles of the wait times of the whole span; `null` without any. */
  wait: Percentiles | null;
  /** The percentiles of the run times of the whole span; `null` without any. */
  run: Percentiles | null;
}

/** A period of a series. */
export interface SeriesPoint {
  /** When it begins. */
  at: string;
  /** Number of finished tasks by final status. */
  finished: Partial<Record<TaskStatus, number>>;
  /**
   * How long the COMPLETED and FAILED ones were due before their last attempt started; `null`
   * without any.
   */
  wait: Percentiles | null;
  /** How long their last attempt took; `null` without any. */
  run: Percentiles | null;
  /**
   * The maximum number of tasks that were due and not started, of one sample a minute; `null`
   * without a sample.
   */
  backlog: number | null;
}

/**
 * What a ping reports.
 *
 * - `success`: The job has succeeded.
 * - `start`: The job starts.
 * - `fail`: The job has failed.
 */
export type Signal = "success" | "start" | "fail";

/** How long an alert notifies nothing. */
export interface SilenceRequest {
  /** How long, from now; `null` ends the silence. */
  seconds: number | null;
}

/**
 * The time that a series covers, up to now.
 *
 * - `1h`: 60 points of a minute.
 * - `24h`: 96 points of 15 minutes.
 * - `7d`: 168 points of an hour.
 * - `30d`: 180 points of 4 hours.
 * - `90d`: 90 points of a day, in UTC.
 */
export type Span = "1h" | "24h" | "7d" | "30d" | "90d";

/** The number of tasks in a state. */
export interface StateCount {
  /** The number of tasks, or a lower bound of it. */
  count: number;
  /**
   * Whether it is the number. Otherwise there are too many tasks to count, and there are at least
   * `count` in this state.
   */
  is_exact: boolean;
}

/** The last line of a stream that broke off. */
export interface StreamError {
  /** Why it broke off. */
  error: ProblemDocument;
}

/** The last line of the response to a stream. */
export interface StreamSummary {
  /** The number of lines that were accepted: tasks that were stored, or existed. */
  accepted: number;
  /** The number of lines that were rejected. */
  rejected: number;
  /**
   * Why the stream was not read to its end. If the status is 503, lines without an outcome may have
   * been stored.
   */
  error: ProblemDocument | null;
}

/** What an alert fires for, such as a host. */
export interface Subject {
  /** Its name. */
  name: string;
  /** What is wrong, for people. */
  detail: string;
  /** When that was observed last. */
  seen_at: string | null;
}

/**
 * The kind of the target of an action.
 *
 * - `task`: One task: the target is its id.
 * - `tasks`: All tasks that match the filter in the detail.
 * - `queue`: A queue: the target is its name.
 * - `schedule`: A schedule: the target is its name.
 * - `heartbeat`: A heartbeat: the target is its name.
 * - `credential`: A credential: the target is its name.
 * - `signing_keys`: The keys that sign ID tokens: the target is the number of their generation.
 * - `group`: A group: the target is its id.
 * - `topic`: A topic: the target is its name.
 * - `endpoint`: An endpoint of a topic: the target is the name of the topic, a slash and its name.
 * - `view`: A saved view of the dashboard: the target is its name.
 * - `alert`: An alert: the target is its name.
 * - `session`: A session of the dashboard.
 * - `key`: An API key.
 */
export type TargetKind = "task" | "tasks" | "queue" | "schedule" | "heartbeat" | "credential" | "signing_keys" | "group" | "topic" | "endpoint" | "view" | "alert" | "session" | "key";

/** A task as the API shows it; the field order is the order of the JSON. */
export interface Task {
  /** The id of the task; later tasks have greater ids. */
  id: string;
  /** The payload, byte for byte as it was submitted. */
  payload: string | number | boolean | Record<string, unknown> | unknown[];
  /** The status. */
  status: TaskStatus;
  /** The response of a COMPLETED task, as JSON. */
  result: TaskResult | null;
  /** Why the last attempt failed, for people; empty if it did not fail. */
  error: string;
  /** Why the last attempt failed, for programs. */
  error_type: ErrorType | null;
  /** When it was stored. */
  created_at: string;
  /** When it is due at the earliest; null while it waits for other tasks. */
  run_at: string | null;
  /** When the last attempt started. */
  started_at: string | null;
  /** When it finished, or null. */
  finished_at: string | null;
  /** The name of its queue. */
  queue: string;
  /** Tasks with a higher priority are claimed first. */
  priority: number;
  /** Number of attempts that count, including a running one. */
  attempt: number;
  /** Maximum number of attempts. */
  max_attempts: number;
  /** How many nodes died while they ran it. */
  rescues: number;
  /** Tags for filters. */
  tags: Record<string, string | number | boolean>;
  /** When it expires: no attempt starts from then on. */
  expires_at: string | null;
  /** Delays between attempts; null for the settings. */
  backoff: number[] | Backoff | null;
  /** Statuses that are retried; null for 408, 425, 429 and 5xx. */
  retry_on: (number | string)[] | null;
  /** Statuses that count as success; null for 2xx. */
  success_on: (number | string)[] | null;
  /** Whether its requests are signed; null for what its queue says, or the setting. */
  sign: boolean | null;
  /** The name of the credential of its requests; null for what its queue says. */
  credential: string | null;
  /** Its unique key, if it has one. */
  unique: Unique | null;
  /** Its debounce key, if it has one. */
  debounce: Debounce | null;
  /** Number of later submissions that its debounce key folded into it. */
  debounced: number;
  /** How long it is kept after it finishes; null for the setting. */
  retention_seconds: number | null;
  /** How it is completed if its target answers 202 and works on. */
  completion: Completion | null;
  /** The URL to which its outcome is sent. */
  callback_url: string | null;
  /** The id of the callback for its outcome, once it is finished. */
  callback_id: string | null;
  /** In a callback, the id of the task whose outcome it sends. */
  callback_of: string | null;
  /** The name of the schedule that created it, if any. */
  schedule: string | null;
  /** The scheduled time; null if a client ran the schedule. */
  scheduled_at: string | null;
  /** Tasks of its queue with the same key run one at a time, in order. */
  order_key: string | null;
  /**
   * What happens to the key when the task fails; null without a key. A FAILED task with `hold`
   * holds its key.
   */
  on_failure: OnFailure | null;
  /** The id of its group, if it is in one. */
  group: string | null;
  /** In the task that a completed group creates, the id of the group. */
  completion_of: string | null;
  /** Its name within the array that it was submitted in, if it has one. */
  name: string | null;
  /** The ids of its parents, in their order of creation; null without parents. */
  after: string[] | null;
  /** What happens when a parent FAILED or was CANCELED; null without parents. */
  on_parent_failure: OnParentFailure | null;
  /** Why it does not start although it is due, or null. */
  held: Hold | null;
  /**
   * The task that must finish before it is due; or, of a RUNNING task, that its target has accepted
   * the work and its outcome is not known yet. Otherwise null.
   */
  waiting_for: WaitingFor | null;
  /** In the delivery of an event, what it delivers; absent otherwise. */
  delivery?: Delivery;
  /**
   * In the response to a submission, what the submission did to this task, which existed; absent
   * otherwise.
   */
  existing?: Existing;
}

/** A change of the status of a task; the field order is the order of the JSON. */
export interface TaskEvent {
  /** Its position in the order of all events; later events have greater ids. */
  id: number;
  /** The id of the task. */
  task_id: string;
  /** The new status. */
  status: TaskStatus;
  /** The queue of the task. */
  queue: string;
  /** Number of attempts that count, including a running one. */
  attempt: number;
  /** When the status changed. */
  at: string;
  /** Why the last attempt failed, for people; empty if it did not fail. */
  error: string;
  /** Why the last attempt failed, for programs. */
  error_type: ErrorType | null;
  /** The tags of the task. */
  tags: Record<string, string | number | boolean>;
  /** The id of the group of the task, if it is in one. */
  group: string | null;
}

/** The fields of a task that `fields` selects. */
export interface TaskFields {
  /** The id of the task; later tasks have greater ids. */
  id?: string;
  /** The payload, byte for byte as it was submitted. */
  payload?: string | number | boolean | Record<string, unknown> | unknown[];
  /** The status. */
  status?: TaskStatus;
  /** The response of a COMPLETED task, as JSON. */
  result?: TaskResult | null;
  /** Why the last attempt failed, for people; empty if it did not fail. */
  error?: string;
  /** Why the last attempt failed, for programs. */
  error_type?: ErrorType | null;
  /** When it was stored. */
  created_at?: string;
  /** When it is due at the earliest; null while it waits for other tasks. */
  run_at?: string | null;
  /** When the last attempt started. */
  started_at?: string | null;
  /** When it finished, or null. */
  finished_at?: string | null;
  /** The name of its queue. */
  queue?: string;
  /** Tasks with a higher priority are claimed first. */
  priority?: number;
  /** Number of attempts that count, including a running one. */
  attempt?: number;
  /** Maximum number of attempts. */
  max_attempts?: number;
  /** How many nodes died while they ran it. */
  rescues?: number;
  /** Tags for filters. */
  tags?: Record<string, string | number | boolean>;
  /** When it expires: no attempt starts from then on. */
  expires_at?: string | null;
  /** Delays between attempts; null for the settings. */
  backoff?: number[] | Backoff | null;
  /** Statuses that are retried; null for 408, 425, 429 and 5xx. */
  retry_on?: (number | string)[] | null;
  /** Statuses that count as success; null for 2xx. */
  success_on?: (number | string)[] | null;
  /** Whether its requests are signed; null for what its queue says, or the setting. */
  sign?: boolean | null;
  /** The name of the credential of its requests; null for what its queue says. */
  credential?: string | null;
  /** Its unique key, if it has one. */
  unique?: Unique | null;
  /** Its debounce key, if it has one. */
  debounce?: Debounce | null;
  /** Number of later submissions that its debounce key folded into it. */
  debounced?: number;
  /** How long it is kept after it finishes; null for the setting. */
  retention_seconds?: number | null;
  /** How it is completed if its target answers 202 and works on. */
  completion?: Completion | null;
  /** The URL to which its outcome is sent. */
  callback_url?: string | null;
  /** The id of the callback for its outcome, once it is finished. */
  callback_id?: string | null;
  /** In a callback, the id of the task whose outcome it sends. */
  callback_of?: string | null;
  /** The name of the schedule that created it, if any. */
  schedule?: string | null;
  /** The scheduled time; null if a client ran the schedule. */
  scheduled_at?: string | null;
  /** Tasks of its queue with the same key run one at a time, in order. */
  order_key?: string | null;
  /**
   * What happens to the key when the task fails; null without a key. A FAILED task with `hold`
   * holds its key.
   */
  on_failure?: OnFailure | null;
  /** The id of its group, if it is in one. */
  group?: string | null;
  /** In the task that a completed group creates, the id of the group. */
  completion_of?: string | null;
  /** Its name within the array that it was submitted in, if it has one. */
  name?: string | null;
  /** The ids of its parents, in their order of creation; null without parents. */
  after?: string[] | null;
  /** What happens when a parent FAILED or was CANCELED; null without parents. */
  on_parent_failure?: OnParentFailure | null;
  /** Why it does not start although it is due, or null. */
  held?: Hold | null;
  /**
   * The task that must finish before it is due; or, of a RUNNING task, that its target has accepted
   * the work and its outcome is not known yet. Otherwise null.
   */
  waiting_for?: WaitingFor | null;
  /** In the delivery of an event, what it delivers; absent otherwise. */
  delivery?: Delivery;
  /**
   * In the response to a submission, what the submission did to this task, which existed; absent
   * otherwise.
   */
  existing?: Existing;
}

/**
 * A task to submit. A field that may be null counts as not given if it is null. Fields that only
 * TaskFlow sets are ignored, so that a task can be submitted again as it was shown; any other field
 * that does not exist is rejected.
 */
export interface TaskRequest {
  /**
   * The URL to fetch, or a whole request. Any other JSON except null is accepted, too, up to 500
   * levels deep and without unpaired surrogates, and stored byte for byte; a task whose payload is
   * neither fails as `invalid_url`.
   */
  payload: string | number | boolean | unknown[] | RequestPayload;
  /**
   * Number of failed attempts after which the task fails. Default: the setting
   * `TASKFLOW_MAX_ATTEMPTS`.
   */
  max_attempts?: number;
  /** Tasks of higher priority are claimed first. Default: 0. */
  priority?: number;
  /** The queue of the task. Default: `default`. */
  queue?: string;
  /** Earliest start; a time in the past is now. Not together with `delay_seconds`. */
  run_at?: string | null;
  /** Delay from now to the earliest start. */
  delay_seconds?: number | null;
  /** No attempt starts from this time on: a task that is still pending fails as `expired`. */
  expires_at?: string | null;
  /**
   * Waits between attempts: an object; or each wait in seconds (the last one is used for all
   * further attempts); or `webhook`, the schedule of the Standard Webhooks: ten attempts in about
   * three and a half days, unless `max_attempts` is given.
   */
  backoff?: number[] | "webhook" | Backoff | null;
  /** Statuses that are retried: `503` or `"5xx"`. Default: 408, 425, 429 and 5xx. */
  retry_on?: (number | string)[] | null;
  /** Statuses that count as success. Default: `2xx`. */
  success_on?: (number | string)[] | null;
  /**
   * Whether each request is signed as the Standard Webhooks specify; `true` needs the setting
   * `TASKFLOW_WEBHOOK_SECRETS`. Default: what the queue says, or the setting
   * `TASKFLOW_SIGN_REQUESTS`.
   */
  sign?: boolean | null;
  /**
   * The name of the credential that TaskFlow adds to each request of the task. Default: what the
   * queue says.
   */
  credential?: string | null;
  /**
   * A key that one task of the queue can have at a time. If another task has it, that task is
   * returned with status 200.
   */
  unique?: Unique | null;
  /**
   * Folds submissions into one task: each one with the same key replaces the task and moves its
   * start. Not together with `unique`, `run_at` and `delay_seconds`.
   */
  debounce?: Debounce | null;
  /** Tags to find the task by: names with text, whole numbers or booleans. */
  tags?: Record<string, string | number | boolean> | null;
  /**
   * For work that outlasts a request: a target that answers 202 works on, and the task stays
   * `RUNNING` until the target reports the outcome, or a poll finds it.
   */
  completion?: Completion | null;
  /**
   * URL that receives the finished task: a `POST` signed as the Standard Webhooks specify, which is
   * a task with its own attempts. Needs the setting `TASKFLOW_WEBHOOK_SECRETS`.
   */
  callback_url?: string | null;
  /** How long the finished task is kept. Default: the setting `TASKFLOW_RETENTION_SECONDS`. */
  retention_seconds?: number | null;
  /**
   * Tasks of a queue with the same order key run one at a time, in the order in which they were
   * accepted. Not together with `priority`, `delay_seconds` or a `run_at` in the future.
   */
  order_key?: string | null;
  /**
   * What happens to the order key when the task fails: `continue` starts the next task, `hold`
   * waits until a client retries, cancels, skips or deletes the failed one. Needs `order_key`.
   * Default: `continue`.
   */
  on_failure?: OnFailure | null;
  /**
   * The id of a group, which the task joins; the group must be `OPEN`. Not together with `unique`
   * and `debounce`.
   */
  group?: string | null;
  /**
   * A name by which other tasks of the same array can refer to the task in `after`. No other task
   * of the array can have it, and it must not look like an id.
   */
  name?: string | null;
  /**
   * The parents of the task: ids of tasks, or names of tasks of the same array. The task starts
   * when all of them have finished; `delay_seconds` counts from then. Not together with `unique`,
   * `debounce`, `order_key` or a future `run_at`.
   */
  after?: string[] | null;
  /**
   * What happens when a parent is `FAILED` or `CANCELED`: `cancel` cancels the task, `fail` lets it
   * fail as `parent_failed`, and `run` runs it when all parents have finished. Needs `after`.
   * Default: `cancel`.
   */
  on_parent_failure?: OnParentFailure | null;
}

/**
 * The state of a task that is PENDING or RUNNING.
 *
 * - `due`: It starts as soon as a worker is idle.
 * - `scheduled`: It is due later, and no attempt has started.
 * - `retrying`: It is due later, after an attempt that failed or was postponed.
 * - `held`: It is due, but a paused queue, a limit or a circuit breaker holds it.
 * - `waiting_for_parents`: Its parents have not finished.
 * - `waiting_for_order`: Tasks with the same order key come first.
 * - `running`: A node runs it.
 * - `parked`: It is RUNNING: its target has accepted the work, and its outcome is not known yet.
 */
export type TaskState = "due" | "scheduled" | "retrying" | "held" | "waiting_for_parents" | "waiting_for_order" | "running" | "parked";

/** The statistics of tasks, by queue and in total. */
export interface TaskStatistics {
  /** Queues that have tasks or finished one within the last hour, by name. */
  queues: QueueStatistics[];
  /** The statistics of all queues together. */
  total: TotalStatistics;
  /** True if all requested queues are listed. */
  complete: boolean;
}

/**
 * The status of a task; the last three are final unless a client retries the task.
 *
 * - `PENDING`: It is scheduled, retrying, held, or waiting for a worker.
 * - `RUNNING`: A node has claimed it.
 * - `COMPLETED`: The target returned a response that counts as success.
 * - `FAILED`: It failed; `error_type` has the reason.
 * - `CANCELED`: A client canceled it.
 */
export type TaskStatus = "PENDING" | "RUNNING" | "COMPLETED" | "FAILED" | "CANCELED";

/** The template of the tasks of a schedule: a task without fixed times, keys, group and parents. */
export interface TaskTemplate {
  /**
   * The URL to fetch, or a whole request. Any other JSON except null is accepted, too, up to 500
   * levels deep and without unpaired surrogates, and stored byte for byte; a task whose payload is
   * neither fails as `invalid_url`.
   */
  payload: string | number | boolean | unknown[] | RequestPayload;
  /**
   * Number of failed attempts after which the task fails. Default: the setting
   * `TASKFLOW_MAX_ATTEMPTS`.
   */
  max_attempts?: number;
  /** Tasks of higher priority are claimed first. Default: 0. */
  priority?: number;
  /** The queue of the task. Default: `default`. */
  queue?: string;
  /** Delay from now to the earliest start. */
  delay_seconds?: number | null;
  /**
   * Waits between attempts: an object; or each wait in seconds (the last one is used for all
   * further attempts); or `webhook`, the schedule of the Standard Webhooks: ten attempts in about
   * three and a half days, unless `max_attempts` is given.
   */
  backoff?: number[] | "webhook" | Backoff | null;
  /** Statuses that are retried: `503` or `"5xx"`. Default: 408, 425, 429 and 5xx. */
  retry_on?: (number | string)[] | null;
  /** Statuses that count as success. Default: `2xx`. */
  success_on?: (number | string)[] | null;
  /**
   * Whether each request is signed as the Standard Webhooks specify; `true` needs the setting
   * `TASKFLOW_WEBHOOK_SECRETS`. Default: what the queue says, or the setting
   * `TASKFLOW_SIGN_REQUESTS`.
   */
  sign?: boolean | null;
  /**
   * The name of the credential that TaskFlow adds to each request of the task. Default: what the
   * queue says.
   */
  credential?: string | null;
  /** Tags to find the task by: names with text, whole numbers or booleans. */
  tags?: Record<string, string | number | boolean> | null;
  /**
   * For work that outlasts a request: a target that answers 202 works on, and the task stays
   * `RUNNING` until the target reports the outcome, or a poll finds it.
   */
  completion?: Completion | null;
  /**
   * URL that receives the finished task: a `POST` signed as the Standard Webhooks specify, which is
   * a task with its own attempts. Needs the setting `TASKFLOW_WEBHOOK_SECRETS`.
   */
  callback_url?: string | null;
  /** How long the finished task is kept. Default: the setting `TASKFLOW_RETENTION_SECONDS`. */
  retention_seconds?: number | null;
  /**
   * Tasks of a queue with the same order key run one at a time, in the order in which they were
   * accepted. Not together with `priority`, `delay_seconds` or a `run_at` in the future.
   */
  order_key?: string | null;
  /**
   * What happens to the order key when the task fails: `continue` starts the next task, `hold`
   * waits until a client retries, cancels, skips or deletes the failed one. Needs `order_key`.
   * Default: `continue`.
   */
  on_failure?: OnFailure | null;
}

/** A topic as the API shows it; the field order is the order of the JSON. */
export interface Topic {
  /** Its name. */
  name: string;
  /**
   * The queue of its deliveries, unless an endpoint has another one. A key that is limited to some
   * queues sees the topic if it may use this queue.
   */
  queue: string;
  /** The number of its endpoints. */
  endpoints: number;
  /** When it was created. */
  created_at: string;
  /** When it was last changed. */
  updated_at: string;
}

/** A topic to create or change. */
export interface TopicRequest {
  /**
   * The queue of its deliveries, unless an endpoint has another one. Keys that may use it see the
   * topic. Default: `default`.
   */
  queue?: string | null;
}

/** The statistics of all queues together, including unlisted ones. */
export interface TotalStatistics {
  /** Number of tasks by status. */
  counts: Partial<Record<TaskStatus, number>>;
  /** How long the oldest due task has been due, in seconds; null without due tasks. */
  oldest_waiting_seconds: number | null;
  /** Number of tasks that finished recently, by final status. */
  finished: Partial<Record<TaskStatus, RecentCounts>>;
  /**
   * Number of open tasks (PENDING or RUNNING) by state. Unlike `counts`, it depends on the time: a
   * scheduled task becomes due without a change.
   */
  states: Partial<Record<TaskState, StateCount>>;
}

/** A change of the state of a heartbeat. */
export interface Transition {
  /** Its number, from 1. */
  number: number;
  /** When the state changed. */
  at: string;
  /** The state: `new`, `up`, `down` or `paused`. */
  state: HeartbeatState;
  /** Why it changed. */
  reason: Reason;
}

/** A key that one task of a queue can have at a time. */
export interface Unique {
  /** The key, unique within the queue. */
  key: string;
  /**
   * The statuses in which the task has the key. They include `PENDING` and `RUNNING`; with final
   * statuses, the key is taken until the task is deleted. Default: `PENDING` and `RUNNING`.
   */
  while?: TaskStatus[];
  /** What happens to this submission if another task has the key. Default: `return`. */
  on_conflict?: OnConflict;
}

/**
 * What a task waits for.
 *
 * - `order_key`: Tasks with the same order key come first.
 * - `parents`: Its parents have not finished.
 * - `completion`: Its target has accepted the work, and its outcome is not known yet.
 */
export type WaitReason = "order_key" | "parents" | "completion";

/** What a task waits for. */
export interface WaitingFor {
  /** The reason, for programs. */
  reason: WaitReason;
  /**
   * The task directly ahead in line, or the first of the parents that have not finished. `null` if
   * there is none, so that the task starts in a moment, and in responses to submissions.
   */
  task_id: string | null;
  /** The reason, for people. */
  detail: string;
}
