// server.mjs - the service as a child process, for the tests of the page.
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, mkdirSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';

export const ROOT = resolve(import.meta.dirname ?? '.', '../..');
const OUT = process.env.STEMFORGE_OUT || join(ROOT, 'build');
export const sleep = ms => new Promise(done => setTimeout(done, ms));

const freePort = () => new Promise(done => {
  const s = createServer().listen(0, '127.0.0.1', () => { const { port } = s.address(); s.close(() => done(port)); });
});

// The storage emulator of the API's tests, with a rule that lets pages of any origin read. null: it is not installed.
export async function openAzurite() {
  const modules = join(ROOT, 'tests/api/node_modules'), script = join(modules, 'azurite/dist/src/azurite.js');
  if (!existsSync(script)) return null;
  const folder = mkdtempSync(join(tmpdir(), 'azurite-page-')), ports = [await freePort(), await freePort(), await freePort()];
  const child = spawn('node', [script, '--silent', '--disableTelemetry', '--location', folder,
    ...['blob', 'queue', 'table'].flatMap((name, i) => [`--${name}Host`, '127.0.0.1', `--${name}Port`, String(ports[i])])], { stdio: 'ignore' });
  const key = 'Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=='; // public: Azurite's own
  const connection = `DefaultEndpointsProtocol=http;AccountName=devstoreaccount1;AccountKey=${key};BlobEndpoint=http://127.0.0.1:${ports[0]}/devstoreaccount1`;
  const { BlobServiceClient } = createRequire(join(modules, 'x'))('@azure/storage-blob');
  for (let i = 0; ; i++) {
    try {
      await BlobServiceClient.fromConnectionString(connection).setProperties({
        cors: [{ allowedOrigins: '*', allowedMethods: 'GET', allowedHeaders: '*', exposedHeaders: '*', maxAgeInSeconds: 60 }] });
      break;
    } catch (e) {
      if (i === 10) throw e;
      await sleep(300);
    }
  }
  return { connection, origin: `http://127.0.0.1:${ports[0]}`, async close() {
    child.kill('SIGKILL');
    await new Promise(done => child.exitCode === null ? child.once('exit', done) : done());
    rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
  } };
}

export class Server {
  // real: the program with the shipped model; else the one whose model makes a tone (tests/tone).
  static async open({ real = false, ...env } = {}) {
    const s = new Server();
    s.folder = mkdtempSync(join(tmpdir(), 'stemforge-page-'));
    s.port = await freePort();
    s.url = `http://127.0.0.1:${s.port}/`;
    const model = join(s.folder, 'models', 'stemforge-mini');
    mkdirSync(model, { recursive: true });
    writeFileSync(join(model, 'config.json'), '{"model_type": "tone"}');
    s.command = real ? [join(OUT, 'stemforge'), 'serve', '--model', join(ROOT, 'models/stemforge-mini')] : [join(OUT, 'tests/tone_server')];
    s.env = { PATH: process.env.PATH, DATA_DIR: s.folder, PORT: String(s.port), SHUTDOWN_GRACE_SECONDS: '2', ...env };
    await s.start();
    return s;
  }

  async start() {
    const log = openSync(join(this.folder, 'log'), 'a');
    this.process = spawn(this.command[0], this.command.slice(1), { env: this.env, cwd: this.folder, stdio: ['ignore', log, log] });
    this.ended = new Promise(done => this.process.once('exit', done));
    for (let i = 0; i < 600; i++) {
      if (this.process.exitCode !== null) break;
      if (await fetch(this.url + 'readyz').then(r => r.ok, () => false)) return;
      await sleep(50);
    }
    throw new Error('the service did not start:\n' + readFileSync(join(this.folder, 'log'), 'utf8'));
  }

  async kill() {
    this.process.kill('SIGKILL');
    await this.ended;
  }

  async close() {
    this.process.kill('SIGTERM');
    await this.ended;
    rmSync(this.folder, { recursive: true, force: true });
  }

  async submit(id, stems, parameters, headers = {}) {
    const body = { generation_request_id: id, audio_file_id: 'page', target_stems: stems, parameters };
    const r = await fetch(this.url + 'generate', { method: 'POST', headers: { 'Content-Type': 'application/json', ...headers }, body: JSON.stringify(body) });
    if (r.status !== 202) throw new Error(await r.text());
    return id;
  }

  async job(id) { return (await fetch(this.url + 'jobs/' + id)).json(); }

  async done(id) {
    for (let i = 0; i < 3600; i++) {
      const job = await this.job(id);
      if (['completed', 'failed', 'canceled'].includes(job.status)) return job;
      await sleep(50);
    }
    throw new Error(`${id} did not end`);
  }
}
