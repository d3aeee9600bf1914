/** The client behaves as clients/conformance says, which clients in all languages run. */

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { describe, test } from "node:test";

import {
  Client,
  ClientError,
  InvalidSignature,
  Problem,
  Submission,
  UnexpectedResponse,
  Unreachable,
  verifyWebhook,
} from "../dist/index.js";
import { problemOf } from "../dist/errors.js";
import { pauseSeconds } from "../dist/retries.js";
import { Parser } from "../dist/sse.js";
import { difference, faultOfRequests, fileOf, filled } from "./vectors.mjs";

const LIVE = process.env.TASKFLOW_TEST_URL;
const SCRIPTED = process.env.TASKFLOW_SCRIPTED_URL;

describe("retry decisions", () => {
  for (const { name, repeatable, failure, attempt, chance, pause_seconds } of fileOf("retries").decisions) {
    test(name, () => {
      const call = { isRepeatable: repeatable };
      const pause = pauseSeconds(call, failureOf(failure), attempt, chance);
      if (pause_seconds === null) assert.equal(pause, null);
      else assert.ok(Math.abs(pause - pause_seconds) < 1e-9, `${pause} s`);
    });
  }
});

describe("parsing of events", () => {
  for (const vector of fileOf("events").parsing) {
    test(vector.name, () => {
      const data = new TextEncoder().encode(vector.text);
      for (const size of vector.bytes) {
        const parser = new Parser(null);
        const messages = [];
        for (let start = 0; start < data.length; start += size) {
          messages.push(...parser.feed(data.subarray(start, start + size)));
        }
        const found = messages.map(({ name, data }) => ({ name, data }));
        assert.deepEqual(found, vector.messages);
        assert.equal(parser.position, vector.position);
        assert.equal(parser.retrySeconds, vector.retry_seconds);
      }
    });
  }
});

describe("signatures", () => {
  for (const { name, secrets, headers, body, now, valid } of fileOf("signatures").signatures) {
    test(name, async () => {
      const settings = { now: new Date(now * 1000) };
      const verified = () => verifyWebhook(secrets, headers, body, settings);
      if (valid) assert.deepEqual(await verified(), JSON.parse(body));
      else await assert.rejects(verified, InvalidSignature);
    });
  }
});

for (const file of ["errors", "events", "pages", "retries", "submissions"]) {
  describe(file, { concurrency: 8 }, () => {
    for (const [number, vector] of fileOf(file).vectors.entries()) {
      test(vector.name, () => play(vector, `typescript/${file}/${number}`));
    }
  });
}

async function play(vector, place) {
  const isScripted = "responses" in vector;
  const url = isScripted ? `${SCRIPTED}/play/${place}` : LIVE;
  const client = new Client(url);
  await carryOut(callsOf(client), vector.steps);
  if (!isScripted) return;
  const received = await (await fetch(`${SCRIPTED}/received/${place}`)).json();
  assert.equal(faultOfRequests(vector, received), undefined);
}

async function carryOut(calls, steps) {
  const names = { run: randomUUID() };
  for (const step of steps) {
    let result;
    try {
      result = await calls[step.call](filled(step.with ?? {}, names));
    } catch (error) {
      if (!(error instanceof ClientError) || !("raises" in step)) throw error;
      assert.equal(difference(filled(step.raises, names), shown(error)), undefined);
      continue;
    }
    assert.ok(!("raises" in step), JSON.stringify(result));
    if ("returns" in step) {
      assert.equal(difference(filled(step.returns, names), result), undefined);
    }
    for (const [name, field] of Object.entries(step.remember ?? {})) names[name] = result[field];
  }
}

/** The calls of the vectors. */
function callsOf(client) {
  return {
    get: ({ id }) => client.get(id),
    cancel: ({ id }) => client.cancel(id),
    delete: ({ id }) => client.delete(id),
    wait: ({ id, timeout_seconds: timeoutSeconds }) =>
      client.wait(id, timeoutSeconds === undefined ? {} : { timeoutSeconds }),
    submit: ({ payload, options, idempotency_key, wait_seconds }) =>
      client.submit(payload, options, {
        ...(idempotency_key === undefined ? {} : { idempotencyKey: idempotency_key }),
        ...(wait_seconds === undefined ? {} : { waitSeconds: wait_seconds }),
      }),
    submit_many: async ({ items, at_once = 500, continue: goesOn }) => {
      const stream = client.submitMany(items.map(itemOf), { atOnce: at_once });
      return (await outcomesOf(stream, Infinity, goesOn)).map((one) =>
        one instanceof ClientError
          ? shown(one)
          : { index: one.index, task: one.task, error: one.error && shown(one.error) },
      );
    },
    list: async ({ page, filters }) => outcomesOf(client.iterTasks(filters, { page })),
    events: async ({ id, limit, ...filters }) => {
      const stream = id ? client.iterEvents(id, filters) : client.iterEvents(filters);
      const found = await outcomesOf(stream, limit, limit !== undefined);
      const { position } = stream;
      await stream.return();
      return {
        events: found.map((one) => (one instanceof ClientError ? shown(one) : one)),
        position,
      };
    },
  };
}

function itemOf(item) {
  if (typeof item === "string") return item;
  const { payload, ...options } = item;
  return new Submission(payload, options);
}

/** Iterate a stream; after an error, again, if that is wanted. */
async function outcomesOf(stream, limit = Infinity, goesOn = false) {
  const found = [];
  while (found.length < limit) {
    try {
      const { done, value } = await stream.next();
      if (done) break;
      found.push(value);
    } catch (error) {
      if (!goesOn) throw error;
      found.push(error);
    }
  }
  return found;
}

/** An error as the vectors have it. */
function shown(error) {
  const found = { error: error.name };
  if (error instanceof Unreachable) found.sent = error.isSent;
  if (error instanceof Problem) {
    const { status, type, detail, errors, retryAfterSeconds } = error;
    Object.assign(found, { status, type, detail, errors, retry_after_seconds: retryAfterSeconds });
  }
  return found;
}

function failureOf({ unreachable, unexpected, status, retry_after }) {
  if (unreachable) {
    const { sent, untrusted } = unreachable;
    return new Unreachable("", { isSent: sent, isUntrusted: untrusted });
  }
  return unexpected ? new UnexpectedResponse("") : problemOf(status, retry_after ?? null, "{}");
}
