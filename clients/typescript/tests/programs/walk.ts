/** Walks the guide with the client, and prints what it saw: source, pushes, tokens. */

import { AccountClient, OperatorError, TreadleClient } from "treadle-client";

const [url = "", accountToken = ""] = process.argv.slice(2);
const account = new AccountClient(url, accountToken);

const type = await account.call("get_source_type", { path: { source_type: "import_api" } });
const source = await account.createSource({ display_name: "Walk" });
const card = await account.getReportCard(source.id);
const [first = ""] = Object.values(source.properties.token ?? {});

const client = new TreadleClient(url, first);
const pushed = await client.push("customers", [{ id: 1, name: "Ann" }], { key: ["id"] });
const outcome = await client.waitUntilLoaded(pushed);

const second = await account.createToken(source.id);
const [oldest] = await account.listTokens(source.id);
const revoked = await account.revokeToken(oldest?.id ?? 0);

let refused = "";
try {
  await client.push("customers", [{ id: 1, name: "Eve" }], { key: ["id"] });
} catch (error) {
  refused = error instanceof OperatorError ? `${error.name}: ${error.message}` : String(error);
}
const later = new TreadleClient(url, second.access_token);
const changed = await later.push("customers", [{ id: 1, name: "Ann", age: 41 }], { key: ["id"] });
await later.waitUntilLoaded(changed);
const rotated = await account.rotateToken(second.id, 0);

let missing: unknown = null;
try {
  await account.getSource(source.id + 1_000);
} catch (error) {
  missing = (error as { status?: unknown }).status;
}

console.log(
  JSON.stringify({
    type: type.type,
    step: card.current_step_type,
    loaded: outcome.loaded,
    revoked: revoked.active,
    refused,
    tells: refused.includes(first),
    rotated: rotated.last_four.length,
    tokens: (await account.listTokens(source.id)).map((token) => token.active),
    sources: (await account.listSources()).filter((one) => one.name === source.name).length,
    missing,
  }),
);
