'use strict';
// Usage: node device.js CLIENT HOST:PORT GUID USER PASSWORD KEEPALIVE-MS AMT-HOST:PORT
//
// MeshCentral's own APF client (`agents/modules_meshcore/amt-apfclient.js`: the file CLIENT) as a device.
// The file is written for MeshAgent, which is not Node: it upgrades an HTTP request to a WebSocket and
// speaks APF in there. So it gets an `http` whose upgraded connection is TLS to HOST:PORT, one record for
// each write, and a `net` that leads to AMT-HOST:PORT whichever of AMT's ports is meant. Its own words
// begin with `APF:`, those of this file with `device:`. `disconnect` and `leave` on standard input: to say
// DISCONNECT, and to close. It ends with the connection, or with its standard input.

const fs = require('fs');
const net = require('net');
const tls = require('tls');
const vm = require('vm');

const [file, target, guid, user, password, keepalive, amt] = process.argv.slice(2);
const address = (text) => ({ host: text.slice(0, text.lastIndexOf(':')), port: Number(text.slice(text.lastIndexOf(':') + 1)) });
const say = (text) => console.log(`device: ${text}`);

/** What MeshAgent calls a WebSocket: strings are bytes, one character each. */
function upgraded(socket) {
    return {
        on: (event, listener) => { socket.on(event, listener); },
        write: (data) => socket.write(typeof data === 'string' ? Buffer.from(data, 'latin1') : data),
        end: () => socket.end(),
    };
}

let socket = null;
const http = {
    parseUri: address,
    request: (options) => {
        const request = { upgrade: null, end: () => {} };
        // As AMT: no SNI. Whom to trust is not what these tests are about.
        socket = tls.connect({ host: options.host, port: options.port, rejectUnauthorized: false });
        socket.setNoDelay(true);
        socket.once('secureConnect', () => {
            say(`connected ${socket.getProtocol()} ${socket.getPeerCertificate().subject.CN}`);
            request.upgrade(null, upgraded(socket), null);
        });
        socket.on('end', () => say('told goodbye'));
        socket.on('error', (error) => say(`error ${error.code}`));
        socket.on('close', () => { say('closed'); process.exit(0); });
        return request;
    },
};

const forwarded = {
    createConnection: (options, connected) => {
        say(`channel to port ${options.port}`);
        const channel = net.createConnection(address(amt), connected);
        // MeshAgent calls back with the socket as `this`; the client's flow control lives on it.
        const write = channel.write;
        channel.write = (data, written) => write.call(channel, data, () => { if (written) { written.call(channel); } });
        return channel;
    },
};

function load(path, modules) {
    const module = { exports: {} };
    const wrapped = vm.runInThisContext(`(function (module, exports, require) {${fs.readFileSync(path, 'utf8')}\n})`, { filename: path });
    wrapped(module, module.exports, (name) => {
        if (modules[name] === undefined) { throw new Error(`the client wants ${name}, which MeshAgent has and this file has not`); }
        return modules[name];
    });
    return module.exports;
}

const client = load(file, { http, net: forwarded })({ debug: true }, {
    mpsurl: target, mpsuser: user, mpspass: password, mpskeepalive: Number(keepalive),
    clientname: 'device', clientaddress: '127.0.0.1', clientuuid: guid, conntype: 0,
});
client.connect();

process.stdin.setEncoding('latin1');
process.stdin.on('data', (word) => {
    if (word.startsWith('disconnect')) { socket.write(Buffer.from([1, 0, 0, 0, 11, 0, 0])); }
    if (word.startsWith('leave')) { client.disconnect(); }
});
process.stdin.on('end', () => process.exit(1));
