// Calls on sockets, with flags and errors.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

int main(void)
{
	char buf[1000], control[200];
	void *bad = (void *)8;
	int sv[2], one = 1, n;
	socklen_t len;

	unshare(CLONE_NEWNET);
	int c = socket(AF_INET, SOCK_DGRAM, 0);
	struct ifreq ifr; strcpy(ifr.ifr_name, "lo"); ioctl(c, SIOCGIFFLAGS, &ifr); ifr.ifr_flags |= IFF_UP; ioctl(c, SIOCSIFFLAGS, &ifr); ioctl(c, SIOCGIFINDEX, &ifr); ioctl(c, SIOCGIFMTU, &ifr); ioctl(c, SIOCGIFADDR, &ifr); ioctl(c, SIOCGIFNETMASK, &ifr); ioctl(c, SIOCGIFTXQLEN, &ifr); strcpy(ifr.ifr_name, "none"); ioctl(c, SIOCGIFFLAGS, &ifr); ioctl(c, SIOCGIFINDEX, bad); ioctl(c, FIONREAD, &n);
	socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_TCP); socket(AF_INET6, SOCK_DGRAM, IPPROTO_UDP); socket(AF_UNIX, SOCK_SEQPACKET, 5); socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE); socket(AF_PACKET, SOCK_RAW, htons(ETH_P_ALL)); socket(AF_INET, SOCK_RAW, IPPROTO_ICMP); socket(77, 99, 55); socket(AF_VSOCK, SOCK_STREAM, 0);
	int s = socket(AF_INET, SOCK_STREAM, 0), s2, s6 = socket(AF_INET6, SOCK_STREAM, 0), u = socket(AF_UNIX, SOCK_STREAM, 0);
	struct sockaddr_in in = {AF_INET, 0, {htonl(INADDR_LOOPBACK)}};
	struct sockaddr_in6 in6 = {AF_INET6, htons(8080), htonl(5), IN6ADDR_LOOPBACK_INIT, 0};
	struct sockaddr_un un = {AF_UNIX, "oracle.sock"}, ab = {AF_UNIX, "\0abstract"};
	struct sockaddr_nl nl = {AF_NETLINK, 0, 0, RTMGRP_LINK};
	struct sockaddr_storage ss;
	setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one); setsockopt(s, SOL_SOCKET, SO_REUSEPORT, &one, 1); setsockopt(s, SOL_TCP, TCP_NODELAY, &one, 4); setsockopt(s, SOL_IP, IP_TOS, &one, 1); setsockopt(s6, SOL_IPV6, IPV6_V6ONLY, &one, 4); setsockopt(s, SOL_TCP, TCP_CONGESTION, "reno", 4); setsockopt(s, SOL_TCP, TCP_CONGESTION, "cubic", 5); setsockopt(s, 77, 88, &one, 4); setsockopt(s, SOL_SOCKET, 999, bad, 4); setsockopt(s, SOL_SOCKET, SO_KEEPALIVE, &one, 2);
	struct linger lg = {1, 5}; setsockopt(s, SOL_SOCKET, SO_LINGER, &lg, sizeof lg); len = sizeof lg; getsockopt(s, SOL_SOCKET, SO_LINGER, &lg, &len); lg.l_onoff = 0; setsockopt(s, SOL_SOCKET, SO_LINGER, &lg, sizeof lg); struct timeval tv = {5, 5}; setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv); len = sizeof tv; getsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &tv, &len); setsockopt(c, SOL_SOCKET, SO_BINDTODEVICE, "lo", 3); struct ip_mreq mr = {{htonl(0xe0000001)}, {htonl(INADDR_LOOPBACK)}}; setsockopt(c, SOL_IP, IP_ADD_MEMBERSHIP, &mr, sizeof mr); setsockopt(c, SOL_IP, IP_RECVTTL, &one, 4); setsockopt(c, SOL_IP, IP_PKTINFO, &one, 4); setsockopt(c, SOL_SOCKET, SO_TIMESTAMP, &one, 4); setsockopt(c, SOL_SOCKET, SO_BINDTODEVICE, "", 0);
	len = 4; getsockopt(s, SOL_SOCKET, SO_TYPE, &n, &len); getsockopt(s, SOL_SOCKET, SO_ERROR, &n, &len); getsockopt(s, SOL_SOCKET, SO_SNDBUF, &n, &len); len = 2; getsockopt(s, SOL_SOCKET, SO_RCVBUF, &n, &len); len = 100; getsockopt(s, SOL_TCP, TCP_CONGESTION, buf, &len); len = 104; getsockopt(s, SOL_TCP, TCP_INFO, buf, &len); len = 4; getsockopt(s, 77, 88, &n, &len); getsockopt(99, SOL_SOCKET, SO_TYPE, &n, &len); getsockopt(s, SOL_SOCKET, SO_TYPE, bad, &len); getsockopt(s, SOL_SOCKET, SO_DOMAIN, &n, &len); getsockopt(s, SOL_IP, IP_TTL, &n, &len); len = 0; getsockopt(s, SOL_SOCKET, SO_TYPE, &n, &len); getsockopt(s, SOL_SOCKET, SO_TYPE, &n, bad);
	bind(s, (void *)&in, sizeof in); bind(s, (void *)&in, sizeof in); bind(s6, (void *)&in6, sizeof in6); unlink("oracle.sock"); bind(u, (void *)&un, sizeof un); bind(u, bad, 16); bind(99, (void *)&in, 3); bind(socket(AF_UNIX, SOCK_STREAM, 0), (void *)&ab, 2 + 9); bind(socket(AF_NETLINK, SOCK_RAW, 0), (void *)&nl, sizeof nl);
	listen(s, 5); listen(u, 0); listen(c, 5); len = sizeof ss; getsockname(s, (void *)&in, &len); len = sizeof ss; getsockname(s6, (void *)&ss, &len); len = 5; getsockname(u, (void *)&ss, &len); len = sizeof ss; getpeername(s, (void *)&ss, &len); getsockname(99, (void *)&ss, &len); getsockname(s, bad, &len); getsockname(s, (void *)&ss, bad);
	int cl = socket(AF_INET, SOCK_STREAM, 0); len = sizeof in; getsockname(s, (void *)&in, &len); connect(cl, (void *)&in, sizeof in); len = sizeof ss; s2 = accept(s, (void *)&ss, &len); fcntl(s, F_SETFL, O_NONBLOCK); accept(s, 0, 0); accept4(s, (void *)&ss, &len, SOCK_CLOEXEC | SOCK_NONBLOCK); accept4(s, 0, 0, 0x99); connect(cl, bad, 5); connect(99, (void *)&un, sizeof un); connect(u, (void *)&un, sizeof un); connect(socket(AF_INET6, SOCK_STREAM | SOCK_NONBLOCK, 0), (void *)&in6, sizeof in6); len = sizeof ss; getpeername(cl, (void *)&ss, &len);
	send(cl, "hello", 5, MSG_NOSIGNAL); recv(s2, buf, 100, MSG_PEEK); recv(s2, buf, 3, 0); read(s2, buf, 100); recv(s2, buf, 100, MSG_DONTWAIT); send(cl, bad, 5, 0); sendto(c, "datagram", 8, MSG_CONFIRM, (void *)&in, sizeof in); send(c, "nowhere", 7, 0);
	bind(c, (void *)&(struct sockaddr_in){AF_INET, 0, {htonl(INADDR_LOOPBACK)}}, sizeof in); len = sizeof in; getsockname(c, (void *)&in, &len); sendto(c, "to myself", 9, 0, (void *)&in, sizeof in); len = sizeof ss; recvfrom(c, buf, 100, 0, (void *)&ss, &len); sendto(c, "again", 5, 0, (void *)&in, sizeof in); len = 4; recvfrom(c, buf, 3, MSG_TRUNC, (void *)&ss, &len); recvfrom(c, buf, 100, MSG_DONTWAIT, (void *)&ss, &len);
	struct iovec iov[3] = {{"first ", 6}, {"a second one that is longer than what is shown of it", 53}, {"third", 5}}, in3[2] = {{buf, 10}, {buf + 100, 500}};
	struct msghdr m = {&in, sizeof in, iov, 3}; sendmsg(c, &m, MSG_DONTWAIT); struct msghdr r = {&ss, sizeof ss, in3, 2, control, sizeof control}; recvmsg(c, &r, 0); recvmsg(c, &r, MSG_DONTWAIT); m.msg_iov = bad; sendmsg(c, &m, 0); sendmsg(c, bad, 0); sendmsg(99, &m, 0); recvmsg(c, bad, 0);
	socketpair(AF_UNIX, SOCK_DGRAM, 0, sv); socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 7, sv); socketpair(AF_UNIX, SOCK_DGRAM, 0, sv); setsockopt(sv[1], SOL_SOCKET, SO_PASSCRED, &one, 4);
	struct { struct cmsghdr h; int fds[2]; } cm = {{sizeof(struct cmsghdr) + 8, SOL_SOCKET, SCM_RIGHTS}, {0, 1}}; struct msghdr f = {0, 0, iov, 1, &cm, sizeof cm}; sendmsg(sv[0], &f, 0); struct msghdr fr = {0, 0, in3, 1, control, sizeof control}; recvmsg(sv[1], &fr, MSG_CMSG_CLOEXEC); cm.h.cmsg_type = 77; sendmsg(sv[0], &f, 0); cm.h.cmsg_level = 99; cm.h.cmsg_len = 5; sendmsg(sv[0], &f, 0);
	struct mmsghdr mm[3] = {{{&in, sizeof in, iov, 1}}, {{&in, sizeof in, iov, 2}}, {{&in, sizeof in, iov, 1}}}; sendmmsg(c, mm, 2, 0); struct mmsghdr rm[2] = {{{&ss, sizeof ss, in3, 1}}, {{0, 0, in3, 2}}}; struct timespec ts = {1, 0}; recvmmsg(c, rm, 2, MSG_DONTWAIT, 0); recvmmsg(c, rm, 2, MSG_DONTWAIT, 0); sendmmsg(99, mm, 1, 0); sendmmsg(c, bad, 1, 0);
	len = sizeof buf; getsockopt(sv[0], SOL_SOCKET, SO_PEERCRED, buf, &len); len = sizeof ss; getpeername(sv[0], (void *)&ss, &len); getsockname(sv[0], (void *)&ss, &len);
	shutdown(cl, SHUT_WR); shutdown(s2, SHUT_RDWR); shutdown(99, 77); recv(s2, buf, 10, 0); unlink("oracle.sock");
	return 0;
}
