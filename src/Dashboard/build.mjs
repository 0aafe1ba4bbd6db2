// Builds the page into the service's wwwroot: installs the packages where they are not those of the lock file, writes the types of the
// contract, checks, bundles, and puts a compressed form beside each file, which the service sends as it is. One process at a time does it,
// and what is there stays as it is until all of the new page is.
//
// Ends with 75 where the packages cannot be installed, and with 1 where the page does not build.
import { spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { brotliCompressSync, constants, gzipSync } from 'node:zlib';

const here = dirname(fileURLToPath(import.meta.url));
const target = join(here, '../Api/wwwroot');
const made = join(here, 'dist');
const lock = join(here, '.building');
process.chdir(here);

const changedAt = (path) => statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0;

function run(command, ...args) {
  return spawnSync(command, args, { stdio: 'inherit', shell: process.platform === 'win32' }).status ?? 1;
}

// npm takes longer with each folder that it looks into for a program: they are asked for by their names.
function program(path, ...args) {
  if (run(process.execPath, join('node_modules', path), ...args) === 0) return true;
  process.exitCode = 1;
  return false;
}

function isAlive(process_) {
  try {
    return process.kill(process_, 0);
  } catch (error) {
    return error.code === 'EPERM';
  }
}

async function takeLock() {
  for (;;) {
    try {
      writeFileSync(lock, String(process.pid), { flag: 'wx' });
      return;
    } catch (error) {
      if (error.code !== 'EEXIST') throw error;
    }
    let owner = 0;
    try {
      owner = Number(readFileSync(lock, 'utf8'));
    } catch {
      continue; // it has just been given back
    }
    // Whoever has been killed does not give it back.
    if (owner > 0 && !isAlive(owner)) rmSync(lock, { force: true });
    else await new Promise((done) => setTimeout(done, 200));
  }
}

function install() {
  if (changedAt('node_modules/.package-lock.json') >= Math.max(changedAt('package-lock.json'), changedAt('package.json'))) return true;
  // No package needs its scripts.
  if (run('npm', 'ci', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error') === 0) return true;
  process.exitCode = 75;
  return false;
}

function compress(folder) {
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) {
      compress(path);
      continue;
    }
    const content = readFileSync(path);
    writeFileSync(`${path}.br`, brotliCompressSync(content, { params: { [constants.BROTLI_PARAM_QUALITY]: 11 } }));
    writeFileSync(`${path}.gz`, gzipSync(content, { level: 9 }));
  }
}

function build() {
  if (!install()) return;
  const contract = '../../docs/openapi.json';
  if (changedAt('src/api/schema.d.ts') < changedAt(contract) && !program('openapi-typescript/bin/cli.js', contract, '-o', 'src/api/schema.d.ts', '--default-non-nullable=false')) return;
  if (!program('typescript/bin/tsc', '--noEmit') || !program('vite/bin/vite.js', 'build', '--logLevel', 'warn')) return;
  compress(made);
  mkdirSync(dirname(target), { recursive: true });
  rmSync(target, { recursive: true, force: true });
  renameSync(made, target);
}

await takeLock();
try {
  build();
} finally {
  rmSync(lock, { force: true });
}
