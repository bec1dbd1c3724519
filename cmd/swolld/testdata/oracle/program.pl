use strict; use Socket; use POSIX ();
socketpair(my $a, my $b, AF_UNIX, SOCK_STREAM, 0) or die;
my $pid = fork();
if (!$pid) { close $a; syswrite $b, "hello\n"; POSIX::_exit(3); }
close $b; my $line = <$a>; waitpid $pid, 0;
open my $f, '>', 'perl.out' or die; print $f "x\n" x 1000; close $f;
open $f, '<', 'perl.out' or die; 1 while <$f>; close $f; unlink 'perl.out';
local $SIG{ALRM} = sub {}; alarm 1; select undef, undef, undef, 0.01; alarm 0;
my @names = glob 'tree/*/*'; print scalar(@names), "\n"; print `echo from the shell`; opendir my $d, 'tree'; readdir $d; closedir $d;
