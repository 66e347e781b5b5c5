// Files that the browser keeps, over a private file system in memory that can be full.

import assert from "node:assert/strict";
import http from "node:http";
import { after, test } from "node:test";

/** A folder as OPFS has it; `room` is the number of bytes that it takes. */
class Folder {
  files = new Map();
  room = Infinity;
  failsToFlush = false;

  async getFileHandle(name, { create = false } = {}) {
    if (!this.files.has(name)) {
      if (!create) throw new DOMException(`${name} is not there`, "NotFoundError");
      this.files.set(name, new Uint8Array());
    }
    return { getFile: async () => new Blob([this.files.get(name)]), createSyncAccessHandle: async () => this.#access(name) };
  }

  #access(name) {
    const own = this.files;
    const set = (bytes) => own.set(name, bytes);
    return {
      truncate: (size) => set(own.get(name).slice(0, size)),
      write: (piece, { at }) => {
        if (at + piece.length > this.room) throw new DOMException("no room", "QuotaExceededError");
        const bytes = new Uint8Array(Math.max(own.get(name).length, at + piece.length));
        bytes.set(own.get(name));
        bytes.set(piece, at);
        set(bytes);
        return piece.length;
      },
      flush: () => {
        if (this.failsToFlush) throw new DOMException("no room", "QuotaExceededError");
      },
      close: () => {},
    };
  }

  async removeEntry(name) {
    if (!this.files.delete(name)) throw new DOMException(`${name} is not there`, "NotFoundError");
  }
}

let folder = new Folder();
const root = {
  getDirectoryHandle: async () => folder,
  removeEntry: async () => {
    throw new DOMException("a file is in use", root.failure);
  },
};
Object.defineProperty(globalThis, "navigator", { value: { storage: { getDirectory: async () => root } } });
globalThis.FileSystemFileHandle = class {
  createSyncAccessHandle() {}
};
const { forgetFiles, open } = await import("../src/store.js");

const BYTES = new Uint8Array(300_000).map((_, i) => i * 7);
const asked = [];
const server = http.createServer(({ url, method }, response) => {
  asked.push(method);
  const headers = { etag: '"1"', "content-length": BYTES.length };
  if (url === "/nothing") response.writeHead(204).end();
  else if (method === "HEAD") response.writeHead(200, headers).end();
  else if (url === "/cut") response.writeHead(200, headers).write(BYTES.subarray(0, 100_000), () => response.destroy());
  else response.writeHead(200, headers).end(BYTES);
});
await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
after(() => {
  server.closeAllConnections();
  server.close();
});

async function read(name, each = () => {}) {
  const pieces = [];
  for await (const piece of (await open(`http://127.0.0.1:${server.address().port}/${name}`)).pieces()) {
    pieces.push(piece);
    each();
  }
  return new Uint8Array(await new Blob(pieces).arrayBuffer());
}

/** What is kept after `work` in an empty folder. */
async function kept(work, settings = {}) {
  folder = Object.assign(new Folder(), settings);
  await work();
  return folder.files.size;
}

test("a file is kept, and read from there", async () => {
  assert.equal(await kept(async () => assert.deepEqual(await read("model"), BYTES)), 2);
  asked.length = 0;
  assert.deepEqual(await read("model"), BYTES);
  assert.deepEqual(asked, ["HEAD"]);
});

test("a part of a file is not kept", async () => {
  assert.equal(await kept(() => assert.rejects(read("cut"))), 0);
  const end = () => {
    throw new RangeError("enough");
  };
  assert.equal(await kept(() => assert.rejects(read("model", end), RangeError)), 0);
});

test("a file for which there is no room is read, and not kept", async () => {
  for (const settings of [{ room: 0 }, { room: 100_000 }, { failsToFlush: true }]) {
    assert.equal(await kept(async () => assert.deepEqual(await read("model"), BYTES), settings), 0);
  }
});

test("a response without a body has no bytes", async () => {
  await kept(async () => assert.equal((await read("nothing")).length, 0));
});

test("files that cannot be forgotten are an error", async () => {
  root.failure = "NotFoundError";
  await forgetFiles();
  root.failure = "NoModificationAllowedError";
  await assert.rejects(forgetFiles(), { name: "NoModificationAllowedError" });
});
