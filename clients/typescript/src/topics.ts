/** Topics: their endpoints, and the events that are sent to these. */

import { known, type Names, REQUEST_SETTINGS, settingsOf } from "./arguments.js";
import { type Call, jsonOf, type Parameter, segment, submission, wholeNumber, withJson } from "./calls.js";
import { type Moment, momentText } from "./options.js";
import type {
  Endpoint,
  EndpointRequest,
  EventRequest,
  PublishedEvent,
  Recovered,
  RotatedSecret,
  RotationRequest,
  Task,
  TaskStatus,
  Topic,
  TopicRequest,
} from "./schemas.js";
import { PageStream } from "./streams.js";
import type { RequestSettings } from "./timing.js";
import type { Transport } from "./transport.js";

const PAGE = 100;

/** Which deliveries are listed. */
type DeliveryOptions = { page?: number; status?: TaskStatus };

const DELIVERY_OPTIONS: Names<DeliveryOptions> = { page: true, status: true };

/** Settings of a publication. */
type PublishSettings = RequestSettings & { idempotencyKey?: string };

const PUBLISH_SETTINGS: Names<PublishSettings> = { ...REQUEST_SETTINGS, idempotencyKey: true };

/** The topics of a service. */
export class Topics {
  readonly #transport: Transport;

  constructor(transport: Transport) {
    this.#transport = transport;
  }

  /** Return all topics by name, `page` per request. */
  iter(options: { page?: number } = {}, settings?: RequestSettings): PageStream<Topic> {
    const call: Call = { method: "GET", path: "/topics", query: limitOf(options) };
    return new PageStream<Topic>(this.#transport, call, settings);
  }

  /** Return a topic. */
  async get(name: string, settings?: RequestSettings): Promise<Topic> {
    const call = { method: "GET", path: pathOf(name) };
    return (await this.#transport.ask(call, settings)).read<Topic>("name");
  }

  /** Create or change a topic. */
  async put(name: string, topic: TopicRequest = {}, settings?: RequestSettings): Promise<Topic> {
    const call = withJson("PUT", pathOf(name), topic);
    return (await this.#transport.ask(call, settings)).read<Topic>("name");
  }

  /** Delete a topic and its endpoints. */
  async delete(name: string, settings?: RequestSettings): Promise<void> {
    const call = { method: "DELETE", path: pathOf(name), isRepeatable: false };
    await this.#transport.ask(call, settings);
  }

  /**
   * Publish an event to all endpoints of a topic whose event types match.
   *
   * @throws NotFound There is no topic with this name.
   * @throws Unprocessable The event is invalid; `errors` has all reasons.
   */
  async publish(
    topic: string,
    type: string,
    data: EventRequest["data"],
    settings: PublishSettings = {},
  ): Promise<PublishedEvent> {
    const request = settingsOf(settings, PUBLISH_SETTINGS);
    const path = `${pathOf(topic)}/events`;
    const call = submission(path, jsonOf({ type, data }), settings.idempotencyKey);
    return (await this.#transport.ask(call, request)).read<PublishedEvent>("id");
  }

  /** Return the endpoints of a topic by name, `page` per request. */
  endpoints(
    topic: string,
    options: { page?: number } = {},
    settings?: RequestSettings,
  ): PageStream<Endpoint> {
    const call = { method: "GET", path: `${pathOf(topic)}/endpoints`, query: limitOf(options) };
    return new PageStream<Endpoint>(this.#transport, call, settings);
  }

  /** Return an endpoint. */
  async endpoint(topic: string, name: string, settings?: RequestSettings): Promise<Endpoint> {
    const call = { method: "GET", path: pathOf(topic, name) };
    return (await this.#transport.ask(call, settings)).read<Endpoint>("name");
  }

  /** Create or replace an endpoint. */
  async putEndpoint(
    topic: string,
    name: string,
    endpoint: EndpointRequest,
    settings?: RequestSettings,
  ): Promise<Endpoint> {
    const call = withJson("PUT", pathOf(topic, name), endpoint);
    return (await this.#transport.ask(call, settings)).read<Endpoint>("name");
  }

  /** Delete an endpoint. */
  async deleteEndpoint(topic: string, name: string, settings?: RequestSettings): Promise<void> {
    const call = { method: "DELETE", path: pathOf(topic, name), isRepeatable: false };
    await this.#transport.ask(call, settings);
  }

  /** Return the deliveries of an endpoint, newest first, `page` per request. */
  deliveries(
    topic: string,
    name: string,
    options: DeliveryOptions = {},
    settings?: RequestSettings,
  ): PageStream<Task> {
    const { status, ...rest } = known("option", options, DELIVERY_OPTIONS);
    const query = limitOf(rest);
    if (status !== undefined) query.push(["status", status]);
    const call = { method: "GET", path: `${pathOf(topic, name)}/deliveries`, query };
    return new PageStream<Task>(this.#transport, call, settings);
  }

  /** Send a test event to an endpoint. */
  async testEndpoint(
    topic: string,
    name: string,
    settings?: RequestSettings,
  ): Promise<PublishedEvent> {
    const call = { method: "POST", path: `${pathOf(topic, name)}/test`, isRepeatable: false };
    return (await this.#transport.ask(call, settings)).read<PublishedEvent>("id");
  }

  /** Rotate the signing secret of an endpoint, and return the new one. */
  async rotateSecret(
    topic: string,
    name: string,
    rotation: RotationRequest = {},
    settings?: RequestSettings,
  ): Promise<RotatedSecret> {
    const call = withJson("POST", `${pathOf(topic, name)}/rotate`, rotation, false);
    return (await this.#transport.ask(call, settings)).read<RotatedSecret>("signing_secret");
  }

  /** Send FAILED deliveries of events since a time again. */
  async recover(
    topic: string,
    name: string,
    since: Moment,
    settings?: RequestSettings,
  ): Promise<Recovered> {
    const call = withJson("POST", `${pathOf(topic, name)}/recover`, { since: momentText("since", since) });
    return (await this.#transport.ask(call, settings)).read<Recovered>("count");
  }
}

function pathOf(topic: string, endpoint?: string): string {
  const path = `/topics/${segment(topic)}`;
  return endpoint === undefined ? path : `${path}/endpoints/${segment(endpoint)}`;
}

function limitOf(options: { page?: number }): Parameter[] {
  const { page = PAGE } = known("option", options, { page: true });
  return [["limit", String(wholeNumber("page", page, 1))]];
}
