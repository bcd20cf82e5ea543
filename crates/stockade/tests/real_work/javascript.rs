//! Node's files, children, threads and streams.

use stockade::CodeBlock;

use crate::places::Place;

work! {
    [namespaces landlock]
    a_script_uses_files_children_threads_and_promises
    modules_are_imported_from_files_and_packages_in_the_workspace
}

fn has_node(place: Place) -> bool {
    place.has("node", "node", &["--version"])
}

const SCRIPT: &str = r#"
const fs = require('fs'), os = require('os'), path = require('path'), zlib = require('zlib'), crypto = require('crypto')
const { execFileSync, fork, spawn } = require('child_process')
const { Worker, isMainThread, parentPort, workerData } = require('worker_threads')

if (process.argv[2] === 'child') {
  process.on('message', (message) => { process.send(message * 2); process.disconnect() })
} else if (!isMainThread) {
  parentPort.postMessage(workerData ** 2)
} else {
  main().catch((error) => { console.error(error); process.exit(1) })
}

async function main() {
  const folder = await fs.promises.mkdtemp(path.join(os.tmpdir(), 'made-'))
  await fs.promises.writeFile(path.join(folder, 'file'), 'written')
  console.log(await fs.promises.readFile(path.join(folder, 'file'), 'utf8'), fs.readdirSync(folder))
  fs.rmSync(folder, { recursive: true })

  console.log(execFileSync('sh', ['-c', 'echo child $0', 'one']).toString().trim())
  const shouting = spawn('tr', ['a-z', 'A-Z'])
  shouting.stdin.end('piped')
  let heard = ''
  for await (const part of shouting.stdout) heard += part
  console.log(heard)

  const forked = fork(__filename, ['child'])
  console.log(await new Promise((done) => { forked.on('message', done); forked.send(21) }))

  const workers = [1, 2, 3].map((number) => new Promise((done, failed) => {
    new Worker(__filename, { workerData: number }).on('message', done).on('error', failed)
  }))
  console.log(await Promise.all(workers))
  console.log(zlib.gunzipSync(zlib.gzipSync('packed')).toString(), crypto.randomBytes(4).length)
  const watched = new Promise((done) => { const watcher = fs.watch('.', (_, name) => {
    if (name === 'seen') { watcher.close(); done(name) } }) })
  fs.writeFileSync('seen', '')
  console.log(await watched, os.cpus().length > 0, os.userInfo().username.length > 0)
}
"#;

async fn a_script_uses_files_children_threads_and_promises(place: Place) {
    let expected = "written [ 'file' ]\nchild one\nPIPED\n42\n[ 1, 4, 9 ]\npacked 4\nseen true true\n";
    if has_node(place) {
        place.prints(CodeBlock::new("javascript", SCRIPT), expected).await;
    }
}

const PACKAGE: &str = r#"
const fs = require('fs'), { execFileSync } = require('child_process')
fs.mkdirSync('node_modules/given', { recursive: true })
fs.writeFileSync('node_modules/given/package.json', '{"name": "given", "version": "1.0.0", "main": "main.js"}')
fs.writeFileSync('node_modules/given/main.js', 'exports.name = "given"')
fs.writeFileSync('own.mjs', 'export const own = 42')
fs.writeFileSync('run.mjs', `
import given from 'given'
import { own } from './own.mjs'
console.log(given.name, own, (await import('node:fs')).existsSync('run.mjs'))`)
console.log(execFileSync(process.execPath, ['run.mjs']).toString().trim())
"#;

async fn modules_are_imported_from_files_and_packages_in_the_workspace(place: Place) {
    if has_node(place) {
        place.prints(CodeBlock::new("javascript", PACKAGE), "given 42 true\n").await;
    }
}
