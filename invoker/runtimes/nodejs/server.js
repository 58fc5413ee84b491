// ◆ The runtime of JavaScript actions: takes code over HTTP once, then runs it for each request.
//
// It is what stands in an action container, so it is one file that needs nothing but Node 18. It guards its caller, not
// itself: whatever the code does to this process, only its own container is lost.
//
// Requests (JSON): POST /init {"value": {"code", "binary", "main", "env"}} and POST /run {"value": {...}, ...}; every
// other key of /run becomes `__OW_<KEY>` in the environment. Any other request is answered 200, for whoever asks
// whether this is ready. After each run, and after a failed /init, both output streams get a line that ends the
// activation's log. Numbers are JavaScript's: what it can't hold (integers beyond 2^53) it rounds.
'use strict';

const fs = require('node:fs');
const http = require('node:http');
const Module = require('node:module');
const os = require('node:os');
const path = require('node:path');

const SENTINEL = 'XXX_THE_END_OF_A_WHISK_ACTIVATION_XXX\n';
const BODY_LIMIT_BYTES = 64 * 1048576;
const UNPACKED_LIMIT_BYTES = 512 * 1048576;
const CONNECTIONS_MAX = 256;
const NAME = /^[\p{ID_Start}$_][\p{ID_Continue}$]*$/u;

// What was asked can't be done; answered with `status` and the text as the error.
class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

const isObject = (given) => typeof given === 'object' && given !== null && !Array.isArray(given);

function object(given, name) {
  if (!isObject(given)) throw new Refused(400, `Not a JSON object: ${name}.`);
  return given;
}

function parse(body) {
  let request;
  try {
    request = JSON.parse(body);
  } catch {
    throw new Refused(400, 'The request is not JSON.');
  }
  return object(request, 'the request');
}

function setEnvironment(prefix, values) {
  for (const [name, text] of Object.entries(values)) {
    process.env[prefix + name] = typeof text === 'string' ? text : JSON.stringify(text);
  }
}

// Code as text: a CommonJS module in which `main` need not be exported.
function loadText(code, main) {
  if (!NAME.test(main)) throw new Refused(502, `Not the name of a function: ${main}.`);
  const module = new Module('action.js');
  module.filename = path.join(os.tmpdir(), 'action.js');
  module.paths = Module._nodeModulePaths(os.tmpdir());
  module._compile(`${code}\n;if (typeof ${main} === 'function') module.exports.${main} ??= ${main};`, module.filename);
  return module.exports[main];
}

// Code as a base64 zip: a package, found by its package.json or index.js.
function loadArchive(code, main) {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'action-'));
  unpack(Buffer.from(code, 'base64'), directory);
  process.chdir(directory);
  const exported = require(directory);
  return typeof exported === 'function' ? exported : exported[main];
}

// The members of a zip by its central directory: stored and deflated ones, no encryption, no links.
function members(archive) {
  const damaged = () => new Refused(502, "The action's archive is damaged.");
  const end = archive.lastIndexOf(Buffer.from('PK\x05\x06', 'latin1'));
  if (end < 0 || end + 22 > archive.length) throw new Refused(502, "The action's archive is no zip file.");
  let at = archive.readUInt32LE(end + 16);
  const found = [];
  for (let count = archive.readUInt16LE(end + 10); count > 0; count--) {
    if (at + 46 > archive.length || archive.readUInt32LE(at) !== 0x02014b50) throw damaged();
    const method = archive.readUInt16LE(at + 10);
    const [packedBytes, bytes] = [archive.readUInt32LE(at + 20), archive.readUInt32LE(at + 24)];
    const [nameBytes, extraBytes, commentBytes] = [28, 30, 32].map((offset) => archive.readUInt16LE(at + offset));
    const local = archive.readUInt32LE(at + 42);
    const name = archive.toString('utf8', at + 46, at + 46 + nameBytes);
    at += 46 + nameBytes + extraBytes + commentBytes;
    if (method !== 0 && method !== 8) throw new Refused(502, `The action's archive is packed by method ${method}.`);
    if (local + 30 > archive.length || (method === 0 && bytes !== packedBytes)) throw damaged();
    const start = local + 30 + archive.readUInt16LE(local + 26) + archive.readUInt16LE(local + 28);
    found.push({ name, method, bytes, packed: archive.subarray(start, start + packedBytes) });
  }
  return found;
}

function content({ name, method, bytes, packed }) {
  if (method === 0) return packed;
  try {
    return require('node:zlib').inflateRawSync(packed, { maxOutputLength: Math.max(bytes, 1) });
  } catch (error) {
    throw new Refused(502, `The action's archive is damaged: ${name}: ${error.message}.`);
  }
}

// Unpack a zip. What its members say of their sizes is summed up first, and no member gets more than it said.
function unpack(archive, directory) {
  const found = members(archive);
  if (found.reduce((sum, { bytes }) => sum + bytes, 0) > UNPACKED_LIMIT_BYTES) {
    throw new Refused(502, `The action's archive unpacks to more than ${UNPACKED_LIMIT_BYTES} bytes.`);
  }
  for (const member of found) {
    const { name } = member;
    const target = path.join(directory, name);
    if (!target.startsWith(directory + path.sep)) throw new Refused(502, `The action's archive leads outside: ${name}`);
    if (name.endsWith('/')) {
      fs.mkdirSync(target, { recursive: true });
      continue;
    }
    fs.mkdirSync(path.dirname(target), { recursive: true });
    fs.writeFileSync(target, content(member));
  }
}

let tried = false;
let action = null;
let running = 0;
const concurrent = process.env.__OW_ALLOW_CONCURRENT === 'true';

// Take the code. A second time is refused, so that no run can put other code in the next one's place.
async function init(body) {
  const value = object(parse(body).value, 'value');
  if (tried) throw new Refused(403, 'Cannot initialize the action more than once.');
  if (!value.code) throw new Refused(403, 'Missing code: there is nothing to initialize.');
  tried = true;
  setEnvironment('', object(value.env ?? {}, 'env'));
  const main = value.main || 'main';
  let found;
  try {
    found = value.binary ? loadArchive(value.code, main) : loadText(value.code, main);
  } catch (error) {
    throw blame(error, 'The action failed to initialize');
  }
  if (typeof found !== 'function') throw new Refused(502, `The action has no function named '${main}'.`);
  action = found;
  return '{"OK":true}';
}

// Call the code with the parameters; its result must be an object.
async function run(body) {
  if (action === null) throw new Refused(403, 'The action is not initialized.');
  const { value, ...context } = parse(body);
  for (const [name, text] of Object.entries(context)) setEnvironment('__OW_', { [name.toUpperCase()]: text });
  let result;
  try {
    result = await action(object(value ?? {}, 'value'));
  } catch (error) {
    throw blame(error, 'The action raised an exception');
  }
  if (!isObject(result)) throw new Refused(502, `The action returned ${describe(result)}, not an object.`);
  try {
    return JSON.stringify(result) ?? '{}';
  } catch (error) {
    throw new Refused(502, `The action's result can't be written as JSON: ${error.message}`);
  }
}

const describe = (result) => (result === null ? 'null' : Array.isArray(result) ? 'an array' : typeof result);

// The stack to stderr; the short of it to the caller.
function blame(error, what) {
  if (error instanceof Refused) return error;
  console.error(error instanceof Error ? error.stack : error);
  return new Refused(502, `${what}: ${error instanceof Error ? `${error.name}: ${error.message}` : String(error)}`);
}

function endLog() {
  process.stdout.write(SENTINEL);
  process.stderr.write(SENTINEL);
}

async function answer(target, body) {
  const isRun = target === 'POST /run';
  if (!isRun && target !== 'POST /init') return [200, '{"OK":true}'];
  if (running > 0 && !(isRun && concurrent)) {
    return [403, JSON.stringify({ error: 'The action is busy, and takes one activation at a time.' })];
  }
  running++;
  let reply;
  try {
    reply = [200, await (isRun ? run(body) : init(body))];
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    reply = [error.status, JSON.stringify({ error: error.message })];
  } finally {
    running--;
  }
  if (isRun || reply[0] !== 200) endLog();
  return reply;
}

function send(response, status, text) {
  const body = Buffer.from(text.isWellFormed?.() === false ? text.toWellFormed() : text);
  response.writeHead(status, { 'Content-Type': 'application/json', 'Content-Length': body.length });
  response.end(body);
}

function receive(request, response) {
  const pieces = [];
  let bytes = 0;
  request.on('data', (piece) => {
    bytes += piece.length;
    if (bytes <= BODY_LIMIT_BYTES) pieces.push(piece);
    else pieces.length = 0;
  });
  request.on('end', async () => {
    if (bytes > BODY_LIMIT_BYTES) {
      send(response, 413, JSON.stringify({ error: `The request is longer than ${BODY_LIMIT_BYTES} bytes.` }));
      return;
    }
    send(response, ...(await answer(`${request.method} ${request.url}`, Buffer.concat(pieces).toString('utf8'))));
  });
}

// `--port N` (all addresses), `--socket PATH`, or `--fd N`: a socket that listens already. `--watch-stdin` behind it: end
// when standard input does, so with whoever started this, however that ends.
function place([how = '--port', where = '8080']) {
  if (how === '--fd') return { fd: Number(where) };
  if (how === '--socket') return { path: where };
  if (how === '--port') return { host: '0.0.0.0', port: Number(where) };
  console.error('server.js [--port N | --socket PATH | --fd N] [--watch-stdin]');
  return process.exit(1);
}

const server = http.createServer({ keepAliveTimeout: 0, requestTimeout: 0, noDelay: true }, receive);
server.maxConnections = CONNECTIONS_MAX;
server.listen(place(process.argv.slice(2)));
if (process.argv.includes('--watch-stdin')) {
  process.stdin.on('end', () => process.exit(0));
  process.stdin.resume();
}
