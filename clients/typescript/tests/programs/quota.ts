/** Pushes more records a second than the source may, until it has to wait; prints what it met. */

import { TreadleClient } from "treadle-client";

const [url = "", token = ""] = process.argv.slice(2);
const waits: string[] = [];
const client = new TreadleClient(url, token, {
  onWaiting: (reason) => {
    if (reason?.includes(" answers ")) {
      waits.push(reason);
    }
  },
});
let durable = 0;
let loaded = 0;
while (waits.length === 0) {
  const records = Array.from({ length: 12 }, (_, at) => ({ id: durable + at }));
  const pushed = await client.push("few", records);
  durable += pushed.records;
  loaded += (await client.waitUntilLoaded(pushed)).loaded;
}
console.log(JSON.stringify({ durable, loaded, waits }));
