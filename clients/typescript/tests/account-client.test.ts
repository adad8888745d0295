import assert from "node:assert/strict";
import { test } from "node:test";

import { AccountClient, CallRefusedError, OperatorError, RetriableError } from "../src/index.js";
import { fillPath, makeQuery } from "../src/account-client.js";
import { ROUTES } from "../src/api-types.js";
import { type GivenAnswer, HastyClock, makeSocketError, ScriptedServer } from "./doubles.js";

function makeAccount(...answers: GivenAnswer[]) {
  const server = new ScriptedServer((_, number) => answers[number] ?? { status: 200, text: "{}" });
  const account = new AccountClient("http://127.0.0.1:8484", "ac_x", {
    fetch: server.fetch,
    clock: new HastyClock(),
    retrySeconds: 5,
  });
  return { account, server };
}

test("the calls with names of their own ask for their operations", async () => {
  const { account, server } = makeAccount();
  await account.listSources();
  await account.createSource({ display_name: "Shop" });
  await account.getReportCard(3);
  await account.listTokens(3);
  await account.createToken(3);
  await account.rotateToken(8, 60);
  await account.revokeToken(8);
  assert.deepEqual(
    server.seen.map((one) => `${one.method} ${one.url.slice(21)} ${one.body}`.trim()),
    [
      "GET /v4/sources",
      'POST /v4/sources {"type":"import_api","display_name":"Shop"}',
      "GET /v4/sources/3",
      "GET /v1/tokens?source=3",
      "POST /v4/sources/3/tokens",
      'POST /v1/tokens/8/replace {"overlap_seconds":60}',
      "DELETE /v1/tokens/8",
    ],
  );
});

test("every operation can be called, and its types are those of the document", async () => {
  const { account, server } = makeAccount({ status: 200, text: '{"tokens":[]}' });
  const { tokens } = await account.call("list_access_tokens", { query: { kind: "import" } });
  const ids: number[] = tokens.map((token) => token.id);
  assert.deepEqual(ids, []);
  // @ts-expect-error: a path parameter is missing
  await assert.rejects(account.call("get_source", {}), /needs a value for source_id/);
  // @ts-expect-error: there is no such kind
  await account.call("list_access_tokens", { query: { kind: "none" } });
  // @ts-expect-error: there is no such operation
  await assert.rejects(account.call("make_coffee"), /"make_coffee" is no operation/);
  assert.equal(server.seen.length, 2);
});

test("a refusal shows status and answer", async () => {
  const { account } = makeAccount({ status: 404, text: '{"status":"NOT FOUND"}' });
  await assert.rejects(account.getSource(5), (error: unknown) => {
    assert.ok(error instanceof CallRefusedError && error instanceof OperatorError);
    assert.equal(error.message, 'The server refuses get_source: 404 {"status":"NOT FOUND"}');
    assert.deepEqual([error.status, error.answer], [404, { status: "NOT FOUND" }]);
    return true;
  });
});

test("a refused token is told with what to do", async () => {
  const { account } = makeAccount({ status: 401, text: '{"message":"Not Authorized"}' });
  await assert.rejects(account.listSources(), (error: unknown) => {
    assert.ok(error instanceof OperatorError && !(error instanceof CallRefusedError));
    assert.match(error.message, /^list_sources could not be asked: .* 401 .*`treadle account token list`/);
    return true;
  });
});

test("GET is repeated while the server is away, and POST is not", async () => {
  const get = makeAccount({ status: 503 }, makeSocketError("ECONNREFUSED"));
  await get.account.listSources();
  assert.equal(get.server.seen.length, 3);
  const post = makeAccount(makeSocketError("ECONNRESET"));
  await assert.rejects(post.account.createToken(3), RetriableError);
  assert.equal(post.server.seen.length, 1);
  const busy = makeAccount({ status: 429, headers: { "Retry-After": "1" } });
  await busy.account.createToken(3);
  assert.equal(busy.server.seen.length, 2);
});

test("values go into paths and queries without becoming a part of them", () => {
  assert.equal(fillPath("/v1/tables/{table}/schema", { table: "a/b?c" }), "/v1/tables/a%2Fb%3Fc/schema");
  assert.throws(() => fillPath("/v1/tables/{table}/schema", { table: "" }), /needs a value for table/);
  assert.equal(makeQuery({ a: "x y", b: [1, 2], c: undefined, d: false }), "?a=x+y&b=1&b=2&d=false");
  assert.equal(makeQuery({}), "");
});

test("every route is one below the root", () => {
  for (const { path } of Object.values(ROUTES)) {
    assert.match(path, /^\/[\w/{}.-]+$/);
  }
});
