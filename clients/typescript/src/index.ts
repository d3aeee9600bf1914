/** Client for TaskFlow, a self-hosted HTTP task queue. */

export type { Submitted } from "./batches.js";
export {
  Client,
  type ClientSettings,
  type Download,
  type EventFilters,
  type ListOptions,
  type SubmitSettings,
} from "./client.js";
export { Alerts } from "./alerts.js";
export { ServiceConfiguration } from "./configuration.js";
export { type Credential, Credentials } from "./credentials.js";
export * from "./errors.js";
export { type EventPosition, type GroupFilters, type GroupOptions, Groups } from "./groups.js";
export { Heartbeats } from "./heartbeats.js";
export { type AuditFilters, type Service } from "./monitoring.js";
export {
  type Filters,
  type Item,
  type Moment,
  type Payload,
  Submission,
  type TaskOptions,
} from "./options.js";
export { Queues } from "./queues.js";
export { bytesOf, isFinal, resultOf, textOf } from "./results.js";
export { type ScheduleChanges, type ScheduleOptions, Schedules } from "./schedules.js";
export type * from "./schemas.js";
export { EventStream } from "./events.js";
export { LineStream, PageStream, Stream, SubmittedStream } from "./streams.js";
export type { BulkSettings } from "./tasks.js";
export { Topics } from "./topics.js";
export type { RequestSettings } from "./timing.js";
export type { Fetch } from "./transport.js";
export { type RequestHeaders, verifyWebhook, type VerificationSettings } from "./webhooks.js";
