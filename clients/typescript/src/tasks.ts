/** Actions on existing tasks: one of them, or all that match. */

import { type Names, REQUEST_SETTINGS, settingsOf } from "./arguments.js";
import { withId, withJson } from "./calls.js";
import { InvalidArgument } from "./errors.js";
import { Monitoring } from "./monitoring.js";
import { bodyOf, type Filters } from "./options.js";
import type { BulkResult, Task } from "./schemas.js";
import type { RequestSettings } from "./timing.js";

/** Settings of an action on all tasks that match. */
export interface BulkSettings extends RequestSettings {
  /** Whether all tasks are meant, if there is no filter. */
  everything?: boolean;
  /** Whether to count the tasks only. */
  dryRun?: boolean;
}

const BULK_SETTINGS: Names<BulkSettings> = {
  ...REQUEST_SETTINGS,
  everything: true,
  dryRun: true,
};

/** The methods that change existing tasks. */
export class TaskActions extends Monitoring {
  /**
   * Cancel a task.
   *
   * @throws Conflict The task is finished.
   * @throws NotFound There is no task with this id.
   */
  async cancel(id: string, settings?: RequestSettings): Promise<Task> {
    return this.#act(id, "cancel", settings);
  }

  /**
   * Retry a FAILED or CANCELED task.
   *
   * @throws Conflict The task has another status.
   */
  async retry(id: string, settings?: RequestSettings): Promise<Task> {
    return this.#act(id, "retry", settings);
  }

  /** Skip a FAILED task that holds its order key, so that the next task of the key starts. */
  async skip(id: string, settings?: RequestSettings): Promise<Task> {
    return this.#act(id, "skip", settings);
  }

  /**
   * Delete a finished task.
   *
   * @throws Conflict The task is not finished.
   */
  async delete(id: string, settings?: RequestSettings): Promise<void> {
    await this.transport.ask(withId("DELETE", "task", id, "", false), settings);
  }

  /** Cancel all matching tasks that are not finished. */
  async cancelMany(filters: Filters, settings?: BulkSettings): Promise<BulkResult> {
    return this.#actOnMany("cancel", filters, settings, true);
  }

  /** Retry all matching FAILED and CANCELED tasks. */
  async retryMany(filters: Filters, settings?: BulkSettings): Promise<BulkResult> {
    return this.#actOnMany("retry", filters, settings, settings?.dryRun ?? false);
  }

  /** Delete all matching finished tasks. */
  async deleteMany(filters: Filters, settings?: BulkSettings): Promise<BulkResult> {
    return this.#actOnMany("delete", filters, settings, true);
  }

  async #act(id: string, action: string, settings?: RequestSettings): Promise<Task> {
    const call = withId("POST", "task", id, `/${action}`, false);
    return (await this.transport.ask(call, settings)).read<Task>("id", "status");
  }

  async #actOnMany(
    action: string,
    filters: Filters,
    settings: BulkSettings = {},
    isRepeatable: boolean,
  ): Promise<BulkResult> {
    const request = settingsOf(settings, BULK_SETTINGS);
    const all = settings.everything ? { all: true } : {};
    if (filters === undefined) {
      throw new InvalidArgument("filters must be an object; for all tasks, {} and everything: true");
    }
    const body = { ...bodyOf(filters, Object.keys(BULK_SETTINGS)), ...all, dry_run: settings.dryRun ?? false };
    const call = withJson("POST", `/tasks/${action}`, body, isRepeatable);
    return (await this.transport.ask(call, request)).read<BulkResult>("count");
  }
}
