import assert from "node:assert/strict";
import { test } from "node:test";

import { OperatorError, RetriableError } from "../src/errors.js";
import { type HttpRequest, parseRetryAfter, RequestRetry } from "../src/request-retry.js";
import { type GivenAnswer, HastyClock, makeSocketError, ScriptedServer } from "./doubles.js";

const REQUEST: HttpRequest = { method: "POST", path: "/v2/import/batch", body: "{}" };

function makeRetry(...answers: GivenAnswer[]) {
  const server = new ScriptedServer((_, number) => {
    const answer = answers[Math.min(number, answers.length - 1)];
    assert.ok(answer);
    return answer;
  });
  const clock = new HastyClock();
  const told: (string | null)[] = [];
  const retry = new RequestRetry({
    url: "https://user:secret@treadle.example.com/base/",
    token: "at_x",
    unauthorizedAdvice: "ask for another token",
    retrySeconds: 60,
    fetch: server.fetch,
    clock,
    random: () => 1,
    onWaiting: (reason) => told.push(reason),
  });
  return { retry, server, clock, told };
}

test("a request is sent to the path below the URL, with the token", async () => {
  const { retry, server, told } = makeRetry({ status: 201, text: "yes", headers: { "X-A": "b" } });
  const answer = await retry.fetchAnswer(REQUEST, "It could not be sent");
  assert.deepEqual([answer.status, answer.text, answer.header("x-a")], [201, "yes", "b"]);
  assert.deepEqual(server.seen, [
    {
      method: "POST",
      url: "https://treadle.example.com/base/v2/import/batch",
      headers: { Authorization: "Bearer at_x", "Content-Type": "application/json" },
      body: "{}",
    },
  ]);
  assert.deepEqual(told, []);
});

test("408, 429, 5xx and a lost connection are repeated, at longer and longer times", async () => {
  const { retry, server, clock, told } = makeRetry(
    { status: 503, text: "full" },
    makeSocketError("ECONNREFUSED"),
    makeSocketError("UND_ERR_SOCKET", "other side closed"),
    { status: 429, text: "later", headers: { "Retry-After": "7" } },
    { status: 504 },
    { status: 408, text: "too slow" },
    { status: 201 },
  );
  assert.equal((await retry.fetchAnswer(REQUEST, "It could not be sent")).status, 201);
  assert.equal(server.seen.length, 7);
  assert.deepEqual(clock.waits, [250, 500, 1000, 7000, 4000, 8000]);
  const at = "https://treadle.example.com/base";
  assert.deepEqual(told, [
    `${at} answers 503 full`,
    `${at} cannot be reached (connection refused)`,
    `${at} cannot be reached (other side closed)`,
    `${at} answers 429 later`,
    `${at} answers 504`,
    `${at} answers 408 too slow`,
    null,
  ]);
});

test("a request is given up after the time for it", async () => {
  const { retry, clock } = makeRetry(makeSocketError("ECONNRESET", "reset"));
  await assert.rejects(retry.fetchAnswer(REQUEST, "It could not be sent"), (error: unknown) => {
    assert.ok(error instanceof RetriableError);
    assert.equal(
      error.message,
      "It could not be sent within 60 seconds: https://treadle.example.com/base cannot be reached (reset).",
    );
    return true;
  });
  assert.equal(clock.time - 1_800_000_000_000, 60_000);
  assert.equal(Math.max(...clock.waits), 15_000);
});

for (const status of [400, 403, 404, 409, 413, 422]) {
  test(`${status} is an answer and not repeated`, async () => {
    const { retry, server } = makeRetry({ status });
    assert.equal((await retry.fetchAnswer(REQUEST, "It could not be sent")).status, status);
    assert.equal(server.seen.length, 1);
  });
}

for (const [answer, told] of [
  [{ status: 401, text: '{"status":"ERROR"}' }, /It could not be sent: .* 401 .*: ask for another token$/],
  [{ status: 302, headers: { Location: "https://x.example" } }, /to another address \(https:\/\/x\.example\)/],
  [makeSocketError("CERT_HAS_EXPIRED", "certificate has expired"), /\(certificate has expired\); name the file/],
  [new Error("bad port"), /connects to no port that other protocols use/],
  [makeSocketError("ERR_SSL_WRONG_VERSION_NUMBER"), /does not speak TLS; begin its URL with http:/],
] as const) {
  test(`no repetition helps: ${String(told)}`, async () => {
    const { retry, server } = makeRetry(answer);
    await assert.rejects(
      retry.fetchAnswer(REQUEST, "It could not be sent"),
      (error: unknown) => error instanceof OperatorError && told.test(error.message),
    );
    assert.equal(server.seen.length, 1);
  });
}

test("no error and no word of waiting shows the token or the password", async () => {
  for (const answer of [{ status: 401 }, makeSocketError("ECONNRESET"), { status: 503 }]) {
    const { retry, told } = makeRetry(answer);
    const error: unknown = await retry.fetchAnswer(REQUEST, "It could not be sent").catch((e: unknown) => e);
    assert.ok(error instanceof Error);
    assert.doesNotMatch(error.message + told.join(), /secret|at_x/);
  }
});

test("what may not be done twice is repeated after 429 alone", async () => {
  const once = { ...REQUEST, repeats: false };
  const busy = makeRetry({ status: 429 }, { status: 200 });
  assert.equal((await busy.retry.fetchAnswer(once, "It failed")).status, 200);
  for (const status of [408, 503]) {
    const away = makeRetry({ status }, { status: 200 });
    assert.equal((await away.retry.fetchAnswer(once, "It failed")).status, status);
  }
  const lost = makeRetry(makeSocketError("ECONNRESET"));
  await assert.rejects(lost.retry.fetchAnswer(once, "It failed"), /Nobody knows whether the server did it/);
  assert.equal(lost.server.seen.length, 1);
});

test("a signal ends the waiting and the request", async () => {
  const ended = new AbortController();
  const { retry, server } = makeRetry({ status: 503 });
  const reason = new Error("enough");
  const asked = retry.fetchAnswer({ ...REQUEST, signal: ended.signal }, "It failed");
  ended.abort(reason);
  await assert.rejects(asked, reason);
  assert.equal(server.seen.length, 1);
});

test("Retry-After counts in seconds", () => {
  assert.deepEqual(
    ["5", "0", null, "", "soon", "Wed, 21 Oct 2026 07:28:00 GMT", "-1"].map(parseRetryAfter),
    [5, 0, 0, 0, 0, 0, 0],
  );
});

for (const url of ["", "treadle.example.com", "ftp://x", "localhost:8484"]) {
  test(`no URL of a server: ${JSON.stringify(url)}`, () => {
    const options = { ...makeRetry({ status: 200 }).retry.options, url };
    assert.throws(() => new RequestRetry(options), /is to begin with http:\/\/ or https:\/\//);
  });
}
