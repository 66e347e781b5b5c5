// A server of the files of folders, for the tests and for trying: `node server.mjs FOLDER [PORT]`.
// Pages are cross-origin isolated, which threads need, but not those below /plain/.

import fs from "node:fs";
import http from "node:http";
import path from "node:path";
import { fileURLToPath } from "node:url";

const KINDS = {
  ".css": "text/css; charset=utf-8",
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".json": "application/json",
  ".mjs": "text/javascript; charset=utf-8",
  ".wasm": "application/wasm",
};
const ISOLATED = {
  "cross-origin-opener-policy": "same-origin",
  "cross-origin-embedder-policy": "require-corp",
};

/**
 * Serves folders by the beginnings of their addresses; `heard(path, body)` has what is posted,
 * `seen(method, path)` each request.
 */
export async function serve(folders, { port = 0, heard, seen } = {}) {
  const server = http.createServer(async (request, response) => {
    const { pathname } = new URL(request.url, "http://localhost");
    seen?.(request.method, pathname);
    if (request.method === "POST") {
      const pieces = [];
      for await (const piece of request) pieces.push(piece);
      heard?.(pathname, Buffer.concat(pieces).toString());
      response.writeHead(204).end();
      return;
    }
    const isPlain = pathname.startsWith("/plain/");
    const file = find(folders, isPlain ? pathname.slice("/plain".length) : pathname);
    if (!file) {
      response.writeHead(404).end();
      return;
    }
    const { size, mtimeMs } = fs.statSync(file);
    response.writeHead(200, {
      "content-type": KINDS[path.extname(file)] ?? "application/octet-stream",
      "content-length": size,
      etag: `"${size}-${mtimeMs}"`,
      ...(isPlain ? {} : ISOLATED),
    });
    if (request.method === "HEAD") response.end();
    else fs.createReadStream(file).pipe(response);
  });
  await new Promise((resolve) => server.listen(port, "127.0.0.1", resolve));
  return server;
}

function find(folders, pathname) {
  const beginning = Object.keys(folders).find((name) => pathname.startsWith(name));
  if (beginning === undefined) return undefined;
  const folder = path.resolve(folders[beginning]);
  let file = path.join(folder, decodeURIComponent(pathname.slice(beginning.length)));
  if (file !== folder && !file.startsWith(folder + path.sep)) return undefined;
  if (fs.existsSync(file) && fs.statSync(file).isDirectory()) file = path.join(file, "index.html");
  return fs.existsSync(file) ? file : undefined;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const server = await serve({ "/": process.argv[2] ?? "." }, { port: Number(process.argv[3] ?? 8080) });
  console.log(`http://127.0.0.1:${server.address().port}/`);
}
