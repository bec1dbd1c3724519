/* More calls with all kinds of arguments: buffers, masks, limits, messages, options. */
#include <stdlib.h>
#include <sys/random.h>
#define _GNU_SOURCE
#include <signal.h>
#include <unistd.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/prctl.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <sys/eventfd.h>
#include <sys/ipc.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <string.h>
#include <sys/stat.h>
#include <poll.h>
#include <sys/sysmacros.h>

int main(void)
{
	unsigned long s;
	int st;
	s=~0ul;
	syscall(SYS_rt_sigprocmask,0,&s,0,8);
	s=1ul<<31|1ul<<32|1ul<<33|1|1ul<<63;
	syscall(SYS_rt_sigprocmask,2,&s,0,8);
	s=0;
	syscall(SYS_rt_sigprocmask,2,&s,&s,8);
	syscall(SYS_rt_sigprocmask,2,&s,8,8);
	syscall(SYS_rt_sigprocmask,2,8,0,8);
	syscall(SYS_rt_sigprocmask,2,0,&s,4);
	s=0x00000000ffffffff;
	syscall(SYS_rt_sigprocmask,2,&s,0,8);
	s=0x000007ffffffffff;
	syscall(SYS_rt_sigprocmask,2,&s,0,8);
	kill(0x7fffffff,32);
	kill(0x7fffffff,33);
	kill(0x7fffffff,64);
	kill(0x7fffffff,65);
	kill(0x7fffffff,-1);
	char b[100];
	struct iovec v[3]={{b,3},{b+10,4},{b+20,50}};
	int p[2];
	pipe(p);
	write(p[1],"hello",5);
	readv(p[0],v,3);
	readv(99,v,3);
	readv(99,0,3);
	readv(99,v,0);
	writev(99,v,1<<20);
	struct iovec w={(void*)8,5};
	writev(p[1],&w,1);
	struct rlimit rl={100,1025};
	setrlimit(RLIMIT_CORE,&rl);
	rl.rlim_cur=2048;
	rl.rlim_max=-1;
	setrlimit(RLIMIT_CORE,&rl);
	struct itimerval it={{1,2},{3,4}};
	setitimer(ITIMER_REAL,&it,0);
	getitimer(ITIMER_REAL,&it);
	memset(&it,0,sizeof it);
	setitimer(ITIMER_REAL,&it,&it);
	timerfd_create(CLOCK_MONOTONIC,TFD_CLOEXEC);
	eventfd(5,EFD_CLOEXEC|EFD_NONBLOCK);
	semget(IPC_PRIVATE,-1,IPC_CREAT|0600);
	shmget(0x1234,4096,0);
	shmat(99,0,SHM_RDONLY);
	getrandom(b,8,0);
	getrandom(b,40,0);
	getrandom((void*)8,8,0);
	int fd=open("/dev/null",O_RDWR);
	fcntl(fd,F_GETFL);
	fcntl(p[0],F_GETFL);
	fcntl(99,F_GETFL);
	umask(0);
	umask(7);
	umask(0644);
	mknod("/dev/full/x",S_IFBLK|0,makedev(300,70000));
	mknod("/dev/full/x",S_IFREG|S_ISUID|0755,0);
	mknod("/dev/full/x",S_ISVTX|4,0);
	chmod("/dev/full/x",0);
	chmod("/dev/full/x",04);
	mkdir("/dev/full/x",0);
	struct msghdr mh={0};
	char cb[64];
	struct iovec io={"ab",2};
	mh.msg_iov=&io;
	mh.msg_iovlen=1;
	int sp[2];
	socketpair(AF_UNIX,SOCK_STREAM,0,sp);
	sendmsg(sp[0],&mh,0);
	struct iovec ri={b,100};
	mh.msg_iov=&ri;
	mh.msg_control=cb;
	mh.msg_controllen=64;
	recvmsg(sp[1],&mh,0);
	sendmsg(99,(void*)8,0);
	sendmsg(99,0,0);
	int opt;
	socklen_t l=4;
	getsockopt(sp[0],SOL_SOCKET,SO_PEERCRED,b,&l);
	l=12;
	getsockopt(sp[0],SOL_SOCKET,SO_PEERCRED,b,&l);
	l=2;
	getsockopt(sp[0],SOL_SOCKET,SO_TYPE,&opt,&l);
	getsockopt(99,SOL_SOCKET,SO_TYPE,&opt,&l);
	getsockopt(sp[0],77,SO_TYPE,&opt,&l);
	getsockopt(sp[0],SOL_SOCKET,SO_TYPE,&opt,0);
	l=4;
	getsockopt(sp[0],99,5,&opt,&l);
}
