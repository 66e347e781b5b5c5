/**
 * The bytes of a file, in pieces: of memory, of a `Blob`, or of an address, kept in the browser's
 * private file system (OPFS).
 *
 * A file is kept under its address, with its size and its `ETag` (or date) beside it: it is fetched
 * anew when the server has another one, and used as it is when there is no network.
 */

const FOLDER = "ollm";
/** Bytes that are read at once. */
const PIECE = 4 << 20;

/**
 * Opens a file: `length` (undefined if it is not known before), `pieces`, an async iterator, and
 * `end` of a response, which gives it up before it is read.
 */
export async function open(source, { cache = true, signal } = {}) {
  if (source instanceof ArrayBuffer) return ofBytes(new Uint8Array(source));
  if (ArrayBuffer.isView(source)) return ofBytes(new Uint8Array(source.buffer, source.byteOffset, source.byteLength));
  if (source instanceof Blob) return ofBlob(source);
  if (typeof source !== "string" && !(source instanceof URL)) {
    throw new TypeError("a file is an address (URL), a Blob, an ArrayBuffer or an array of bytes");
  }
  const url = new URL(source, globalThis.location?.href).href;
  const folder = cache ? await keptFiles() : undefined;
  return folder ? kept(folder, url, signal) : ofResponse(await request(url, { signal }));
}

/** Forgets every file that is kept. */
export async function forgetFiles() {
  const root = await globalThis.navigator?.storage?.getDirectory?.();
  await root?.removeEntry(FOLDER, { recursive: true }).catch((error) => {
    // What is in use cannot be forgotten; there may be nothing.
    if (error.name !== "NotFoundError") throw error;
  });
}

function ofBytes(bytes) {
  return {
    length: bytes.length,
    async *pieces() {
      yield bytes;
    },
  };
}

function ofBlob(blob) {
  return {
    length: blob.size,
    async *pieces() {
      for (let at = 0; at < blob.size; at += PIECE) {
        yield new Uint8Array(await blob.slice(at, at + PIECE).arrayBuffer());
      }
    },
  };
}

function ofResponse(response, pieces = () => read(response)) {
  return { length: lengthOf(response), pieces, end: () => response.body?.cancel().catch(() => {}) };
}

async function request(url, options) {
  const response = await fetch(url, options);
  if (!response.ok) throw new Error(`${url}: ${response.status} ${response.statusText}`);
  return response;
}

/** Bytes of the body, if they are what the header says: a compressed body has more. */
function lengthOf(response) {
  const length = response.headers.get("content-length");
  return length === null || response.headers.has("content-encoding") ? undefined : Number(length);
}

async function* read({ body }) {
  // A response without a body has no bytes.
  if (body === null) return;
  const reader = body.getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      yield value;
    }
  } finally {
    await reader.cancel().catch(() => {});
  }
}

/** The folder of files that are kept; undefined where there is none that a worker can write. */
async function keptFiles() {
  if (typeof FileSystemFileHandle !== "function" || !FileSystemFileHandle.prototype.createSyncAccessHandle) return undefined;
  try {
    const root = await navigator.storage.getDirectory();
    return await root.getDirectoryHandle(FOLDER, { create: true });
  } catch {
    // No room, or a private window: the file is fetched.
    return undefined;
  }
}

async function kept(folder, url, signal) {
  const name = await digest(url);
  const [known, there] = await Promise.all([readVersion(folder, name), versionOf(url, signal)]);
  const isSame = !there || (known?.tag === there.tag && (there.length === undefined || known.length === there.length));
  if (known && isSame) {
    const file = await (await folder.getFileHandle(name)).getFile();
    if (file.size === known.length) return ofBlob(file);
  }
  const response = await request(url, { signal });
  return ofResponse(response, () => keep(folder, name, response));
}

/**
 * The pieces of a response, which are kept as they come; its version is written when all are there.
 * A part of a file is not kept.
 */
async function* keep(folder, name, response) {
  await folder.removeEntry(`${name}.json`).catch(() => {});
  const file = await create(folder, name);
  let [length, isKept, isWhole] = [0, file !== undefined, false];
  try {
    for await (const piece of read(response)) {
      isKept &&= write(file, piece, length);
      length += piece.length;
      yield piece;
    }
    isWhole = [undefined, length].includes(lengthOf(response));
  } finally {
    if (file) {
      isKept = close(file) && isKept && isWhole;
      if (!isKept) await folder.removeEntry(name).catch(() => {});
    }
  }
  if (isKept) await writeVersion(folder, name, { ...versionIn(response), length });
}

async function create(folder, name) {
  try {
    const file = await (await folder.getFileHandle(name, { create: true })).createSyncAccessHandle();
    file.truncate(0);
    return file;
  } catch {
    // Another page writes it.
    return undefined;
  }
}

/** Whether there was room. */
function write(file, piece, at) {
  try {
    return file.write(piece, { at }) === piece.length;
  } catch {
    return false;
  }
}

/** Closes it; tells whether all that was written is there. */
function close(file) {
  try {
    file.flush();
    return true;
  } catch {
    // No room.
    return false;
  } finally {
    file.close();
  }
}

const versionIn = (response) => ({
  tag: response.headers.get("etag") ?? response.headers.get("last-modified"),
  length: lengthOf(response),
});

/** The version that the server has; undefined if it does not tell. */
async function versionOf(url, signal) {
  try {
    return versionIn(await request(url, { method: "HEAD", signal }));
  } catch (error) {
    if (signal?.aborted) throw error;
    return undefined;
  }
}

async function readVersion(folder, name) {
  try {
    const file = await (await folder.getFileHandle(`${name}.json`)).getFile();
    return JSON.parse(await file.text());
  } catch {
    return undefined;
  }
}

async function writeVersion(folder, name, version) {
  const file = await create(folder, `${name}.json`);
  if (!file) return;
  write(file, new TextEncoder().encode(JSON.stringify(version)), 0);
  close(file);
}

async function digest(text) {
  const hash = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text));
  return Array.from(new Uint8Array(hash), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
