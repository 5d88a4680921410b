// nostr-tools' word on events that others signed. Run in the folder its packages are installed in.
//   node verifier.mjs <secret key in hex>
// Each line on stdin is an event; prints {verified, text} for it: its content, that of an encrypted job
// decrypted with that key.
import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const require = createRequire(`${process.cwd()}/`);
const { nip44, verifyEvent } = require("nostr-tools");

const secret = Uint8Array.from(Buffer.from(process.argv[2], "hex"));
for await (const line of createInterface({ input: process.stdin })) {
  const event = JSON.parse(line);
  const verified = verifyEvent(event);
  const sealed = verified && event.kind === 5050 && event.tags.some((tag) => tag[0] === "encrypted");
  const text = sealed
    ? nip44.decrypt(event.content, nip44.getConversationKey(secret, event.pubkey))
    : event.content;
  console.log(JSON.stringify({ verified, text }));
}
process.exit();
