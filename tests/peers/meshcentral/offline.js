'use strict';
// Loaded ahead of MeshCentral (`node --require`): it stays on this machine. MeshCentral runs npm for
// modules it misses, asks a time stamping service, and resolves names; whatever would leave this machine
// or start a program ends the process instead, with a word that says what it was.

const OFF_LIMITS = 86;

function refuse(what) {
    process.stderr.write(`offline: MeshCentral wants ${what}\n`);
    process.exit(OFF_LIMITS);
}

const here = (host) => host === undefined || host === 'localhost' || host === '::1' || /^(::ffff:)?127\./.test(host);

const net = require('net');
const connect = net.Socket.prototype.connect;
net.Socket.prototype.connect = function (...args) {
    const first = Array.isArray(args[0]) ? args[0][0] : args[0];
    const host = typeof first === 'object' ? first.host : args[1];
    if (typeof host !== 'function' && !here(host)) { refuse(`to connect to ${host}`); }
    return connect.apply(this, args);
};

const dns = require('dns');
const lookup = dns.lookup;
dns.lookup = (host, ...rest) => (here(host) ? lookup(host, ...rest) : refuse(`the address of ${host}`));
// Asked for each new device; nobody here has a name.
dns.reverse = (_address, answer) => setImmediate(answer, new Error('offline'));
for (const name of Object.keys(dns).filter((name) => name.startsWith('resolve'))) {
    dns[name] = (host) => refuse(`the records of ${host}`);
}

require('dgram').createSocket = () => refuse('to speak UDP');

const child = require('child_process');
for (const name of ['exec', 'execFile', 'execFileSync', 'execSync', 'fork', 'spawn', 'spawnSync']) {
    child[name] = (program) => refuse(`to run ${program}`);
}
