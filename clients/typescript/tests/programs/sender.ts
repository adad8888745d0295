/**
 * Adds records one by one until it reads a line, and prints each time more of them are durable.
 *
 * At the end it prints how many it added, and what became of them.
 */

import { TreadleClient } from "treadle-client";

const [url = "", token = ""] = process.argv.slice(2);
let enough = false;
process.stdin.once("data", () => {
  enough = true;
});

const client = new TreadleClient(url, token, {
  batchRecords: 100,
  connections: 3,
  retrySeconds: 300,
  onWaiting: (reason) => console.log(reason === null ? "goes on" : `waits: ${reason}`),
});
const writer = client.openWriter("events", { flushSeconds: 0.05 });
let added = 0;
let durable = 0;
while (!enough) {
  for (let part = 0; part < 20; part += 1) {
    added += 1;
    await writer.add({ number: added });
  }
  const { records } = writer.receipt;
  if (records > durable) {
    durable = records;
    console.log(`durable: ${durable}`);
  }
  await new Promise((resolve) => setTimeout(resolve, 1));
}
await writer.close();
process.stdin.destroy();
const outcome = await client.waitUntilLoaded(writer.receipt);
console.log(JSON.stringify({ added, durable: writer.receipt.records, ...outcome }));
