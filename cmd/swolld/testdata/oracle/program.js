const fs = require('fs'), net = require('net'), { execFileSync } = require('child_process');
fs.writeFileSync('node.out', 'x'.repeat(5000));
console.log(fs.readFileSync('node.out').length, fs.statSync('node.out').size, fs.readdirSync('tree').length);
try { fs.openSync('/nonexistent'); } catch (e) { console.log(e.code); }
console.log(execFileSync('/bin/echo', ['child']).toString());
const server = net.createServer(c => { c.on('data', d => c.end(d)); }).listen('node.sock', () => {
  const c = net.connect('node.sock', () => c.write('ping'));
  c.on('data', d => console.log(d.toString())); c.on('close', () => server.close());
});
setTimeout(() => fs.unlinkSync('node.out'), 20);
