/* Calls with all kinds of arguments, that succeed and that fail. The results do not matter. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <netinet/in.h>
#include <arpa/inet.h>
#include <sys/un.h>
#include <sys/epoll.h>
#include <poll.h>
#include <sys/wait.h>
#include <signal.h>
#include <time.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <string.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <sys/prctl.h>
#include <sys/mount.h>
#include <linux/futex.h>
#include <sched.h>
#include <sys/stat.h>
#include <sys/resource.h>
#include <sys/random.h>
#include <netinet/tcp.h>
#include <linux/netlink.h>

int main(void)
{
	char b[300];
	struct iovec iov[2]={{"hello\n\1\0012",10},{"\t\r\v\f\"\\\177\377zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz",40}};
	int fd=open("/etc/passwd",O_RDONLY|O_CLOEXEC);
	read(fd,b,100);
	pread(fd,b,300,5);
	lseek(fd,-3,SEEK_END);
	lseek(fd,5,77);
	open("x",O_RDWR|O_CREAT|O_TRUNC|0x40000000,0644);
	open("/nonexistent/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",O_WRONLY|O_DIRECTORY|O_SYNC);
	open("/tmp",O_TMPFILE|O_RDWR,0600);
	open("/tmp",O_ACCMODE);
	openat(fd,"x",O_PATH);
	open((char*)8,0);
	open(0,0);
	open("a\nb\"\t\033\377" "1\0022\0019",0);
	writev(fd,iov,2);
	int dn=open("/dev/null",O_WRONLY);
	writev(dn,iov,2);
	write(dn,"hello\n\1\0012\t\r\v\f\"\\\177\377zzzzzzzzzzzzzzz",30);
	write(dn,iov[1].iov_base,40);
	write(dn,"",0);
	write(dn,(void*)8,5);
	write(dn,"12345678901234567890123456789012",32);
	write(dn,"123456789012345678901234567890123",33);
	void*m=mmap(0,4096,PROT_READ|PROT_WRITE,MAP_PRIVATE|MAP_ANONYMOUS|MAP_NORESERVE,-1,0);
	mprotect(m,4096,PROT_NONE);
	madvise(m,4096,MADV_DONTNEED);
	madvise(m,4096,99);
	munmap(m,4096);
	mmap(0,0,0x55,3,-1,0x1000);
	mmap(0,5,PROT_READ|PROT_GROWSDOWN,MAP_SHARED_VALIDATE|MAP_FIXED|0x8000000,fd,0x1000);
	mremap((void*)4096,1,2,0,0);
	mremap((void*)4096,1,2,MREMAP_MAYMOVE|MREMAP_FIXED,8192);
	int s=socket(AF_INET,SOCK_STREAM|SOCK_CLOEXEC|SOCK_NONBLOCK,IPPROTO_TCP);
	int one=1;
	setsockopt(s,SOL_SOCKET,SO_REUSEADDR,&one,4);
	setsockopt(s,SOL_TCP,TCP_NODELAY,&one,4);
	setsockopt(s,SOL_IP,IP_TOS,&one,4);
	setsockopt(s,77,3,&one,4);
	setsockopt(s,SOL_SOCKET,SO_REUSEADDR,&one,3);
	setsockopt(s,SOL_SOCKET,300,&one,4);
	setsockopt(s,SOL_SOCKET,SO_LINGER,&(struct linger){1,2},8);
	setsockopt(s,SOL_SOCKET,SO_RCVTIMEO,&(struct timeval){1,2},16);
	setsockopt(s,SOL_SOCKET,SO_BINDTODEVICE,"lo",2);
	setsockopt(s,IPPROTO_IPV6,IPV6_V6ONLY,&one,4);
	struct sockaddr_in a={.sin_family=AF_INET,.sin_port=htons(0),.sin_addr={htonl(0x7f000001)}};
	bind(s,(void*)&a,sizeof a);
	listen(s,5);
	socklen_t l=sizeof a;
	getsockname(s,(void*)&a,&l);
	l=sizeof one;
	getsockopt(s,SOL_SOCKET,SO_ERROR,&one,&l);
	l=100;
	getpeername(s,(void*)&a,&l);
	getsockopt(s,SOL_SOCKET,SO_TYPE,&one,&l);
	int c=socket(AF_INET,SOCK_STREAM,0);
	connect(c,(void*)&a,sizeof a);
	struct sockaddr_storage ss;
	l=sizeof ss;
	int ac=accept4(s,(void*)&ss,&l,SOCK_CLOEXEC);
	accept(s,0,0);
	l=sizeof ss;
	accept(s,(void*)&ss,&l);
	send(ac,"hi",2,MSG_NOSIGNAL);
	recv(c,b,100,MSG_DONTWAIT|MSG_PEEK);
	l=sizeof ss;
	recvfrom(c,b,100,0,(void*)&ss,&l);
	recv(c,b,100,MSG_DONTWAIT);
	sendto(c,"x",1,0,(void*)&a,sizeof a);
	shutdown(c,SHUT_RDWR);
	shutdown(c,7);
	struct sockaddr_in6 a6={.sin6_family=AF_INET6,.sin6_port=htons(80),.sin6_addr=IN6ADDR_LOOPBACK_INIT,.sin6_scope_id=3};
	connect(c,(void*)&a6,sizeof a6);
	connect(c,(void*)&a6,24);
	a6.sin6_scope_id=0;
	a6.sin6_flowinfo=htonl(77);
	a6.sin6_addr.s6_addr[0]=0xfe;
	a6.sin6_addr.s6_addr[1]=0x80;
	a6.sin6_scope_id=1;
	connect(c,(void*)&a6,sizeof a6);
	struct sockaddr_un u={AF_UNIX,"/nonexist"};
	int us=socket(AF_UNIX,SOCK_DGRAM,0);
	connect(us,(void*)&u,sizeof u);
	connect(us,(void*)&u,2+5);
	strcpy(u.sun_path+1,"abs");
	u.sun_path[0]=0;
	connect(us,(void*)&u,6);
	bind(us,(void*)&u,2);
	l=sizeof ss;
	getsockname(us,(void*)&ss,&l);
	connect(us,(void*)&u,sizeof u);
	struct sockaddr un={AF_UNSPEC};
	connect(us,&un,16);
	connect(us,&un,2);
	connect(us,&un,1);
	connect(us,0,1);
	connect(us,(void*)8,16);
	struct sockaddr w={77,"abcdefghijklm"};
	connect(us,&w,16);
	connect(us,&w,200);
	struct sockaddr_nl nl={AF_NETLINK,0,5,6};
	int ns=socket(AF_NETLINK,SOCK_RAW,NETLINK_ROUTE);
	bind(ns,(void*)&nl,12);
	socket(AF_NETLINK,SOCK_RAW,99);
	socket(99,99,99);
	socket(AF_INET6,SOCK_DGRAM,IPPROTO_UDP);
	socket(AF_INET,SOCK_RAW,IPPROTO_ICMP);
	socket(AF_UNIX,SOCK_SEQPACKET,3);
	socket(AF_PACKET,SOCK_RAW,htons(3));
	int p[2];
	pipe(p);
	pipe2(p,O_NONBLOCK|O_CLOEXEC);
	pipe2(p,0x1000);
	socketpair(AF_UNIX,SOCK_STREAM,0,p);
	socketpair(AF_INET,SOCK_STREAM,0,p);
	struct msghdr mh={.msg_name=&a,.msg_namelen=16,.msg_iov=iov,.msg_iovlen=2};
	mh.msg_name=0;
	mh.msg_namelen=0;
	sendmsg(p[0],&mh,MSG_NOSIGNAL);
	struct iovec ri={b,300};
	struct msghdr rm={.msg_iov=&ri,.msg_iovlen=1,.msg_name=&ss,.msg_namelen=128};
	recvmsg(p[1],&rm,MSG_CMSG_CLOEXEC);
	recvmsg(p[1],&rm,MSG_DONTWAIT);
	struct pollfd pf[2]={{0,POLLIN},{p[1],POLLIN|POLLOUT|0x4000}};
	poll(pf,2,0);
	poll(pf+1,1,10);
	pf[0].fd=-1;
	pf[1].events=0;
	poll(pf,2,3);
	poll(0,0,1);
	poll(pf,1,-1==0);
	int ep=epoll_create1(EPOLL_CLOEXEC);
	struct epoll_event ev={EPOLLIN|EPOLLET,{.u64=0x1234567890}},evs[3];
	epoll_ctl(ep,EPOLL_CTL_ADD,p[1],&ev);
	ev.events=EPOLLOUT;
	ev.data.u32=p[0];
	ev.data.u64=p[0];
	epoll_ctl(ep,EPOLL_CTL_ADD,p[0],&ev);
	epoll_ctl(ep,EPOLL_CTL_DEL,p[1],0);
	epoll_ctl(ep,EPOLL_CTL_ADD,99,&ev);
	epoll_wait(ep,evs,3,0);
	epoll_wait(ep,evs,3,-1==0?0:0);
	epoll_pwait(ep,evs,3,0,0);
	epoll_create(5);
	epoll_ctl(ep,EPOLL_CTL_MOD,p[0],&(struct epoll_event){0});
	epoll_wait(ep,evs,3,0);
	nanosleep(&(struct timespec){0,1000},0);
	nanosleep(&(struct timespec){-1,1000},&(struct timespec){0,5});
	clock_nanosleep(CLOCK_MONOTONIC,0,&(struct timespec){0,1000},0);
	clock_nanosleep(CLOCK_REALTIME,TIMER_ABSTIME,&(struct timespec){1,1000},0);
	pid_t k=fork();
	if(!k){
		_exit(3);
	}
	int st;
	waitpid(k,&st,0);
	waitpid(-1,&st,WNOHANG);
	k=fork();
	if(!k){
		pause();
	}
	kill(k,SIGTERM);
	wait4(k,&st,WUNTRACED,0);
	siginfo_t si;
	waitid(P_ALL,0,&si,WEXITED|WNOHANG);
	wait4(-1,0,__WALL,0);
	waitpid(5,&st,WNOHANG|WCONTINUED);
	kill(0,0);
	kill(k,99);
	syscall(SYS_tgkill,getpid(),getpid(),0);
	syscall(SYS_tkill,getpid(),0);
	struct sigaction sa={.sa_handler=SIG_IGN};
	sigaction(SIGPIPE,&sa,0);
	signal(SIGUSR1,SIG_IGN);
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set,SIGUSR2);
	sigprocmask(SIG_BLOCK,&set,0);
	sigprocmask(99,0,0);
	fcntl(1,F_GETFL);
	fcntl(1,F_SETFL,O_RDWR|O_NONBLOCK|O_LARGEFILE);
	fcntl(1,F_GETFD);
	fcntl(dn,F_GETFD);
	fcntl(dn,F_SETFD,FD_CLOEXEC);
	fcntl(dn,F_GETFD);
	fcntl(dn,F_DUPFD,10);
	fcntl(dn,F_DUPFD_CLOEXEC,10);
	fcntl(dn,F_GETFL);
	struct flock fl={F_WRLCK,SEEK_SET,0,0};
	fcntl(dn,F_SETLK,&fl);
	fcntl(dn,F_GETLK,&fl);
	fcntl(dn,F_SETPIPE_SZ,4096);
	fcntl(dn,F_SETOWN,5);
	fcntl(dn,F_GETOWN);
	fcntl(dn,999,5);
	fcntl(dn,F_ADD_SEALS,F_SEAL_GROW);
	fcntl(dn,F_SETSIG,SIGIO);
	fcntl(dn,F_SETLEASE,F_RDLCK);
	fcntl(dn,F_GETPIPE_SZ);
	fcntl(dn,F_NOTIFY,DN_ACCESS);
	ioctl(1,TCGETS,b);
	ioctl(1,TIOCGWINSZ,b);
	ioctl(dn,FIONBIO,&one);
	ioctl(s,FIONREAD,&one);
	ioctl(dn,FIOCLEX);
	ioctl(dn,0x12345678,7);
	ioctl(dn,0x1234);
	ioctl(dn,_IOR('z',3,int),b);
	ioctl(dn,_IO('V',9),b);
	dup(1);
	dup2(1,50);
	dup3(1,51,O_CLOEXEC);
	dup2(99,98);
	prctl(PR_SET_NAME,"bob");
	prctl(PR_SET_PDEATHSIG,SIGKILL);
	prctl(PR_SET_NO_NEW_PRIVS,1,0,0,0);
	prctl(PR_GET_DUMPABLE);
	prctl(9999,1,2,3,4);
	prctl(PR_SET_DUMPABLE,0);
	prctl(PR_CAPBSET_READ,0);
	int f=0;
	syscall(SYS_futex,&f,FUTEX_WAKE_PRIVATE,1,0,0,0);
	syscall(SYS_futex,&f,FUTEX_WAIT,1,0,0,0);
	syscall(SYS_futex,&f,FUTEX_WAIT_BITSET|FUTEX_CLOCK_REALTIME|FUTEX_PRIVATE_FLAG,1,0,0,-1);
	syscall(SYS_futex,&f,FUTEX_WAIT_PRIVATE,0,&(struct timespec){0,1000},0,0);
	syscall(SYS_futex,&f,FUTEX_CMP_REQUEUE_PRIVATE,1,5,&f,0);
	syscall(SYS_futex,&f,77,1,5,&f,0);
	syscall(SYS_futex,&f,FUTEX_WAKE_OP,1,5,&f,0);
	access("/etc/passwd",R_OK|W_OK);
	access("/x",F_OK);
	faccessat(AT_FDCWD,"/x",X_OK,AT_EACCESS);
	faccessat(AT_FDCWD,"/x",99,0x1234);
	unlink("/x");
	unlinkat(AT_FDCWD,"/x",AT_REMOVEDIR);
	rename("/x","/y");
	renameat(5,"x",AT_FDCWD,"y");
	renameat2(5,"x",AT_FDCWD,"y",RENAME_NOREPLACE);
	mkdir("/proc/x",0755);
	mkdirat(5,"x",01777);
	rmdir("/x");
	chdir("/x");
	readlink("/proc/self/exe",b,300);
	readlink("/proc/self/exe",b,3);
	readlink("/x",b,3);
	symlink("/a","/proc/b");
	link("/x","/y");
	linkat(AT_FDCWD,"/x",5,"y",AT_SYMLINK_FOLLOW);
	chmod("/x",04755);
	chown("/x",-1,5);
	fchownat(AT_FDCWD,"",0,0,AT_EMPTY_PATH);
	mount("none","/x","tmpfs",MS_NOSUID|MS_RDONLY,"size=1");
	mount("a","/x",0,MS_BIND|MS_REC,0);
	umount2("/x",MNT_DETACH);
	umount("/x");
	struct stat sb;
	stat("/etc/passwd",&sb);
	stat("/x",&sb);
	syscall(SYS_stat,"/x",&sb);
	mknod("/proc/x",S_IFCHR|0600,0x103);
	mknod("/proc/x",S_IFIFO|0600,0);
	mknod("/proc/x",0600,0);
	getrandom(b,8,GRND_NONBLOCK);
	getrandom(b,8,0);
	getrandom(b,40,0);
	struct timespec ts;
	syscall(SYS_clock_gettime,CLOCK_MONOTONIC,&ts);
	syscall(SYS_clock_gettime,99,&ts);
	syscall(SYS_clock_gettime,-6,&ts);
	memfd_create("foo",MFD_CLOEXEC);
	memfd_create("foo",0x80);
	struct rlimit rl;
	getrlimit(RLIMIT_NOFILE,&rl);
	prlimit(0,RLIMIT_STACK,0,&rl);
	prlimit(0,99,0,&rl);
	syscall(500,1,2,3,4,5,6);
	syscall(0x1f5);
	syscall(-1,1);
	syscall(SYS_arch_prctl,0x3001,b);
	syscall(SYS_arch_prctl,0x1002,b);
	syscall(SYS_arch_prctl,0x999,b);
	syscall(SYS_arch_prctl,0x1003,b);
	syscall(468,-100,"/x",b,24,0);
	syscall(469,1,2,3,4,5);
	syscall(451,1,2,3,4);
	syscall(462,4096,1,0);
	syscall(174,1,2);
	umask(022);
	getpid();
	geteuid();
	getpgid(0);
	setsid();
	getpriority(PRIO_PROCESS,0);
	sched_yield();
	alarm(0);
	ftruncate(dn,5);
	fsync(99);
	flock(dn,LOCK_EX|LOCK_NB);
	getcwd(b,300);
	getcwd(b,1);
	sendfile(dn,fd,0,100);
	char*const av[]={"/nonexist","a","bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb",0};
	char *const en[]={"A=b",0};
	execve("/nonexist",av,en);
	execve("/nonexist",av,0);
	execve("/nonexist",0,en);
	syscall(SYS_execveat,AT_FDCWD,"/nonexist",av,en,AT_SYMLINK_NOFOLLOW);
	char*big[60];
	for(int i=0;i<50;i++)big[i]="a";
	big[50]=0;
	execve("/nonexist",big,en);
	preadv(fd,iov,0,5);
	pwritev(fd,iov,1,5);
	ri.iov_len=3;
	preadv(fd,&ri,1,5);
	readv(fd,&ri,1);
	pwrite(dn,"a",1,7);
	preadv2(fd,&ri,1,5,RWF_HIPRI);
	preadv2(fd,&ri,1,5,0);
	syscall(SYS_creat,"/proc/nonexist",0600);
	syscall(SYS_close_range,100,200,4);
	syscall(SYS_openat2,AT_FDCWD,"/x",&(long[3]){0,0,0},24);
	unshare(CLONE_NEWNS|0);
	setns(99,CLONE_NEWNET);
	write(2,"bye\n",4);
	*(volatile int*)0=1;
}
