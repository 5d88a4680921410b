// @nostr-relay/core as a relay on a free port of loopback, its events in memory; prints its URL.
// Run in the folder its packages are installed in.
import { createRequire } from "node:module";

const require = createRequire(`${process.cwd()}/`);
const { NostrRelay } = require("@nostr-relay/core");
const { EventRepository, EventUtils, LogLevel } = require("@nostr-relay/common");
const { WebSocketServer } = require("ws");

class Memory extends EventRepository {
  events = new Map();
  isSearchSupported() {
    return false;
  }
  upsert(event) {
    const isDuplicate = this.events.has(event.id);
    this.events.set(event.id, event);
    return { isDuplicate };
  }
  find({ ids, authors, kinds, since, until, limit, ...tags }) {
    const wanted = Object.entries(tags).filter(([name]) => name.startsWith("#"));
    return [...this.events.values()]
      .filter((event) => EventUtils.isMatchingFilter(event, { ids, authors, kinds, since, until }))
      .filter((event) =>
        wanted.every(([name, values]) =>
          event.tags.some((tag) => tag[0] === name.slice(1) && values.includes(tag[1])),
        ),
      )
      .sort((one, other) => other.created_at - one.created_at)
      .slice(0, limit);
  }
  async destroy() {}
}

const relay = new NostrRelay(new Memory(), { logLevel: LogLevel.ERROR });
const server = new WebSocketServer({ host: "127.0.0.1", port: 0 });
server.on("connection", (socket) => {
  relay.handleConnection(socket);
  socket.on("message", (data) => relay.handleMessage(socket, JSON.parse(data)));
  socket.on("close", () => relay.handleDisconnect(socket));
});
server.on("listening", () => console.log(`ws://127.0.0.1:${server.address().port}`));
process.stdin.on("end", () => process.exit()).resume();
