/** Sends requests, again where that may help and does nothing twice. */

import { REQUEST_SETTINGS, settingsOf } from "./arguments.js";
import { type Call, targetOf } from "./calls.js";
import { notOfTaskFlow } from "./connection-errors.js";
import { problemOf } from "./errors.js";
import { Abort, type Answer, Incoming } from "./incoming.js";
import { pauseSeconds } from "./retries.js";
import { now, type RequestSettings, sleep } from "./timing.js";

/** A function like `fetch`. */
export type Fetch = (url: string, init: RequestInit) => Promise<Response>;

// One step of an attempt: the response begins, its next part arrives. The service promises to
// respond within 5 s.
const STEP_SECONDS = 10;
// Streams of events send a comment every 15 s.
const SILENCE_SECONDS = 40;
const MIN_SECONDS = 0.001;

/** Sends the requests of a client. */
export class Transport {
  readonly #url: string;
  readonly #headers: Record<string, string>;
  readonly #timeoutSeconds: number;
  readonly #fetch: Fetch;

  /** @param timeoutSeconds How long a request is retried. */
  constructor(url: string, headers: Record<string, string>, timeoutSeconds: number, fetch: Fetch) {
    this.#url = url;
    this.#headers = headers;
    this.#timeoutSeconds = timeoutSeconds;
    this.#fetch = fetch;
  }

  /**
   * Send a request, and return the whole response.
   *
   * @param within Timeout in seconds, if it is less than that of the client.
   */
  async ask(call: Call, settings?: RequestSettings, within = Infinity): Promise<Answer> {
    const { signal } = settingsOf(settings, REQUEST_SETTINGS);
    return this.#persist(call, signal, within, async (seconds) => {
      const first = Math.min(seconds, STEP_SECONDS + (call.waitSeconds ?? 0));
      const incoming = await this.#open(call, signal, first);
      incoming.stepSeconds = Math.min(seconds, STEP_SECONDS);
      return checked(await incoming.whole());
    });
  }

  /** Send a request, and return the response as it arrives; close it. */
  async open(call: Call, settings?: RequestSettings): Promise<Incoming> {
    const { signal } = settingsOf(settings, REQUEST_SETTINGS);
    return this.#persist(call, signal, Infinity, async (seconds) => {
      const incoming = await this.#open(call, signal, Math.min(seconds, STEP_SECONDS));
      if (incoming.status >= 400) checked(await incoming.whole());
      incoming.stepSeconds = SILENCE_SECONDS;
      return incoming;
    });
  }

  async #persist<T>(
    call: Call,
    signal: AbortSignal | undefined,
    within: number,
    attempt: (seconds: number) => Promise<T>,
  ): Promise<T> {
    const seconds = Math.min(this.#timeoutSeconds + (call.waitSeconds ?? 0), within);
    const deadline = now() + seconds;
    for (let number = 1; ; number += 1) {
      try {
        return await attempt(Math.max(deadline - now(), MIN_SECONDS));
      } catch (error) {
        const pause = pauseSeconds(call, error, number, Math.random());
        if (pause === null || now() + pause >= deadline) throw error;
        await sleep(pause, signal);
      }
    }
  }

  async #open(call: Call, signal: AbortSignal | undefined, seconds: number): Promise<Incoming> {
    const abort = new Abort(signal);
    try {
      const response = await abort.within(seconds, () =>
        this.#fetch(this.#url + targetOf(call), this.#init(call, abort.signal)),
      );
      if (response.type === "opaqueredirect") throw notOfTaskFlow("it is a redirect");
      return new Incoming(response, abort, seconds);
    } catch (error) {
      abort.end();
      throw error;
    }
  }

  #init(call: Call, signal: AbortSignal): RequestInit {
    return {
      method: call.method,
      headers: { ...this.#headers, ...call.headers },
      body: call.body ?? null,
      redirect: "manual", // TaskFlow sends none to clients
      credentials: "omit",
      cache: "no-store",
      signal,
    };
  }
}

function checked(answer: Answer): Answer {
  const after = answer.headers.get("retry-after");
  const problem = problemOf(answer.status, after, answer.text);
  if (problem !== null) throw problem;
  return answer;
}
