'use strict';
// Usage: node prepare.js PEER. Once for each installation, into PEER/prepared: what MeshCentral makes at
// its first start (RSA certificates, a database), an account, and two device groups, `agents`
// and `agentless`. Their names and the account are what the tests expect.

const { spawn } = require('child_process');
const fs = require('fs');
const net = require('net');
const path = require('path');

const peer = path.resolve(process.argv[2]);
const program = path.join(peer, 'node_modules', 'meshcentral');
const folder = path.join(peer, 'prepared');
const offline = path.join(__dirname, 'offline.js');
const LIMIT = 120000;

function freePort() {
    return new Promise((found) => {
        const listener = net.createServer();
        listener.listen(0, '127.0.0.1', () => { const { port } = listener.address(); listener.close(() => found(port)); });
    });
}

/** Runs MeshCentral until it ends, or until it said `word` and `then` was done. What it said. */
function meshcentral(args, word, then) {
    return new Promise((done, failed) => {
        // Its standard input stays open: without one it ends.
        const all = ['--require', offline, path.join(program, 'meshcentral.js'), '--launch', '1', '--npmpath', 'false',
            '--datapath', folder, '--filespath', path.join(folder, 'files'), ...args];
        const child = spawn(process.execPath, all, { env: { PATH: process.env.PATH, HOME: folder } });
        const limit = setTimeout(() => child.kill('SIGKILL'), LIMIT);
        let said = '', problem = null, asked = false, finished = false;
        const listen = (text) => {
            said += text;
            if (asked || !word || !said.includes(word)) { return; }
            asked = true;
            then().then(() => { finished = true; }, (error) => { problem = error; }).finally(() => child.kill('SIGINT'));
        };
        child.stdout.on('data', listen);
        child.stderr.on('data', listen);
        child.on('close', () => {
            clearTimeout(limit);
            if (problem === null && word && !finished) { problem = new Error(`MeshCentral ${asked ? 'ended too early' : 'did not start'}`); }
            if (problem === null) { done(said); } else { failed(new Error(`${problem.message}\n${said}`)); }
        });
    });
}

/** What `meshctrl ARGS` says. */
function meshctrl(port, args) {
    return new Promise((done, failed) => {
        const login = ['--url', `wss://127.0.0.1:${port}`, '--loginuser', 'admin', '--loginpass', 'Passw0rd!'];
        const child = spawn(process.execPath, [path.join(program, 'meshctrl.js'), ...args, ...login]);
        let said = '';
        child.stdout.on('data', (text) => { said += text; });
        child.stderr.on('data', (text) => { said += text; });
        child.on('close', () => (said.startsWith('ok ') ? done(said) : failed(new Error(`meshctrl ${args}: ${said}`))));
    });
}

async function prepare() {
    fs.mkdirSync(folder, { recursive: true });
    const [port, mpsPort] = [await freePort(), await freePort()];
    const settings = { cert: 'mps.example.com', WANonly: true, port, portBind: '127.0.0.1', redirPort: 0, mpsPort,
        mpsPortBind: '127.0.0.1', exactPorts: true, selfUpdate: false, autoBackup: false, agentTimeStampServer: false };
    fs.writeFileSync(path.join(folder, 'config.json'), JSON.stringify({ settings, domains: { '': {} } }));
    const said = await meshcentral(['--createaccount', 'admin', '--pass', 'Passw0rd!']);
    if (!said.includes('Done.')) { throw new Error(`no account: ${said}`); }
    await meshcentral([], 'MeshCentral HTTPS server running on', async () => {
        await meshctrl(port, ['adddevicegroup', '--name', 'agents']);
        await meshctrl(port, ['adddevicegroup', '--name', 'agentless', '--amtonly']);
    });
    fs.rmSync(path.join(folder, 'config.json')); // each test writes its own
}

prepare().catch((error) => { console.error(`prepare: ${error.message}`); process.exit(1); });
