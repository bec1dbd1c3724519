# A program that uses file descriptors of all kinds; or with the argument "hold", one that
# reads again and again from one that it opened before; or with "pace", so slowly that
# what it has open is listed meanwhile, and closes it then.
import os,select,socket,subprocess,sys
if sys.argv[1]=='pace':
    import time
    os.dup2(os.open('/etc/passwd',os.O_RDONLY),20)
    for _ in range(3500): os.pread(20,4,0); time.sleep(0.002)
    os.close(20)
    print('done',flush=True); os.read(0,1)
    sys.exit(0)
if sys.argv[1]=='hold':
    os.dup2(os.open('/etc/passwd',os.O_RDONLY),20)
    print('ready',flush=True); os.read(0,1)
    for _ in range(5000): os.pread(20,4,0)
    print('done',flush=True); os.read(0,1)
    sys.exit(3)
f=os.open('/etc/passwd',os.O_RDONLY); os.read(f,10); os.dup2(f,9); os.close(f); os.read(9,3)
r,w=os.pipe(); os.write(w,b'x'); os.read(r,1)
s=socket.socket(); s.bind(('127.0.0.1',0)); s.listen(1)
c=socket.socket(); c.connect(s.getsockname()); a,_=s.accept(); a.send(b'hi'); c.recv(2)
u,v=socket.socketpair(); u.send(b'y'); v.recv(1)
os.chdir('/tmp'); os.stat('x') if os.path.exists('x') else 0
e=os.eventfd(1); os.read(e,8)
m=os.memfd_create('foo'); os.write(m,b'x')
n=os.open('/dev/null',os.O_WRONLY); os.write(n,b'x')
p=os.pidfd_open(os.getpid()); os.close(p)
open('<removed>','w').write('x'); 
g=open('<removed>'); os.unlink(g.name); g.read()
po=select.poll(); po.register(u,1); po.register(r,1); po.poll(1); select.select([r,u],[w],[],0)
socket.send_fds(u,[b'q'],[9]); print(socket.recv_fds(v,10,2))
x=socket.socket(socket.AF_INET,socket.SOCK_DGRAM); x.sendto(b'x',('127.0.0.1',9)); x.sendto(b'x',('127.0.0.1',9))
nl=socket.socket(socket.AF_NETLINK,socket.SOCK_RAW,0); nl.bind((0,0)); nl.send(b'x')
subprocess.run(['cat','/etc/hostname'])
