/** What a strict compiler must accept and reject. Nothing here runs. */

import {
  type Bearer,
  Client,
  type Filters,
  Problem,
  resultOf,
  Submission,
  type Task,
  type TaskOptions,
  type TaskResult,
  verifyWebhook,
} from "../dist/index.js";

export async function accepted(client: Client, request: Request): Promise<void> {
  const options: TaskOptions = { run_at: new Date(), tags: { customer: 42 }, backoff: "webhook" };
  const task: Task = await client.submit("https://example.com/", options, { waitSeconds: 10 });
  await client.submit({ url: "https://example.com/", method: "PUT", body: { answer: 42 } });
  const result: TaskResult = resultOf(task);
  const filters: Filters = { status: ["FAILED", "CANCELED"], state: "held", created_after: "2026-11-24T06:57:50Z" };
  for await (const one of client.iterTasks(filters, { fields: ["error_type"] })) {
    const kind: string | null = one.error_type;
    console.log(kind, result.status_code);
  }
  for await (const { task: stored, error } of client.submitMany([new Submission("x:", options)])) {
    console.log(error ? error.errors[0]?.pointer : stored.id);
  }
  for await (const event of client.iterEvents({ queue: "mail", after: 7n })) console.log(event.id + 1);
  await client.queues.update("mail", { rate: { burst: 10 }, max_concurrency: null });
  await client.schedules.put("reports", "x:", { cron: "30 6 * * MON-FRI", timezone: null });
  await client.schedules.update("reports", { options: { queue: "mail", tags: null } });
  await client.groups.create(["x:"], { on_complete: new Submission("x:"), tags: { a: true } });
  const bearer: Bearer = { kind: "bearer", token: "t0ken", hosts: ["api.example.com"] };
  await client.credentials.put("billing", bearer);
  const finished = await verifyWebhook("whsec_", request.headers, await request.arrayBuffer());
  console.log(finished.id);
  await client.cancel(task.id).catch((error: unknown) => {
    if (error instanceof Problem) console.log(error.status, error.retryAfterSeconds);
  });
}

export async function rejected(client: Client): Promise<void> {
  // @ts-expect-error - no such option
  await client.submit("x:", { priorty: 3 });
  // @ts-expect-error - of another type
  await client.submit("x:", { priority: "high" });
  // @ts-expect-error - a payload is needed
  await client.submit();
  // @ts-expect-error - no such status
  client.iterTasks({ status: "DONE" });
  // @ts-expect-error - the idempotency key belongs to the call
  await client.submit("x:", { idempotencyKey: "a" });
  // @ts-expect-error - a credential has a kind
  await client.credentials.put("billing", { token: "a", hosts: [] });
}
