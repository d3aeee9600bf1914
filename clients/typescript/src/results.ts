/** Access to the outcome of a task. */

import { NotFinished, TaskCanceled, TaskFailed } from "./errors.js";
import type { Task, TaskResult } from "./schemas.js";

/** Return whether a task is finished. */
export function isFinal(task: Pick<Task, "status">): boolean {
  return isFinalStatus(task.status);
}

/** Return whether a task with this status is finished. */
export function isFinalStatus(status: Task["status"]): boolean {
  return status === "COMPLETED" || status === "FAILED" || status === "CANCELED";
}

/**
 * Return the result of a COMPLETED task.
 *
 * @throws TaskFailed The task FAILED.
 * @throws TaskCanceled The task was CANCELED.
 * @throws NotFinished The task is not finished.
 */
export function resultOf(task: Task): TaskResult {
  if (task.status === "FAILED") throw new TaskFailed(task);
  if (task.status === "CANCELED") throw new TaskCanceled(task);
  if (!task.result) throw new NotFinished(task);
  return task.result;
}

/**
 * Return the body of a result in bytes; of text, in UTF-8. Numbers in JSON may be written
 * otherwise than the target wrote them; `download` returns the body unchanged.
 */
export function bytesOf(result: TaskResult): Uint8Array {
  if (result.encoding !== "base64") return new TextEncoder().encode(textOf(result));
  return Uint8Array.from(atob(String(result.result)), (character) => character.charCodeAt(0));
}

/** Return the body of a result as text; invalid UTF-8 is replaced. */
export function textOf(result: TaskResult): string {
  if (result.encoding === "json") return JSON.stringify(result.result);
  if (result.encoding === "text") return String(result.result);
  return new TextDecoder().decode(bytesOf(result));
}
