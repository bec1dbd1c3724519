import asyncio, os, signal, socket, sqlite3, subprocess, sys, threading, time

def sockets():
    for family, address in ((socket.AF_INET, ('127.0.0.1', 0)), (socket.AF_INET6, ('::1', 0)), (socket.AF_UNIX, 'py.sock')):
        server = socket.socket(family, socket.SOCK_STREAM)
        if family != socket.AF_UNIX:
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind(address)
        server.listen(5)
        client = socket.socket(family, socket.SOCK_STREAM)
        client.connect(server.getsockname())
        peer, _ = server.accept()
        client.sendall(b'x' * 100)
        print(len(peer.recv(1000)), peer.getpeername())
        if family == socket.AF_INET:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            print(client.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF))
        client.settimeout(0.01)
        try:
            client.recv(10)
        except TimeoutError:
            pass
        for s in (client, peer, server):
            s.close()
    a = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    a.bind(('127.0.0.1', 0))
    b = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    b.sendto(b'datagram', a.getsockname())
    print(a.recvfrom(100))
    x, y = socket.socketpair()
    socket.send_fds(x, [b'fds'], [0, 1])
    print(socket.recv_fds(y, 10, 4)[0])
    print(socket.getaddrinfo('localhost', 80)[0][0])
    os.unlink('py.sock')

def subprocesses():
    print(subprocess.run(['ls', '/nonexistent'], capture_output=True).returncode)
    print(subprocess.check_output('echo $0; exit 0', shell=True))
    p = subprocess.Popen(['sleep', '10'])
    p.terminate()
    print(p.wait())
    pid = os.fork()
    if pid == 0:
        os.kill(os.getpid(), signal.SIGUSR2)
    print(os.waitpid(pid, 0)[1])
    os.posix_spawn('/bin/true', ['true'], os.environ)
    os.wait()

def threads():
    lock, done = threading.Lock(), []
    def work(n):
        for i in range(20):
            with lock:
                time.sleep(0.0001)
            done.append(n)
    ts = [threading.Thread(target=work, args=(i,)) for i in range(5)]
    for t in ts:
        t.start()
    for t in ts:
        t.join(5)
    signal.signal(signal.SIGUSR1, lambda *_: print('signal'))
    os.kill(os.getpid(), signal.SIGUSR1)
    signal.setitimer(signal.ITIMER_REAL, 5)
    signal.setitimer(signal.ITIMER_REAL, 0)

async def serve():
    async def handle(r, w):
        w.write(await r.read(100))
        await w.drain()
        w.close()
    server = await asyncio.start_server(handle, '127.0.0.1', 0)
    async def client(i):
        r, w = await asyncio.open_connection(*server.sockets[0].getsockname())
        w.write(b'hello %d' % i)
        await w.drain()
        print(await r.read(100))
        w.close()
    await asyncio.gather(*(client(i) for i in range(5)))
    p = await asyncio.create_subprocess_exec('echo', 'child', stdout=asyncio.subprocess.PIPE)
    print(await p.communicate())
    await asyncio.sleep(0.01)
    server.close()

def database():
    db = sqlite3.connect('py.db')
    db.execute('create table t(a, b)')
    db.executemany('insert into t values(?, ?)', [(i, 'x' * i) for i in range(500)])
    db.commit()
    print(db.execute('select count(*) from t where a > 10').fetchone())
    db.close()
    os.unlink('py.db')

def redis():
    s = socket.socket(socket.AF_UNIX)
    s.connect('redis.sock')
    for i in range(20):
        s.sendall(b'SET key%d value%d\r\n' % (i, i))
        s.recv(100)
    s.sendall(b'INFO\r\n')
    s.recv(10000)
    s.sendall(b'SHUTDOWN NOSAVE\r\n')
    s.recv(100)

{'sockets': sockets, 'subprocess': subprocesses, 'threads': threads, 'asyncio': lambda: asyncio.run(serve()),
 'sqlite3': database, 'redis': redis}[sys.argv[1]]()
