// A plain NIP-90 customer on nostr-tools. Run in the folder its packages are installed in.
//   node customer.mjs <relay> <provider> <plain|encrypted> <bid in msat, 0 for none>
// Each line on stdin is a prompt: a job of its own. Prints "ready", then a line of JSON for each event that
// comes for a job. An event is copied before it is verified: nostr-tools notes on it that it was already.
import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const require = createRequire(`${process.cwd()}/`);
const { finalizeEvent, generateSecretKey, getPublicKey, nip44, verifyEvent } = require("nostr-tools");
const { Relay, useWebSocketImplementation } = require("nostr-tools/relay");
useWebSocketImplementation(require("ws"));

const [url, provider, how, bid] = process.argv.slice(2);
const secret = generateSecretKey();
const me = getPublicKey(secret);
const shared = nip44.getConversationKey(secret, provider);
const first = (event, name) => event.tags.find((tag) => tag[0] === name) ?? [];

function job(prompt) {
  const input = [["i", prompt, "text"], ["param", "max_tokens", "8"]];
  const tags = [["output", "text/plain"], ["p", provider]];
  if (bid !== "0") tags.push(["bid", bid]);
  const [content, all] =
    how === "plain"
      ? ["", [...input, ...tags]]
      : [nip44.encrypt(JSON.stringify(input), shared), [["encrypted"], ...tags]];
  return finalizeEvent({ kind: 5050, created_at: Math.floor(Date.now() / 1000), tags: all, content }, secret);
}

function tell(event) {
  const encrypted = first(event, "encrypted").length > 0;
  const [, amount, bolt11] = first(event, "amount");
  console.log(
    JSON.stringify({
      kind: event.kind,
      job: first(event, "e")[1],
      verified: verifyEvent(JSON.parse(JSON.stringify(event))) && event.pubkey === provider,
      encrypted,
      status: first(event, "status")[1],
      text: encrypted ? nip44.decrypt(event.content, shared) : event.content,
      request: first(event, "request")[1],
      amount,
      bolt11,
    }),
  );
}

const relay = await Relay.connect(url);
await new Promise((oneose) => {
  relay.subscribe([{ kinds: [6050, 7000], "#p": [me] }], { onevent: tell, oneose });
});
console.log("ready");
for await (const prompt of createInterface({ input: process.stdin })) {
  await relay.publish(job(prompt));
}
process.exit();
