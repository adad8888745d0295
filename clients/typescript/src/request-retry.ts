/** Repeats a request until the server gives an answer that a repetition would not change. */

import type { ClientClock } from "./client-clock.js";
import { describeFault, findLastingFault } from "./connection-fault.js";
import { OperatorError, RetriableError } from "./errors.js";

export const WAIT_SECONDS_FIRST = 0.25;
export const WAIT_SECONDS_MAX = 15;

/** The server answers when the records are on its disk, which may take a while. */
export const ANSWER_SECONDS_MAX = 60;

/** A whole answer. */
export interface HttpAnswer {
  readonly status: number;
  readonly text: string;
  /** Of the answer; its name in lower case. */
  header(name: string): string | null;
}

/** A request. */
export interface HttpRequest {
  readonly method: string;
  /** From the root of the server, with its query. */
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
  /** Ends it, and the waiting for its repetition. */
  readonly signal?: AbortSignal | undefined;
  /** Whether it may be sent again when nobody knows whether the server did it; true by default. */
  readonly repeats?: boolean;
}

/** What a client sends its requests with. */
export interface HttpOptions {
  /** Of the server, without a path of the API. */
  readonly url: string;
  /** Shown to the server. */
  readonly token: string;
  /** What an answer with the status 401 means, and what to do. */
  readonly unauthorizedAdvice: string;
  /** How long one request is repeated. */
  readonly retrySeconds: number;
  readonly fetch: typeof fetch;
  readonly clock: ClientClock;
  /** From 0 to 1, for the jitter of pauses. */
  readonly random: () => number;
  /** Told why a request has to wait, and null when it goes on. */
  readonly onWaiting: (reason: string | null) => void;
}

/** Sends requests, and repeats each for a time. */
export class RequestRetry {
  /** Of the server, for messages; without a password. */
  readonly url: string;
  private readonly base: string;

  /** @throws OperatorError the URL is none. */
  constructor(readonly options: HttpOptions) {
    const url = parseUrl(options.url);
    if (typeof options.fetch !== "function") {
      throw new OperatorError("There is no fetch here. Node 18 or newer has one; or give one as an option.");
    }
    this.base = url.origin + url.pathname.replace(/\/+$/, "");
    this.url = this.base;
  }

  /**
   * Return the first answer that is neither 408, 429 nor 5xx.
   *
   * @param request to send.
   * @param failed the beginning of the error text: "Record 1 could not be sent".
   * @throws OperatorError no repetition would help: the certificate or the token is wrong.
   * @throws RetriableError there was no such answer in the time given.
   */
  async fetchAnswer(request: HttpRequest, failed: string): Promise<HttpAnswer> {
    const { clock, onWaiting, random, retrySeconds } = this.options;
    const until = clock.now() + retrySeconds * 1000;
    let wait = WAIT_SECONDS_FIRST;
    let waited = false;
    for (;;) {
      request.signal?.throwIfAborted();
      const { answer, trouble, cause } = await this.tryOnce(request, failed);
      if (answer !== null && !isRepeated(answer, request)) {
        if (waited) {
          onWaiting(null);
        }
        return answer;
      }
      if (answer === null && request.repeats === false) {
        throw new RetriableError(
          `${failed}: ${trouble}. Nobody knows whether the server did it: look before you ask again.`,
          { cause },
        );
      }
      const left = until - clock.now();
      if (left <= 0) {
        throw new RetriableError(`${failed} within ${retrySeconds} seconds: ${trouble}.`, { cause });
      }
      waited = true;
      onWaiting(trouble);
      const least = answer === null ? 0 : parseRetryAfter(answer.header("retry-after"));
      // With jitter, so that connections do not all repeat at the same moment.
      const pause = Math.max(least, wait * (0.5 + random() / 2)) * 1000;
      await clock.wait(Math.min(pause, left), request.signal);
      wait = Math.min(wait * 2, WAIT_SECONDS_MAX);
    }
  }

  private async tryOnce(
    request: HttpRequest,
    failed: string,
  ): Promise<{ answer: HttpAnswer | null; trouble: string; cause: unknown }> {
    let answer: HttpAnswer;
    try {
      answer = await this.send(request);
    } catch (error) {
      request.signal?.throwIfAborted();
      const fault = findLastingFault(error, this.url);
      if (fault !== null) {
        throw new OperatorError(`${failed}: ${fault}`, { cause: error });
      }
      const trouble = `${this.url} cannot be reached (${describeFault(error)})`;
      return { answer: null, trouble, cause: error };
    }
    const told = `${this.url} answers ${describeAnswer(answer)}`;
    if (answer.status === 401) {
      throw new OperatorError(`${failed}: ${told}: ${this.options.unauthorizedAdvice}`);
    }
    if (answer.status === 0 || (answer.status >= 300 && answer.status < 400)) {
      throw new OperatorError(
        `${failed}: ${this.url} sends requests on to another address` +
          `${answer.header("location") === null ? "" : ` (${answer.header("location")})`}; ` +
          "give the client the URL of the server itself",
      );
    }
    return { answer, trouble: told, cause: undefined };
  }

  /** Send once, and read the whole answer. */
  private async send(request: HttpRequest): Promise<HttpAnswer> {
    const limit = new AbortController();
    const stop = () => limit.abort(request.signal?.reason);
    const late = new Error(`no answer within ${ANSWER_SECONDS_MAX} seconds`);
    const timer = setTimeout(() => limit.abort(late), ANSWER_SECONDS_MAX * 1000);
    request.signal?.addEventListener("abort", stop, { once: true });
    try {
      const { fetch } = this.options; // as a method, a browser refuses it
      const response = await fetch(this.base + request.path, {
        method: request.method,
        headers: {
          Authorization: `Bearer ${this.options.token}`,
          ...(request.body === undefined ? {} : { "Content-Type": "application/json" }),
          ...request.headers,
        },
        ...(request.body === undefined ? {} : { body: request.body }),
        redirect: "manual",
        signal: limit.signal,
      });
      const text = await response.text();
      return { status: response.status, text, header: (name) => response.headers.get(name) };
    } finally {
      clearTimeout(timer);
      request.signal?.removeEventListener("abort", stop);
    }
  }
}

/** Return the status and the beginning of the body on one line. */
export function describeAnswer(answer: HttpAnswer): string {
  const text = answer.text.split(/\s+/).join(" ").trim();
  return `${answer.status} ${text.length > 500 ? `${text.slice(0, 500)}...` : text}`.trim();
}

/** Return the seconds that the server asks to wait; 0 if it does not, or gives a date. */
export function parseRetryAfter(text: string | null): number {
  return text !== null && /^\d+$/.test(text) ? Number(text) : 0;
}

/** Whether an answer may be another one later, and the request can be sent again without harm. */
function isRepeated(answer: HttpAnswer, request: HttpRequest): boolean {
  const mayPass = answer.status === 408 || answer.status >= 500; // 408: the body came too slowly
  return answer.status === 429 || (mayPass && request.repeats !== false);
}

function parseUrl(text: string): URL {
  let url: URL | null = null;
  try {
    url = new URL(text);
  } catch {
    // Told below, with what is expected.
  }
  if (url === null || !["http:", "https:"].includes(url.protocol)) {
    throw new OperatorError(
      "The URL of the server is to begin with http:// or https://, such as " +
        `https://treadle.example.com, and it is ${JSON.stringify(text)}.`,
    );
  }
  return url;
}
